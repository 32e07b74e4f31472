package wspush

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// A Worker is the push side of a process: the live connections by ID, and a push listener of its own, through which
// publishers reach exactly these. It is safe for concurrent use. A process may have several.
type Worker struct {
	opts          WorkerOptions // every value final
	shared        *shared
	origins       *origins
	roster        *roster
	alarms        *alarms[*timers]
	tombstones    tombstones
	departures    departures
	asked         atomic.Pointer[func(ctx context.Context, method string, answer func()) bool] // for tests: what others ask about sessions that move
	takeovers     takeovers
	handover      handover
	retries       queue  // pushes to workers that could not be reached
	mounts        mounts // for sessions that are loaded
	dismissals    dismissals
	sockets       socket.Shared
	bodies        bodies
	lingering     atomic.Int64 // requests over HTTP/2 that have their answer, and are still being read
	bulkPushes    sync.Pool    // of *bulkPush
	bulkBundles   sync.Pool    // of *bundle
	bulkChunks    bulk.Chunks
	bulkRoom      allBulkRoom
	helpFrom      int  // defaultHelpFrom, except in tests
	ignoresOwners bool // only in tests
	listener      net.Listener
	server        *pushServer // nil with NoListen
	cutting       sync.Mutex  // held during roster.cut, which only one goroutine may run; guards no data
	plan          drainPlan   // of Shutdown
	cluster       *cluster    // nil if there is none
	links         *link.Links // the same
	holder        *holder     // the same: serves the links that others have opened
	doubts        doubts
	membership    *membership.Membership // nil if there is neither a Directory nor Peers
	remotePushes  sync.Pool              // of *remotePush
	cut           context.Context        // cancelled when Shutdown cuts off the requests that are still running
	cutAll        context.CancelFunc
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
	w := &Worker{opts: o, origins: origins, roster: newRoster(o.MaxConns), alarms: newAlarms[*timers](), listener: o.Listener}
	lock, err := o.lockSessions()
	if err != nil {
		return nil, err
	}
	started := false
	defer func() {
		if !started {
			lock.Release()
			if o.Listener == nil && w.listener != nil {
				w.listener.Close()
			}
		}
	}()
	before, err := o.readSessions()
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if !o.NoListen && w.listener == nil {
		listen := o.listenAt(before.Start)
		network = networkOf(listen)
		if w.listener, err = net.Listen(network, listen); err != nil {
			if listen != o.Listen {
				err = fmt.Errorf("%w; the sessions in %s have this port in their addresses: remove it to start without them", err, o.SessionFile)
			}
			return nil, fmt.Errorf("wspush: push listener: %w", err)
		}
	}
	b, leftOut, public, err := w.advertise(network)
	if err != nil {
		return nil, err
	}
	w.cut, w.cutAll = context.WithCancel(context.Background())
	w.helpFrom = defaultHelpFrom
	w.sockets.SetMaxPending(o.MaxPendingAll)
	w.bodies.budget.limit, w.bulkRoom.limit = o.MaxPushBytesAll, o.MaxPushBytesAll
	w.shared = &shared{registry: newRegistry(), clock: newAlarms[alarmed](), members: newMembers(), maxGroups: o.MaxGroups, bases: b, public: public, cluster: w.cluster, maxPushBytes: o.MaxPushBytes, log: o.Logger}
	if w.cluster != nil && before.Start.Instance != 0 {
		w.cluster.instance = before.Start.Instance
	}
	if err := w.shared.setTicketKey(before.Start.TicketKey); err != nil {
		return nil, fmt.Errorf("wspush: SessionFile: %s: its key for tickets: %w; remove it to start without the sessions in it", o.SessionFile, err)
	}
	if err := o.removeSessions(); err != nil {
		return nil, err
	}
	if o.SessionFile != "" {
		w.shared.leaving = newLeaving(lock)
	}
	if len(leftOut) > 0 {
		o.Logger.Warn("wspush: the machine has more addresses than a greeting may have: set Advertise", "leftOut", texts(leftOut))
	}
	o.Logger.Info("wspush: worker started", "addr", w.Addr(), "advertises", texts(b))
	if o.Cluster != nil {
		o.Cluster.warnOfLoopback(o.Logger, b[0])
	}
	if w.cluster != nil {
		w.startLinks()
		w.startMembership()
	}
	w.loadSessions(before)
	started = true
	if w.listener != nil {
		w.server = startPushServer(w)
	}
	return w, nil
}

