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
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// The programs of docs/resuming.md get everything once and in order, although their connection is cut again and again.
func TestResuming(t *testing.T) {
	server := startSessions(t)
	t.Run("Python", func(t *testing.T) {
		python := "/usr/bin/python3" // Debian's, whose packages has python3-websockets
		if err := exec.Command(python, "-c", "import websockets").Run(); err != nil && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		testResuming(t, server, false, python, "resuming/client.py")
		testResuming(t, server, true, python, "resuming/client.py")
	})
	t.Run("Go", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "resuming")
		if out, err := exec.Command("go", "build", "-o", program, "./resuming").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		testResuming(t, server, false, program)
		testResuming(t, server, true, program)
	})
}

// startSessions serves an application with sessions, whose address it returns.
func startSessions(t *testing.T) (host string) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{ResumeWindow: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(serveFor(t, handler), "http://")
}

// testResuming runs a program that either leaves and means to come back, or is told the end.
func testResuming(t *testing.T, server string, leaves bool, command ...string) {
	relay := newRelay(t, server)
	client, process := runLines(t, command[0], append(command[1:], "ws://"+relay.host()+"/ws")...)
	address, err := url.Parse(strings.TrimPrefix(client.next(t, "address: "), "address: "))
	if err != nil {
		t.Fatal(err)
	}
	push := fmt.Sprintf("http://%s%s/@connections/%s", address.Host, address.Path, address.User.Username())
	request := func(method, body string) (status int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, push, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "text/plain")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent && answer.StatusCode != http.StatusAccepted {
			t.Fatal(answer.Status)
		}
		return answer.StatusCode
	}

	messages := []string{"plain", "\x06p", "\x06", "\x06\x06", "zwölf"}
	n := 0
	for range 4 {
		for i, message := range messages {
			if i == 3 {
				relay.cut()
			}
			request("POST", fmt.Sprint(message, n+i))
		}
		for i, message := range messages {
			for {
				line := client.next(t, "")
				if line == "address: "+address.String() {
					continue // it has come back
				}
				if want := fmt.Sprint("message: ", message, n+i); line != want {
					t.Fatalf("%q in place of %q", line, want)
				}
				break
			}
		}
		n += len(messages)
	}

	if leaves {
		_ = process.Signal(os.Interrupt)
		deadline, again := time.After(10*time.Second), time.NewTicker(20*time.Millisecond)
		defer again.Stop()
		for request("POST", "later") != http.StatusAccepted {
			select {
			case <-again.C:
			case <-deadline:
				t.Fatal("its session is not suspended")
			}
		}
		return
	}
	request("DELETE", "")
	if end := client.next(t, "end: "); !strings.Contains(end, "1000") && !strings.Contains(end, "StatusNormalClosure") {
		t.Error(end)
	}
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
	mu       sync.Mutex
	conns    []net.Conn // guarded by mu
}

func newRelay(t *testing.T, to string) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
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

// cut ends every connection; new ones may come.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		conn.Close()
	}
	r.conns = nil
}
