//go:build linux

package nginx

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/recipes/internal/recipetest"
)

func TestMain(m *testing.M) { testutil.Main(m) }

const token = "t0ken"

// site is two workers behind nginx.
type site struct {
	*server
	settings Settings
	workers  [2]*wspush.Worker
	handlers [2]atomic.Pointer[http.Handler] // the applications
	apps     [2]string                       // their URLs, bypassing nginx
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	https := reserve(t)
	s.settings = Settings{
		Push:      "127.0.0.1:0",
		PublicURL: "https://" + https.Addr().String(),
		Key:       make([]byte, 32),
		Token:     token,
		Proxies:   []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	}
	_, _ = rand.Read(s.settings.Key) // never fails
	var to upstreams
	for i := range s.workers {
		s.launch(t, i)
		s.apps[i] = testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			(*s.handlers[i].Load()).ServeHTTP(w, r)
		}))
		to.apps[i], to.pushes[i] = strings.TrimPrefix(s.apps[i], "http://"), s.workers[i].Addr().String()
	}
	s.server = start(t, to, https)
	t.Cleanup(func() {
		if leaked := s.leaked(t); leaked != "" {
			t.Errorf("an address is in a log:\n%s", leaked)
		}
	})
	return s
}

// launch makes the worker and its application, replacing any previous one.
func (s *site) launch(t *testing.T, i int) {
	t.Helper()
	settings := s.settings
	if before := s.workers[i]; before != nil {
		settings.Push = before.Addr().String()
	}
	worker, app, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	recipetest.StopLater(t, worker)
	s.workers[i] = worker
	s.handlers[i].Store(&app)
}

// holder finds the worker that holds a connection from an address.
func (s *site) holder(t *testing.T, from string) (worker int, conn *wspush.Conn) {
	t.Helper()
	for i, w := range s.workers {
		for c := range w.Conns() {
			if c.Value() == netip.MustParseAddr(from) {
				return i, c
			}
		}
	}
	t.Fatalf("no worker has a connection from %s", from)
	return 0, nil
}

// do sends a request with a bearer token.
func (s *site) do(t *testing.T, method, address, bearer, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := s.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// Clients connect by wss and publishers by https, to any worker; or publishers use the worker's own port. The workers know
// each client's address.
func TestNginx(t *testing.T) {
	s := newSite(t)
	var held [2]int
	for i := range 4 {
		from := fmt.Sprint("127.0.0.", 2+i)
		// The client's own header is not trusted; its page is from the public host.
		client := s.dial(t, from, http.Header{"X-Forwarded-For": {"203.0.113.66"}, "Origin": {"https://" + s.https}})
		address := client.Text()
		if !strings.HasPrefix(address, "https://"+s.https+"/ws/@connections/v1.") || strings.Contains(address, ",") {
			t.Fatalf("greeted with %q, want a sealed address under the public name, and nothing else", address)
		}
		worker, conn := s.holder(t, from)
		held[worker]++
		if got, want := conn.Info().RemoteAddr, from+":0"; got != want {
			t.Errorf("RemoteAddr is %q, want %q", got, want)
		}

		for n := range 4 { // two go to each worker
			text := fmt.Sprint("push ", n)
			if status, answer := s.do(t, http.MethodPost, address, token, text); status != http.StatusNoContent {
				t.Fatalf("a push through nginx is answered with %d: %s", status, answer)
			}
			client.Expect(testutil.Text, text)
		}
		if status := recipetest.Post(t, conn.PathAddresses()[0], token, "direct"); status != http.StatusNoContent {
			t.Fatalf("a push to the worker's own port is answered with %d", status)
		}
		client.Expect(testutil.Text, "direct")
		if status, answer := s.do(t, http.MethodGet, address, token, ""); status != http.StatusOK || !strings.Contains(answer, `"sourceIp":"`+from+`"`) {
			t.Errorf("what the worker says of the connection: %d %s", status, answer)
		}
		if status, _ := s.do(t, http.MethodPost, address, "wrong", "no"); status != http.StatusUnauthorized {
			t.Errorf("a push with a wrong token is answered with %d, want 401", status)
		}
	}
	if held != [2]int{2, 2} {
		t.Errorf("the workers hold %v connections, want 2 each", held)
	}
	for i, w := range s.workers {
		if n := w.Stats().Forwarded; n == 0 {
			t.Errorf("worker %d has forwarded nothing", i)
		}
	}
	if status, _ := s.do(t, http.MethodGet, "https://"+s.https+"/page", "", ""); status != http.StatusNotFound {
		t.Errorf("an unknown page is answered with %d, want the application's 404", status)
	}
	testutil.Eventually(t, "the page is in the access log", func() bool { return strings.Contains(s.log(t, "access.log"), "GET /page") })
}

// Pages of other hosts, clients without TLS 1.2, and plain HTTP are refused.
func TestRefused(t *testing.T) {
	s := newSite(t)
	opts := testutil.Options{TLS: s.tls, Header: http.Header{"Origin": {"https://evil.example"}}}
	recipetest.Refused(t, "https://"+s.https+"/ws", opts, http.StatusForbidden)

	old := s.tls.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if conn, err := tls.Dial("tcp", s.https, old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		only := s.tls.Clone()
		only.MinVersion, only.MaxVersion = version, version
		conn, err := tls.Dial("tcp", s.https, only)
		if err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
			continue
		}
		conn.Close()
	}

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.http+"/page?a=b", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app.example.com"
	resp, err := s.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if at := resp.Header.Get("Location"); resp.StatusCode != http.StatusMovedPermanently || at != "https://app.example.com/page?a=b" {
		t.Errorf("plain HTTP is answered with %d and %q", resp.StatusCode, at)
	}
}

