package wspush

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/socket"
)

// A Worker is the push side of a process: the live connections by ID, and a push listener of its own, through which
// publishers reach exactly these. It is safe for concurrent use. A process may have several.
type Worker struct {
	opts       WorkerOptions // every value final
	shared     *shared
	origins    *origins
	roster     *roster
	alarms     *alarms
	sockets    socket.Shared
	bodies     sync.Pool // of *bytes.Buffer
	bulkPushes sync.Pool // of *bulkPush
	listener   net.Listener
	server     *pushServer     // nil with NoListen
	cutting    sync.Mutex      // guards the end of a Shutdown whose context has ended
	plan       drainPlan       // of Shutdown
	cluster    *cluster        // nil if there is none
	cut        context.Context // ends when what Shutdown has not seen the end of is cut
	cutAll     context.CancelFunc
}

// NewWorker binds the push listener and serves the push endpoint on it, in goroutines that Shutdown stops. It returns an
// error if an option makes no sense, or the address cannot be bound; a Listener that was passed in is then still open.
func NewWorker(opts *WorkerOptions) (*Worker, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	origins, err := newOrigins(o.PushOrigins)
	if err != nil {
		return nil, err
	}
	w := &Worker{opts: o, origins: origins, roster: newRoster(o.MaxConns), alarms: newAlarms(), listener: o.Listener}
	network := "tcp"
	if !o.NoListen && w.listener == nil {
		network = networkOf(o.Listen)
		if w.listener, err = net.Listen(network, o.Listen); err != nil {
			return nil, fmt.Errorf("wspush: push listener: %w", err)
		}
	}
	b, public, err := w.advertise(network)
	if err != nil {
		if o.Listener == nil && w.listener != nil {
			w.listener.Close()
		}
		return nil, err
	}
	w.cut, w.cutAll = context.WithCancel(context.Background())
	w.sockets.SetMaxPending(o.MaxPendingAll)
	w.shared = &shared{registry: newRegistry(), bases: b, public: public, cluster: w.cluster, maxPushBytes: o.MaxPushBytes, log: o.Logger}
	names := make([]string, len(b))
	for i := range b {
		names[i] = b[i].String()
	}
	o.Logger.Info("wspush: worker started", "addr", w.Addr(), "advertises", names)
	if w.listener != nil {
		w.server = startPushServer(w)
	}
	return w, nil
}

// advertise finds out where publishers reach the worker, by itself and through any worker.
func (w *Worker) advertise(network string) (own []address.Base, public *address.Base, err error) {
	o := &w.opts
	if own, err = address.Bases(o.Advertise, network, w.Addr(), o.TLS != nil); err != nil {
		return nil, nil, err
	}
	if o.Cluster != nil {
		scheme, port := address.SchemeAndPort(w.Addr(), o.TLS != nil)
		if w.cluster, err = newCluster(o.Cluster, own, scheme, port, o.PushTimeout); err != nil {
			return nil, nil, err
		}
	}
	if o.PublicURL != "" {
		b, err := address.Parse(o.PublicURL, "", "")
		if err == nil && b.Scheme == "" {
			err = errors.New("it is no http or https URL")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("wspush: PublicURL: %q: %w", o.PublicURL, err)
		}
		public = &b
	}
	return own, public, nil
}

// networkOf is the network to listen on: one family where the host is an address of that family, since "tcp" would bind
// both for 0.0.0.0.
func networkOf(listen string) string {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "tcp" // net.Listen will say what is wrong
	}
	host, _, _ = strings.Cut(host, "%")
	switch ip := net.ParseIP(host); {
	case ip == nil:
		return "tcp"
	case ip.To4() != nil && !strings.Contains(host, ":"):
		return "tcp4"
	}
	return "tcp6"
}

// Addr returns the address of the push listener, or nil with NoListen.
func (w *Worker) Addr() net.Addr {
	if w.listener == nil {
		return nil
	}
	return w.listener.Addr()
}

// Push sends data to the connection with the given ID, as Conn.Push does. An ID that this worker does not have, for
// whatever reason, is ErrGone, and ErrShutdown after Shutdown.
//
// With WorkerOptions.Cluster it may also be a token (Conn.Token). If that names a connection of another worker, the push is sent
// there. Errors are then the same, and ErrUnreachable; ErrForbidden for a token that none of the worker's keys opens. The other
// worker's PushTimeout bounds the wait, as ctx does.
func (w *Worker) Push(ctx context.Context, id string, typ MessageType, data []byte) error {
	c, elsewhere, err := w.locate(ctx, id)
	switch {
	case elsewhere != nil:
		_, err = w.pushElsewhere(ctx, elsewhere, id, typ, data, false)
		return err
	case err != nil:
		w.shared.count.push(err)
		return err
	}
	return c.Push(ctx, typ, data)
}

// PushConfirmed sends data to the connection with the given ID, as Conn.PushConfirmed does. An ID that this worker does not
// have is ErrGone, and ErrShutdown after Shutdown. It may be a token, as for Push; for a connection of another worker, a ctx
// without deadline has it wait for 5 s, and none for more than 30 s.
func (w *Worker) PushConfirmed(ctx context.Context, id string, typ MessageType, data []byte) (roundTrip time.Duration, err error) {
	c, elsewhere, err := w.locate(ctx, id)
	switch {
	case elsewhere != nil:
		return w.pushElsewhere(ctx, elsewhere, id, typ, data, true)
	case err != nil:
		w.shared.count.push(err)
		return 0, err
	}
	return c.PushConfirmed(ctx, typ, data)
}

// gone is the error for a connection that is not there.
func (w *Worker) gone() error {
	if w.roster.isEmpty() { // which it is only at the end of a Shutdown
		return ErrShutdown
	}
	return ErrGone
}

// Conn returns the live connection with the given ID: its canonical text, compared as a whole.
func (w *Worker) Conn(id string) (*Conn, bool) { return w.shared.registry.get(id) }

// Conns returns the connections that are live when the iteration begins, in no order. They may end while it goes on.
func (w *Worker) Conns() iter.Seq[*Conn] { return w.shared.registry.all() }

// Len returns how many connections are live.
func (w *Worker) Len() int { return w.shared.registry.len() }

// Shutdown ends the worker. Its Handlers refuse new connections with 503. Clients are closed with 1012 (service restart), all
// at once or spread over WorkerOptions.DrainOver; until then, pushes to them are delivered. When no connection is left, the
// push listener is closed, and requests that are being answered get their answer. Then Shutdown returns nil.
//
// When ctx ends first, Shutdown cuts what is left, and returns ctx's error. Nothing is then left running but callbacks of
// the application that have not returned. Call it before http.Server.Shutdown, which neither closes these connections nor
// waits for them. Calling it again, also at the same time, waits for the same end. It must not be called from a callback.
func (w *Worker) Shutdown(ctx context.Context) error {
	w.roster.close()
	w.drain(ctx)
	select {
	case <-w.roster.empty:
	case <-ctx.Done():
	}
	cut := !w.roster.isEmpty()
	if cut {
		w.cutting.Lock()
		w.roster.cut()
		w.cutting.Unlock()
	}
	if w.cluster != nil {
		defer w.cluster.transport.CloseIdleConnections()
	}
	stopped := w.server == nil || w.server.stop(ctx)
	if cut || !stopped {
		return ctx.Err()
	}
	return nil
}
