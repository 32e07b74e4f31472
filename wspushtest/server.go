package wspushtest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// Options configures a [Server]. A nil *Options, and the zero value of each field, mean the defaults.
type Options struct {
	Worker  wspush.WorkerOptions // see NewWorker
	Handler wspush.HandlerOptions
	Client  ClientOptions // for the clients that Connect makes
}

// Server is a worker with a handler for clients to connect to, for tests that do not need the application's own handler.
type Server struct {
	Worker  *wspush.Worker  // shut down when the test ends
	Handler *wspush.Handler // for code that makes its own connections

	tb     testing.TB
	client ClientOptions
	ends   *ends
}

// New makes a Server for this test and shuts it down when the test ends: see [NewWorker].
func New(tb testing.TB, opts *Options) *Server {
	tb.Helper()
	if opts == nil {
		opts = &Options{}
	}
	return newServer(tb, NewWorker(tb, &opts.Worker), opts)
}

func newServer(tb testing.TB, w *wspush.Worker, opts *Options) *Server {
	tb.Helper()
	options, ends := opts.Handler, newEnds()
	options.OnDisconnect = ends.after(options.OnDisconnect)
	h, err := wspush.NewHandler(w, &options)
	if err != nil {
		tb.Fatalf("making the handler: %v", err)
	}
	return &Server{Worker: w, Handler: h, tb: tb, client: opts.Client, ends: ends}
}

// Connect connects a client to the Handler, at the path /ws. The client belongs to the test that the Server was made for, and
// Connect must be called from that test's goroutine. For a subtest, another path or other options, use the function [Connect]
// with the Handler. (In a subtest this method works, but if it fails, both the subtest and the test end, and package testing
// says "subtest may have called FailNow on a parent test".)
func (s *Server) Connect() *Client {
	s.tb.Helper()
	return Connect(s.tb, s.Handler, "/ws", &s.client)
}

// HTTPClient makes an HTTP client for the worker: see the function [HTTPClient].
func (s *Server) HTTPClient() *http.Client {
	s.tb.Helper()
	return HTTPClient(s.tb, s.Worker)
}

// Push pushes a text message in-process to the client, which must have an ID, and returns once it is written, or buffered for a session
// whose client is away. It fails the
// test, as the client's methods do, if the push fails or takes longer than the client's timeout.
func (s *Server) Push(to *Client, message string) {
	to.tb.Helper()
	if to.ID == "" {
		to.fatalf("pushing %s: %s", quote([]byte(message)), noID)
		return
	}
	ctx, cancel := within(to.timeout)
	defer cancel()
	if _, err := s.Worker.Push(ctx, to.ID, wspush.Text, []byte(message)); err != nil {
		to.fatalf("pushing %s: %v", quote([]byte(message)), err)
	}
}

// PushAndExpect calls Push, and then the client's Expect.
func (s *Server) PushAndExpect(to *Client, message string) {
	to.tb.Helper()
	s.Push(to, message)
	to.Expect(message)
}

// within returns a context that ends after d, or has already ended if d is 0 or less. It never sets a timer of 0, which might
// crash the race detector in a bubble (golang.org/issue/78156).
func within(d time.Duration) (context.Context, context.CancelFunc) {
	if d > 0 {
		return context.WithTimeout(context.Background(), d)
	}
	return context.WithDeadline(context.Background(), time.Time{})
}