// wrongly returns URLs to which a publisher may send an address by mistake.
func (s *server) wrongly() []string {
	const path = "/ws/@connections/v1.SECRET"
	return []string{
		"http://" + s.http + path,
		"http://" + s.http + "/ws/%40connections/v1.SECRET",
		"http://" + s.https + path,
		"https://" + s.https + "/elsewhere" + path,
		"https://" + s.https + "/" + path,
	}
}

// An address sent by mistake to where no push gets through is not logged either: newSite checks that.
func TestMistakes(t *testing.T) {
	s := newSite(t)
	for _, address := range s.wrongly() {
		if status, _ := s.do(t, http.MethodPost, address, token, "no"); status < 300 {
			t.Errorf("a push to %s is answered with %d", address, status)
		}
	}
}

// newSite's check finds addresses that are logged, up to the last request.
func TestLeaked(t *testing.T) {
	nowhere := upstreams{apps: [2]string{"127.0.0.1:1", "127.0.0.1:1"}, pushes: [2]string{"127.0.0.1:1", "127.0.0.1:1"}}
	s := &site{server: start(t, nowhere, reserve(t), " if=$logged;", ";")}
	addresses := s.wrongly()
	for _, address := range addresses {
		s.do(t, http.MethodPost, address, token, "no")
	}
	if lines := strings.Count(s.leaked(t), "v1.SECRET"); lines != len(addresses)-1 { // the last one's location has no log
		t.Errorf("%d lines have an address in them, want one for each of the first of %q", lines, addresses)
	}
}

// A client that bypasses nginx cannot choose its address.
func TestOnlyTheProxyIsTrusted(t *testing.T) {
	s := newSite(t)
	s.dialBehind(t, "127.0.0.9", "203.0.113.66").Text()
	s.holder(t, "127.0.0.9")
	s.dialBehind(t, "127.0.0.1", "203.0.113.7").Text()
	s.holder(t, "203.0.113.7")
}

// A bulk request is answered while it is being sent: neither the lines nor the answers wait in nginx.
func TestBulk(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	body, lines := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.https+"/ws/@connections", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/x-ndjson")
	defer lines.Close()
	answers := make(chan string)
	go func() { // ends with the answer or ctx
		defer close(answers)
		resp, err := s.client().Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
			answers <- scan.Text()
		}
	}()
	for line := range 6 { // for clients of both workers
		client := s.dial(t, "127.0.0.2", nil)
		address := client.Text()
		text := fmt.Sprint("line ", line+1)
		fmt.Fprintf(lines, `{"to":%q,"text":%q}`+"\n", address[strings.LastIndexByte(address, '/')+1:], text)
		client.Expect(testutil.Text, text)
		if got, want := <-answers, fmt.Sprintf(`{"line":%d,"status":204}`, line+1); got != want {
			t.Fatalf("answered with %q, want %q", got, want)
		}
	}
	lines.Close()
	if got, want := <-answers, `{"lines":6}`; got != want {
		t.Errorf("the answer ends with %q, want %q", got, want)
	}
	for range answers {
		t.Error("the answer goes on after its end")
	}
}

