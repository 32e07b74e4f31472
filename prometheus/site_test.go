package wspushprom_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// site is an application: a worker, and a server on which clients connect to /ws.
type site struct {
	t      *testing.T
	ctx    context.Context // ends before the test times out
	worker *wspush.Worker
	url    string
	ended  chan error // gets the reason of each connection that ends
}

// newSite starts a site and stops it when the test ends. Its handler refuses clients at /ws?refused, and panics when a client
// sends "panic".
func newSite(t *testing.T, opts wspush.WorkerOptions, more wspush.HandlerOptions) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	worker, err := wspush.NewWorker(&opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, ctx: ctx, worker: worker, ended: make(chan error, 1000)}
	more.Accept = func(r *http.Request) (any, error) {
		if r.URL.Query().Has("refused") {
			return nil, wspush.ErrForbidden
		}
		return nil, nil
	}
	more.OnMessage = func(_ *wspush.Conn, _ wspush.MessageType, data []byte) {
		if string(data) == "panic" {
			panic("a client asked for it")
		}
	}
	more.OnDisconnect = func(_ *wspush.Conn, reason error) { s.ended <- reason }
	handler, err := wspush.NewHandler(worker, &more)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	mux.HandleFunc("/hidden", func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(struct{ http.ResponseWriter }{w}, r) // like middleware that hides http.Hijacker
	})
	server := httptest.NewServer(mux)
	s.url = server.URL
	t.Cleanup(func() {
		s.shutdown()
		server.Close()
	})
	return s
}

func (s *site) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.worker.Shutdown(ctx); err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
}

// client is a connected client.
type client struct {
	*websocket.Conn
	site    *site
	address string // for publishers
	id      string
	network net.Conn // the client reads from it
}

// dial connects a client and reads its greeting.
func (s *site) dial() *client {
	s.t.Helper()
	c := &client{site: s}
	var d net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.network = conn
		return conn, conn.(*net.TCPConn).SetReadBuffer(4 << 10) // so that little fits into a socket that is not read
	}}
	var err error
	c.Conn, _, err = websocket.Dial(s.ctx, s.url+"/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.CloseNow() })
	c.address = c.next()
	u, err := url.Parse(c.address)
	if err != nil {
		s.t.Fatal(err)
	}
	c.id = u.User.Username()
	return c
}

// connect is dial, and also returns the worker's side of the connection.
func (s *site) connect() (*client, *wspush.Conn) {
	s.t.Helper()
	c := s.dial()
	conn, ok := s.worker.Conn(c.id)
	if !ok {
		s.t.Fatal("the client is not connected")
	}
	return c, conn
}

// next reads the next message.
func (c *client) next() string {
	c.site.t.Helper()
	_, data, err := c.Read(c.site.ctx)
	if err != nil {
		c.site.t.Fatal(err)
	}
	return string(data)
}

func (c *client) write(text string) {
	c.site.t.Helper()
	if err := c.Write(c.site.ctx, websocket.MessageText, []byte(text)); err != nil {
		c.site.t.Fatal(err)
	}
}

// stall pushes a message of size bytes, which must be more than sockets hold, to a client that has stopped reading. It returns
// once part of the message is written and the rest is waiting; result gets the outcome.
func (c *client) stall(size int) (result <-chan error) {
	c.site.t.Helper()
	done := make(chan error, 1)
	go func() { _, err := c.site.worker.Push(c.site.ctx, c.id, wspush.Binary, make([]byte, size)); done <- err }()
	if _, err := c.network.Read(make([]byte, 1)); err != nil {
		c.site.t.Fatal(err)
	}
	for c.site.worker.Stats().PendingBytes == 0 {
		if c.site.ctx.Err() != nil {
			c.site.t.Fatal("the message does not wait")
		}
		runtime.Gosched()
	}
	return done
}

// wantEnd waits until a connection has ended, and checks why.
func (s *site) wantEnd(cause wspush.Cause) {
	s.t.Helper()
	select {
	case reason := <-s.ended:
		var closed *wspush.CloseError
		if !errors.As(reason, &closed) || closed.Cause != cause {
			s.t.Fatalf("a connection has ended by %v, want %s", reason, cause)
		}
	case <-s.ctx.Done():
		s.t.Fatalf("no connection has ended by %s", cause)
	}
}

// do sends a request, and checks the status of the answer.
func (s *site) do(method, address, body string, want int) {
	s.t.Helper()
	s.request(method, address, body, nil, want)
}

func (s *site) request(method, address, body string, header http.Header, want int) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.ctx, method, address, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		s.t.Fatalf("%s %s: %s %s %v, want %d", method, address, resp.Status, answer, err, want)
	}
	return string(answer)
}
