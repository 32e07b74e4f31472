package wspush_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Shutdown closes all clients at once, with 1012, and leaves nothing behind: no goroutine, no descriptor, no listener.
func TestShutdown(t *testing.T) {
	testutil.NoLeak(t)
	files := testutil.OpenFiles(t)
	func() {
		var disconnected sync.WaitGroup
		disconnected.Add(100)
		w := newWorker(t, nil)
		server := testutil.Serve(t, newHandler(t, w, &wspush.HandlerOptions{OnDisconnect: func(*wspush.Conn, error) { disconnected.Done() }}))
		var clients []*testutil.Client
		for range 100 {
			c, _, _ := dial(t, w, server, testutil.Options{})
			clients = append(clients, c)
		}
		var wg sync.WaitGroup
		for range 3 { // also more than once, at the same time
			wg.Go(func() {
				if err := w.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		for _, c := range clients {
			if code, reason := c.AwaitClose(); code != 1012 || reason != "service restart" {
				t.Errorf("closed with %d %q", code, reason)
			}
			c.AwaitEOF()
			c.Close()
		}
		wg.Wait()
		disconnected.Wait() // Shutdown has waited for the callbacks
		if w.Len() != 0 {
			t.Errorf("%d connections", w.Len())
		}
		if _, err := net.Dial("tcp", w.Addr().String()); err == nil {
			t.Error("the push listener is still open")
		}
		if _, err := w.Push(context.Background(), "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", wspush.Text, nil); !errors.Is(err, wspush.ErrShutdown) {
			t.Errorf("Push: %v", err)
		}
		if err := w.Shutdown(context.Background()); err != nil {
			t.Errorf("once more: %v", err)
		}
	}()
	if files >= 0 {
		testutil.Eventually(t, "the descriptors to be closed", func() bool { return testutil.OpenFiles(t) <= files+1 }) // the test server's listener
	}
}

// From the moment Shutdown begins, the mount answers 503, even to a client that Accept is just deciding on.
func TestShutdownRefusesTheAccepted(t *testing.T) {
	w := newWorker(t, nil)
	asked, answer := make(chan bool), make(chan bool)
	h := newHandler(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) {
		asked <- true
		<-answer
		return nil, nil
	}})
	server := testutil.Serve(t, h)
	status := func(c *testutil.Client, resp *http.Response, err error) {
		if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("got %v, %v", resp, err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { status(testutil.TryDial(t, server, testutil.Options{})) })
	<-asked
	if err := w.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	close(answer)
	wg.Wait()
	wg.Go(func() { status(testutil.TryDial(t, server, testutil.Options{})) })
	wg.Wait()
}

// While Shutdown waits for a client whose last message is under way, that message is delivered. A push that waits behind it is
// told that the worker is shutting down. The push listener stays open until then.
func TestShutdownDelivers(t *testing.T) {
	w := newWorker(t, nil)
	client := testutil.Handshake(t, stages["tcp"](t, newHandler(t, w, nil)), testutil.Options{})
	conn, address := greeted(t, w, client)
	first := stall(t, context.Background(), conn, client, []byte(big))
	pending := w.Stats().PendingBytes
	status := make(chan *http.Response, 1)
	go func() { status <- post(t, address, "", []byte("waits")) }()
	testutil.Eventually(t, "the request to wait", func() bool { return w.Stats().PendingBytes > pending })
	stopped := make(chan error, 1)
	go func() { stopped <- w.Shutdown(context.Background()) }()
	resp := <-status
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(text(t, resp), "urn:wspush:shutdown") {
		t.Errorf("got %v", resp.Status)
	}
	client.Expect(testutil.Text, big)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if code, _ := client.AwaitClose(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A client that does not read is cut when Shutdown's context ends. Shutdown then returns the context's error, and nothing is left.
func TestShutdownBounded(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		waiting := start(context.Background(), conn, big)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		err := w.Shutdown(ctx)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v: %v", took, err)
		}
		if err := returned(t, waiting); err == nil {
			t.Error("a message that nobody has read was written")
		}
		if err := w.Shutdown(context.Background()); err != nil {
			t.Errorf("once more: %v", err)
		}
	})
}

// Only a callback that has not returned can outlive Shutdown, whichever it is. The later callbacks of its connection are still
// called.
func TestShutdownOutlivedByCallback(t *testing.T) {
	for _, name := range []string{"Greeting", "OnConnect", "OnMessage", "OnDisconnect"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				j := newJournal()
				hold := func(callback string) {
					j.add("%s", callback)
					if callback == name {
						<-release
					}
				}
				opts := &wspush.HandlerOptions{
					Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
						hold("Greeting")
						return wspush.Text, []byte("hello")
					},
					OnConnect:    func(*wspush.Conn) { hold("OnConnect") },
					OnMessage:    func(*wspush.Conn, wspush.MessageType, []byte) { hold("OnMessage") },
					OnDisconnect: func(*wspush.Conn, error) { hold("OnDisconnect") },
				}
				w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"127.0.0.1:1"}})
				c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, opts)), testutil.Options{Timeout: -1})
				if name != "Greeting" {
					c.Expect(testutil.Text, "hello")
				}
				if name == "OnMessage" {
					c.Send(testutil.Text, []byte("x"))
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				begin := time.Now()
				if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
				close(release)
				if err := w.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
				want := []string{"Greeting", "OnConnect", "OnDisconnect"}
				if name == "OnMessage" {
					want = []string{"Greeting", "OnConnect", "OnMessage", "OnDisconnect"}
				}
				j.expect(t, want...)
			})
		})
	}
}

