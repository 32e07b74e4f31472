package testutil

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestDial(t *testing.T) {
	NoLeak(t)
	h := upgrade(t, "", func(p *peer) {
		p.send(whole(Text, p.req.Host+p.req.RequestURI))
		p.wantEnd()
	})
	url := Serve(t, h)
	secure, config := ServeTLS(t, h)
	host := strings.TrimPrefix(url, "http://")
	secureHost := strings.TrimPrefix(secure, "https://")
	for _, test := range []struct {
		url  string
		opts Options
		want string
	}{
		{url, Options{}, host + "/ws"},
		{url + "/", Options{}, host + "/"},
		{"ws://" + host + "/a%2Fb?c=d", Options{}, host + "/a%2Fb?c=d"},
		{"ws://" + host + "/a", Options{Path: "/b"}, host + "/b"},
		{url, Options{Header: http.Header{"host": {"example.com"}}}, "example.com/ws"},
		{secure, Options{TLS: config}, secureHost + "/ws"},
		{"wss://" + secureHost, Options{}, secureHost + "/ws"},
	} {
		c := Dial(t, test.url, test.opts)
		c.Expect(Text, test.want)
		c.Close()
		c.Close()
	}
}

func TestDialFails(t *testing.T) {
	for _, url := range []string{"ftp://127.0.0.1:1", "ws://127.0.0.1:1", "://"} {
		wantFailure(t, "WebSocket handshake: ", func(tb testing.TB) { Dial(tb, url, Options{}) })
	}
}

func TestHandshakeHeader(t *testing.T) {
	var header http.Header
	h := upgrade(t, "Sec-WebSocket-Protocol: b\r\nSec-WebSocket-Extensions: x; y=1\r\n", func(p *peer) { header = p.req.Header })
	c := Handshake(t, Pipe(t, h), Options{Header: http.Header{
		"Origin":                   {"https://example.com"},
		"Sec-WebSocket-Protocol":   {"a, b"},
		"Sec-WebSocket-Extensions": {"x; y", "z"},
		"Sec-WebSocket-Version":    nil,
	}})
	c.AwaitEOF() // after which the handler is done with header
	if header.Get("Origin") != "https://example.com" || header.Get("Sec-WebSocket-Protocol") != "a, b" {
		t.Errorf("the server got %v", header)
	}
	if _, ok := header["Sec-Websocket-Version"]; ok {
		t.Errorf("the server got what was to be left out: %v", header)
	}
	if got := c.Response().Header.Get("Sec-WebSocket-Protocol"); got != "b" {
		t.Errorf("the response has subprotocol %q", got)
	}
}

func TestHandshakeRefused(t *testing.T) {
	NoLeak(t)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Why", "because")
		http.Error(w, "not you", http.StatusForbidden)
	})
	c, resp, err := TryHandshake(t, Pipe(t, h), Options{})
	if c != nil || resp == nil || err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Fatalf("got %v, %v, %v", c, resp, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "not you\n" || resp.Header.Get("X-Why") != "because" {
		t.Errorf("got %q, %v, %v", body, err, resp.Header)
	}
	wantFailure(t, `403 Forbidden; body: 8 bytes "not you\n"`, func(tb testing.TB) { Handshake(tb, Pipe(tb, h), Options{}) })
}

// A server must get each of these right, or browsers refuse it.
func TestHandshakeChecksTheResponse(t *testing.T) {
	for name, test := range map[string]struct{ response, want string }{
		"status":       {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "refused with 200 OK"},
		"upgrade":      {"HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n", "with Upgrade"},
		"connection":   {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: KEY\r\n", "with Connection"},
		"no accept":    {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", "with Sec-WebSocket-Accept"},
		"wrong accept": {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: xKEY\r\n", "with Sec-WebSocket-Accept"},
		"subprotocol":  {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: c\r\n", "not asked for"},
		"subprotocols": {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: a, b\r\n", "with subprotocols"},
		"extension":    {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Extensions: e\r\n", "not asked for"},
		"not HTTP":     {"hello\r\n", "reading the response"},
		"cut short":    {"", "reading the response"},
		"body cut":     {"HTTP/1.1 403 x\r\nContent-Length: 10\r\n", "unexpected EOF"},
		"all is well":  {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: b\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if test.response != "" {
					fmt.Fprintf(conn, "%s\r\n", strings.ReplaceAll(test.response, "KEY", acceptKey(r.Header.Get("Sec-WebSocket-Key"))))
				}
			})
			wantFailure(t, test.want, func(tb testing.TB) {
				Handshake(tb, Pipe(tb, h), Options{Header: http.Header{"Sec-WebSocket-Protocol": {"a", "b"}}})
			})
		})
	}
}

// The example of RFC 6455, section 1.3.
func TestAcceptKey(t *testing.T) {
	if got := acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("got %s", got)
	}
}

func TestEarly(t *testing.T) {
	// More than any buffer on the way, so that the server answers before it has read all of it.
	long := strings.Repeat("x", 1<<20)
	var early []byte
	for _, payload := range []string{"first", long} {
		early = AppendFrame(early, Frame{Fin: true, Op: Text, Masked: true, Payload: []byte(payload)}, [4]byte{1, 2, 3, 4})
	}
	h := upgrade(t, "", func(p *peer) {
		p.want(Text, "first")
		p.want(Text, long)
		p.want(Text, "late")
		p.wantEnd()
	})
	c := Handshake(t, Pipe(t, h), Options{Early: early})
	c.Send(Text, []byte("late")) // in its turn, after early
	c = Dial(t, Serve(t, h), Options{Early: early})
	c.Send(Text, []byte("late"))
}

// In fake time a handshake that gets no answer fails, and does not hang; its goroutine ends with it.
func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop })
		_, _, err := TryHandshake(t, Pipe(t, h), Options{Early: make([]byte, 1<<20)})
		if err == nil || !strings.Contains(err.Error(), "timeout") {
			t.Errorf("got %v", err)
		}
		close(stop)
	})
}

func TestTryDialInGoroutines(t *testing.T) {
	url := Serve(t, says(t, whole(Text, "hello")))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, _, err := TryDial(t, url, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if _, message, err := c.Message(); err != nil || string(message) != "hello" {
				t.Errorf("got %q, %v", message, err)
			}
		})
	}
	wg.Wait()
}
