package wspush_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
		{name: "the port of another scheme", request: "GET /ws HTTP/1.1\n" + correct + "Origin: https://as.seen.test\n", status: []int{403}},
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
		{[]string{"[fd00::5]"}, "http://[fd00::5]", true},
		{[]string{"[fd00::5]"}, "http://f", false},
		{[]string{"https://app.test:443"}, "https://app.test", true},
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
		{[]string{"V2"}, ""}, // another name
		{[]string{"V2, v1"}, "v1"},
		{[]string{"v1 ,\tv2"}, "v2"},
		{[]string{"v22, v"}, ""},
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

// sampleKey is the key of the example in RFC 6455 section 1.3, and sampleAccept the answer to it.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// handshakeWith returns a correct handshake with some headers replaced. A value with "\n" in it becomes several header lines, and an
// empty value removes the header.
func handshakeWith(line string, headers map[string]string) string {
	all := map[string]string{
		"Host": "h.test", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": sampleKey,
	}
	for name, value := range headers {
		all[name] = value
	}
	request := line + "\r\n"
	for name, value := range all {
		for one := range strings.SplitSeq(value, "\n") {
			if value != "" {
				request += name + ": " + one + "\r\n"
			}
		}
	}
	return request + "\r\n"
}

// answerTo sends a request on a connection of its own, and returns the server's answer.
func answerTo(t *testing.T, server, request string) (*http.Response, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp, r
}

