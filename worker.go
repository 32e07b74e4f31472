package wspush

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
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
	server     *http.Server    // nil with NoListen
	express    *express        // in front of it; nil where every request is for net/http
	pushers    *publishers     // its connections
	served     chan struct{}   // closed when the server has stopped accepting
	stopping   atomic.Bool     // the listener is about to be closed
	handlers   tally           // of the server's that are running, but for those that are in AuthorizePush
	requests   tally           // the same, until they have answered
	cutting    sync.Mutex      // guards the end of a Shutdown whose context has ended
	plan       drainPlan       // of Shutdown
	cluster    *cluster        // nil if there is none
	cut        context.Context // ends when what Shutdown has not seen the end of is cut
	cutAll     context.CancelFunc
}

// Limits of the push listener. A publisher sends a short request and a body of at most MaxPushBytes; whoever is slower
// than this is not one.
const (
	headerTimeout  = 10 * time.Second // for the request's header
	bodyTimeout    = 30 * time.Second // for its body
	answerTimeout  = 10 * time.Second // for taking the answer
	idleTimeout    = 2 * time.Minute  // between two requests
	maxHeaderBytes = 16 << 10
	stopTimeout    = 500 * time.Millisecond // for what is left of requests when the listener has closed and all have their answer
)

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
		names[i] = b[i].scheme + b[i].rest
	}
	o.Logger.Info("wspush: worker started", "addr", w.Addr(), "advertises", names)
	if w.listener != nil {
		w.serve()
	}
	return w, nil
}

