package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush"
	wspushnats "github.com/wspush/wspush/directory/nats"
	wspushredis "github.com/wspush/wspush/directory/redis"
)

// How workers find each other's members.
const (
	inRedis    = "redis"
	inNATS     = "nats"
	amongPeers = "peers"
)

// engine is the process of the server that holds the directory.
type engine struct {
	kind    string
	address string
	dir     string
	log     *os.File
	ended   func(error) // called if it ends of itself

	turn    sync.Mutex // held while something happens to it; guards the fields below
	process *process
	starts  int
}

// start starts it, empty.
func (e *engine) start() error {
	e.starts++
	host, port, _ := net.SplitHostPort(e.address)
	store := filepath.Join(e.dir, fmt.Sprintf("engine%d", e.starts))
	if err := os.Mkdir(store, 0o777); err != nil {
		return err
	}
	var cmd *exec.Cmd
	greeting := "+PONG"
	if e.kind == inRedis {
		program, err := exec.LookPath("redis-server")
		if err != nil {
			return errors.New("redis-server is missing: on Debian, apt-get install redis-server, or bash e2e/chaos/run")
		}
		cmd = exec.Command(program, "--port", port, "--bind", host, "--dir", store, "--save", "", "--appendonly", "no")
	} else {
		cmd = exec.Command("/proc/self/exe", "nats", "-port", port, "-store", store)
		greeting = "INFO "
	}
	cmd.Stdout, cmd.Stderr = e.log, e.log
	p, err := spawn(cmd, syscall.SIGKILL, e.ended)
	if err != nil {
		return err
	}
	e.process = p
	var said string
	for begin := time.Now(); time.Since(begin) < readyTimeout; time.Sleep(10 * time.Millisecond) {
		if said, err = e.ask("PING\r\n"); err == nil && strings.HasPrefix(said, greeting) {
			return nil
		}
	}
	_ = p.stop(syscall.SIGKILL, time.Second)
	return fmt.Errorf("%s did not start: it says %q, %v", e.kind, said, err)
}

// ask sends it a line, and returns the first one that it sends.
func (e *engine) ask(line string) (string, error) {
	conn, err := net.DialTimeout("tcp", e.address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(line)); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

// empty makes it lose everything while it runs.
func (e *engine) empty() error {
	if e.kind == inRedis {
		said, err := e.ask("FLUSHALL\r\n")
		if err == nil && said != "+OK\r\n" {
			err = fmt.Errorf("FLUSHALL: %s", said)
		}
		return err
	}
	connection, err := nats.Connect("nats://" + e.address)
	if err != nil {
		return err
	}
	defer connection.Close()
	js, err := jetstream.New(connection)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, "wspush")
	if err != nil {
		return err
	}
	return stream.Purge(ctx)
}

// natsServer is a NATS server in a process of its own.
func natsServer(args []string) error {
	flags := flag.NewFlagSet("nats", flag.ContinueOnError)
	port := flags.Int("port", 0, "`port` to listen on")
	store := flags.String("store", "", "`folder` for JetStream")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: *port, JetStream: true, StoreDir: *store})
	if err != nil {
		return err
	}
	s.Start()
	s.WaitForShutdown()
	return nil
}

// way is a worker's way to the engine: something in between can cut connections, or hold back what passes.
type way struct {
	*forwarder
	turn sync.Mutex // held while the way is not as it should be
}

// startDirectory starts the engine and the workers' ways to it, and returns the workers' flags.
func (s *site) startDirectory(address string, pushes []string) (flags []string, err error) {
	if s.setting.directory == amongPeers {
		flag := "peers:" + s.peersFile()
		for range pushes {
			flags = append(flags, flag)
		}
		return flags, s.listPeers(pushes)
	}
	log, err := os.Create(filepath.Join(s.dir, "engine.log"))
	if err != nil {
		return nil, err
	}
	ended := func(err error) { s.fault("%s ended of itself: %v", s.setting.directory, err) }
	s.engine = &engine{kind: s.setting.directory, address: address, dir: s.dir, log: log, ended: ended}
	if err := s.engine.start(); err != nil {
		return nil, err
	}
	for range pushes {
		f, err := newForwarder([]string{address})
		if err != nil {
			return nil, err
		}
		s.ways = append(s.ways, &way{forwarder: f})
		flags = append(flags, s.setting.directory+"://"+f.listeners[0].Addr().String())
	}
	return flags, nil
}

func (s *site) stopDirectory() {
	for _, w := range s.ways {
		_ = w.mend()
		w.close()
	}
	if s.engine != nil {
		if s.engine.process != nil {
			_ = s.engine.process.stop(syscall.SIGKILL, time.Second)
		}
		s.engine.log.Close()
	}
}

func (s *site) peersFile() string { return filepath.Join(s.dir, "peers") }

// listPeers writes the list that workers read.
func (s *site) listPeers(pushes []string) error {
	next := s.peersFile() + ".next"
	if err := os.WriteFile(next, []byte(strings.Join(pushes, "\n")), 0o666); err != nil {
		return err
	}
	return os.Rename(next, s.peersFile()) // nobody reads half of it
}

// joinDirectory sets what a worker needs for users and groups. end ends it, after the worker.
func joinDirectory(where string, w *wspush.WorkerOptions, h *wspush.HandlerOptions) (end func(), err error) {
	w.AuthorizePush = func(*http.Request) error { return nil }
	h.Accept = func(r *http.Request) (any, error) { return r.URL.Query(), nil }
	h.User = func(_ *http.Request, value any) string { return value.(url.Values).Get("user") }
	h.Groups = func(c *wspush.Conn) []string { return c.Value().(url.Values)["group"] }
	if file, ok := strings.CutPrefix(where, "peers:"); ok {
		w.Cluster.Peers = func(context.Context) ([]string, error) {
			list, err := os.ReadFile(file)
			return strings.Fields(string(list)), err
		}
		return func() {}, nil
	}
	if address, ok := strings.CutPrefix(where, "redis://"); ok {
		client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{address}, ContextTimeoutEnabled: true})
		w.Cluster.Directory, err = wspushredis.New(client, nil)
		return func() { _ = client.Close() }, err
	}
	connection, err := nats.Connect(where, nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, err
	}
	w.Cluster.Directory, err = wspushnats.New(connection, nil)
	return connection.Close, err
}

// nameOf is the name of a user or a group, for which messages and books have a shorter one without spaces. Every kind of character is in one
// of them.
func nameOf(key string) string {
	number, _ := strconv.Atoi(key[1:])
	return key + [...]string{"", "", "", " é", "%2F?", "+&=;", "..", "\\\"#"}[number%8]
}

// isGroup reports whether a key names a group. Users' begin with u, with w if they wander, and with x if they are never there.
func isGroup(key string) bool { return key[0] == 'g' || key[0] == 'r' }