// Shutdown ends with its context, even if a publisher has connected and sends nothing, another is in the middle of a slow body,
// and AuthorizePush has not returned for a third.
func TestShutdownWithSlowPublishers(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan bool, 1)
	w := newWorker(t, &wspush.WorkerOptions{AuthorizePush: func(r *http.Request) error {
		if r.URL.Query().Has("hold") {
			asked <- true
			<-release
		}
		return nil
	}})
	defer close(release)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	request := func(raw string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	request("")
	request("POST /ws/@connections/" + conn.ID() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
	request("POST /ws?hold HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	<-asked
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	go client.Message() // answers the close
	if err := w.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// If Shutdown has to cut a request, it returns its context's error. If it has nothing left to do it returns nil, even if its
// context has ended.
func TestShutdownResult(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	go client.Message() // answers the close
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("POST /ws/@connections/" + conn.ID() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // the worker asks for the body
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a request under way: %v", err)
	}
	for range 20 {
		if err := w.Shutdown(ended); err != nil {
			t.Fatalf("with nothing left to do: %v", err)
		}
	}
}

// Shutdown does not wait for a publisher that has its answer, and neither sends the rest of its body nor leaves.
func TestShutdownAfterRefusal(t *testing.T) {
	w := newWorker(t, nil)
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("POST /ws HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(answer, "401") {
		t.Fatalf("answered %q, %v", answer, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // less than it would linger
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// A Shutdown that cuts connections returns when only callbacks can be left, and these connections end by themselves.
func TestShutdownCuts(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for range 50 {
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"h"}, Logger: slog.New(slog.DiscardHandler)})
		j := newJournal()
		_, conn, _ := dial(t, w, serve(t, w, j.options()), testutil.Options{})
		if err := w.Shutdown(ended); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := conn.Push(context.Background(), wspush.Text, nil); !errors.Is(err, wspush.ErrShutdown) {
			t.Errorf("Push: %v", err)
		}
		<-j.ended
		j.expect(t, "connect", "disconnect")
	}
}

// Clients that connect while Shutdown begins are either refused or closed. None is left over.
func TestShutdownWhileConnecting(t *testing.T) {
	for range 20 {
		w := newWorker(t, nil)
		server := testutil.Serve(t, newHandler(t, w, nil))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				c, resp, err := testutil.TryDial(t, server, testutil.Options{})
				if err != nil {
					if resp == nil || resp.StatusCode != 503 {
						t.Errorf("%v, %v", resp, err)
					}
					return
				}
				defer c.Close()
				for err == nil {
					_, _, err = c.Message()
				}
				var closed *testutil.CloseError
				if !errors.As(err, &closed) || closed.Code != 1012 {
					t.Errorf("ended with %v", err)
				}
			})
		}
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

// thing is an object of the application.
type thing struct{ _ [64]byte } // large enough not to share a block of the tiny allocator

// garbage waits until each of these objects has been collected.
func garbage(t *testing.T, objects map[string]func() bool) {
	t.Helper()
	defer func() { // also when it was waited for in vain
		for name := range objects {
			t.Errorf("%s is still in memory", name)
		}
	}()
	testutil.Eventually(t, "garbage to be collected", func() bool {
		runtime.GC()
		maps.DeleteFunc(objects, func(_ string, isCollected func() bool) bool { return isCollected() })
		return len(objects) == 0
	})
}

// weakly reports, when called, whether the object has been collected.
func weakly[T any](object *T) (isCollected func() bool) {
	p := weak.Make(object)
	return func() bool { return p.Value() == nil }
}

// A Worker that has been shut down, and that the application still holds, keeps nothing of its connections alive: neither the
// Conns, nor their Values, nor their requests, nor the Handlers with the application's callbacks. It does not matter how a
// connection was used, nor how it ended.
func TestShutdownReleases(t *testing.T) {
	w, other := newMember(t, wspush.WorkerOptions{DrainOver: time.Millisecond}), newMember(t, wspush.WorkerOptions{})
	objects := make(map[string]func() bool)
	t.Run("connections", func(t *testing.T) { // its servers and clients end with it
		accepted := make(chan *thing, 1)
		h := newHandler(t, w, &wspush.HandlerOptions{
			PingInterval: time.Hour,
			Accept:       func(*http.Request) (any, error) { return <-accepted, nil },
			OnMessage:    func(c *wspush.Conn, typ wspush.MessageType, data []byte) { _, _ = c.Push(c.Context(), typ, data) },
		})
		objects["the Handler"] = weakly(h)
		type key struct{}
		server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			value := new(thing)
			objects["the request of "+r.UserAgent()] = weakly(value)
			h.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), key{}, value)))
		}))
		connect := func(name string) (*testutil.Client, *wspush.Conn) {
			value := new(thing)
			objects["the Value of "+name] = weakly(value)
			accepted <- value
			client := testutil.Dial(t, server, testutil.Options{Header: http.Header{"User-Agent": {name}}})
			_ = client.Text()
			var conn *wspush.Conn
			for c := range w.Conns() {
				if c.Info().UserAgent == name {
					conn = c
				}
			}
			objects[name] = weakly(conn)
			return client, conn
		}

		client, conn := connect("a client that echoed")
		client.Send(testutil.Text, []byte("hello"))
		client.Expect(testutil.Text, "hello")
		ways := pushWays(w, other, conn)
		messages := 0
		read := make(chan struct{})
		echoed := client
		go func() { // until the end: a ping comes after the message that it confirms, which may be the last
			defer close(read)
			for {
				if _, _, err := echoed.Message(); err != nil {
					return
				}
				messages++
			}
		}()
		for name, push := range ways {
			if outcome := push(t); outcome != "written" {
				t.Errorf("a push by %s is %s", name, outcome)
			}
		}
		ctx, cancel := context.WithCancel(conn.Context())
		defer cancel()
		defer context.AfterFunc(ctx, func() { _ = conn.Close(1000, "") })()

		client, conn = connect("a client that left")
		client.SendClose(1000, "")
		client.AwaitClose()
		<-conn.Context().Done()

		_, conn = connect("a client that was closed")
		if err := conn.Close(4000, ""); err != nil {
			t.Error(err)
		}

		client, _ = connect("a client that vanished")
		client.Close()

		connect("a client that only listened")
		if err := w.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if <-read; messages != len(ways) {
			t.Errorf("the client got %d messages of %d", messages, len(ways))
		}
	})
	garbage(t, objects)
	runtime.KeepAlive(w)
	runtime.KeepAlive(other)
}

