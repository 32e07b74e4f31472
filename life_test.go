package wspush_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// journal records what the callbacks of a connection saw, in order.
type journal struct {
	mu      sync.Mutex // guards entries
	entries []string
	ended   chan *wspush.CloseError
}

func newJournal() *journal { return &journal{ended: make(chan *wspush.CloseError, 10)} }

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf(format, args...))
}

// options returns callbacks that write the journal.
func (j *journal) options() *wspush.HandlerOptions {
	return &wspush.HandlerOptions{
		OnConnect: func(c *wspush.Conn) { j.add("connect") },
		OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) { j.add("%s %q", typ, data) },
		OnDisconnect: func(c *wspush.Conn, reason error) {
			j.add("disconnect")
			var closed *wspush.CloseError
			errors.As(reason, &closed)
			j.ended <- closed
		},
	}
}

func (j *journal) expect(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.entries, want) {
		t.Errorf("callbacks:\n got %q\nwant %q", j.entries, want)
	}
}

// The callbacks are called in order: OnConnect, OnMessage for each message, then OnDisconnect, once.
func TestCallbackOrder(t *testing.T) {
	j := newJournal()
	w := newWorker(t, nil)
	server := serve(t, w, j.options())
	early := testutil.AppendFrame(nil, testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte("early")}, [4]byte{1, 2, 3, 4})
	c, _, _ := dial(t, w, server, testutil.Options{Early: early})
	c.Send(testutil.Binary, []byte{0xff})
	c.Send(testutil.Text, nil)
	c.SendClose(3999, "bye")
	if code, reason := c.AwaitClose(); code != 3999 || reason != "bye" {
		t.Errorf("the close frame was answered with %d %q", code, reason)
	}
	c.AwaitEOF()
	if got := <-j.ended; got.Cause != wspush.CauseClient || got.Code != 3999 || got.Reason != "bye" {
		t.Errorf("reason: %v", got)
	}
	j.expect(t, "connect", `text "early"`, `binary "\xff"`, `text ""`, "disconnect")
	if s := w.Stats(); s.Received != 3 {
		t.Errorf("Stats: %+v", s)
	}
}

// OnDisconnect is told who ended the connection, and how.
func TestReasons(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, c *testutil.Client)
		want wspush.CloseError
		sees int // the code of the close frame that the client gets; 0 for none
	}{
		{"client, with a code", func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, c *testutil.Client) { c.SendClose(1001, "away") },
			wspush.CloseError{Cause: wspush.CauseClient, Code: 1001, Reason: "away"}, 1001},
		{"client, without one", func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, c *testutil.Client) { c.SendClose(0, "") },
			wspush.CloseError{Cause: wspush.CauseClient, Code: 1005}, 1005},
		{"lost", func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, c *testutil.Client) { c.Close() },
			wspush.CloseError{Cause: wspush.CauseLost, Code: 1006}, 0},
		{"Conn.Close", func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, c *testutil.Client) {
			if err := conn.Close(4000, "enough"); err != nil {
				t.Error(err)
			}
			if err := conn.Close(4001, "again"); !errors.Is(err, wspush.ErrGone) {
				t.Errorf("the second Close: %v", err)
			}
		}, wspush.CloseError{Cause: wspush.CauseClosed, Code: 4000, Reason: "enough"}, 4000},
		{"shutdown", func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, c *testutil.Client) {
			go w.Shutdown(context.Background())
		}, wspush.CloseError{Cause: wspush.CauseShutdown, Code: 1012, Reason: "service restart"}, 1012},
		{"protocol", func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, c *testutil.Client) {
			c.SendFrame(testutil.Frame{Fin: true, Op: 0x3, Masked: true})
		}, wspush.CloseError{Cause: wspush.CauseProtocol, Code: 1002, Reason: "protocol error"}, 1002},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := newJournal()
			w := newWorker(t, nil)
			c, conn, address := dial(t, w, serve(t, w, j.options()), testutil.Options{})
			tt.end(t, w, conn, c)
			if tt.sees != 0 {
				if code, _ := c.AwaitClose(); code != tt.sees {
					t.Errorf("the client got code %d, want %d", code, tt.sees)
				}
				c.AwaitEOF()
			}
			got := <-j.ended
			if got.Cause != tt.want.Cause || got.Code != tt.want.Code || got.Reason != tt.want.Reason {
				t.Errorf("got %v, want %v", got, &tt.want)
			}
			if context.Cause(conn.Context()) != error(got) {
				t.Errorf("the context's cause is %v", context.Cause(conn.Context()))
			}
			if _, ok := w.Conn(conn.ID()); ok || w.Len() != 0 {
				t.Error("the connection has not left the registry")
			}
			if tt.want.Cause != wspush.CauseShutdown {
				problem(t, post(t, address, "", nil), 410, "gone", "")
			}
			j.expect(t, "connect", "disconnect")
		})
	}
}

