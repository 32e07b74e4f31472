package wspush

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/wire"
	"github.com/wspush/wspush/publisher"
)

// No constructor panics, whatever the options, and every option that it accepts works: addresses are URLs that lead back to the
// connection, patterns can be matched, an allowed origin may push and another may not, a client is pinged before it is closed, and
// Shutdown closes with a code that may be sent.
func FuzzOptions(f *testing.F) {
	f.Add("10.0.0.5", "push.test:8443", "*.example.com", "https://admin.example.com", "v1", "127.0.0.1:0", int64(0), int64(0))
	f.Add("::1", "[fd00::5]:80", "localhost:*", "http://localhost:3000", "", ":0", int64(time.Second), int64(-1))
	f.Add("https://push.test/workers/3", "http://[fd00::5]/a,b/", "https://[a-z].test", "http://[::1]:1", "a b", "[::]:0", int64(-1), int64(time.Hour))
	f.Add("http://h/%2c/%zz?", "http://u@h/", "[", "null", "\x00", "[fe80::1%lo]:1", int64(1), int64(1))
	f.Add("fe80::1%eth0", "h:0", "a\\", "https://*.test", "ü", "a:b:c", int64(1)<<62, int64(0))
	f.Add("HTTP://H.test//a//", "1.2.3.4:65535", "\\", "https://x:443", "v", "0.0.0.0:80", int64(0), int64(1)<<62)
	f.Add("localhost.", "http://h/@connections/..", "*", "https://x.", "v", "", int64(5), int64(6))
	f.Add("0x7f.1", "h..", "*", "chrome-extension://x", "v", "", int64(5), int64(6))
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	quiet := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, advertise, another, pattern, origin, subprotocol, listen string, ping, idle int64) {
		refused := func(what string, err error) bool {
			if err != nil && !strings.HasPrefix(err.Error(), "wspush: ") {
				t.Errorf("%s: the error does not say whose it is: %v", what, err)
			}
			return err != nil
		}
		switch networkOf(listen) {
		case "tcp", "tcp4", "tcp6":
		default:
			t.Errorf("Listen %q: on network %q", listen, networkOf(listen))
		}
		if _, err := (&WorkerOptions{Listen: listen}).withDefaults(); refused("Listen", err) {
			t.Errorf("Listen %q: %v", listen, err) // only net.Listen knows
		}

		w, err := NewWorker(&WorkerOptions{NoListen: true, Advertise: []string{"fine.test"}, PushOrigins: []string{origin}, Logger: quiet})
		if !refused("PushOrigins", err) {
			checkOrigin(t, w, origin)
		}

		w, err = NewWorker(&WorkerOptions{NoListen: true, Advertise: []string{advertise, another}, Logger: quiet})
		if !refused("Advertise", err) {
			checkAddresses(t, w.shared, id)
		} else if w, err = NewWorker(&WorkerOptions{NoListen: true, Advertise: []string{"fine.test"}, Logger: quiet}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := w.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}()
		for _, secure := range []bool{false, true} { // a host gets the listener's port
			b, _, err := address.Bases([]string{advertise}, "tcp", &net.TCPAddr{IP: net.IPv6loopback, Port: 48775}, secure)
			if !refused("Advertise", err) {
				checkAddresses(t, &shared{bases: b}, id)
			}
		}

		code := int(ping) // of 32 bits on some machines
		if o, err := (&WorkerOptions{ShutdownCode: code}).withDefaults(); !refused("ShutdownCode", err) {
			if code != 0 && o.ShutdownCode != code || wire.CheckClose(o.ShutdownCode, shutdownReason(o.ShutdownCode)) != nil {
				t.Errorf("ShutdownCode %d becomes %d", code, o.ShutdownCode)
			}
		}
		h, err := NewHandler(w, &HandlerOptions{OriginPatterns: []string{pattern}})
		if !refused("OriginPatterns", err) {
			page := pattern
			if !strings.Contains(pattern, "://") {
				page = "http://" + pattern
			}
			r := httptest.NewRequest("GET", "/ws", nil)
			r.Header.Set("Origin", page)
			if err := h.origins.Check(r); err != nil && !strings.ContainsAny(pattern, `*?[\^`) {
				t.Errorf("OriginPatterns %q: %v", pattern, err)
			}
		}
		if _, err = NewHandler(w, &HandlerOptions{Subprotocols: []string{subprotocol}}); !refused("Subprotocols", err) {
			if strings.ContainsAny(subprotocol, " ,;\"\r\n\t") || subprotocol == "" {
				t.Errorf("Subprotocols: %q", subprotocol)
			}
		}
		h, err = NewHandler(w, &HandlerOptions{PingInterval: time.Duration(ping), IdleTimeout: time.Duration(idle)})
		if !refused("PingInterval", err) {
			p, i := h.opts.PingInterval, h.opts.IdleTimeout
			changed := ping != 0 && p != time.Duration(ping) || idle != 0 && i != time.Duration(idle)
			if p == 0 || i == 0 || p > 0 && i > 0 && p >= i || changed {
				t.Errorf("PingInterval %d and IdleTimeout %d become %d and %d", ping, idle, p, i)
			}
		}
	})
}

