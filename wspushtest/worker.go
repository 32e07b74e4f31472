package wspushtest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// workerURL is the base of the addresses of a worker in memory. The domain is reserved for tests (RFC 6761).
const workerURL = "http://worker.test"

// shutdownTimeout bounds a worker's shutdown when the test ends. It is longer than any connection takes to end, whatever its
// client does.
const shutdownTimeout = 10 * time.Second

// NewWorker makes a worker and shuts it down when the test ends. The test fails if that takes more than 10 s, usually because a
// callback does not return, or leaves connections. The application may shut the worker down earlier.
//
// Unless opts sets Listen, Listener or TLS, the worker has no push listener: push to it in-process, or over HTTP with an
// [HTTPClient]. Its addresses are then those of opts.Advertise, by default http://worker.test. With Listen "127.0.0.1:0" it
// gets its own port, as in production; in a testing/synctest bubble that ends the test. Without a Logger, the log goes to the
// test's output.
func NewWorker(tb testing.TB, opts *wspush.WorkerOptions) *wspush.Worker {
	tb.Helper()
	var o wspush.WorkerOptions
	if opts != nil {
		o = *opts
	}
	if isInMemory(&o) {
		o.NoListen = true
		if len(o.Advertise) == 0 {
			o.Advertise = []string{workerURL}
		}
	}
	if !o.NoListen && o.Listener == nil && inBubble() {
		tb.Fatalf("making the worker: %s: set neither Listen nor TLS", noNetwork)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(newOutput(tb), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w, err := wspush.NewWorker(&o)
	if err != nil {
		tb.Fatalf("making the worker: %v", err)
	}
	tb.Cleanup(func() { shutDown(tb, w, shutdownTimeout) })
	return w
}

// isInMemory reports whether nothing says that the worker is to listen.
func isInMemory(o *wspush.WorkerOptions) bool {
	return o.Listen == "" && o.Listener == nil && o.TLS == nil
}

// noNetwork says why nothing in a bubble may use the network.
const noNetwork = "in a testing/synctest bubble, waiting for the network stops fake time"

func shutDown(tb testing.TB, w *wspush.Worker, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		tb.Errorf("the worker's Shutdown did not end within %v: %v: is a callback not returning?", limit, err)
	}
	if n := w.Len(); n != 0 {
		tb.Errorf("%d connections are left after Shutdown", n)
	}
}