// With the quickstart's -ping 1s -idle 3s, a silent client gets pings at 1 s and 2 s and a close frame at 3 s, and its connection
// ends 2 s after that. A client that answers stays connected.
func TestTimersOnConn(t *testing.T) {
	opts := &wspush.HandlerOptions{PingInterval: time.Second, IdleTimeout: 3 * time.Second}
	connect := func(t *testing.T, silent bool) (*testutil.Client, *wspush.Conn) {
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"127.0.0.1:1"}})
		c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, opts)), testutil.Options{Timeout: -1, Silent: silent})
		conn, _ := greeted(t, w, c)
		return c, conn
	}
	t.Run("silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, conn := connect(t, true)
			begin := time.Now()
			at := func(want time.Duration, what string) {
				t.Helper()
				if got := time.Since(begin); got != want {
					t.Errorf("%s after %v, want %v", what, got, want)
				}
			}
			for i := 1; i <= 2; i++ {
				if f := c.NextFrame(); f.Op != testutil.Ping || string(f.Payload) != "1" {
					t.Errorf("ping %d: %v", i, f) // the same number until it is answered
				}
				at(time.Duration(i)*time.Second, "ping")
			}
			f := c.NextFrame()
			at(3*time.Second, "close")
			if f.Op != testutil.Close || string(f.Payload) != "\x03\xe9idle timeout" {
				t.Errorf("close: %v", f)
			}
			if reason := context.Cause(conn.Context()).(*wspush.CloseError); reason.Cause != wspush.CauseIdle {
				t.Error(reason)
			}
			c.AwaitEOF()
			at(5*time.Second, "end")
		})
	})
	t.Run("answering", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, conn := connect(t, true)
			for i := 1; i <= 3600; i++ {
				f := c.NextFrame()
				if f.Op != testutil.Ping || string(f.Payload) != fmt.Sprint(i) {
					t.Fatalf("ping %d: %v", i, f)
				}
				c.Send(testutil.Pong, f.Payload)
			}
			if since := time.Since(conn.Info().ConnectedAt); since != time.Hour || conn.Context().Err() != nil {
				t.Errorf("after %v: %v", since, conn.Context().Err())
			}
			if active := time.Since(conn.Info().LastActive); active != 0 {
				t.Errorf("last active %v ago", active)
			}
		})
	})
	t.Run("pushed to, but dead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, conn := connect(t, true)
			begin := time.Now()
			go func() {
				for outcome(conn.Push(conn.Context(), wspush.Text, []byte("x"))) == nil {
					<-time.After(500 * time.Millisecond)
				}
			}()
			var saw []string
			for {
				f, err := c.ReadFrame()
				if err != nil {
					break
				}
				if f.Op != testutil.Text {
					saw = append(saw, fmt.Sprintf("%v %v %q", time.Since(begin), f.Op, f.Payload))
				}
			}
			if want := []string{`3s ping "1"`, `6s close "\x03\xe9no answer"`}; !slices.Equal(saw, want) {
				t.Errorf("got %q, want %q", saw, want)
			}
			if reason := context.Cause(conn.Context()).(*wspush.CloseError); reason.Cause != wspush.CauseNoAnswer {
				t.Error(reason)
			}
		})
	})
}