// checkAddresses follows each address of a connection as a publisher does, through a proxy that strips the path of a base URL.
func checkAddresses(t *testing.T, shared *shared, id string) {
	t.Helper()
	nowhere := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("not dialled") }
	p, err := publisher.New(&publisher.Options{Allow: func(*url.URL) bool { return true }, Dial: nowhere})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := &Conn{id: id, shared: shared, path: address.NewPath("/ws/a%2Cb")}
	greeting := strings.Join(c.Addresses(), ",")
	if _, err := p.Lookup(t.Context(), greeting); errors.Is(err, publisher.ErrAddress) {
		t.Errorf("package publisher refuses %q: %v", greeting, err)
	}
	if len(strings.Split(greeting, ",")) != len(shared.bases) {
		t.Errorf("there is a comma in an address of %q", greeting)
	}
	for i, b := range shared.bases {
		_, prefix, slash := strings.Cut(b.Rest, "/")
		if slash {
			prefix = "/" + prefix
		}
		for _, at := range []string{c.Addresses()[i], c.PathAddresses()[i]} {
			u, err := url.Parse(at)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
				t.Fatalf("%q: %+v, %v", at, u, err)
			}
			r, err := http.NewRequest("POST", at, nil)
			if err != nil {
				t.Fatalf("%q: %v", at, err)
			}
			var line strings.Builder
			if r.URL.User != nil {
				r.SetBasicAuth(r.URL.User.Username(), "")
			}
			if err := r.Write(&line); err != nil {
				t.Fatalf("%q: %v", at, err)
			}
			got, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.Replace(line.String(), " "+prefix, " ", 1))))
			if err != nil {
				t.Fatalf("%q: %q: %v", at, line.String(), err)
			}
			if to, err := address.Read(got); err != nil || to.ID != id || !to.Lives(c.path) {
				t.Errorf("%q leads to %+v, %v", at, to, err)
			}
		}
	}
}

// checkOrigin checks the requests of a page of the allowed origin, and of pages of other origins.
func checkOrigin(t *testing.T, w *Worker, origin string) {
	t.Helper()
	for _, asked := range []string{origin, origin + "x", "x" + origin, "http://evil.test", "null"} {
		r := httptest.NewRequest("POST", "/ws", nil)
		r.Header.Set("Origin", asked)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		header := http.Header{}
		p := w.origins.check(header, r, pushMethods)
		if may := p == nil; may != (asked == origin) || (header.Get("Access-Control-Allow-Origin") == asked) != may {
			t.Errorf("PushOrigins %q: for a page of %q %v, %v", origin, asked, p, header)
		}
	}
	if err := w.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