// advertise finds out where publishers reach the worker, by itself and through any worker.
func (w *Worker) advertise(network string) (own []base, public *base, err error) {
	o := &w.opts
	if own, err = bases(o.Advertise, network, w.Addr(), o.TLS != nil); err != nil {
		return nil, nil, err
	}
	if o.Cluster != nil {
		scheme, port := schemeAndPort(w.Addr(), o.TLS != nil)
		if w.cluster, err = newCluster(o.Cluster, own, scheme, port, o.PushTimeout); err != nil {
			return nil, nil, err
		}
	}
	if o.PublicURL != "" {
		b, err := parseBase(o.PublicURL, "", "")
		if err == nil && b.scheme == "" {
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

// serve starts the push server.
func (w *Worker) serve() {
	w.server = &http.Server{
		Handler:                      http.HandlerFunc(w.serveCounted),
		TLSConfig:                    w.opts.TLS,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  headerTimeout + bodyTimeout, // for what never comes to the handler; there, it is set anew
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		HTTP2:                        &http.HTTP2Config{WriteByteTimeout: answerTimeout},
		DisableGeneralOptionsHandler: true, // it waits for bodies without limit

		ErrorLog: slog.NewLogLogger(w.shared.log.Handler(), slog.LevelDebug),
	}
	if w.opts.PushTimeout > 0 {
		w.server.WriteTimeout = headerTimeout + bodyTimeout + max(w.opts.PushTimeout, maxTimeout) + answerTimeout
	}
	w.pushers = newPublishers(w.opts.MaxPushConns, w.opts.TLS != nil)
	w.server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			w.pushers.leave()
		}
	}
	var listener net.Listener = limitedListener{w.listener, w.pushers, w.shared.log}
	if w.opts.TLS == nil && w.opts.AuthorizePush == nil { // which gets requests as net/http makes them
		w.express = newExpress(w.listener, w.pushers, w.serveCounted, w.shared.log)
		listener = w.express
	}
	w.served = make(chan struct{})
	go func() {
		defer close(w.served)
		var err error
		if w.opts.TLS != nil {
			err = w.server.ServeTLS(listener, "", "")
		} else {
			err = w.server.Serve(listener)
		}
		if !w.stopping.Load() { // by Shutdown, which closes the listener itself
			w.shared.log.Error("wspush: the push listener has failed: connections of this worker cannot be pushed to from outside", "error", err)
		}
	}()
}

// serveCounted is ServeHTTP on the push listener, where Shutdown waits for it.
func (w *Worker) serveCounted(rw http.ResponseWriter, r *http.Request) {
	w.handlers.add(1)
	defer w.handlers.add(-1)
	if w.server.WriteTimeout == 0 { // a push may wait for ever, but not its answer
		control := http.NewResponseController(rw)
		_ = control.SetWriteDeadline(time.Time{})
		defer func() { _ = control.SetWriteDeadline(time.Now().Add(answerTimeout)) }()
	}
	if linger := w.answerCounted(rw, r); linger != nil {
		linger()
	}
}

func (w *Worker) answerCounted(rw http.ResponseWriter, r *http.Request) (linger func()) {
	w.requests.add(1)
	defer w.requests.add(-1) // also when the application's Logger panics
	return w.answer(rw, r, w.authorizeCounted)
}

// Addr returns the address of the push listener, or nil with NoListen.
func (w *Worker) Addr() net.Addr {
	if w.listener == nil {
		return nil
	}
	return w.listener.Addr()
}

// Push sends data to the connection with the given ID, as Conn.Push does. If this worker has no such connection, the error is
// ErrGone, or ErrShutdown after Shutdown. If id is no ID at all, but an address or "", it is ErrInvalidID.
//
// With WorkerOptions.Cluster, id may also be a sealed ID (Conn.SealedID). If it names a connection of another worker, the push
// is sent there. Errors are then the same, and ErrUnreachable, and ErrForbidden if none of the worker's keys opens the sealed
// ID. Besides ctx, the other worker's PushTimeout bounds the wait, or 30 s if the push is to be confirmed.
func (w *Worker) Push(ctx context.Context, id string, typ MessageType, data []byte, opts ...PushOption) (Receipt, error) {
	o := wire.Options(opts)
	c, elsewhere, err := w.lookUp(ctx, id)
	switch {
	case elsewhere != nil:
		return w.pushElsewhere(ctx, elsewhere, id, typ, data, o)
	case err != nil:
		w.shared.count.push(err)
		return Receipt{}, err
	}
	return c.push(ctx, typ, data, o)
}

// Disconnect ends the connection with the given ID, as Conn.Close does. id may be a sealed ID, also of another worker's
// connection, as for Push; errors are those of Push, and that of Conn.Close for a code or reason that cannot be sent.
// ErrUnknown means that the other worker was reached but did not answer: it may have closed the connection.
func (w *Worker) Disconnect(ctx context.Context, id string, code int, reason string) error {
	if err := wire.CheckClose(code, reason); err != nil {
		return err
	}
	c, elsewhere, err := w.lookUp(ctx, id)
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case elsewhere != nil:
		return w.disconnectElsewhere(ctx, elsewhere, id, code, reason)
	case c.Close(code, reason) != nil:
		return c.outcome(socket.ErrClosed)
	}
	return nil
}

// lookUp is locate for an ID that the application has, which may be anything.
func (w *Worker) lookUp(ctx context.Context, id string) (conn *Conn, elsewhere *seal.Place, err error) {
	if c, ok := w.Conn(id); ok {
		return c, nil, nil
	}
	if err := checkID(id); err != nil {
		return nil, nil, err
	}
	return w.locate(ctx, id)
}

// checkID returns nil for anything that has the form of an ID or of a sealed ID, and otherwise an ErrInvalidID that says what
// id looks like. It quotes nothing of id, which may contain a secret.
func checkID(id string) error {
	if wire.IsSealedID(id) || wire.IsID(id) && strings.ToLower(id) == id {
		return nil
	}
	got := ""
	_, notUUID := uuid.Parse(id)
	switch {
	case id == "":
		got = "an empty string"
	case strings.Contains(id, "://"):
		got = "a URL; push to the ID in it, or use package publisher, which takes addresses"
	case wire.IsID(id):
		got = "a UUID with upper-case letters; IDs are lower case"
	case notUUID == nil:
		got = "a UUID in another form; IDs are 36 characters, without braces or a prefix"
	case strings.HasPrefix(id, wire.SealedPrefix):
		got = "a sealed ID that is incomplete or has been changed"
	default:
		got = fmt.Sprintf("some other text of %d bytes", len(id))
	}
	return fmt.Errorf("%w: got %s", ErrInvalidID, got)
}