// Every handshake that RFC 6455 section 4.2.1 allows is answered as section 4.2.2 demands. Every other one is refused, and Accept is
// not called.
func TestHandshakes(t *testing.T) {
	const get = "GET /ws HTTP/1.1"
	type headers = map[string]string
	tests := []struct {
		name    string
		line    string
		headers headers
		status  []int // any of them
	}{
		{"ordinary", get, nil, []int{101}},
		{"Upgrade in upper case", get, headers{"Upgrade": "WEBSOCKET"}, []int{101}},
		{"Upgrade in mixed case", get, headers{"Upgrade": "WebSocket", "Connection": "uPGRADe"}, []int{101}},
		{"Upgrade in a list", get, headers{"Upgrade": "h2c, websocket"}, []int{101}},
		{"Upgrade in two headers", get, headers{"Upgrade": "h2c\nwebSocket"}, []int{101}},
		{"Connection in a list", get, headers{"Connection": "keep-alive, Upgrade"}, []int{101}},
		{"Connection in a list, upper case", get, headers{"Connection": "Keep-Alive,UPGRADE"}, []int{101}},
		{"Connection in an odd list", get, headers{"Connection": ",, keep-alive ,\tupgrade , "}, []int{101}},
		{"Connection in two headers", get, headers{"Connection": "keep-alive\nUpgrade"}, []int{101}},
		{"names in odd cases", get, headers{"Host": "", "hOST": "h.test", "Upgrade": "", "UPGRADE": "websocket", "Sec-WebSocket-Key": "", "sec-websocket-KEY": sampleKey}, []int{101}},
		{"key in white space", get, headers{"Sec-WebSocket-Key": " \t" + sampleKey + "  "}, []int{101}},
		{"a whole URL", "GET http://h.test/ws HTTP/1.1", nil, []int{101}},
		{"a query", "GET /ws?a=b HTTP/1.1", nil, []int{101}},
		{"its own origin", get, headers{"Origin": "http://h.test"}, []int{101}},
		{"its own origin in another case", get, headers{"Origin": "https://H.TEST"}, []int{101}},
		{"extensions that nobody knows", get, headers{"Sec-WebSocket-Extensions": "foo, bar; baz=1; q=\"x\"\nx-webkit-deflate-frame"}, []int{101}},
		{"subprotocols that nobody speaks", get, headers{"Sec-WebSocket-Protocol": "chat, superchat"}, []int{101}},
		{"a body of no bytes", get, headers{"Content-Length": "0"}, []int{101}},

		{"HTTP/1.0", "GET /ws HTTP/1.0", nil, []int{426}},
		{"HTTP/0.9", "GET /ws HTTP/0.9", nil, []int{400, 426, 505}},
		{"HTTP/2", "GET /ws HTTP/2.0", nil, []int{400, 426, 505}},
		{"no Host", get, headers{"Host": ""}, []int{400}},
		{"two Hosts", get, headers{"Host": "h.test\nh.test"}, []int{400}},
		{"a malformed Host", get, headers{"Host": "h test"}, []int{400}},
		{"HEAD", "HEAD /ws HTTP/1.1", nil, []int{405}},
		{"POST", "POST /ws HTTP/1.1", headers{"Content-Length": "0"}, []int{405}},
		{"CONNECT", "CONNECT h.test:80 HTTP/1.1", nil, []int{404, 405}},
		{"a body", get, headers{"Content-Length": "5"}, []int{400}},
		{"a chunked body", get, headers{"Transfer-Encoding": "chunked"}, []int{400}},

		{"no Upgrade", get, headers{"Upgrade": ""}, []int{426}},
		{"no Connection", get, headers{"Connection": ""}, []int{426}},
		{"neither", get, headers{"Upgrade": "", "Connection": ""}, []int{426}},
		{"Upgrade to h2c", get, headers{"Upgrade": "h2c"}, []int{426}},
		{"Upgrade to something longer", get, headers{"Upgrade": "websockets"}, []int{426}},
		{"Upgrade to a version", get, headers{"Upgrade": "websocket/13"}, []int{426}},
		{"Upgrade to two words", get, headers{"Upgrade": "web socket"}, []int{426}},
		{"Connection: keep-alive", get, headers{"Connection": "keep-alive"}, []int{426}},
		{"Connection: close", get, headers{"Connection": "close"}, []int{426}},
		{"Connection: Upgraded", get, headers{"Connection": "Upgraded, xUpgrade"}, []int{426}},

		{"no version", get, headers{"Sec-WebSocket-Version": ""}, []int{400}},
		{"two versions", get, headers{"Sec-WebSocket-Version": "13\n8"}, []int{400}},
		{"two versions, the wrong one first", get, headers{"Sec-WebSocket-Version": "8\n13"}, []int{400}},
		{"the version twice", get, headers{"Sec-WebSocket-Version": "13\n13"}, []int{400}},

		{"no key", get, headers{"Sec-WebSocket-Key": ""}, []int{400}},
		{"the key twice", get, headers{"Sec-WebSocket-Key": sampleKey + "\n" + sampleKey}, []int{400}},
		{"two keys", get, headers{"Sec-WebSocket-Key": sampleKey + "\nAAAAAAAAAAAAAAAAAAAAAA=="}, []int{400}},

		{"foreign origin", get, headers{"Origin": "https://evil.test"}, []int{403}},
		{"foreign port", get, headers{"Origin": "https://h.test:8443"}, []int{403}},
		{"null origin", get, headers{"Origin": "null"}, []int{403}},
		{"two origins", get, headers{"Origin": "http://h.test\nhttps://evil.test"}, []int{400}},
		{"two origins, in one header", get, headers{"Origin": "http://h.test https://evil.test"}, []int{400, 403}},
	}
	for _, version := range []string{"0", "7", "8", "12", "14", "013", "13.0", "+13", "13 13", "13, 8", "8, 13", "13;", "thirteen"} {
		tests = append(tests, struct {
			name, line string
			headers    headers
			status     []int
		}{"version " + version, get, headers{"Sec-WebSocket-Version": version}, []int{400}})
	}
	for name, key := range map[string]string{
		"one byte": "eA==", "15 bytes": "AAAAAAAAAAAAAAAAAAAA", "17 bytes": "AAAAAAAAAAAAAAAAAAAAAAA=", "24 bytes": strings.Repeat("A", 32), "64 KB": strings.Repeat("A", 64<<10),
		"no padding": "AAAAAAAAAAAAAAAAAAAAAA", "too much padding": "AAAAAAAAAAAAAAAAAAAAAA===", "padding only": "====",
		"the alphabet of URLs": "____________________-w==", "hexadecimal": "0123456789abcdef0123456789abcdef", "a space": "AAAAAAAAAA AAAAAAAAAAAA==", "a list": sampleKey + ", " + sampleKey,
	} {
		tests = append(tests, struct {
			name, line string
			headers    headers
			status     []int
		}{"a key of " + name, get, headers{"Sec-WebSocket-Key": key}, []int{400}})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorker(t, quiet())
			asked := make(chan struct{}, 1)
			server := testutil.Serve(t, newHandler(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) {
				asked <- struct{}{}
				return nil, nil
			}}))
			resp, r := answerTo(t, server, handshakeWith(tt.line, tt.headers))
			if !slices.Contains(tt.status, resp.StatusCode) {
				t.Fatalf("got %s, want %d", resp.Status, tt.status)
			}
			if resp.StatusCode != http.StatusSwitchingProtocols {
				if len(asked) > 0 || w.Len() > 0 {
					t.Errorf("Accept is asked: %d, connections: %d", len(asked), w.Len())
				}
				if resp.StatusCode == http.StatusUpgradeRequired && resp.Header.Get("Upgrade") != "websocket" {
					t.Errorf("426 without Upgrade: %v", resp.Header)
				}
				if _, version := tt.headers["Sec-WebSocket-Version"]; version && resp.Header.Get("Sec-WebSocket-Version") != "13" {
					t.Errorf("the answer does not name the version: %v", resp.Header)
				}
				if resp.Header.Get("Sec-WebSocket-Accept") != "" {
					t.Errorf("refused, and accepted: %v", resp.Header)
				}
				return
			}
			for name, want := range map[string]string{
				"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": sampleAccept, "Sec-Websocket-Protocol": "", "Sec-Websocket-Extensions": "",
			} {
				if got := strings.Join(resp.Header[name], "\n"); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if first, err := r.ReadByte(); err != nil || first != 0x81 { // the greeting
				t.Errorf("the first byte is %#x, %v", first, err)
			}
		})
	}
}

