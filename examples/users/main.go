// Command users pushes to users and to groups, wherever they are connected. Log in as somebody in one browser and as somebody else in
// another, with as many tabs as you like. The page shows who else is there, pushes to them, shows the curl command that does the same,
// and logs a user out everywhere. From the root of the repository:
//
//	go run -C examples/users .                               # one process, and nothing else to run
//	go run -C examples/users . -workers 3                    # three workers behind nginx, which must be installed
//	go run -C examples/users . -redis redis://127.0.0.1:6379 # a directory in Redis; in NATS with -nats nats://127.0.0.1:4222
//
// The three workers are in this one process, and ask each other who is there; with -redis or -nats they ask the directory. Processes on
// several machines are workers of one cluster if they have the same -redis or -nats, the same -key and the same -token, each with a -push that
// the other machines can reach:
//
//	go run -C examples/users . -listen 0.0.0.0:8085 -push 10.0.0.5:8185 -redis redis://10.0.0.1:6379 -key "$KEY" -token "$TOKEN"
//
// Other users of the machine can see a command line, so the environment's CLUSTER_KEY and PUSH_TOKEN will do instead of -key and -token. Let nginx
// or the like lead browsers and publishers to all of them: nginx.conf is how. Then each can be replaced by a new process while pages are open and
// pushed to. examples/compose has all of this in containers, with Prometheus and Grafana.
//
// A page that loses its WebSocket comes back by itself, and misses nothing, also if nginx brings it to another worker: that one takes its session.
//
// Anybody may log in as anybody, and everybody is shown the token with which publishers push. Do not copy that. What to copy is in app.go
// and page.html. Clients without the page connect to /ws?as=NAME&group=GROUP.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	redis.SetLogger(silent{})
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "users:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if s.probe != "" {
		return probe(ctx, s.probe)
	}
	site := &site{settings: s, failed: make(chan error, s.count+2)} // one for each server, that of the metrics, and nginx
	if err = site.start(); err == nil {
		fmt.Fprintf(stdout, "Open http://%s/\n", site.address)
		select {
		case err = <-site.failed:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, site.stop())
}

// settings are what the flags say.
type settings struct {
	listen, push, token, redis, nats string

	metrics, probe string // may be empty

	key       []byte
	keyShared bool // with other processes
	count     int  // of workers
	resume    time.Duration
	grace     time.Duration
}

// reserve is the part of -grace that is left for requests in progress once the workers have stopped.
const reserve = 5 * time.Second

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("users", flag.ContinueOnError)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8085", "`address`, or port of 127.0.0.1, of the page and the WebSocket; with several workers, nginx listens there")
	flags.StringVar(&s.push, "push", "127.0.0.1:0", "`address` of the worker's push listener; with several workers, of the first one's: "+
		"the others have the ports that follow, unless the port is 0")
	flags.StringVar(&s.token, "token", "", "what publishers must know, and the page shows; the default is PUSH_TOKEN in the environment, or a random one")
	flags.IntVar(&s.count, "workers", 1, "how many there are, at most 10; several are behind nginx, which must be installed")
	flags.DurationVar(&s.resume, "resume", time.Minute, "how long a session waits for its page to come back, and its user counts as there; 0: no sessions")
	flags.DurationVar(&s.grace, "grace", 10*time.Second, "time from a signal to the exit, at most; the last 5 s of it are for requests in progress")
	flags.StringVar(&s.metrics, "metrics", "", "`address` for GET /metrics, which Prometheus asks, and GET /healthz, the readiness probe; "+
		"not for browsers. The default is none")
	flags.StringVar(&s.probe, "probe", "", "only ask this `URL` of another process, such as http://127.0.0.1:9100/healthz, and fail unless the answer is 200")
	flags.StringVar(&s.redis, "redis", "", "`URL` of a Redis server for the directory, such as redis://127.0.0.1:6379")
	flags.StringVar(&s.nats, "nats", "", "`URL` of a NATS server for the directory, such as nats://127.0.0.1:4222")
	key := flags.String("key", "", "what all processes with the same -redis or -nats share: 64 `hex` digits, from openssl rand -hex 32; "+
		"the default is CLUSTER_KEY in the environment, or a random key, which no other process has")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if !strings.Contains(s.listen, ":") { // a port alone
		s.listen = "127.0.0.1:" + s.listen
	}
	// These are not the flags' defaults, since -h prints those.
	s.token = cmp.Or(s.token, os.Getenv("PUSH_TOKEN"), rand.Text())
	if s.redis != "" || s.nats != "" {
		*key = cmp.Or(*key, os.Getenv("CLUSTER_KEY"))
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case strings.ContainsFunc(s.token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return s, errors.New("-token must be visible ASCII characters: it goes into a header")
	case s.grace <= reserve:
		return s, fmt.Errorf("-grace must be more than %v: that much is for requests in progress", reserve)
	case s.count < 1 || s.count > 10:
		return s, errors.New("-workers must be from 1 to 10")
	case s.redis != "" && s.nats != "":
		return s, errors.New("-redis and -nats exclude each other: there is one directory")
	case *key != "" && s.redis == "" && s.nats == "":
		return s, errors.New("-key needs -redis or -nats: without a directory, processes do not find each other")
	}
	s.key, s.keyShared = make([]byte, 32), *key != ""
	_, _ = rand.Read(s.key) // never fails
	if s.keyShared {
		if s.key, err = hex.DecodeString(*key); err != nil || len(s.key) != 32 {
			return s, errors.New("-key must be 64 hex digits, as from openssl rand -hex 32")
		}
	}
	return s, nil
}
