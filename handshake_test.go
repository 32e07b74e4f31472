package wspush_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// echo returns an OnMessage that sends every message back.
func echo(t *testing.T) func(*wspush.Conn, wspush.MessageType, []byte) {
	return func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
		if _, err := c.Push(c.Context(), typ, data); err != nil {
			t.Errorf("echoing: %v", err)
		}
	}
}

// unwrapping is the ResponseWriter of a careful middleware, and hiding that of a careless one.
type unwrapping struct{ inner http.ResponseWriter }

func (w unwrapping) Header() http.Header         { return w.inner.Header() }
func (w unwrapping) Write(p []byte) (int, error) { return w.inner.Write(p) }
func (w unwrapping) WriteHeader(status int)      { w.inner.WriteHeader(status) }
func (w unwrapping) Unwrap() http.ResponseWriter { return w.inner }

type hiding struct{ http.ResponseWriter }

// noting behaves like gin's ResponseWriter: WriteHeader only notes the status, and the first Write, or WriteHeaderNow, sends it.
type noting struct {
	http.ResponseWriter
	status  int
	written bool
}

func (w *noting) WriteHeader(status int) { w.status = status }

func (w *noting) WriteHeaderNow() {
	if !w.written {
		w.written = true
		w.ResponseWriter.WriteHeader(w.status)
	}
}

func (w *noting) Write(p []byte) (int, error) {
	w.WriteHeaderNow()
	return w.ResponseWriter.Write(p)
}

func (w *noting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.written = true
	return w.ResponseWriter.(http.Hijacker).Hijack()
}

// A Handler works behind middleware that wraps the ResponseWriter, and says what is wrong where it cannot.
func TestMiddleware(t *testing.T) {
	w := newWorker(t, nil)
	h := newHandler(t, w, &wspush.HandlerOptions{OnMessage: echo(t)})
	for name, middleware := range map[string]http.Handler{
		"none": h,
		"Unwrap, twice": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(unwrapping{unwrapping{rw}}, r)
		}),
		"gin": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(&noting{ResponseWriter: rw, status: 200}, r)
		}),
		"StripPrefix": http.StripPrefix("/ws", h),
		"header": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			http.SetCookie(rw, &http.Cookie{Name: "a", Value: "1"})
			http.SetCookie(rw, &http.Cookie{Name: "b", Value: "2"})
			rw.Header().Set("X-Request-Id", "42")
			h.ServeHTTP(rw, r)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			c, _, address := dial(t, w, testutil.Serve(t, middleware), testutil.Options{})
			c.Send(testutil.Text, []byte("hello"))
			c.Expect(testutil.Text, "hello")
			want{status: 204}.check(t, "POST", post(t, address, "", []byte("pushed")))
			c.Expect(testutil.Text, "pushed")
			if name == "header" {
				got := c.Response().Header
				if fmt.Sprint(got["Set-Cookie"]) != "[a=1 b=2]" || got.Get("X-Request-Id") != "42" {
					t.Errorf("the 101 has lost the middleware's header: %v", got)
				}
			}
		})
	}
	t.Run("hidden Hijacker", func(t *testing.T) {
		records := &recorder{} // the operator is to know
		h := newHandler(t, newWorker(t, &wspush.WorkerOptions{Logger: slog.New(warnings{records})}), nil)
		server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { h.ServeHTTP(hiding{rw}, r) }))
		_, resp, err := testutil.TryDial(t, server, testutil.Options{})
		if err == nil || resp == nil {
			t.Fatalf("connected, or no answer: %v", err)
		}
		if body := text(t, resp); resp.StatusCode != http.StatusNotImplemented || !strings.Contains(body, "Unwrap") {
			t.Errorf("got %s %s", resp.Status, body)
		}
		if !records.has("handshake failed") {
			t.Error("no warning")
		}
	})
}

// hijackFails is the ResponseWriter of a middleware that mistakes the 101 for the beginning of a page.
type hijackFails struct{ http.ResponseWriter }

func (hijackFails) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errors.New("no") }

