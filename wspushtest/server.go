package wspushtest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// Options are the settings of a [Server]. The zero value of each field, and a nil *Options, mean the default.
type Options struct {
	Worker  wspush.WorkerOptions // as for NewWorker
	Handler wspush.HandlerOptions
	Client  ClientOptions // of the clients of Connect
}

// Server is a worker and a handler for clients to connect to, for tests that need no handler of the application's own.
type Server struct {
	Worker  *wspush.Worker  // ends with the test
	Handler *wspush.Handler // for code that connects by itself

	tb     testing.TB
	client ClientOptions
}

// New makes a Server for this test, which ends with it: see [NewWorker].
func New(tb testing.TB, opts *Options) *Server {
	tb.Helper()
	if opts == nil {
		opts = &Options{}
	}
	w := NewWorker(tb, &opts.Worker)
	h, err := wspush.NewHandler(w, &opts.Handler)
	if err != nil {
		tb.Fatalf("making the handler: %v", err)
	}
	return &Server{Worker: w, Handler: h, tb: tb, client: opts.Client}
}

// Connect makes a client of the Handler, at the path /ws. It belongs to the test that the Server was made for, and Connect must be
// called in the goroutine of that test. For a subtest, another path or other options, use the function [Connect] with the Handler.
// (Called in a subtest, Connect works; but should it fail, subtest and test both end, and package testing says "subtest may have
// called FailNow on a parent test".)
func (s *Server) Connect() *Client {
	s.tb.Helper()
	return Connect(s.tb, s.Handler, "/ws", &s.client)
}

// HTTPClient makes an HTTP client that leads to the worker: see the function [HTTPClient].
func (s *Server) HTTPClient() *http.Client {
	s.tb.Helper()
	return HTTPClient(s.tb, s.Worker)
}

// Push sends a text message to the client, which must have an ID, in-process, and returns when it is written. It fails the test,
// as the client's methods do, if that takes longer than the client's deadline, or fails.
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

// PushAndExpect is Push, and then the client's Expect.
func (s *Server) PushAndExpect(to *Client, message string) {
	to.tb.Helper()
	s.Push(to, message)
	to.Expect(message)
}

// within is a context that ends after d, or has ended if that is nothing. A timer of 0 is never set: it might crash the race
// detector in a bubble (golang.org/issue/78156).
func within(d time.Duration) (context.Context, context.CancelFunc) {
	if d > 0 {
		return context.WithTimeout(context.Background(), d)
	}
	return context.WithDeadline(context.Background(), time.Time{})
}
