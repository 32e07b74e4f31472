package wspush_test

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Shutdown closes clients with 1012, all at once, and leaves nothing running: no goroutine, no descriptor, no listener.
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

// From the beginning of Shutdown on, the mount answers 503, also to a client that Accept was just asked about, and the push
// endpoint delivers to connections that are not closed yet.
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

// While Shutdown waits for a client whose last message is under way, that message is delivered; what waits behind it is
// told that the worker is shutting down. The push listener stays up until then.
func TestShutdownDelivers(t *testing.T) {
	w := newWorker(t, nil)
	client := testutil.Handshake(t, stages["tcp"](t, newHandler(t, w, nil)), testutil.Options{})
	conn, address := greeted(t, w, client)
	first := stall(t, context.Background(), conn, client, []byte(big))
	status := make(chan *http.Response, 1)
	go func() { status <- post(t, address, "", []byte("waits")) }()
	testutil.Eventually(t, "the request to wait", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		return errors.Is(outcome(conn.Push(ctx, wspush.Text, nil)), context.DeadlineExceeded)
	})
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

// A client that never answers the close frame holds Shutdown up for 2 s; one that does not read is cut when the context
// ends. Shutdown then returns the context's error, and nothing is left.
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

// Only a callback that has not returned can outlive Shutdown, whichever it is; the others of its connection still come.
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

// A publisher that has connected and says nothing, and one in the midst of a slow body, do not keep Shutdown from ending
// when its context does; AuthorizePush may.
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

// A request that is cut, too, makes Shutdown return its context's error; one that has nothing left to do does not, even
// with a context that has ended.
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

// A publisher that has its answer, and goes on neither to send its body nor to leave, is not waited for.
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

// A Shutdown that cuts returns when nothing but callbacks can be left, and what is left ends by itself.
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

// A ResponseWriter that panics in the midst of the handshake leaves nothing for Shutdown to wait for.
func TestShutdownAfterPanickingHijack(t *testing.T) {
	w := newWorker(t, nil) // whose cleanup would run into its timeout
	h := newHandler(t, w, nil)
	server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		h.ServeHTTP(panicking{rw}, r)
	}))
	if c, _, err := testutil.TryDial(t, server, testutil.Options{}); err == nil { // it may have been told 101 already
		c.Close()
	}
}

type panicking struct{ http.ResponseWriter }

func (panicking) Hijack() (net.Conn, *bufio.ReadWriter, error) { panic("a mistake in a middleware") }

// Clients that connect while Shutdown begins are refused, or closed; none is left, and none is forgotten.
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
