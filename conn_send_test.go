package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// sends collects what the calls of done are given, in their order.
type sends struct {
	mu  sync.Mutex // guards all
	all []string
}

func (s *sends) done(name string) func(wspush.Receipt, error) {
	return func(r wspush.Receipt, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.all = append(s.all, fmt.Sprint(name, ": ", err))
		} else {
			s.all = append(s.all, fmt.Sprint(name, ": ", r.State))
		}
	}
}

func (s *sends) got() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *sends) want(t *testing.T, want ...string) {
	t.Helper()
	if got := s.got(); !slices.Equal(got, want) {
		t.Errorf("done was told %q, want %q", got, want)
	}
}

// Send returns although the client does not read. Its messages and those of Push are written in the order of the calls, and what the
// caller does to data afterwards does not matter.
func TestSend(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		var s sends
		var pushed []<-chan error
		data := make([]byte, 1)
		for i := range 6 {
			if i%2 == 1 {
				pushed = append(pushed, start(context.Background(), conn, fmt.Sprint(i)))
				continue
			}
			data[0] = '0' + byte(i)
			if err := conn.Send(context.Background(), wspush.Text, data, s.done(string(data))); err != nil {
				t.Fatal(err)
			}
			data[0] = 'x'
		}
		s.want(t)
		for i := range 6 {
			client.Expect(testutil.Text, fmt.Sprint(i))
		}
		s.want(t, "0: written", "2: written", "4: written")
		for _, p := range pushed {
			if err := returned(t, p); err != nil {
				t.Error(err)
			}
		}
		if got := w.Stats().Written; got != 6 {
			t.Errorf("%d messages are counted as written", got)
		}
	})
}

// A message that is written at once is not copied, and nobody need be told.
func TestSendAtOnce(t *testing.T) {
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	told := make(chan error)
	if err := conn.Send(t.Context(), wspush.Binary, []byte{1}, nil); err != nil {
		t.Error(err)
	}
	if err := conn.Send(t.Context(), wspush.Text, []byte("2"), func(r wspush.Receipt, err error) { told <- err }); err != nil {
		t.Error(err)
	}
	if err := <-told; err != nil {
		t.Error(err)
	}
	client.Expect(testutil.Binary, "\x01")
	client.Expect(testutil.Text, "2")
}

// What waits in the middle of a message is a copy, too.
func TestSendBig(t *testing.T) {
	staged(t, &wspush.WorkerOptions{MaxPending: -1}, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		data := []byte(big)
		told := make(chan error, 2)
		for range 2 {
			if err := conn.Send(context.Background(), wspush.Text, data, func(_ wspush.Receipt, err error) { told <- err }); err != nil {
				t.Fatal(err)
			}
			for i := range data {
				data[i] = 'x'
			}
			copy(data, big)
		}
		clear(data)
		for range 2 {
			if op, got, err := client.Message(); op != testutil.Text || string(got) != big || err != nil {
				t.Errorf("got %d bytes of type %v, %v; not what was sent", len(got), op, err)
			}
			if err := <-told; err != nil {
				t.Error(err)
			}
		}
	})
}