// Letter case means nothing in HTTP, but some clients look for the names of the handshake's headers as RFC 6455 spells them.
func TestHandshakeSpelling(t *testing.T) {
	w := newWorker(t, quiet())
	h := newHandler(t, w, &wspush.HandlerOptions{Subprotocols: []string{"chat"}, Compression: true})
	server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Sec-WebSocket-Protocol", "a middleware's") // which must not stand beside the handler's
		h.ServeHTTP(rw, r)
	}))
	for name, tt := range map[string]struct {
		headers map[string]string
		want    []string // lines of the answer
	}{
		"accepted": {map[string]string{"Sec-WebSocket-Protocol": "chat", "Sec-WebSocket-Extensions": "permessage-deflate"}, []string{
			"HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: " + sampleAccept, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate",
		}},
		"version 8":    {map[string]string{"Sec-WebSocket-Version": "8"}, []string{"HTTP/1.1 400 Bad Request", "Sec-WebSocket-Version: 13"}},
		"two versions": {map[string]string{"Sec-WebSocket-Version": "13\n8"}, []string{"HTTP/1.1 400 Bad Request", "Sec-WebSocket-Version: 13"}},
		"a body":       {map[string]string{"Content-Length": "1"}, []string{"HTTP/1.1 400 Bad Request", "Sec-WebSocket-Version: 13"}},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte(handshakeWith("GET /ws HTTP/1.1", tt.headers))); err != nil {
			t.Fatal(err)
		}
		head := ""
		for r := bufio.NewReader(conn); !strings.HasSuffix(head, "\r\n\r\n"); {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			head += line
		}
		for _, line := range tt.want {
			if !strings.Contains("\r\n"+head, "\r\n"+line) {
				t.Errorf("%s: no %q in\n%s", name, line, head)
			}
		}
		if name == "accepted" && strings.Contains(head, "Sec-Websocket") {
			t.Errorf("%s: spelt unusually:\n%s", name, head)
		}
	}
}