// A panic in a callback is logged, ends that connection with 1011, and harms nothing else. So does a greeting that cannot be sent.
func TestCallbackFailure(t *testing.T) {
	boom := func(c *wspush.Conn) { panic("boom") }
	tests := map[string]wspush.HandlerOptions{
		"OnConnect":                  {OnConnect: boom},
		"OnMessage":                  {OnMessage: func(c *wspush.Conn, _ wspush.MessageType, _ []byte) { boom(c) }},
		"Greeting":                   {Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) { boom(c); return 0, nil }},
		"greeting that is not UTF-8": {Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte{0xff} }},
		"greeting of no type":        {Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) { return 0, []byte("x") }},
	}
	for name, opts := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			j := newJournal()
			opts.OnDisconnect = j.options().OnDisconnect
			w := newWorker(t, &wspush.WorkerOptions{Logger: slog.New(slog.NewTextHandler(&syncWriter{w: &log}, nil))})
			other, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
			c := testutil.Dial(t, serve(t, w, &opts), testutil.Options{})
			c.Send(testutil.Text, []byte("hello"))
			if code, reason := c.AwaitClose(); code != 1011 || reason != "internal error" {
				t.Errorf("closed with %d %q", code, reason)
			}
			c.AwaitEOF()
			if reason := <-j.ended; reason.Cause != wspush.CauseCallback || reason.Err == nil {
				t.Errorf("reason: %v", reason)
			}
			if !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("log: %s", &log)
			}
			go conn.Push(context.Background(), wspush.Text, []byte("unharmed"))
			other.Expect(testutil.Text, "unharmed")
		})
	}
	t.Run("Accept", func(t *testing.T) {
		var log bytes.Buffer
		w := newWorker(t, &wspush.WorkerOptions{Logger: slog.New(slog.NewTextHandler(&syncWriter{w: &log}, nil))})
		server := serve(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) { panic("boom") }})
		if _, resp, err := testutil.TryDial(t, server, testutil.Options{}); err == nil || resp == nil || resp.StatusCode != 500 {
			t.Errorf("%v, %v", resp, err)
		}
		if !strings.Contains(log.String(), "level=ERROR") || strings.Count(log.String(), "boom") != 1 {
			t.Errorf("log: %s", &log)
		}
	})
	t.Run("OnDisconnect", func(t *testing.T) {
		done := make(chan bool, 1)
		w := newWorker(t, &wspush.WorkerOptions{Logger: slog.New(slog.DiscardHandler)})
		c, _, _ := dial(t, w, serve(t, w, &wspush.HandlerOptions{OnDisconnect: func(*wspush.Conn, error) { done <- true; panic("boom") }}), testutil.Options{})
		c.SendClose(1000, "")
		c.AwaitClose()
		<-done
	})
}

// A callback that ends its goroutine, as t.Fatal does, ends its connection, and leaves nothing behind.
func TestCallbackExits(t *testing.T) {
	for _, name := range []string{"OnMessage", "OnDisconnect"} {
		t.Run(name, func(t *testing.T) {
			j := newJournal()
			opts := j.options()
			exit := func(callback string) {
				if callback == name {
					runtime.Goexit()
				}
			}
			opts.OnMessage = func(*wspush.Conn, wspush.MessageType, []byte) { exit("OnMessage") }
			record := opts.OnDisconnect
			opts.OnDisconnect = func(c *wspush.Conn, reason error) { record(c, reason); exit("OnDisconnect") }
			w := newWorker(t, nil)
			c, conn, _ := dial(t, w, serve(t, w, opts), testutil.Options{})
			c.Send(testutil.Text, nil)
			if name == "OnDisconnect" {
				c.SendClose(1000, "")
			}
			want := map[string]int{"OnMessage": 1011, "OnDisconnect": 1000}[name]
			if code, _ := c.AwaitClose(); code != want {
				t.Errorf("closed with %d, want %d", code, want)
			}
			if reason := <-j.ended; name != "OnDisconnect" && reason.Cause != wspush.CauseCallback {
				t.Errorf("reason: %v", reason)
			}
			if _, err := conn.Push(context.Background(), wspush.Text, nil); !errors.Is(err, wspush.ErrGone) || w.Len() != 0 {
				t.Errorf("Push: %v; %d connections", err, w.Len())
			}
		})
	}
}