// gone returns the error for an ID that no connection has.
func (w *Worker) gone() error {
	if w.roster.isEmpty() { // only at the end of a Shutdown
		return ErrShutdown
	}
	return ErrGone
}

// Conn returns the live connection with the given ID: its canonical text, compared as a whole. A connection is found from before
// its Greeting is called, so that false means that it has ended or never existed; until Greeting returns, pushes to it get
// ErrBusy.
func (w *Worker) Conn(id string) (*Conn, bool) { return w.shared.registry.get(id) }

// Conns returns the connections that can be pushed to when the iteration begins, in no order. They may end while it goes on.
func (w *Worker) Conns() iter.Seq[*Conn] { return w.shared.registry.all() }

// Len returns how many connections can be pushed to now: those of Conns.
func (w *Worker) Len() int { return w.shared.registry.len() }

// Shutdown ends the worker. Its Handlers refuse new connections with 503. Clients are closed with WorkerOptions.ShutdownCode,
// which is 1012 (service restart) by default, all at once or spread over WorkerOptions.DrainOver; until its turn comes, each can
// be pushed to. When no connection is left, the push listener is closed, and requests under way get their answer. Then Shutdown
// returns nil, and the Worker keeps none of its connections in memory.
//
// If ctx ends first, Shutdown cuts what is left and returns ctx's error. Nothing is left running then but callbacks that have not
// returned. Call it before http.Server.Shutdown, which neither closes these connections nor waits for them. A second call, even
// at the same time, waits for the same end. Do not call it from a callback.
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
	if stopped := w.stopServer(ctx); cut || !stopped {
		return ctx.Err()
	}
	return nil
}

// stopServer closes the push listener, and waits for the requests under way. When ctx ends first, it cuts them and returns
// false.
func (w *Worker) stopServer(ctx context.Context) (stopped bool) {
	if w.server == nil {
		return true
	}
	// http.Server.Shutdown waits 5 s for connections that have not sent anything yet, so it does not get to wait for
	// requests: it closes the listener, and catches those that have just come in.
	w.stopping.Store(true)
	w.server.SetKeepAlivesEnabled(false)
	if w.express != nil {
		w.express.drain()
	} else {
		w.listener.Close()
		<-w.served
	}
	none := w.requests.none()
	select {
	case <-none:
	case <-ctx.Done():
	}
	select {
	case <-none:
		stopped = true
	default:
	}
	brief, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if w.express != nil {
		w.express.wait(brief)
	}
	if w.server.Shutdown(brief) != nil {
		w.server.Close()
	}
	w.cutAll() // what waits for another worker does not notice that its publisher's connection has ended
	<-w.served
	<-w.handlers.none()
	defer context.AfterFunc(brief, w.pushers.stop)()
	w.pushers.running.Wait()
	w.pushers.stop()
	return stopped
}

// tally counts what is under way. Whoever comes and goes while nobody waits takes no lock.
type tally struct {
	n       atomic.Int64
	waiting atomic.Bool // zero is not nil

	mu   sync.Mutex    // guards zero
	zero chan struct{} // closed when n gets to 0; nil while nobody waits
}

func (t *tally) add(n int64) {
	if t.n.Add(n) == 0 && t.waiting.Load() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.tell()
	}
}

// none returns a channel that is closed once nothing is under way.
func (t *tally) none() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.zero == nil {
		t.zero = make(chan struct{})
		t.waiting.Store(true) // before n is looked at, as add does in the other order
	}
	zero := t.zero
	t.tell()
	return zero
}

// tell lets those go who wait, if nothing is under way; mu is held.
func (t *tally) tell() {
	if t.zero != nil && t.n.Load() == 0 {
		close(t.zero)
		t.zero = nil
		t.waiting.Store(false)
	}
}
