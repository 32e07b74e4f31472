package lane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// scripted is a listener that first does what play says, once for each call of Accept, and then accepts pipes. It minds being closed
// twice.
type scripted struct {
	*pipes
	play  func(call int) (net.Conn, error) // errEnd: from now on, accept pipes
	calls atomic.Int64
	ended atomic.Bool
}

var errEnd = errors.New("the end of the script")

func (s *scripted) Accept() (net.Conn, error) {
	call := int(s.calls.Add(1))
	if !s.ended.Load() {
		c, err := s.play(call)
		if err != errEnd {
			return c, err
		}
		s.ended.Store(true)
	}
	return s.pipes.Accept()
}

// isClosed reports whether Close has been called.
func (s *scripted) isClosed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// record is a log. It is safe for concurrent use.
type record struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// count returns how many records there are at a level, and the last of them.
func (r *record) count(level string) (n int, last string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		if strings.Contains(line, "level="+level+" ") {
			n, last = n+1, line
		}
	}
	return n, last
}

// perform starts a Listener on a scripted listener.
func perform(play func(call int) (net.Conn, error)) (*Listener, *scripted, *record) {
	s, log := &scripted{pipes: newPipes(), play: play}, new(record)
	l := New(s, Config{
		Handler: noContent, MaxConns: -1, HeaderTimeout: time.Second, IdleTimeout: time.Minute, WriteTimeout: time.Second,
		Log: slog.New(slog.NewTextHandler(log, nil)), Context: context.Background(),
	})
	return l, s, log
}

// end ends a Listener. It must not hang.
func end(t *testing.T, l *Listener) {
	t.Helper()
	began := time.Now()
	l.Drain()
	l.Close()
	l.Wait(t.Context())
	if took := time.Since(began); took > 0 {
		t.Errorf("to drain takes %v", took)
	}
}

// Whatever Accept returns, but that the listener is closed, it is asked again, and the next connection is served. One record says so.
func TestAcceptAgain(t *testing.T) {
	fails := func(err error) func() (net.Conn, error) {
		return func() (net.Conn, error) { return nil, err }
	}
	system := func(errno syscall.Errno) func() (net.Conn, error) {
		return fails(&net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)})
	}
	for name, accept := range map[string]func() (net.Conn, error){
		"EMFILE": system(syscall.EMFILE), "ENFILE": system(syscall.ENFILE), "ENOMEM": system(syscall.ENOMEM), "ENOBUFS": system(syscall.ENOBUFS), "EPERM": system(syscall.EPERM),
		"EPROTO": system(syscall.EPROTO), "ECONNABORTED": system(syscall.ECONNABORTED), "EINVAL": system(syscall.EINVAL), "ENETDOWN": system(syscall.ENETDOWN),
		"EOF": fails(io.EOF), "a deadline": fails(os.ErrDeadlineExceeded), "the server's": fails(http.ErrServerClosed), "an odd one": fails(errors.New("odd")),
		"a panic": func() (net.Conn, error) { panic("Accept") }, "a panic with nil": func() (net.Conn, error) { panic(error(nil)) },
		"no connection and no error": fails(nil),
	} {
		for _, times := range []int{1, 3, 8} {
			t.Run(fmt.Sprint(name, times), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l, s, log := perform(func(call int) (net.Conn, error) {
						if call > times {
							return nil, errEnd
						}
						return accept()
					})
					c := s.dial()
					defer c.Close()
					if status := ask(t, c, plain); status != 204 {
						t.Errorf("answered %d", status)
					}
					if err := l.Failure(); err != nil || s.isClosed() {
						t.Errorf("after %d errors: %v; closed: %v", times, err, s.isClosed())
					}
					if n, last := log.count("WARN"); n != 1 || !strings.Contains(last, "trying again") {
						t.Errorf("%d warnings, the last of them %s", n, last)
					}
					if n, last := log.count("ERROR"); n != 0 {
						t.Error(last)
					}
					end(t, l)
				})
			})
		}
	}
}

// Errors without end are seen without a log, take no time, and fill no log. When they pass, so has the failure.
func TestAcceptFailsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		l, s, log := perform(func(int) (net.Conn, error) {
			if time.Since(began) > time.Hour {
				return nil, errEnd
			}
			return nil, io.EOF
		})
		synctest.Wait()
		if err := l.Failure(); err != nil {
			t.Errorf("at the first error: %v", err)
		}
		testutil.Pass(failedAfter - time.Second)
		if err := l.Failure(); err != nil {
			t.Errorf("before it is clear: %v", err)
		}
		testutil.Pass(3 * time.Second)
		if err := l.Failure(); !errors.Is(err, io.EOF) {
			t.Errorf("after %v of errors: %v", time.Since(began), err)
		}
		if n := s.calls.Load(); n > 40 {
			t.Errorf("%d calls of Accept", n)
		}
		testutil.Pass(30 * time.Minute)
		if err := l.Failure(); !errors.Is(err, io.EOF) || s.isClosed() {
			t.Errorf("after %v of errors: %v; closed: %v", time.Since(began), err, s.isClosed())
		}
		testutil.Pass(30*time.Minute + 3*time.Second)
		if err := l.Failure(); err != nil {
			t.Errorf("after the last error: %v", err)
		}
		c := s.dial()
		defer c.Close()
		if status := ask(t, c, plain); status != 204 {
			t.Errorf("answered %d", status)
		}
		if err := l.Failure(); err != nil {
			t.Errorf("after a connection: %v", err)
		}
		for level, want := range map[string]int{"WARN": 1, "ERROR": 1, "INFO": 1} {
			if n, last := log.count(level); n != want {
				t.Errorf("%d records at %s, want %d: %s", n, level, want, last)
			}
		}
		end(t, l)
	})
}