// Messages that arrive together with the end of the connection are not lost, not even over TLS 1.2, which reports both at once.
func TestLastMessages(t *testing.T) {
	for name, config := range map[string]*tls.Config{"tcp": nil, "TLS 1.2": {MaxVersion: tls.VersionTLS12}, "TLS 1.3": {}} {
		t.Run(name, func(t *testing.T) {
			j := newJournal()
			opts := j.options()
			proceed := make(chan struct{})
			opts.OnConnect = func(*wspush.Conn) { <-proceed }
			w := newWorker(t, nil)
			var c *testutil.Client
			if config == nil {
				c = testutil.Dial(t, testutil.Serve(t, newHandler(t, w, opts)), testutil.Options{})
			} else {
				config.InsecureSkipVerify = true
				server, _ := testutil.ServeTLS(t, newHandler(t, w, opts))
				c = testutil.Dial(t, server, testutil.Options{TLS: config})
			}
			var raw []byte
			for _, payload := range []string{"first", "second"} {
				raw = testutil.AppendFrame(raw, testutil.Frame{Fin: true, Masked: true, Op: testutil.Text, Payload: []byte(payload)}, [4]byte{1, 2, 3, 4})
			}
			c.Write(raw)
			if err := c.Conn().(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			close(proceed)
			if reason := <-j.ended; reason.Cause != wspush.CauseLost {
				t.Errorf("reason: %v", reason)
			}
			j.expect(t, `text "first"`, `text "second"`, "disconnect")
		})
	}
}

// syncWriter is a bytes.Buffer that several goroutines may write to.
type syncWriter struct {
	mu sync.Mutex // guards w
	w  *bytes.Buffer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// Callbacks may call every method of their own connection and of the worker, except Shutdown.
func TestCallbackCallsBack(t *testing.T) {
	w := newWorker(t, nil)
	ctx := context.Background()
	opts := &wspush.HandlerOptions{
		Accept: func(*http.Request) (any, error) { return "ada", nil },
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			if _, err := c.Push(ctx, wspush.Text, []byte("before the greeting")); !errors.Is(err, wspush.ErrBusy) {
				t.Errorf("Push from Greeting: %v", err)
			}
			if found, ok := w.Conn(c.ID()); !ok || found != c || w.Len() != 0 {
				t.Error("in Greeting, the connection is not found by its ID, or is counted already")
			}
			return wspush.Text, []byte("greeting " + c.Value().(string))
		},
		OnConnect: func(c *wspush.Conn) {
			if found, ok := w.Conn(c.ID()); !ok || found != c || w.Len() != 1 {
				t.Error("the connection cannot be found from OnConnect")
			}
			if _, err := w.Push(ctx, c.ID(), wspush.Text, []byte("from OnConnect")); err != nil {
				t.Error(err)
			}
		},
		OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
			for _, err := range w.PushEach(ctx, w.Conns(), typ, data) {
				if err != nil {
					t.Error(err)
				}
			}
			if err := c.Close(4242, string(data)); err != nil {
				t.Error(err)
			}
		},
		OnDisconnect: func(c *wspush.Conn, _ error) {
			if _, err := c.Push(ctx, wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
				t.Errorf("Push from OnDisconnect: %v", err)
			}
			if _, ok := w.Conn(c.ID()); ok || w.Len() != 0 {
				t.Error("the connection has not left the registry")
			}
			c.Close(1000, "")
		},
	}
	c := testutil.Dial(t, serve(t, w, opts), testutil.Options{})
	c.Expect(testutil.Text, "greeting ada")
	c.Expect(testutil.Text, "from OnConnect")
	c.Send(testutil.Binary, []byte("message"))
	c.Expect(testutil.Binary, "message")
	if code, reason := c.AwaitClose(); code != 4242 || reason != "message" {
		t.Errorf("closed with %d %q", code, reason)
	}
	c.AwaitEOF()
}