// A connection that cannot be taken over after the 101 is closed. If it went on as HTTP, requests could pass a proxy that takes
// them for a WebSocket's bytes.
func TestHijackFails(t *testing.T) {
	h := newHandler(t, newWorker(t, nil), nil)
	server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { h.ServeHTTP(hijackFails{rw}, r) }))
	c, _, err := testutil.TryDial(t, server, testutil.Options{})
	if err != nil {
		return // not even the 101 has come
	}
	c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	c.AwaitEOF()
}

func TestHandshakeOverTLS(t *testing.T) {
	w := newWorker(t, nil)
	server, config := testutil.ServeTLS(t, newHandler(t, w, &wspush.HandlerOptions{OnMessage: echo(t)}))
	c, _, address := dial(t, w, server, testutil.Options{TLS: config, Header: http.Header{"Origin": {server}}})
	long := strings.Repeat("x", 40_000)
	c.Send(testutil.Binary, []byte(long))
	c.Expect(testutil.Binary, long)
	post(t, address, "", []byte(long))
	c.Expect(testutil.Text, long)
	c.SendClose(1000, "")
	c.Expect(testutil.Close, "\x03\xe8")
	c.AwaitEOF()
}

// A request over HTTP/2, which cannot become a WebSocket, is still answered.
func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(newHandler(t, newWorker(t, nil), nil))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("%s %s", resp.Proto, resp.Status)
	}
}

