package snippets

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// The programs of docs/resuming.md get everything once and in order, although their connection is cut again and again.
func TestResuming(t *testing.T) {
	t.Run("Python", func(t *testing.T) {
		python := "/usr/bin/python3" // Debian's, whose packages has python3-websockets
		if err := exec.Command(python, "-c", "import websockets").Run(); err != nil && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		testResuming(t, http.StatusGone, python, "resuming/client.py") // it leaves with 1000
	})
	t.Run("Go", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "resuming")
		if out, err := exec.Command("go", "build", "-o", program, "./resuming").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		testResuming(t, http.StatusAccepted, program)
	})
}

// startSessions serves an application with sessions, whose address it returns. It refuses clients once refuses is set.
func startSessions(t *testing.T, refuses *atomic.Bool) (host string, worker *wspush.Worker) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		ResumeWindow: 2 * time.Minute,
		Accept: func(*http.Request) (any, error) {
			if refuses.Load() {
				return nil, wspush.ErrUnauthorized
			}
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(serveFor(t, handler), "http://"), worker
}

// testResuming runs a program until the server ends its session, until that refuses it, and until it is interrupted: pushes are then
// answered with left.
func testResuming(t *testing.T, left int, command ...string) {
	start := func(t *testing.T) *resumingProgram {
		t.Parallel() // it waits most of the time
		p := new(resumingProgram)
		host, worker := startSessions(t, &p.refused)
		p.relay, p.worker = newRelay(t, host), worker
		p.lines, p.process = runLines(t, command[0], append(command[1:], "ws://"+p.relay.host()+"/ws")...)
		p.begin(t)
		p.pushes(t)
		return p
	}
	t.Run("ends", func(t *testing.T) {
		p := start(t)
		p.request(t, "DELETE", "")
		p.lines.next(t, "end")
	})
	t.Run("is refused", func(t *testing.T) {
		p := start(t)
		p.refused.Store(true)
		p.relay.cut()
		p.lines.next(t, "end")
	})
	t.Run("gets a new session", func(t *testing.T) {
		p := start(t)
		host, _ := startSessions(t, &p.refused) // where nobody knows its ticket
		p.relay.lead(host)
		if err := p.worker.Shutdown(t.Context()); err != nil { // with 1012, by which it comes back
			t.Error(err)
		}
		p.begin(t)
		p.pushes(t)
	})
	t.Run("leaves", func(t *testing.T) {
		p := start(t)
		_ = p.process.Signal(os.Interrupt)
		deadline, again := time.After(10*time.Second), time.NewTicker(20*time.Millisecond)
		defer again.Stop()
		for p.request(t, "POST", "later") != left {
			select {
			case <-again.C:
			case <-deadline:
				t.Fatalf("no %d", left)
			}
		}
	})
}

// resumingProgram is a program that prints what it gets, behind a relay.
type resumingProgram struct {
	relay   *relay
	lines   lines
	process *os.Process
	worker  *wspush.Worker
	push    string      // where to push to it
	pushed  int         // how many messages
	refused atomic.Bool // the server does not let it in any more
}

// begin reads the address of a new session.
func (p *resumingProgram) begin(t *testing.T) {
	t.Helper()
	address, err := url.Parse(strings.TrimPrefix(p.lines.next(t, "address: "), "address: "))
	if err != nil {
		t.Fatal(err)
	}
	p.push = fmt.Sprintf("http://%s%s/@connections/%s", address.Host, address.Path, address.User.Username())
}

// pushes pushes messages of all kinds, and cuts the connection among them: the program prints each once and in order, and nothing else.
func (p *resumingProgram) pushes(t *testing.T) {
	t.Helper()
	for range 3 {
		messages := []string{"plain", "\x06p", "\x06", "\x06\x06", "zwölf"}
		for i, message := range messages {
			if i == 3 {
				p.relay.cut()
			}
			if status := p.request(t, "POST", fmt.Sprint(message, p.pushed+i)); status != http.StatusNoContent && status != http.StatusAccepted {
				t.Fatal(status)
			}
		}
		for _, message := range messages {
			want := fmt.Sprint("message: ", message, p.pushed)
			if line := p.lines.next(t, ""); line != want {
				t.Fatalf("%q in place of %q", line, want)
			}
			p.pushed++
		}
	}
}

func (p *resumingProgram) request(t *testing.T, method, body string) (status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, p.push, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/plain")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// lines are those that a program prints.
type lines <-chan string

// next returns the next line, which must begin with prefix.
func (l lines) next(t *testing.T, prefix string) string {
	t.Helper()
	select {
	case line, ok := <-l:
		if !ok || !strings.HasPrefix(line, prefix) {
			t.Fatalf("%q in place of %q", line, prefix)
		}
		return line
	case <-time.After(20 * time.Second):
		t.Fatalf("no %q", prefix)
		return ""
	}
}

// runLines starts a program that is killed at the end of the test.
func runLines(t *testing.T, name string, args ...string) (lines, *os.Process) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := make(chan string, 1000)
	go func() {
		defer close(all)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			all <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		for range all {
		}
		_ = cmd.Wait()
	})
	return all, cmd.Process
}

// relay forwards connections, until it cuts them.
type relay struct {
	listener net.Listener

	mu    sync.Mutex // guards what follows
	to    string     // where connections lead
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, to: to}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", r.target())
			if err != nil {
				near.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, near, far)
			r.mu.Unlock()
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				running.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.cut()
		running.Wait()
	})
	return r
}

func (r *relay) host() string { return r.listener.Addr().String() }

func (r *relay) target() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.to
}

// lead has new connections lead somewhere else.
func (r *relay) lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

// cut ends every connection; new ones may come.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		conn.Close()
	}
	r.conns = nil
}
