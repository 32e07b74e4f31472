package wspush_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// TestGreeting: byte for byte, in one frame, as the first one.
func TestGreeting(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{Advertise: []string{"10.0.0.5:48775", "fd00::5", "https://push.example.com/w/3/"}})
	c := testutil.Dial(t, serve(t, w, nil), testutil.Options{Path: "/ws?token=secret"})
	f := c.NextFrame()
	if !f.Fin || f.Op != testutil.Text || f.Rsv != 0 || f.Masked {
		t.Errorf("the greeting comes in a %v", f)
	}
	conns := slices.Collect(w.Conns())
	if len(conns) != 1 {
		t.Fatalf("%d connections", len(conns))
	}
	id, port := conns[0].ID(), w.Addr().(*net.TCPAddr).Port
	want := fmt.Sprintf("http://%s@10.0.0.5:48775/ws,http://%[1]s@[fd00::5]:%[2]d/ws,https://%[1]s@push.example.com/w/3/ws", id, port)
	if string(f.Payload) != want {
		t.Errorf("got  %s\nwant %s", f.Payload, want)
	}
	if got := strings.Join(conns[0].Addresses(), ","); got != want {
		t.Errorf("Addresses: %s", got)
	}
	urls := fmt.Sprintf("http://10.0.0.5:48775/ws/@connections/%s,http://[fd00::5]:%[2]d/ws/@connections/%[1]s,https://push.example.com/w/3/ws/@connections/%[1]s", id, port)
	if got := strings.Join(conns[0].PathAddresses(), ","); got != urls {
		t.Errorf("URLs: %s\nwant  %s", got, urls)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("%q is no version 4 UUID in canonical text", id)
	}
}

// TestPath: the path in an address is the one that the client asked for, and a push to it arrives.
func TestPath(t *testing.T) {
	w := newWorker(t, nil)
	h := newHandler(t, w, nil)
	direct := testutil.Serve(t, h)
	stripped := testutil.Serve(t, http.StripPrefix("/app", h))
	for _, tc := range []struct{ server, target, path string }{
		{direct, "/ws", "/ws"},
		{direct, "/ws?token=secret&a=b,c", "/ws"},
		{direct, "/", "/"},
		{direct, "/?x", "/"},
		{direct, "/ws/", "/ws/"},
		{direct, "/ws/a,b,", "/ws/a%2Cb%2C"},
		{direct, "/ws/a%2Cb", "/ws/a%2Cb"},
		{direct, "/ws/a%2cb", "/ws/a%2cb"},
		{direct, "/ws/a%2Fb", "/ws/a%2Fb"},
		{direct, "/ws/a%2Fb,c", "/ws/a%2Fb%2Cc"},
		{direct, "/ws/a%20b%3F%23%25", "/ws/a%20b%3F%23%25"},
		{direct, "/ws/%C3%BC", "/ws/%C3%BC"},
		{direct, "/ws/ü", "/ws/%C3%BC"}, // which a URL cannot have
		{direct, "/ws/a+b;c=d@e:f!g*h'(i)", "/ws/a+b;c=d@e:f!g*h'(i)"},
		{direct, "/ws/[a]", "/ws/[a]"},
		{direct, "/ws/\"a\"", "/ws/%22a%22"},
		{direct, "//ws", "//ws"},
		{direct, "//", "//"},
		{direct, "/a//b", "/a//b"},
		{direct, "http://elsewhere.test/ws", "/ws"},
		{direct, "http://elsewhere.test", "/"},
		{stripped, "/app/ws", "/app/ws"},
		{stripped, "/app/", "/app/"},
		{stripped, "/app", "/app"},
		{stripped, "/app/a%2Fb", "/app/a%2Fb"},
	} {
		t.Run(tc.target, func(t *testing.T) {
			c := testutil.Dial(t, tc.server, testutil.Options{Path: tc.target})
			greeting := c.Text()
			conns := slices.Collect(w.Conns())
			if len(conns) != 1 {
				t.Fatalf("%d connections", len(conns))
			}
			conn := conns[0]
			if want := "http://" + conn.ID() + "@" + w.Addr().String() + tc.path; greeting != want {
				t.Errorf("greeting %q, want %q", greeting, want)
			}
			if conn.Info().Path != tc.path {
				t.Errorf("Path is %q, want %q", conn.Info().Path, tc.path)
			}
			for _, a := range append(conn.Addresses(), conn.PathAddresses()...) {
				// Sent as it stands: what curl --path-as-is does.
				u, err := url.Parse(a)
				if err != nil {
					t.Fatal(err)
				}
				target := strings.TrimPrefix(strings.TrimPrefix(a, "http://"+conn.ID()+"@"), "http://")
				target = strings.TrimPrefix(target, w.Addr().String())
				req := newRequest(t, "POST", a, strings.NewReader("as Go sends it"))
				want{status: 204}.check(t, "POST", do(t, req))
				expect(t, c, testutil.Text, "as Go sends it")
				s, err := net.Dial("tcp", u.Host)
				if err != nil {
					t.Fatal(err)
				}
				s.SetDeadline(time.Now().Add(10 * time.Second))
				auth := ""
				if u.User != nil {
					req.SetBasicAuth(u.User.Username(), "")
					auth = "Authorization: " + req.Header.Get("Authorization") + "\n"
				}
				r := rawPush(t, s, "POST "+target+" HTTP/1.1\nHost: x\n"+auth+"Content-Length: 5\n\nas is")
				want{status: 204}.check(t, "POST", answer(t, r))
				expect(t, c, testutil.Text, "as is")
			}
			c.SendClose(1000, "")
			c.AwaitClose()
			testutil.Eventually(t, "the connection to leave", func() bool { return w.Len() == 0 })
		})
	}
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

// Conn.Close accepts the codes and reasons that RFC 6455 lets a server send, and does nothing otherwise.
func TestCloseArguments(t *testing.T) {
	w := newWorker(t, nil)
	c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, code := range badCloseCodes {
		if err := conn.Close(code, ""); err == nil || errors.Is(err, wspush.ErrGone) {
			t.Errorf("code %d: %v", code, err)
		}
	}
	for _, reason := range []string{strings.Repeat("x", 124), "\xff"} {
		if err := conn.Close(1000, reason); err == nil || errors.Is(err, wspush.ErrGone) {
			t.Errorf("reason %q: %v", reason, err)
		}
	}
	if conn.Context().Err() != nil {
		t.Fatal("a Close that was refused has closed")
	}
	if err := conn.Close(1003, strings.Repeat("é", 61)+"x"); err != nil {
		t.Error(err)
	}
	if code, reason := c.AwaitClose(); code != 1003 || len(reason) != 123 {
		t.Errorf("closed with %d %q", code, reason)
	}
}