// A ResponseWriter that panics, at whichever of its methods and whenever it is called, leaves nothing for Shutdown to wait for,
// and a handshake that it breaks is counted once.
func TestShutdownAfterPanickingResponseWriter(t *testing.T) {
	requests := map[string]func() *http.Request{
		"handshake": func() *http.Request { return upgradeRequest("") },
		"refused":   func() *http.Request { return upgradeRequest("http://evil.test") },
		"no handshake": func() *http.Request {
			return httptest.NewRequest("GET", "/ws", nil)
		},
		"POST":    func() *http.Request { return httptest.NewRequest("POST", "/ws", strings.NewReader("body")) },
		"OPTIONS": func() *http.Request { return httptest.NewRequest("OPTIONS", "/ws", nil) },
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			panicked := 0
			for at := 1; ; at++ {
				w := newWorker(t, quiet())
				h := newHandler(t, w, nil)
				rw := &panicsAt{header: http.Header{}, left: at}
				func() {
					defer func() {
						if e := recover(); e != nil && e != errPanicsAt {
							t.Errorf("at call %d: panic: %v", at, e)
						}
					}()
					h.ServeHTTP(rw, request())
				}()
				if rw.client != nil { // the handshake was done
					rw.client.Close()
				}
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				if err := w.Shutdown(ctx); err != nil {
					t.Errorf("at call %d, %s: Shutdown: %v", at, rw.last, err)
				}
				cancel()
				s := w.Stats()
				refused := s.Handshakes.Origin + s.Handshakes.Malformed + s.Handshakes.Failed
				if isHandshake := name != "POST" && name != "OPTIONS"; isHandshake && refused+s.Accepted != 1 || !isHandshake && refused != 0 {
					t.Errorf("at call %d, %s: %d accepted, refused %+v", at, rw.last, s.Accepted, s.Handshakes)
				}
				if rw.left > 0 {
					break // it was not called so often
				}
				panicked++
			}
			if panicked == 0 {
				t.Error("it was never called")
			}
		})
	}
}