// A greeting may be empty, and then is not sent, or binary.
func TestGreetings(t *testing.T) {
	for _, greeting := range []string{"", "\x00\xff"} {
		w := newWorker(t, nil)
		connected := make(chan *wspush.Conn, 1)
		c := testutil.Dial(t, serve(t, w, &wspush.HandlerOptions{
			Greeting:  func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Binary, []byte(greeting) },
			OnConnect: func(c *wspush.Conn) { connected <- c },
		}), testutil.Options{})
		if greeting != "" {
			c.Expect(testutil.Binary, greeting)
		}
		if _, err := (<-connected).Push(context.Background(), wspush.Text, []byte("next")); err != nil {
			t.Error(err)
		}
		c.Expect(testutil.Text, "next")
	}
}

// The greeting is the first frame, although publishers push to the connection from the moment it is listed.
func TestNothingOvertakesGreeting(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	stop := make(chan struct{})
	var publishers sync.WaitGroup
	publishers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				for range w.PushEach(context.Background(), w.Conns(), wspush.Text, []byte("too soon?")) {
				}
			}
		}
	})
	for range 100 {
		c := testutil.Dial(t, server, testutil.Options{})
		if first := c.Text(); !strings.HasPrefix(first, "http://") {
			t.Errorf("the first message is %q", first)
		}
		c.Close()
	}
	close(stop)
	publishers.Wait()
}

// When the connection is closed, messages that wait are withdrawn, and the one under way is finished before the close frame.
func TestCloseWithMessagesWaiting(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		first := stall(t, context.Background(), conn, client, []byte(big))
		waiting := make(chan error, 1)
		go func() { waiting <- outcome(conn.Push(context.Background(), wspush.Text, []byte("waits"))) }()
		conn.Close(1000, "done")
		if err := <-waiting; !errors.Is(err, wspush.ErrGone) {
			t.Errorf("a message that waited: %v", err)
		}
		client.Expect(testutil.Text, big)
		if err := <-first; err != nil {
			t.Errorf("the message under way: %v", err)
		}
		if code, reason := client.AwaitClose(); code != 1000 || reason != "done" {
			t.Errorf("closed with %d %q", code, reason)
		}
		client.AwaitEOF()
	})
}

// A client that does not answer the close frame ties up nothing: the connection ends 2 s after it, or after WriteTimeout if the
// client does not even read it.
func TestSilentPeerIsReleased(t *testing.T) {
	for name, reads := range map[string]bool{"reads": true, "reads nothing": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wspush.WorkerOptions{WriteTimeout: 5 * time.Second}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
				begin := time.Now()
				conn.Close(1000, "")
				want := 5 * time.Second
				if reads {
					client.NextFrame()
					want = 2 * time.Second
				}
				if err := w.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took != want {
					t.Errorf("released after %v, want %v", took, want)
				}
			})
		})
	}
}

// While Greeting runs, a push to the connection is refused with ErrBusy whichever way it comes, never with ErrGone: its client
// is about to be there. Nothing overtakes the greeting, and the connection is not yet among those that can be pushed to.
func TestPushWhileGreeting(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	greeting, proceed := make(chan *wspush.Conn), make(chan struct{})
	connecting, connect := make(chan struct{}), make(chan struct{})
	ended := make(chan struct{})
	server := serve(t, holder, &wspush.HandlerOptions{
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			if _, err := c.Push(context.Background(), wspush.Text, nil); !errors.Is(err, wspush.ErrBusy) {
				t.Errorf("Conn.Push in Greeting: %v", err)
			}
			greeting <- c
			<-proceed
			return wspush.Text, []byte("hello")
		},
		OnConnect:    func(*wspush.Conn) { close(connecting); <-connect },
		OnDisconnect: func(*wspush.Conn, error) { close(ended) },
	})
	client := testutil.Dial(t, server, testutil.Options{})
	conn := <-greeting
	ways := pushWays(holder, other, conn)
	for name, push := range ways {
		if outcome := push(t); outcome != "busy" {
			t.Errorf("while Greeting runs, a push by %s is %s, want busy", name, outcome)
		}
	}
	if found, ok := holder.Conn(conn.ID()); !ok || found != conn {
		t.Errorf("Worker.Conn: %v, %v", found, ok)
	}
	for _, address := range []string{conn.PathAddresses()[0], sealedURL(other, conn)} {
		if resp := do(t, newRequest(t, "GET", address, nil)); resp.StatusCode != 200 || !strings.Contains(text(t, resp), conn.ID()) {
			t.Errorf("GET %s: %s", address, resp.Status)
		}
	}
	if n := len(slices.Collect(holder.Conns())); n != 0 || holder.Len() != 0 || holder.Stats().Connections != 0 {
		t.Errorf("before its greeting, the connection is counted among those that can be pushed to: %d, %d, %d", n, holder.Len(), holder.Stats().Connections)
	}
	if busy := holder.Stats().RefusedBy.Busy; busy != uint64(len(ways))+1 {
		t.Errorf("%d pushes are counted as refused with ErrBusy, want %d", busy, len(ways)+1)
	}

	close(proceed)
	<-connecting
	client.Expect(testutil.Text, "hello") // and nothing before it
	if n := len(slices.Collect(holder.Conns())); n != 1 || holder.Len() != 1 || holder.Stats().Connections != 1 {
		t.Errorf("while OnConnect runs: %d, %d, %d connections", n, holder.Len(), holder.Stats().Connections)
	}
	for name, push := range pushWays(holder, other, conn) {
		if strings.Contains(name, "confirmed") {
			continue // OnConnect keeps the connection from being read
		}
		if outcome := push(t); outcome != "written" {
			t.Errorf("while OnConnect runs, a push by %s is %s, want written", name, outcome)
		}
		client.Expect(testutil.Text, "x")
	}
	close(connect)
	client.SendClose(1000, "")
	<-ended
	for name, push := range pushWays(holder, other, conn) {
		if outcome := push(t); outcome != "gone" {
			t.Errorf("after the end, a push by %s is %s, want gone", name, outcome)
		}
	}
}

