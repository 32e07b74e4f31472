package wspush_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// newWorker makes a Worker that is shut down when the test ends, which fails if that goes wrong. Its log goes to the test's
// output unless opts has a Logger. In a testing/synctest bubble it needs NoListen.
func newWorker(t testing.TB, opts *wspush.WorkerOptions) *wspush.Worker {
	t.Helper()
	var o wspush.WorkerOptions
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.SendBuffer == 0 {
		o.SendBuffer = -1 // stages have listeners that see to it
	}
	w, err := wspush.NewWorker(&o)
	if err != nil {
		t.Fatalf("NewWorker: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		known := w.Draining() // then the test has seen how the sessions fared, and another call says the same
		if err := w.Shutdown(ctx); err != nil && !(known && ctx.Err() == nil) {
			t.Errorf("Shutdown: %v", err)
		}
		if n := w.Len(); n != 0 {
			t.Errorf("%d connections are left after Shutdown", n)
		}
	})
	return w
}

// outcome returns the error of a push, for tests to which its receipt does not matter.
func outcome(_ wspush.Receipt, err error) error { return err }

// newHandler makes a Handler of w.
func newHandler(t testing.TB, w *wspush.Worker, opts *wspush.HandlerOptions) *wspush.Handler {
	t.Helper()
	h, err := wspush.NewHandler(w, opts)
	if err != nil {
		t.Fatalf("NewHandler: %v", err)
	}
	return h
}

// serve mounts a new Handler of w at /ws and below on a server of its own, and returns its URL: "http://127.0.0.1:PORT".
func serve(t testing.TB, w *wspush.Worker, opts *wspush.HandlerOptions) string {
	t.Helper()
	mux := http.NewServeMux()
	h := newHandler(t, w, opts)
	mux.Handle("/ws", h)
	mux.Handle("/ws/", h)
	return testutil.Serve(t, mux)
}

// dial connects to a Handler of w, reads the default greeting, and returns the client, the server's Conn, and the first
// address in the greeting (the userinfo form).
func dial(t testing.TB, w *wspush.Worker, server string, opts testutil.Options) (*testutil.Client, *wspush.Conn, string) {
	t.Helper()
	c := testutil.Dial(t, server, opts)
	conn, address := greeted(t, w, c)
	return c, conn, address
}

// greeted reads the default greeting, and returns the server's Conn and the first address.
func greeted(t testing.TB, w *wspush.Worker, c *testutil.Client) (*wspush.Conn, string) {
	t.Helper()
	greeting := c.Text()
	address, _, _ := strings.Cut(greeting, ",")
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		t.Fatalf("no address in the greeting %q: %v", greeting, err)
	}
	conn, ok := w.Conn(u.User.Username())
	if !ok {
		t.Fatalf("the worker does not know the connection that it greeted with %q", greeting)
	}
	// It counts as waiting until its writer has noted that it is out. To yield first takes no fake time.
	for range 10_000 {
		if conn.Info().Pending == 0 {
			break
		}
		runtime.Gosched()
	}
	testutil.Eventually(t, "the greeting to be written", func() bool { return conn.Info().Pending == 0 })
	return conn, address
}

// standStill pushes a message that a client who does not read leaves standing before all others. What it is to be told is not waited for.
func standStill(t testing.TB, c *wspush.Conn) {
	t.Helper()
	go func() { _, _ = c.Push(c.Context(), wspush.Text, []byte(big)) }()
	testutil.Eventually(t, "a message to stand still", func() bool { return c.Info().Pending > len(big) })
}

// post is do with a POST of body. An empty contentType sends none.
func post(t testing.TB, address, contentType string, body []byte) *http.Response {
	t.Helper()
	req := newRequest(t, http.MethodPost, address, bytes.NewReader(body))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return do(t, req)
}

// newRequest makes a request that lasts for 10 s at most.
func newRequest(t testing.TB, method, address string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, address, err)
	}
	return req
}

// do sends a request, on a connection of its own, to a server with whatever certificate. The response's body is in memory.
func do(t testing.TB, req *http.Request) *http.Response {
	t.Helper()
	resp, err := try(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return resp
}

// try is do for any goroutine.
func try(req *http.Request) (*http.Response, error) {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// text returns what is left of the body of a response of do.
func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the body: %v", err)
	}
	return string(body)
}

// needsHTTP2InBubbles skips a test with Go 1.25: its HTTP/2 server panics in a testing/synctest bubble.
func needsHTTP2InBubbles(t *testing.T) {
	t.Helper()
	if strings.HasPrefix(runtime.Version(), "go1.25") {
		t.Skip("HTTP/2 of Go 1.25 does not run in a testing/synctest bubble")
	}
}
