package wspushtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"
)

// listen serves h on a port of 127.0.0.1.
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// Dial connects over TLS too, and its client can be paused as well.
func TestDialTLS(t *testing.T) {
	s := wspushtest.New(t, nil)
	server := httptest.NewTLSServer(s.Handler)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c := wspushtest.Dial(t, "wss"+strings.TrimPrefix(server.URL, "https")+"/ws", &wspushtest.ClientOptions{TLS: &tls.Config{RootCAs: roots}})
	s.PushAndExpect(c, "a")
	c.Pause()
	s.Push(c, "b") // into the kernel's buffer
	c.ExpectNothing(0)
	c.Resume()
	c.Expect("b")
	c.Close(1000, "")
}

// A failed connect reports what the server said; so does a connect that succeeds although a refusal was expected.
func TestConnectFailures(t *testing.T) {
	no := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sign in first", http.StatusUnauthorized) })
	silent := &wspush.HandlerOptions{Greeting: func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, nil }}
	const noNetwork = "in a testing/synctest bubble, waiting for the network stops fake time"
	tests := []struct {
		name string
		test func(tb testing.TB)
		want string
	}{
		{"refused", func(tb testing.TB) { wspushtest.Connect(tb, no, "/ws?a=b", nil) },
			`fatal: connecting to /ws?a=b: the handshake was refused with status 401 Unauthorized: "sign in first\n"`},
		{"redirected", func(tb testing.TB) {
			wspushtest.Connect(tb, http.RedirectHandler("/login", http.StatusFound), "/ws", nil)
		},
			`fatal: connecting to /ws: the handshake was refused with status 302 Found: "<a href=\"/login\">Found</a>.\n\n"`},
		{"no handler", func(tb testing.TB) { wspushtest.Connect(tb, nil, "/ws", nil) },
			`fatal: there is no handler`},
		{"no URL", func(tb testing.TB) { wspushtest.Connect(tb, no, "ws", nil) },
			`fatal: connecting to ws: failed to WebSocket dial: unexpected url scheme: ""`},
		{"no answer", func(tb testing.TB) {
			wspushtest.Connect(tb, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "/ws", nil)
		}, `fatal: connecting to /ws: the handshake got no response within 5s`},
		{"no greeting", func(tb testing.TB) {
			s := wspushtest.New(tb, &wspushtest.Options{Handler: *silent})
			s.Connect()
		}, `fatal: connecting to /ws: want a greeting; nothing arrived within 5s. If the application sends none, set NoGreeting`},
		{"refused as expected", func(tb testing.TB) { wspushtest.ExpectRefused(tb, no, "/ws", 401, nil) }, ""},
		{"refused otherwise", func(tb testing.TB) { wspushtest.ExpectRefused(tb, no, "/ws", 403, nil) },
			`fatal: want the handshake to be refused with status 403; the handshake was refused with status 401 Unauthorized: "sign in first\n"`},
		{"let in", func(tb testing.TB) { wspushtest.ExpectRefused(tb, wspushtest.New(tb, nil).Handler, "/ws", 403, nil) },
			`fatal: want the handshake to be refused with status 403; the client is connected`},
		{"worker options", func(tb testing.TB) {
			wspushtest.NewWorker(tb, &wspush.WorkerOptions{Advertise: []string{"?"}})
		}, `fatal: making the worker: wspush: Advertise: "?": its host is neither a name nor an IP address`},
		{"handler options", func(tb testing.TB) {
			wspushtest.New(tb, &wspushtest.Options{Handler: wspush.HandlerOptions{OriginPatterns: []string{"["}}})
		}, `fatal: making the handler: wspush: OriginPatterns: "[": it is not a pattern of path.Match`},
		{"a listener in a bubble", func(tb testing.TB) { wspushtest.NewWorker(tb, &wspush.WorkerOptions{Listen: "127.0.0.1:0"}) },
			"fatal: making the worker: " + noNetwork + ": set neither Listen nor TLS"},
		{"the network in a bubble", func(tb testing.TB) { wspushtest.Dial(tb, "http://127.0.0.1:1/ws", nil) },
			"fatal: connecting to http://127.0.0.1:1/ws: " + noNetwork + ": use Connect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { wantFailure(t, tt.want, tt.test) })
		})
	}
}

// The application gets what the handshake carries, and the client gets the application's answers.
func TestClientOptions(t *testing.T) {
	w := wspushtest.NewWorker(t, nil)
	var seen *http.Request
	h, err := wspush.NewHandler(w, &wspush.HandlerOptions{
		Subprotocols: []string{"v2", "v1"},
		Accept: func(r *http.Request) (any, error) {
			seen = r.Clone(context.Background())
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/ws?a=b", "http://example.com/ws?a=b", "https://example.com/ws?a=b", "ws://example.com/ws?a=b"} {
		c := wspushtest.Connect(t, h, target, &wspushtest.ClientOptions{
			Header: http.Header{"Cookie": {"session=s1"}, "Origin": {"https://example.com"}}, Subprotocols: []string{"v0", "v1"},
		})
		cookie, err := seen.Cookie("session")
		if err != nil || cookie.Value != "s1" || seen.Host != "example.com" || seen.URL.RequestURI() != "/ws?a=b" {
			t.Errorf("%s: the application sees %v, %v, %s%s", target, cookie, err, seen.Host, seen.URL.RequestURI())
		}
		if host, port, err := net.SplitHostPort(seen.RemoteAddr); err != nil || net.ParseIP(host) == nil || port == "" {
			t.Errorf("%s: the client's address is %q, %v", target, seen.RemoteAddr, err)
		}
		if got := c.Subprotocol(); got != "v1" {
			t.Errorf("%s: the subprotocol is %q", target, got)
		}
		if conn, ok := w.Conn(c.ID); !ok || conn.Info().Path != "/ws" || c.Address() != "http://"+c.ID+"@worker.test/ws" {
			t.Errorf("%s: the client's ID is %q, its address %s", target, c.ID, c.Address())
		}
	}
	resp := wspushtest.ExpectRefused(t, h, "/ws", http.StatusForbidden, &wspushtest.ClientOptions{Header: http.Header{"Origin": {"https://evil.test"}}})
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("the refusal is of type %q", got)
	}
}