// A request that is not a handshake, not a correct one, or not wanted is refused, and Accept is not called.
func TestHandshakeRefused(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) {
		t.Error("Accept is asked")
		return nil, nil
	}})
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	const upgrade = "Upgrade: websocket\nConnection: Upgrade\n"
	const correct = upgrade + "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: " + key + "\n"
	for _, tc := range []struct {
		name, request string
		status        []int
		header        http.Header
		body          string
	}{
		{name: "no upgrade", request: "GET /ws HTTP/1.1\n", status: []int{426}, header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}},
		{name: "no Connection", request: "GET /ws HTTP/1.1\n" + strings.Replace(correct, "Connection: Upgrade\n", "", 1), status: []int{426}},
		{name: "no Upgrade", request: "GET /ws HTTP/1.1\n" + strings.Replace(correct, "Upgrade: websocket\n", "", 1), status: []int{426}, header: http.Header{"Upgrade": {"websocket"}}},
		{name: "another protocol", request: "GET /ws HTTP/1.1\n" + strings.Replace(correct, "websocket", "h2c", 1), status: []int{426}, header: http.Header{"Upgrade": {"websocket"}}},
		{name: "HTTP/1.0", request: "GET /ws HTTP/1.0\n" + correct, status: []int{400, 426, 505}},
		{name: "POST", request: "POST /ws HTTP/1.1\nContent-Length: 0\n" + correct, status: []int{405}, header: http.Header{"Allow": {"GET, OPTIONS"}}},
		{name: "PUT", request: "PUT /ws HTTP/1.1\nContent-Length: 0\n", status: []int{405}, header: http.Header{"Allow": {"GET, OPTIONS"}}},
		{name: "DELETE", request: "DELETE /ws HTTP/1.1\n", status: []int{405}, header: http.Header{"Allow": {"GET, OPTIONS"}}},
		{name: "OPTIONS", request: "OPTIONS /ws HTTP/1.1\n", status: []int{204}, header: http.Header{"Allow": {"GET, OPTIONS"}}},
		{name: "no version", request: "GET /ws HTTP/1.1\n" + strings.Replace(correct, "Sec-WebSocket-Version: 13\n", "", 1), status: []int{400, 426}, header: http.Header{"Sec-WebSocket-Version": {"13"}}},
		{name: "version 8", request: "GET /ws HTTP/1.1\n" + strings.Replace(correct, "13", "8", 1), status: []int{400, 426}, header: http.Header{"Sec-WebSocket-Version": {"13"}}},
		{name: "no key", request: "GET /ws HTTP/1.1\n" + upgrade + "Sec-WebSocket-Version: 13\n", status: []int{400}},
		{name: "two keys", request: "GET /ws HTTP/1.1\n" + correct + "Sec-WebSocket-Key: " + key + "\n", status: []int{400}},
		{name: "short key", request: "GET /ws HTTP/1.1\n" + strings.Replace(correct, key, "c2hvcnQ=", 1), status: []int{400}},
		{name: "key not Base64", request: "GET /ws HTTP/1.1\n" + strings.Replace(correct, key, "????????????????????????", 1), status: []int{400}},
		{name: "foreign origin", request: "GET /ws HTTP/1.1\n" + correct + "Origin: https://evil.test\n", status: []int{403}, body: "evil.test"},
		{name: "foreign origin, Host", request: "GET /ws HTTP/1.1\n" + correct + "Origin: https://evil.test\n", status: []int{403}, body: "as.seen.test:99"},
		{name: "foreign port", request: "GET /ws HTTP/1.1\n" + correct + "Origin: https://as.seen.test:100\n", status: []int{403}, body: "as.seen.test:100"},
		{name: "foreign subdomain", request: "GET /ws HTTP/1.1\n" + correct + "Origin: https://www.as.seen.test:99\n", status: []int{403}},
		{name: "null origin", request: "GET /ws HTTP/1.1\n" + correct + "Origin: null\n", status: []int{403}, body: "null"},
		{name: "origin malformed", request: "GET /ws HTTP/1.1\n" + correct + "Origin: ://\n", status: []int{400, 403}},
		{name: "origin hidden in userinfo", request: "GET /ws HTTP/1.1\n" + correct + "Origin: https://as.seen.test:99@evil.test\n", status: []int{403}},
		{name: "a path that has no address", request: "GET /ws/@connections/x HTTP/1.1\n" + correct, status: []int{400, 404}},
		{name: "a path that has none behind a proxy", request: "GET /ws/%40%63onnections/x HTTP/1.1\n" + correct, status: []int{404}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			resp := answer(t, rawPush(t, conn, tc.request+"Host: as.seen.test:99\n\n"))
			body := text(t, resp)
			ok := false
			for _, status := range tc.status {
				ok = ok || resp.StatusCode == status
			}
			if !ok {
				t.Fatalf("got %s %s, want %d", resp.Status, body, tc.status)
			}
			for name, values := range tc.header {
				if got := resp.Header.Get(name); got != values[0] {
					t.Errorf("%s is %q, want %q", name, got, values[0])
				}
			}
			if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("Content-Type is %q", resp.Header.Get("Content-Type"))
			}
			if !strings.Contains(body, tc.body) {
				t.Errorf("%q is not in the body %s", tc.body, body)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	w := newWorker(t, nil)
	for _, tc := range []struct {
		patterns []string
		origin   string
		allowed  bool
	}{
		{nil, "", true}, // no browser
		{nil, "http://chat.test:8080", true},
		{nil, "HTTPS://CHAT.test:8080", true},
		{nil, "http://chat.test", false},
		{nil, "http://evil.test", false},
		{[]string{"*.example.com"}, "https://app.example.com", true},
		{[]string{"*.example.com"}, "https://APP.Example.com", true},
		{[]string{"*.EXAMPLE.com"}, "https://app.example.com", true},
		{[]string{"*.example.com"}, "https://example.com", false},
		{[]string{"*.example.com"}, "https://app.example.com:8443", false},
		{[]string{"*.example.com"}, "https://app.example.com.evil.test", false},
		{[]string{"*.example.com"}, "http://chat.test:8080", true},
		{[]string{"a.test", "b.test"}, "http://b.test", true},
		{[]string{"https://app.test"}, "https://app.test", true},
		{[]string{"https://app.test"}, "http://app.test", false},
		{[]string{"localhost:*"}, "http://localhost:3000", true},
		{[]string{"localhost:*"}, "http://localhost", false},
		{[]string{"*"}, "http://evil.test:1", true},
	} {
		t.Run(fmt.Sprintf("%q %s", tc.patterns, tc.origin), func(t *testing.T) {
			server := serve(t, w, &wspush.HandlerOptions{OriginPatterns: tc.patterns})
			header := http.Header{"Host": {"chat.test:8080"}}
			if tc.origin != "" {
				header.Set("Origin", tc.origin)
			}
			_, resp, err := testutil.TryDial(t, server, testutil.Options{Header: header})
			if (err == nil) != tc.allowed || resp == nil || err != nil && resp.StatusCode != 403 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSubprotocols(t *testing.T) {
	w := newWorker(t, nil)
	mine := []string{"v2", "v1"}
	server := serve(t, w, &wspush.HandlerOptions{Subprotocols: mine})
	mine[0] = "copied on entry"
	for _, tc := range []struct {
		offer []string // one header line each
		want  string
	}{
		{nil, ""},
		{[]string{"v1"}, "v1"},
		{[]string{"v1, v2"}, "v2"},
		{[]string{"v1", "v2"}, "v2"},
		{[]string{"v3,v1"}, "v1"},
		{[]string{"v3"}, ""},
	} {
		header := http.Header{}
		if tc.offer != nil {
			header["Sec-WebSocket-Protocol"] = tc.offer
		}
		c, conn, _ := dial(t, w, server, testutil.Options{Header: header})
		if got := c.Response().Header.Get("Sec-WebSocket-Protocol"); got != tc.want || conn.Info().Subprotocol != tc.want {
			t.Errorf("%q is offered: %q is answered, Subprotocol is %q, want %q", tc.offer, got, conn.Info().Subprotocol, tc.want)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	w := newWorker(t, nil)
	for name, opts := range map[string]wspush.HandlerOptions{
		"pattern":           {OriginPatterns: []string{"["}},
		"empty pattern":     {OriginPatterns: []string{""}},
		"subprotocol":       {Subprotocols: []string{"a b"}},
		"empty subprotocol": {Subprotocols: []string{""}},
		"ping at idle":      {PingInterval: time.Second, IdleTimeout: time.Second},
	} {
		if _, err := wspush.NewHandler(w, &opts); err == nil || !strings.HasPrefix(err.Error(), "wspush: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := wspush.NewHandler(nil, nil); err == nil {
		t.Error("no Worker is accepted")
	}
}

type user struct{}

// Accept runs behind the application's middleware, and sees what that has added to the request.
func TestAccept(t *testing.T) {
	log := &lockedBuffer{}
	w := newWorker(t, &wspush.WorkerOptions{Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	h := newHandler(t, w, &wspush.HandlerOptions{Accept: func(r *http.Request) (any, error) {
		name, _ := r.Context().Value(user{}).(string)
		if name == "" {
			return "ignored", fmt.Errorf("%w: %s", wspush.ErrForbidden, appSecret)
		}
		return name, nil
	}})
	server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Frame-Options", "DENY")
		h.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), user{}, r.Header.Get("X-User"))))
	}))
	_, conn, _ := dial(t, w, server, testutil.Options{Header: http.Header{"X-User": {"ann"}}})
	if conn.Value() != "ann" {
		t.Errorf("Value is %v", conn.Value())
	}
	_, resp, err := testutil.TryDial(t, server, testutil.Options{})
	if err == nil || resp == nil {
		t.Fatalf("connected, or no answer: %v", err)
	}
	want{status: 403, kind: "forbidden", amazon: "ForbiddenException", header: http.Header{"X-Frame-Options": {"DENY"}}}.check(t, "GET", resp)
	for name := range resp.Header {
		if strings.HasPrefix(name, "Sec-Websocket") || name == "Upgrade" {
			t.Errorf("the refusal has the header %s of a success", name)
		}
	}
	if !strings.Contains(log.String(), appSecret) {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if n := w.Len(); n != 1 {
		t.Errorf("%d connections", n)
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

// Frames that arrive together with the handshake are not lost, however much the server has read ahead.
func TestEarlyFrames(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{OnMessage: echo(t)})
	for _, n := range []int{0, 1, 1000, 3000, 5000, 60_000} {
		long := strings.Repeat("x", n)
		early := testutil.AppendFrame(nil, testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte(long)}, [4]byte{1, 2, 3, 4})
		early = testutil.AppendFrame(early, testutil.Frame{Fin: true, Op: testutil.Binary, Masked: true, Payload: []byte("second")}, [4]byte{})
		last := testutil.AppendFrame(nil, testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte("third")}, [4]byte{})
		c, _, _ := dial(t, w, server, testutil.Options{Early: append(early, last[:3]...)})
		c.Expect(testutil.Text, long)
		c.Expect(testutil.Binary, "second")
		c.Write(last[3:])
		c.Expect(testutil.Text, "third")
	}
}

// A message of exactly ReadLimit bytes is read, in one frame or several; one byte more closes the connection.
func TestReadLimit(t *testing.T) {
	w := newWorker(t, nil)
	for _, tc := range []struct {
		limit int64
		ok    int // the longest message; -1: any
	}{{0, 64 << 10}, {100, 100}, {1, 1}, {-1, -1}} {
		for _, read := range []bool{true, false} {
			reasons := make(chan error, 1)
			opts := wspush.HandlerOptions{ReadLimit: tc.limit, OnDisconnect: func(_ *wspush.Conn, reason error) { reasons <- reason }}
			if read {
				opts.OnMessage = echo(t)
			}
			server := serve(t, w, &opts)
			try := func(name string, n int, frames int, ok bool) {
				t.Run(fmt.Sprintf("limit %d, OnMessage %t, %s", tc.limit, read, name), func(t *testing.T) {
					c, _, _ := dial(t, w, server, testutil.Options{})
					message := bytes.Repeat([]byte("x"), n)
					for i := range frames {
						op := testutil.Continuation
						if i == 0 {
							op = testutil.Binary
						}
						part := message[i*n/frames : (i+1)*n/frames]
						if err := c.WriteFrame(testutil.Frame{Fin: i == frames-1, Op: op, Masked: true, Payload: part}); err != nil {
							break // the server has had enough
						}
					}
					if ok {
						if read {
							expect(t, c, testutil.Binary, string(message))
						}
						c.SendClose(1000, "")
						c.AwaitClose()
						<-reasons
						return
					}
					if code, _ := c.AwaitClose(); code != 1009 {
						t.Errorf("closed with %d", code)
					}
					c.AwaitEOF()
					c.Close()
					var closed *wspush.CloseError
					if err := <-reasons; !errors.As(err, &closed) || closed.Code != 1009 || closed.Cause != wspush.CauseProtocol {
						t.Errorf("OnDisconnect got %v", err)
					}
				})
			}
			if tc.ok < 0 {
				try("any", 1<<20, 1, true)
				continue
			}
			try("exactly", tc.ok, 1, true)
			try("exactly, in frames", tc.ok, 3, true)
			try("over", tc.ok+1, 1, false)
			try("over, in frames", tc.ok+3, 3, false)
			try("far over", tc.ok+1<<20, 1, false)
		}
	}
}

func TestCompression(t *testing.T) {
	w := newWorker(t, nil)
	offer := http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}}
	long := strings.Repeat("compress me, ", 50_000)

	t.Run("off by default", func(t *testing.T) {
		c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{Header: offer})
		if got := c.Response().Header.Get("Sec-WebSocket-Extensions"); got != "" {
			t.Errorf("negotiated %q", got)
		}
		pushed := make(chan error, 1)
		go func() { pushed <- outcome(conn.Push(context.Background(), wspush.Text, []byte(long[:1000]))) }()
		if f := c.NextFrame(); f.Rsv != 0 || string(f.Payload) != long[:1000] {
			t.Errorf("got a %v", f)
		}
		if err := <-pushed; err != nil {
			t.Error(err)
		}
	})

	server := serve(t, w, &wspush.HandlerOptions{Compression: true, ReadLimit: int64(len(long)), OnMessage: echo(t)})
	t.Run("not offered", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{})
		c.Send(testutil.Text, []byte(long[:1000]))
		if f := c.NextFrame(); f.Rsv != 0 || string(f.Payload) != long[:1000] {
			t.Errorf("got a %v", f)
		}
	})
	t.Run("both ways", func(t *testing.T) {
		c, conn, _ := dial(t, w, server, testutil.Options{Header: offer})
		if got := c.Response().Header.Get("Sec-WebSocket-Extensions"); !strings.Contains(got, "permessage-deflate") ||
			!strings.Contains(got, "server_no_context_takeover") || !strings.Contains(got, "client_no_context_takeover") {
			t.Errorf("negotiated %q", got)
		}
		for range 3 { // no context is carried over
			payload := testutil.Deflate([]byte(long))
			c.SendFrame(testutil.Frame{Rsv: 4, Op: testutil.Text, Masked: true, Payload: payload[:100]})
			c.SendFrame(testutil.Frame{Fin: true, Op: testutil.Continuation, Masked: true, Payload: payload[100:]})
			f := c.NextFrame()
			message, err := testutil.Inflate(f.Payload)
			if err != nil || f.Rsv != 4 || !f.Fin || f.Op != testutil.Text || string(message) != long || len(f.Payload) > len(long)/10 {
				t.Fatalf("got a %v of %d bytes: %v", f, len(message), err)
			}
		}
		c.Send(testutil.Text, []byte("short, and not compressed"))
		if f := c.NextFrame(); f.Rsv != 0 || string(f.Payload) != "short, and not compressed" {
			t.Errorf("got a %v", f)
		}
		// An empty message, compressed, is a single zero byte (RFC 7692 section 7.2.3.6).
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true, Payload: []byte{0}})
		c.Expect(testutil.Binary, "")
		// These bytes cannot be compressed.
		random := make([]byte, 10_000)
		for i := range random {
			random[i] = byte(i * i * 7919 >> 3)
		}
		pushed := make(chan error, 1)
		go func() { pushed <- outcome(conn.Push(context.Background(), wspush.Binary, random)) }()
		c.Expect(testutil.Binary, string(random))
		if err := <-pushed; err != nil {
			t.Error(err)
		}
	})
	t.Run("bomb", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{Header: offer})
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true, Payload: testutil.Deflate(make([]byte, len(long)+1))})
		if code, _ := c.AwaitClose(); code != 1009 {
			t.Errorf("closed with %d", code)
		}
		c.AwaitEOF()
	})
	t.Run("no deflate", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{Header: offer})
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true, Payload: []byte{0xff, 0xff, 0xff}})
		if code, _ := c.AwaitClose(); code != 1002 && code != 1007 {
			t.Errorf("closed with %d", code)
		}
		c.AwaitEOF()
	})
	t.Run("invalid UTF-8 inside", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{Header: offer})
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Text, Masked: true, Payload: testutil.Deflate([]byte("a\xff"))})
		if code, _ := c.AwaitClose(); code != 1007 {
			t.Errorf("closed with %d", code)
		}
		c.AwaitEOF()
	})
}

