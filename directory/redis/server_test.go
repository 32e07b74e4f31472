package wspushredis_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
	wspushredis "github.com/wspush/wspush/directory/redis"
)

// A server is a process of redis-server, with a folder of its own. Without the program the tests fail: nothing can stand in for it.
type server struct {
	address string
	port    int
	dir     string
	args    []string
	output  *bytes.Buffer
	process *exec.Cmd
	admin   *redis.Client
}

// startServer starts one on a free port, and ends it with the test.
func startServer(tb testing.TB, args ...string) *server {
	tb.Helper()
	port := freePort(tb)
	s := &server{address: "127.0.0.1:" + strconv.Itoa(port), port: port, dir: tb.TempDir(), args: args}
	s.admin = redis.NewClient(&redis.Options{Addr: s.address, MaxRetries: -1, ContextTimeoutEnabled: true})
	s.start(tb)
	tb.Cleanup(func() {
		_ = s.admin.Close()
		s.kill(tb)
	})
	return s
}

func freePort(tb testing.TB) int {
	tb.Helper()
	// Below the ports that the system gives out: another test's listener, or a client, may not take it meanwhile.
	for port := 10_000 + os.Getpid()%1000*10; port < 30_000; port++ {
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		if _, taken := ports.LoadOrStore(port, true); !taken {
			return port
		}
	}
	tb.Fatal("no free port")
	return 0
}

func (s *server) start(tb testing.TB) {
	tb.Helper()
	s.startAs(tb, append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--repl-diskless-sync-delay", "0"}, s.args...)...)
}

func (s *server) startAs(tb testing.TB, args ...string) {
	tb.Helper()
	s.output = new(bytes.Buffer)
	s.process = exec.Command("redis-server", args...)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	if err := s.process.Start(); err != nil {
		tb.Fatalf("redis-server, of Debian's package of that name: %v", err)
	}
	eventually(tb, "redis-server answers", func() error { return s.admin.Ping(context.Background()).Err() })
}

// kill ends it with SIGKILL.
func (s *server) kill(tb testing.TB) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
	if tb.Failed() {
		tb.Logf("redis-server %s said:\n%s", s.address, s.output)
	}
}

func (s *server) signal(tb testing.TB, signal syscall.Signal) {
	tb.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		tb.Fatal(err)
	}
}

func (s *server) do(tb testing.TB, args ...any) any {
	tb.Helper()
	answer, err := s.admin.Do(context.Background(), args...).Result()
	if err != nil {
		tb.Fatalf("%v: %v", args, err)
	}
	return answer
}

// eventually waits until there is no error.
func eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("not so after 20 s: %s: %v", what, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func open(tb testing.TB, client redis.UniversalClient, opts *wspushredis.Options) directory.Directory {
	tb.Helper()
	tb.Cleanup(func() { _ = client.Close() })
	d, err := wspushredis.New(client, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}