// When a worker shuts down, new clients all get to the other one, and pushes to its old clients are answered that it cannot
// be reached. Once restarted at the same address, it gets its share of clients at once, and pushes to the old ones are
// answered that they are gone.
func TestWorkerLeaves(t *testing.T) {
	s := newSite(t)
	client := s.dial(t, "127.0.0.2", nil)
	address := client.Text()
	gone, _ := s.holder(t, "127.0.0.2")
	ended := make(chan int)
	go func() {
		code, _ := client.AwaitClose()
		ended <- code
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.workers[gone].Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 1012 {
		t.Errorf("the client is closed with %d, want 1012", code)
	}
	for i := range 6 { // the worker that has shut down answers every other handshake with 503
		from := fmt.Sprint("127.0.0.", 10+i)
		next := s.dial(t, from, nil)
		address := next.Text()
		if worker, _ := s.holder(t, from); worker == gone {
			t.Error("a worker that has shut down has a new connection")
		}
		if status, answer := s.do(t, http.MethodPost, address, token, "here"); status != http.StatusNoContent {
			t.Errorf("a push is answered with %d: %s", status, answer)
		}
		next.Expect(testutil.Text, "here")
	}
	if status, answer := s.do(t, http.MethodPost, address, token, "too late"); status != http.StatusBadGateway || !strings.Contains(answer, "urn:wspush:unreachable") {
		t.Errorf("a push to the old address is answered with %d %s, want 502 of the other worker", status, answer)
	}

	s.launch(t, gone)
	for i := range 4 {
		s.dial(t, fmt.Sprint("127.0.0.", 20+i), nil).Text()
	}
	if n := s.workers[gone].Len(); n != 2 {
		t.Errorf("of 4 new clients, the restarted worker has %d, want 2", n)
	}
	testutil.Eventually(t, "a push to the old address to be answered with 410", func() bool { // for a second, others do not ask a worker that they could not reach
		status, answer := s.do(t, http.MethodPost, address, token, "too late")
		if status != http.StatusGone && status != http.StatusBadGateway {
			t.Fatalf("a push to the old address is answered with %d %s", status, answer)
		}
		return status == http.StatusGone
	})
}

// Pings more frequent than proxy_read_timeout keep a silent client connected; rarer ones do not. The times are shorter than
// the recipe's.
func TestPingsAndTimeouts(t *testing.T) {
	for _, test := range []struct {
		name     string
		interval time.Duration
		stays    bool
	}{
		{"pings in time", 250 * time.Millisecond, true},
		{"pings too late", time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			worker := recipetest.NewWorker(t, nil)
			sockets, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: test.interval})
			if err != nil {
				t.Fatal(err)
			}
			app := strings.TrimPrefix(testutil.Serve(t, sockets), "http://")
			push := worker.Addr().String()
			nginx := start(t, upstreams{apps: [2]string{app, app}, pushes: [2]string{push, push}}, reserve(t),
				"proxy_read_timeout 75s;", "proxy_read_timeout 1s;", "proxy_send_timeout 75s;", "proxy_send_timeout 1s;")
			client := nginx.dial(t, "127.0.0.2", nil)
			if !test.stays {
				client.Text()
				if _, _, err := client.Message(); err == nil {
					t.Error("got a message that nobody sent")
				}
				return
			}
			client.Text()
			for range 8 { // these take twice the timeout
				ping := client.NextFrame()
				if ping.Op != testutil.Ping {
					t.Fatalf("got %v, want a ping", ping)
				}
				client.SendFrame(testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: ping.Payload})
			}
			if status := recipetest.Post(t, recipetest.OnlyConn(t, worker).PathAddresses()[0], "", "still here"); status != http.StatusNoContent {
				t.Errorf("a push is answered with %d", status)
			}
			client.Expect(testutil.Text, "still here")
		})
	}
}