// 64 KB of headers are accepted where net/http's limit allows them, and are not kept in memory; elsewhere they get 431.
func TestLargeHandshakes(t *testing.T) {
	const size = 64 << 10
	large := strings.Repeat("x", size)
	parts := map[string]http.Header{
		"one header":      {"Cookie": {large}},
		"many headers":    {"X-Many": slices.Repeat([]string{large[:60]}, size/60)},
		"a subprotocol":   {"Sec-WebSocket-Protocol": {"v1, " + large}},
		"an origin":       {"Origin": {"http://h.test/" + large}, "Host": {"h.test"}},
		"extensions":      {"Sec-WebSocket-Extensions": {"permessage-deflate; client_no_context_takeover; server_no_context_takeover, " + large}},
		"a query":         {},
		"a known header":  {"Connection": {"Upgrade, " + large}},
		"a known header'": {"Upgrade": {"websocket, " + large}},
	}
	w := newWorker(t, quiet())
	h := newHandler(t, w, &wspush.HandlerOptions{Subprotocols: []string{"v1"}, Compression: true})
	server := testutil.Serve(t, h)
	strict := &http.Server{Handler: h, MaxHeaderBytes: 16 << 10}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- strict.Serve(l) }()
	defer func() {
		strict.Close()
		<-served
	}()
	for name, header := range parts {
		t.Run(name, func(t *testing.T) {
			opts := testutil.Options{Header: header}
			if name == "a query" {
				opts.Path = "/ws?" + large
			}
			const conns = 20
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range conns {
				c, conn, _ := dial(t, w, server, opts)
				if name == "a subprotocol" && conn.Info().Subprotocol != "v1" {
					t.Errorf("the subprotocol is %q", conn.Info().Subprotocol)
				}
				defer c.Close()
			}
			// The clients use memory, too, but do not keep the headers.
			testutil.Eventually(t, "the headers to be freed", func() bool {
				runtime.GC()
				runtime.ReadMemStats(&after)
				return int64(after.HeapAlloc)-int64(before.HeapAlloc) < conns*size/2
			})
			var request strings.Builder
			fmt.Fprintf(&request, "GET %s HTTP/1.1\r\nHost: h.test\r\n", cmp.Or(opts.Path, "/ws"))
			for name, values := range header {
				for _, value := range values {
					if name != "Host" {
						fmt.Fprintf(&request, "%s: %s\r\n", name, value)
					}
				}
			}
			resp, _ := answerTo(t, "http://"+l.Addr().String(), request.String()+"\r\n")
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("more than the server allows: %s", resp.Status)
			}
		})
	}
}

// Bytes that arrive in one segment with the handshake are read as frames, valid or not, even if the request was large.
func TestFramesWithHandshake(t *testing.T) {
	messages := make(chan string, 10)
	w := newWorker(t, quiet())
	server := testutil.Serve(t, newHandler(t, w, &wspush.HandlerOptions{OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { messages <- string(data) }}))
	for _, padding := range []int{0, 1, 3900, 4000, 4090, 8000, 70_000} {
		header := http.Header{"X-Padding": {strings.Repeat("x", padding)}}
		c := testutil.Dial(t, server, testutil.Options{Header: header, Early: slices.Concat(plain(0x89, "1"), plain(0x81, "hello"), plain(0x82, "x"), plain(0x83, ""))})
		for _, want := range []string{"hello", "x"} { // no greeting, maybe: it is not written when the end is faster
			if got := receive(t, "OnMessage", messages); got != want {
				t.Errorf("padding %d: got %q, want %q", padding, got, want)
			}
		}
		if code, _ := c.AwaitClose(); code != 1002 {
			t.Errorf("padding %d: closed with %d", padding, code)
		}
		c.AwaitEOF()
		c.Close()
	}
}

// TestMaxConns: there are never more clients than the limit. Neither publishers nor connected clients notice.
func TestMaxConns(t *testing.T) {
	testutil.NoLeak(t)
	var asked atomic.Int64
	w := newWorker(t, &wspush.WorkerOptions{MaxConns: 2, MaxPushConns: 50})
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) {
		asked.Add(1)
		return nil, nil
	}})
	first, conn, address := dial(t, w, server, testutil.Options{})
	second, _, _ := dial(t, w, server, testutil.Options{})
	for range 3 {
		_, resp, err := testutil.TryDial(t, server, testutil.Options{})
		if err == nil || resp == nil {
			t.Fatalf("the third client gets %v, %v", resp, err)
		}
		full(t, resp)
		want{status: 204}.check(t, "POST", post(t, address, "", []byte("by HTTP")))
		first.Expect(testutil.Text, "by HTTP")
		if _, err := conn.Push(t.Context(), wspush.Text, []byte("in-process")); err != nil {
			t.Error(err)
		}
		first.Expect(testutil.Text, "in-process")
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("Accept is asked %d times", n)
	}
	// The answer to a wrong handshake says what is wrong with it.
	if resp := do(t, newRequest(t, "GET", server+"/ws", nil)); resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("got %s", resp.Status)
	}
	second.Close()
	testutil.Eventually(t, "room", func() bool {
		c, resp, err := testutil.TryDial(t, server, testutil.Options{})
		if err != nil {
			full(t, resp)
			return false
		}
		c.Text() // with which it is registered
		return true
	})
	// However they connect, there are no more of them.
	var in, out atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := testutil.TryDial(t, server, testutil.Options{}); err == nil {
				in.Add(1)
			} else {
				out.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 0 || w.Len() != 2 {
		t.Errorf("%d more are let in, %d refused, and there are %d", in.Load(), out.Load(), w.Len())
	}
}