func upgradeRequest(origin string) *http.Request {
	r := httptest.NewRequest("GET", "/ws", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", sampleKey)
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	return r
}

var errPanicsAt = errors.New("a mistake in a middleware")

// panicsAt is an http.ResponseWriter, and whatever else one may be, that panics at one of the calls of its methods.
type panicsAt struct {
	header http.Header
	client net.Conn // the client's end, once it is hijacked
	left   int      // calls, that which panics included
	last   string   // the method that was called last
}

func (p *panicsAt) call(method string) {
	p.left--
	p.last = method
	if p.left == 0 {
		panic(errPanicsAt)
	}
}

func (p *panicsAt) Header() http.Header              { p.call("Header"); return p.header }
func (p *panicsAt) WriteHeader(int)                  { p.call("WriteHeader") }
func (p *panicsAt) WriteHeaderNow()                  { p.call("WriteHeaderNow") }
func (p *panicsAt) Write(b []byte) (int, error)      { p.call("Write"); return len(b), nil }
func (p *panicsAt) FlushError() error                { p.call("Flush"); return nil }
func (p *panicsAt) SetReadDeadline(time.Time) error  { p.call("SetReadDeadline"); return nil }
func (p *panicsAt) SetWriteDeadline(time.Time) error { p.call("SetWriteDeadline"); return nil }
func (p *panicsAt) EnableFullDuplex() error          { p.call("EnableFullDuplex"); return nil }
func (p *panicsAt) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	p.call("Hijack")
	client, server := net.Pipe()
	p.client = client
	return server, bufio.NewReadWriter(bufio.NewReader(server), bufio.NewWriter(server)), nil
}

// Shutdown closes connections with ShutdownCode, 1012 by default. Clients and the application are told the same code and reason.
func TestShutdownCode(t *testing.T) {
	for set, want := range map[int]struct {
		code   int
		reason string
	}{
		0:    {1012, "service restart"},
		1012: {1012, "service restart"},
		1001: {1001, "shutting down"},
		1013: {1013, "shutting down"},
		4321: {4321, "shutting down"},
	} {
		t.Run(fmt.Sprint(set), func(t *testing.T) {
			w := newWorker(t, &wspush.WorkerOptions{ShutdownCode: set})
			j := newJournal()
			client, conn, _ := dial(t, w, serve(t, w, j.options()), testutil.Options{})
			stopped := make(chan error, 1)
			go func() { stopped <- w.Shutdown(context.Background()) }()
			if code, reason := client.AwaitClose(); code != want.code || reason != want.reason {
				t.Errorf("closed with %d %q, want %d %q", code, reason, want.code, want.reason)
			}
			if reason := <-j.ended; reason.Cause != wspush.CauseShutdown || reason.Code != want.code || reason.Reason != want.reason {
				t.Errorf("OnDisconnect got %v", reason)
			}
			if _, err := conn.Push(context.Background(), wspush.Text, nil); !errors.Is(err, wspush.ErrShutdown) {
				t.Errorf("Push: %v", err)
			}
			if err := <-stopped; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}

// Once Shutdown has begun, handshakes get 503, even while it waits for a client, and Accept is not called.
func TestShutdownRefuses(t *testing.T) {
	asked := make(chan struct{}, 10)
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) {
		asked <- struct{}{}
		return nil, nil
	}})
	c, _, _ := dial(t, w, server, testutil.Options{Silent: true})
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- w.Shutdown(t.Context()) }()
	if code, _ := c.AwaitClose(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	unavailable := want{status: 503, kind: "shutdown", header: http.Header{"Retry-After": {"1"}}}
	_, resp, err := testutil.TryDial(t, server, testutil.Options{})
	if err == nil || resp == nil {
		t.Fatalf("connected, or no answer: %v", err)
	}
	unavailable.check(t, "GET", resp)
	c.Close()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if _, resp, _ = testutil.TryDial(t, server, testutil.Options{}); resp == nil {
		t.Fatal("no answer")
	}
	unavailable.check(t, "GET", resp)
	if len(asked) > 0 {
		t.Error("Accept is asked")
	}
}