// Errors between which connections come, or for which Accept waits, are no failure, however many there are. They do not fill the log.
func TestAcceptFailsNowAndThen(t *testing.T) {
	for name, play := range map[string]func(p *pipes, call int) (net.Conn, error){
		"between connections": func(_ *pipes, call int) (net.Conn, error) {
			if call%3 == 0 {
				client, server := net.Pipe()
				client.Close()
				return server, nil
			}
			return nil, syscall.EMFILE
		},
		"after a wait": func(p *pipes, _ int) (net.Conn, error) {
			select {
			case <-time.After(5 * time.Second):
				return nil, os.ErrDeadlineExceeded
			case <-p.done:
				return nil, net.ErrClosed
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l *Listener
				var s *scripted
				var log *record
				ready := make(chan struct{})
				l, s, log = perform(func(call int) (net.Conn, error) {
					<-ready
					return play(s.pipes, call)
				})
				close(ready)
				for range 600 {
					testutil.Pass(time.Second)
					if err := l.Failure(); err != nil {
						t.Fatal(err)
					}
				}
				if n, _ := log.count("WARN"); n < 2 || n > 11 {
					t.Errorf("%d warnings in 10 minutes", n)
				}
				end(t, l)
			})
		})
	}
}

// A listener that somebody else has closed accepts nothing any more. So that nobody waits in its queue, it is closed for good; that can be
// seen, and what is connected stays.
func TestAcceptGivesUp(t *testing.T) {
	for name, accept := range map[string]func() (net.Conn, error){
		"closed":               func() (net.Conn, error) { return nil, net.ErrClosed },
		"closed, says the net": func() (net.Conn, error) { return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed} },
		"an end of its goroutine": func() (net.Conn, error) {
			runtime.Goexit()
			return nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				l, s, log := perform(func(call int) (net.Conn, error) {
					if call == 1 {
						return server, nil
					}
					return accept()
				})
				synctest.Wait()
				if err := l.Failure(); err == nil || name != "an end of its goroutine" && !errors.Is(err, net.ErrClosed) {
					t.Errorf("the failure is %v", err)
				}
				if !s.isClosed() {
					t.Error("the listener is open, and nobody accepts")
				}
				if status := ask(t, client, plain); status != 204 {
					t.Errorf("a publisher that is connected is answered %d", status)
				}
				go io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				handed, err := l.Accept()
				if err != nil {
					t.Fatalf("net/http gets no connections any more: %v", err)
				}
				handed.Close()
				l.ConnState(handed, http.StateClosed)
				testutil.Pass(time.Hour)
				if n := s.calls.Load(); n != 2 {
					t.Errorf("%d calls of Accept", n)
				}
				if n, last := log.count("ERROR"); n != 1 || !strings.Contains(last, "has failed") {
					t.Errorf("%d errors, the last of them %s", n, last)
				}
				end(t, l)
				if err := l.Failure(); err == nil {
					t.Error("the failure is forgotten")
				}
			})
		})
	}
}

// Without net/http there is nobody to hand connections over to: nothing more is accepted. Drain is no failure.
func TestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accepts := func(int) (net.Conn, error) { return nil, errEnd }
		l, s, log := perform(accepts)
		cause := errors.New("net/http has stopped")
		l.Fail(cause)
		synctest.Wait()
		if err := l.Failure(); err != cause || !s.isClosed() {
			t.Errorf("%v; closed: %v", err, s.isClosed())
		}
		if n, last := log.count("ERROR"); n != 1 {
			t.Errorf("%d errors, the last of them %s", n, last)
		}
		end(t, l)
		l, _, log = perform(accepts)
		end(t, l)
		if n, last := log.count("ERROR"); n != 0 || l.Failure() != nil {
			t.Errorf("after Drain: %v, %s", l.Failure(), last)
		}
	})
}

// A pause after an error does not hold up Drain.
func TestDrainWhileFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := perform(func(int) (net.Conn, error) { return nil, io.EOF })
		testutil.Pass(10*time.Minute + 300*time.Millisecond)
		end(t, l)
	})
}