// A Conn tells facts about its client, and goes on doing so when the client has left.
func TestConnFacts(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	c, conn, _ := dial(t, w, server, testutil.Options{Header: http.Header{"User-Agent": {"test"}}, TLS: &tls.Config{}})
	check := func() {
		t.Helper()
		if conn.Info().RemoteAddr != c.Conn().LocalAddr().String() || conn.Info().UserAgent != "test" || conn.Info().Path != "/ws" || conn.Value() != nil ||
			conn.Info().Subprotocol != "" || time.Since(conn.Info().ConnectedAt) > time.Minute || conn.Info().LastActive.Before(conn.Info().ConnectedAt) {
			t.Errorf("%q %q %q %v %q %v %v", conn.Info().RemoteAddr, conn.Info().UserAgent, conn.Info().Path, conn.Value(), conn.Info().Subprotocol, conn.Info().ConnectedAt, conn.Info().LastActive)
		}
	}
	check()
	if err := conn.Context().Err(); err != nil {
		t.Error(err)
	}
	c.Close()
	<-conn.Context().Done()
	check()
	var closed *wspush.CloseError
	if err := context.Cause(conn.Context()); !errors.As(err, &closed) || closed.Cause != wspush.CauseLost || closed.Code != 1006 {
		t.Errorf("the cause is %v", err)
	}
	if err := conn.Close(1000, ""); !errors.Is(err, wspush.ErrGone) {
		t.Errorf("Close: %v", err)
	}
	if len(conn.Addresses()) != 1 || len(conn.PathAddresses()) != 1 {
		t.Error("no addresses")
	}
}