// pushWays returns every way to push "x" to a connection of holder, directly and through another worker. Each returns the outcome:
// "written", "gone", "busy", or the whole answer if it is none of these.
func pushWays(holder, other *wspush.Worker, conn *wspush.Conn) map[string]func(t *testing.T) string {
	of := func(err error) string {
		switch {
		case err == nil:
			return "written"
		case errors.Is(err, wspush.ErrGone):
			return "gone"
		case errors.Is(err, wspush.ErrBusy):
			return "busy"
		}
		return err.Error()
	}
	inProcess := func(w *wspush.Worker, id string) func(t *testing.T) string {
		return func(t *testing.T) string { return of(outcome(w.Push(t.Context(), id, wspush.Text, []byte("x")))) }
	}
	confirmed := func(w *wspush.Worker, id string) func(t *testing.T) string {
		return func(t *testing.T) string {
			_, err := w.Push(t.Context(), id, wspush.Text, []byte("x"), wspush.Confirmed())
			return of(err)
		}
	}
	request := func(address string) func(t *testing.T) string {
		return func(t *testing.T) string {
			resp := post(t, address, "", []byte("x"))
			body := text(t, resp)
			switch {
			case resp.StatusCode == 204:
				return "written"
			case resp.StatusCode == 410 && strings.Contains(body, "urn:wspush:gone"):
				return "gone"
			case resp.StatusCode == 429 && strings.Contains(body, "urn:wspush:busy") && resp.Header.Get("Retry-After") != "":
				return "busy"
			}
			return fmt.Sprint(resp.Status, resp.Header, body)
		}
	}
	line := func(w *wspush.Worker, id string) func(t *testing.T) string {
		return func(t *testing.T) string {
			b := openBulk(t, dialPush(t, w))
			b.send(textLine(id, "x"))
			answer := fmt.Sprint(b.answer())
			b.end()
			for status, outcome := range map[string]string{"204": "written", "410": "gone", "429": "busy"} {
				if strings.Contains(answer, status) {
					return outcome
				}
			}
			return answer
		}
	}
	id, sealed := conn.ID(), conn.SealedID()
	return map[string]func(t *testing.T) string{
		"ID":                           inProcess(holder, id),
		"sealed ID":                    inProcess(holder, sealed),
		"sealed ID, at another worker": inProcess(other, sealed),
		"ID, confirmed":                confirmed(holder, id),
		"sealed ID, confirmed, at another worker": confirmed(other, sealed),
		"address":                          request(conn.Addresses()[0]),
		"address with the ID in its path":  request(conn.PathAddresses()[0]),
		"sealed address":                   request(sealedURL(holder, conn)),
		"sealed address of another worker": request(sealedURL(other, conn)),
		"a line":                           line(holder, id),
		"a line, sealed":                   line(holder, sealed),
		"a line at another worker":         line(other, sealed),
	}
}