// What Push returns at once, Send returns, and done is never called.
func TestSendRefused(t *testing.T) {
	bubble(t, wspush.WorkerOptions{MaxPushBytes: 300, MaxPending: 400}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		never := func(_ wspush.Receipt, err error) { t.Errorf("done was called with %v", err) }
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		send := func(ctx context.Context, typ wspush.MessageType, data string) error {
			return conn.Send(ctx, typ, []byte(data), never)
		}
		if err := send(context.Background(), wspush.Text, strings.Repeat("x", 301)); !errors.Is(err, wspush.ErrTooLarge) {
			t.Error(err)
		}
		if err := send(context.Background(), wspush.Text, "\xff"); err != wspush.ErrInvalidUTF8 {
			t.Error(err)
		}
		if err := send(context.Background(), 7, "x"); err == nil {
			t.Error("a message of no type was sent")
		}
		if err := send(ended, wspush.Text, "x"); err != context.Canceled {
			t.Error(err)
		}
		var s sends
		if err := conn.Send(context.Background(), wspush.Text, []byte("waits"), s.done("waits")); err != nil {
			t.Fatal(err)
		}
		if err := send(context.Background(), wspush.Text, "no room"); err != wspush.ErrBusy {
			t.Error(err)
		}
		client.Expect(testutil.Text, "waits")
		s.want(t, "waits: written")
		conn.Close(1000, "")
		if err := send(context.Background(), wspush.Text, "x"); err != wspush.ErrGone {
			t.Error(err)
		}
		r := w.Stats().RefusedBy
		if r.TooLarge != 1 || r.InvalidUTF8 != 1 || r.Other != 1 || r.Withdrawn != 1 || r.Busy != 1 || r.Gone != 1 {
			t.Errorf("counted %+v", r)
		}
	})
}

// When ctx ends, what has not begun is withdrawn; what has begun goes out, and is unknown.
func TestSendWithdrawn(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		var s sends
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for _, name := range []string{"begun", "waiting"} {
			if err := conn.Send(ctx, wspush.Text, []byte(name), s.done(name)); err != nil {
				t.Fatal(err)
			}
		}
		testutil.Pass(2 * time.Second)
		got := s.got()
		slices.Sort(got)
		want := []string{"begun: " + wspush.ErrUnknown.Error(), "waiting: context deadline exceeded"}
		if len(got) != 2 || !strings.HasPrefix(got[0], want[0]) || got[1] != want[1] {
			t.Errorf("done was told %q", got)
		}
		next := start(context.Background(), conn, "next")
		client.Expect(testutil.Text, "begun")
		client.Expect(testutil.Text, "next")
		if err := returned(t, next); err != nil {
			t.Error(err)
		}
	})
}

// A confirmation may be asked for in a callback of the same connection, since nothing waits for it there.
func TestSendConfirmed(t *testing.T) {
	var s sends
	opts := &wspush.HandlerOptions{OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
		if err := c.Send(context.Background(), typ, data, s.done(string(data)), wspush.Confirmed()); err != nil {
			t.Error(err)
		}
	}}
	bubble(t, wspush.WorkerOptions{}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		client.Send(testutil.Text, []byte("echo"))
		client.Expect(testutil.Text, "echo")
		ping := client.NextFrame()
		s.want(t)
		client.Send(testutil.Pong, ping.Payload)
		s.want(t, "echo: received")

		client.Send(testutil.Text, []byte("no pong"))
		client.Expect(testutil.Text, "no pong")
		client.NextFrame()
		testutil.Pass(4 * time.Second)
		s.want(t, "echo: received")
		testutil.Pass(2 * time.Second)
		if got := s.got(); len(got) != 2 || !strings.HasPrefix(got[1], "no pong: "+wspush.ErrUnknown.Error()) {
			t.Errorf("done was told %q", got)
		}
		if got := w.Stats().Confirmed; got != 1 {
			t.Errorf("%d messages are counted as confirmed", got)
		}
	})
}