// advertise finds out where publishers reach the worker, by itself and through any worker. What is left out is too much for one
// greeting.
func (w *Worker) advertise(network string) (own, leftOut []address.Base, public *address.Base, err error) {
	o := &w.opts
	if own, leftOut, err = address.Bases(o.Advertise, network, w.Addr(), o.TLS != nil); err != nil {
		return nil, nil, nil, err
	}
	if o.Cluster != nil {
		scheme, port := address.SchemeAndPort(w.Addr(), o.TLS != nil)
		if w.cluster, err = newCluster(o.Cluster, own, scheme, port); err != nil {
			return nil, nil, nil, err
		}
	}
	if o.PublicURL != "" {
		b, err := address.Parse(o.PublicURL, "", "")
		if err == nil && b.Scheme == "" {
			err = errors.New("it is not an http or https URL")
		}
		if err != nil {
			return nil, nil, nil, fmt.Errorf("wspush: PublicURL: %q: %w", o.PublicURL, err)
		}
		public = &b
	}
	return own, leftOut, public, nil
}

func texts(bases []address.Base) []string {
	all := make([]string, len(bases))
	for i := range bases {
		all[i] = bases[i].String()
	}
	return all
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

// Failed returns why the push listener accepts no connections, or nil while it does: a readiness probe asks it, and replaces a worker that
// nobody can push to from outside.
//
// Whatever the listener's Accept returns, it is called again, after a pause of at most 1 s. If it returns nothing but errors for 10 s, such as
// those for a lack of descriptors or memory, Failed returns the latest one, until Accept succeeds or waits for a connection again. Only if the
// listener turns out to be closed, by anyone but Shutdown, does the worker give up: it closes the listener for good, so that publishers
// are refused rather than left waiting, and from then on Failed returns an error for which errors.Is(err, net.ErrClosed) is true. Connections
// of publishers that are there stay, and everything else in the worker goes on. With NoListen, Failed is always nil; it is not about
// Shutdown, which [Worker.Draining] tells.
func (w *Worker) Failed() error {
	if w.server == nil {
		return nil
	}
	if err := w.server.listener.Failure(); err != nil {
		return fmt.Errorf("wspush: the push listener accepts no connections: %w", err)
	}
	return nil
}

// Push sends data to the connection with the given ID, as Conn.Push does. If this worker has no such connection, the error is
// ErrGone, or ErrShutdown after Shutdown. If id is no ID at all, but an address or "", it is ErrInvalidID.
//
// With WorkerOptions.Cluster, id may also be a sealed ID (Conn.SealedID). If it names a connection of another worker, the push
// is sent there. Errors are then the same, and ErrUnreachable, and ErrForbidden if none of the worker's keys opens the sealed
// ID. Without a Cluster, a sealed ID gets an error that is none of these. Besides ctx, PushTimeout of either worker bounds
// the wait, or, for a push to be confirmed, 30 s; one whose ctx has no deadline waits for a confirmation for 5 s, as ever.
func (w *Worker) Push(ctx context.Context, id string, typ MessageType, data []byte, opts ...PushOption) (Receipt, error) {
	o := wire.Options(opts)
	c, elsewhere, err := w.lookUp(ctx, id)
	switch {
	case elsewhere != nil:
		return w.pushElsewhere(ctx, elsewhere, typ, data, o)
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
	if err == nil && c != nil {
		elsewhere = c.elsewhere()
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case elsewhere != nil:
		return w.disconnectElsewhere(ctx, elsewhere, code, reason)
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
	if wire.IsSealedID(id) || wire.IsID(id) {
		return nil
	}
	got := ""
	_, notUUID := uuid.Parse(id)
	switch {
	case id == "":
		got = "an empty string"
	case strings.Contains(id, "://"):
		got = "a URL; push to the ID in it, or use package publisher, which takes addresses"
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
	if w.isOver() {
		return ErrShutdown
	}
	return ErrGone
}

// isOver reports whether a Shutdown has come so far that nobody is here any more who can be pushed to. Those who are not found then may be at the
// next worker.
func (w *Worker) isOver() bool { return w.roster.isEmpty() || w.shared.isLeft(nil) }

// Conn returns the live connection with the given ID: its whole text, in any letter case. It takes no sealed IDs. A
// connection is found from before its Greeting is called, so that false means that it has ended or never existed; until
// Greeting returns, pushes to it get ErrBusy.
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
// Sessions are not closed with their WebSockets if there are other workers in the Cluster: they are suspended, can be pushed to, and are
// taken by the workers to which their clients come back. When two thirds of the time until ctx's deadline are over, or, without a deadline,
// 10 s after the last WebSocket was closed, what has not been taken is handed to other workers, if Cluster.Directory implements
// directory.Owners. What is left then ends, with CauseShutdown, and OnDisconnect gets what is Unconfirmed. WebSockets are closed in time
// for the last client to come back, also if DrainOver is longer: let the deadline be one and a half times that, and 15 s. With neither such
// a Directory nor a deadline, Shutdown waits until every session has been taken, or has waited for ResumeWindow. With
// WorkerOptions.SessionFile, sessions that are not taken are left to the next worker; the error says so if they could not be written.
//
// If ctx ends first, Shutdown cuts what is left and returns ctx's error. Nothing is left running then but callbacks that have not
// returned. Call it before http.Server.Shutdown, which neither closes these connections nor waits for them. A second call, even
// at the same time, waits for the same end. Do not call it from a callback.
func (w *Worker) Shutdown(ctx context.Context) error {
	cutting := make(chan struct{})
	stopCutting := context.AfterFunc(ctx, func() {
		defer close(cutting)
		if l := w.shared.leaving; l != nil {
			l.hurry()
		}
		w.cutOff()
	})
	defer func() {
		if !stopCutting() {
			<-cutting
		}
	}()
	if l := w.shared.leaving; l != nil {
		l.begin(time.Since(w.shared.clock.start))
		w.mounts.giveUp(w)
	}
	begin := time.Now()
	w.beginHandover(ctx)
	w.roster.close()
	if w.membership != nil {
		w.membership.Leave()
	}
	w.drain(ctx)
	cut := !w.awaitConns(ctx, w.roster.quiet)
	w.leaveSessions(ctx, begin)
	w.dismissals.stop(ctx)
	if w.shared.leaving != nil {
		w.shared.isSaving.Store(true)
		w.awaitThawed(ctx)
	}
	w.takeSessions()
	w.tombstones.clear()
	w.stopMembership(ctx)
	stopped := w.server == nil || w.server.stop(ctx)
	err := w.writeSessions()
	cut = !w.awaitConns(ctx, w.roster.empty) || cut
	w.stopLinks(ctx)
	switch {
	case !cut && stopped:
		return err
	case err == nil:
		return ctx.Err()
	}
	return errors.Join(ctx.Err(), err)
}

// awaitConns waits until no connection is left, or only such as rest. When ctx ends first, it cuts what is left and returns false.
func (w *Worker) awaitConns(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done: // even if ctx has ended as well
		return true
	default:
	}
	w.cutting.Lock()
	defer w.cutting.Unlock()
	w.roster.cut()
	return false
}