// A connection that ends while its Greeting runs is gone from then on, whatever ended it, and is never counted among those
// that can be pushed to. OnConnect and OnDisconnect come all the same.
func TestEndWhileGreeting(t *testing.T) {
	boom := func(t *testing.T, w *wspush.Worker, c *wspush.Conn) { panic("boom") }
	for name, tt := range map[string]struct {
		end   func(t *testing.T, w *wspush.Worker, c *wspush.Conn)
		code  int
		cause wspush.Cause
	}{
		"Conn.Close": {func(t *testing.T, _ *wspush.Worker, c *wspush.Conn) {
			if err := c.Close(4000, ""); err != nil {
				t.Errorf("Close: %v", err)
			}
		}, 4000, wspush.CauseClosed},
		"DELETE": {func(t *testing.T, _ *wspush.Worker, c *wspush.Conn) {
			if resp := do(t, newRequest(t, "DELETE", c.PathAddresses()[0]+"?code=4001", nil)); resp.StatusCode != 204 {
				t.Errorf("DELETE: %s", resp.Status)
			}
		}, 4001, wspush.CauseClosed},
		"panic": {boom, 1011, wspush.CauseCallback},
	} {
		t.Run(name, func(t *testing.T) {
			holder := newMember(t, wspush.WorkerOptions{Logger: slog.New(slog.DiscardHandler)})
			other := newMember(t, wspush.WorkerOptions{})
			j := newJournal()
			opts := j.options()
			gone := func(t *testing.T, c *wspush.Conn) {
				t.Helper()
				if _, err := c.Push(context.Background(), wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
					t.Errorf("Conn.Push: %v", err)
				}
				for name, push := range pushWays(holder, other, c) {
					if outcome := push(t); outcome != "gone" {
						t.Errorf("a push by %s is %s, want gone", name, outcome)
					}
				}
				if _, ok := holder.Conn(c.ID()); ok || holder.Len() != 0 {
					t.Errorf("the connection is found: %v; %d connections", ok, holder.Len())
				}
			}
			conns := make(chan *wspush.Conn, 1)
			opts.Greeting = func(c *wspush.Conn) (wspush.MessageType, []byte) {
				conns <- c
				tt.end(t, holder, c)
				gone(t, c)
				return wspush.Text, []byte("too late")
			}
			client := testutil.Dial(t, serve(t, holder, opts), testutil.Options{})
			if code, _ := client.AwaitClose(); code != tt.code {
				t.Errorf("closed with %d, want %d", code, tt.code)
			}
			if reason := <-j.ended; reason.Cause != tt.cause {
				t.Errorf("ended by %v, want %s", reason, tt.cause)
			}
			gone(t, <-conns)
			j.expect(t, "connect", "disconnect")
		})
	}
}

// one fails the test if callbacks overlap.
type one struct {
	t       *testing.T
	running atomic.Bool
}

func (o *one) enter(callback string) (leave func()) {
	if !o.running.CompareAndSwap(false, true) {
		o.t.Errorf("%s is called while another callback runs", callback)
	}
	return func() { o.running.Store(false) }
}