// The end of the connection settles everything, and done has returned for all of it before OnDisconnect is called.
func TestSendEnd(t *testing.T) {
	for name, end := range map[string]func(w *wspush.Worker, c *wspush.Conn, client *testutil.Client){
		"closed":   func(_ *wspush.Worker, c *wspush.Conn, _ *testutil.Client) { c.Close(1000, "") },
		"lost":     func(_ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) { client.Close() },
		"stalled":  func(*wspush.Worker, *wspush.Conn, *testutil.Client) { testutil.Pass(11 * time.Second) },
		"shutdown": func(w *wspush.Worker, _ *wspush.Conn, _ *testutil.Client) { w.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			var s sends
			opts := &wspush.HandlerOptions{OnDisconnect: func(*wspush.Conn, error) { s.done("OnDisconnect")(wspush.Receipt{State: "called"}, nil) }}
			bubble(t, wspush.WorkerOptions{}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
				for _, message := range []string{"first", "second"} {
					told := s.done(message)
					if err := conn.Send(context.Background(), wspush.Text, []byte(message), func(r wspush.Receipt, err error) {
						testutil.Pass(time.Second) // in the bubble's time: whoever does not wait is first
						told(r, err)
					}); err != nil {
						t.Fatal(err)
					}
				}
				end(w, conn, client)
				testutil.Pass(30 * time.Second)
				refused := wspush.ErrGone
				if name == "shutdown" {
					refused = wspush.ErrShutdown
				}
				// Which of the two is withdrawn first depends on whether a write has the first one in hand.
				got := s.got()
				if len(got) > 2 {
					slices.Sort(got[:2])
				}
				if want := []string{"first: " + refused.Error(), "second: " + refused.Error(), "OnDisconnect: called"}; !slices.Equal(got, want) {
					t.Errorf("done was told %q, want %q", got, want)
				}
				if err := conn.Send(context.Background(), wspush.Text, nil, nil); err != refused {
					t.Error(err)
				}
			})
		})
	}
}

// done may send on, and runs while the client is being read.
func TestSendInDone(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		var s sends
		left := 100
		var next func(wspush.Receipt, error)
		next = func(r wspush.Receipt, err error) {
			if err != nil || left == 0 {
				s.done("last")(r, err)
				return
			}
			left--
			if err := conn.Send(context.Background(), wspush.Text, []byte("more"), next); err != nil {
				t.Error(err)
			}
		}
		next(wspush.Receipt{}, nil)
		for range 100 {
			client.Expect(testutil.Text, "more")
		}
		s.want(t, "last: written")
	})
}

// A panic in done, or the end of its goroutine, ends the connection, and the others are told all the same.
func TestSendDonePanics(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("in done") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
				var s sends
				if err := conn.Send(context.Background(), wspush.Text, []byte("a"), func(wspush.Receipt, error) { end() }); err != nil {
					t.Error(err)
				}
				if err := conn.Send(context.Background(), wspush.Text, []byte("b"), s.done("b")); err != nil {
					t.Error(err)
				}
				client.Expect(testutil.Text, "a")
				for { // "b" may be out already
					f := client.NextFrame()
					if f.Op == testutil.Close {
						if !bytes.HasPrefix(f.Payload, []byte{1011 >> 8, 1011 & 0xff}) {
							t.Errorf("closed with %q", f.Payload)
						}
						break
					}
				}
				client.Close()
				if got := s.got(); len(got) != 1 {
					t.Errorf("done was told %q", got)
				}
			})
		})
	}
}

// Shutdown waits for done no longer than for any callback: until its context ends.
func TestSendDoneBlocks(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		release := make(chan struct{})
		defer close(release)
		if err := conn.Send(context.Background(), wspush.Text, []byte("a"), func(wspush.Receipt, error) { <-release }); err != nil {
			t.Fatal(err)
		}
		client.Expect(testutil.Text, "a")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("Shutdown took %v", took)
		}
	})
}

// Many send to many, in parallel, while connections end.
func TestSendRace(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	const conns, senders, each = 8, 4, 200
	var calls, returned sync.WaitGroup
	for range conns {
		client, conn, _ := dial(t, w, server, testutil.Options{})
		returned.Go(func() {
			for n := 0; ; n++ {
				if _, _, err := client.Message(); err != nil {
					return
				}
				if n == senders*each/2 {
					client.Close()
				}
			}
		})
		for range senders {
			returned.Go(func() {
				data := bytes.Repeat([]byte("x"), 1000)
				for range each {
					calls.Add(1)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					if err := conn.Send(ctx, wspush.Text, data, func(wspush.Receipt, error) {
						cancel()
						calls.Done()
					}); err != nil {
						cancel()
						calls.Done()
					}
					data[0]++
					data[0] &= 0x7f
				}
			})
		}
	}
	returned.Wait()
	calls.Wait()
}