// A handshake that fails, or that Accept refuses, takes up no room.
func TestMaxConnsAfterRefusals(t *testing.T) {
	testutil.NoLeak(t)
	w := newWorker(t, &wspush.WorkerOptions{MaxConns: 1})
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(r *http.Request) (any, error) {
		if r.Header.Get("X-Auth") == "no" {
			return nil, wspush.ErrUnauthorized
		}
		return nil, nil
	}})
	for range 3 {
		for _, header := range []http.Header{{"X-Auth": {"no"}}, {"Origin": {"http://evil.test"}}, {"Sec-WebSocket-Key": {"x"}}} {
			if _, resp, err := testutil.TryDial(t, server, testutil.Options{Header: header}); err == nil || resp.StatusCode == 503 {
				t.Errorf("%v: %v, %v", header, resp, err)
			}
		}
	}
	dial(t, w, server, testutil.Options{})
}

// A port that is the scheme's own makes no difference (RFC 6454 section 5), whether the page or a proxy in front of the mount names
// it. A handshake without a Host is nobody's own.
func TestOwnOrigin(t *testing.T) {
	server := serve(t, newWorker(t, nil), nil)
	for _, tc := range []struct {
		host, origin string
		allowed      bool
	}{
		{"example.com:443", "https://example.com", true},
		{"example.com:80", "http://example.com", true},
		{"example.com", "https://example.com:443", true},
		{"example.com", "http://example.com:80", true},
		{"[fd00::5]:443", "https://[fd00::5]", true},
		{"example.com:80", "https://example.com", false},
		{"example.com:443", "http://example.com", false},
		{"", "null", false},
		{"", "https://example.com", false},
		{"", "", true}, // no browser
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		request := "GET /ws HTTP/1.1\nHost: " + tc.host + "\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
		if tc.origin != "" {
			request += "Origin: " + tc.origin + "\n"
		}
		resp := answer(t, rawPush(t, conn, request+"\n"))
		if want := map[bool]int{true: 101, false: 403}[tc.allowed]; resp.StatusCode != want {
			t.Errorf("a page of %q at the host %q: %s, want %d", tc.origin, tc.host, resp.Status, want)
		}
	}
}

// No client connects at a path to which curl, or package publisher, would not send what is pushed to its address. A mux would redirect
// some of them.
func TestUselessPaths(t *testing.T) {
	server := testutil.Serve(t, newHandler(t, newWorker(t, quiet()), nil))
	for path, want := range map[string]string{
		"/ws/../x": "dot segment", "/ws/./x": "dot segment", "/ws/..": "dot segment", "/.": "dot segment", "/ws/%2e%2E/x": "dot segment", "/ws/.%2e": "dot segment",
		"/ws/..;x/y": "dot segment", "/a%2f..%2fb": "dot segment", "/ws%5cx": "backslash", "/ws%00": "control character", "/ws%0d%0ax": "control character",
		"/": "", "/ws/...": "", "/ws/x..y/.z": "", "/ws/%2e%2e%2e": "", "/ws?x=/../": "", "/a\"b": "", "/a,b;c=d": "",
	} {
		request := "GET " + path + " HTTP/1.1\r\nHost: h.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		resp, _ := answerTo(t, server, request)
		switch {
		case want == "" && resp.StatusCode != 101:
			t.Errorf("%s: %s", path, resp.Status)
		case want != "":
			if body := text(t, resp); resp.StatusCode != 404 || !strings.Contains(body, want) {
				t.Errorf("%s: %s %s", path, resp.Status, body)
			}
		}
	}
}