// A callback that ends its goroutine, or panics, is the last to get a message, however many more have come in already; the
// end is the same as always.
func TestCallbackFailsAmongMessages(t *testing.T) {
	fails := map[string]func(){"exits": runtime.Goexit, "panics": func() { panic("boom") }}
	for name, connect := range stages {
		for how, fail := range fails {
			for at := range 3 { // before the message at which it fails
				t.Run(fmt.Sprintf("%s, %s after %d", name, how, at), func(t *testing.T) {
					w := newWorker(t, quiet())
					j := newJournal()
					alone := &one{t: t}
					opts := j.options()
					message, end := opts.OnMessage, opts.OnDisconnect
					opts.OnMessage = func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
						defer alone.enter("OnMessage")()
						message(c, typ, data)
						if string(data) == "last" {
							fail()
						}
					}
					opts.OnDisconnect = func(c *wspush.Conn, reason error) {
						defer alone.enter("OnDisconnect")()
						end(c, reason)
					}
					client := testutil.Handshake(t, connect(t, newHandler(t, w, opts)), testutil.Options{})
					greeted(t, w, client)
					var raw []byte
					want := []string{"connect"}
					for range at {
						raw = append(raw, wire(frame(true, testutil.Text, "first"))...)
						want = append(want, `text "first"`)
					}
					raw = append(raw, wire(frame(true, testutil.Text, "last"))...)
					for i := range 50 { // more than the 32 bytes
						raw = append(raw, wire(frame(true, testutil.Pong, "1"), frame(true, testutil.Text, "never"), frame(i%7 > 0, testutil.Text, "never"))...)
						if i%7 == 0 {
							raw = append(raw, wire(frame(true, testutil.Continuation, "and never"))...)
						}
					}
					client.Write(raw)
					if code, reason := client.AwaitClose(); code != 1011 || reason != "internal error" {
						t.Errorf("closed with %d %q", code, reason)
					}
					client.AwaitEOF()
					if reason := receive(t, "OnDisconnect", j.ended); reason.Cause != wspush.CauseCallback || reason.Err == nil {
						t.Errorf("reason: %v", reason)
					}
					if err := w.Shutdown(context.Background()); err != nil {
						t.Error(err)
					}
					j.expect(t, append(want, `text "last"`, "disconnect")...)
				})
			}
		}
	}
}

// goroutine is the number of the one that calls it, from the first line of its stack.
func goroutine() string {
	var line [64]byte
	return string(bytes.Fields(line[:runtime.Stack(line[:], false)])[1])
}

// Callbacks of one connection come one after the other and see what those before them did, although hardly two of them run
// on the same goroutine. What they share here has no lock, so that the race detector judges that, too.
func TestCallbacksDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 200
		alone := &one{t: t}
		var saw []string
		goroutines := map[string]bool{}
		note := func(what string) {
			defer alone.enter(what)()
			saw = append(saw, what)
			goroutines[goroutine()] = true
			if len(saw)%10 == 0 {
				<-time.After(time.Second) // while more comes in
			}
		}
		w, client, _ := overPipe(t, *quiet(), &wspush.HandlerOptions{
			OnConnect:    func(*wspush.Conn) { note("connect") },
			OnMessage:    func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { note(string(data)) },
			OnDisconnect: func(*wspush.Conn, error) { note("disconnect") },
		})
		want := []string{"connect"}
		for i := range messages {
			want = append(want, fmt.Sprint(i))
			client.Send(testutil.Text, []byte(fmt.Sprint(i)))
			if i%3 > 0 {
				synctest.Wait() // the client is silent for a moment, and the connection knows
			}
		}
		client.SendClose(1000, "")
		client.AwaitClose()
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if want = append(want, "disconnect"); !slices.Equal(saw, want) {
			t.Errorf("callbacks: %q", saw)
		}
		if len(goroutines) < messages/2 {
			t.Errorf("only %d goroutines: a test of nothing", len(goroutines))
		}
	})
}

// Shutdown waits for the callback that runs, on whatever goroutine that is, and for OnDisconnect after it; messages that
// have come in meanwhile are dropped.
func TestShutdownWaitsForCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = time.Minute
		j := newJournal()
		opts := j.options()
		opts.IdleTimeout = time.Hour
		opts.OnMessage = func(*wspush.Conn, wspush.MessageType, []byte) {
			testutil.Pass(takes)
			j.add("message")
		}
		w, client, _ := overPipe(t, *quiet(), opts)
		begin := time.Now()
		go client.Conn().Write(wire(frame(true, testutil.Text, "one"), frame(true, testutil.Text, "two"), frame(true, testutil.Text, "three")))
		synctest.Wait()
		go func() { // so that the close frame can be written
			for {
				if _, err := client.ReadFrame(); err != nil {
					return
				}
			}
		}()
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		j.expect(t, "connect", "message", "disconnect")
		if took := time.Since(begin); took != takes {
			t.Errorf("Shutdown took %v, and the callback %v", took, takes)
		}
	})
}
