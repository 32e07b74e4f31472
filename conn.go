package wspush

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// A Conn is one client's WebSocket, from its greeting to its end; or one WebSocket after another, if it is a session: see
// HandlerOptions.ResumeWindow. It is safe for concurrent use. Once it has ended, Push returns ErrGone, or ErrShutdown if Worker.Shutdown
// ended it; Close returns ErrGone, or ErrShutdown; all other methods still work. The Conn of a session that has moved to another worker
// (CauseMoved) has ended, but Push, Send, Close, Join and Leave go on to that.
type Conn struct {
	id          string
	next        *Conn // guarded by the registry
	shared      *shared
	value       any // guarded by mu once the connection is attached, and so are the next two: those of a session change
	remoteAddr  string
	userAgent   string
	path        address.Path
	connectedAt time.Time

	outbox  socket.Outbox                 // what is to be written to the client
	current atomic.Pointer[socket.Socket] // its WebSocket; set by attach, before anything but Shutdown can reach the connection; nil while suspended

	calling    atomic.Bool  // a callback of the application is running
	registered registration // guarded by the registry's shard

	// Guarded by mu; they are here because there is room.
	isAttached bool // the handshake is done
	isCut      bool
	isOpen     bool // it has been opened to pushes

	session     *resumable   // set once, before the handshake is done; nil unless the client speaks wspush.v1
	sends       *sends       // set once by sendings, under mu; nil until Send is called
	memberships *memberships // set once, by setUser or under mu; nil if there have been none

	mu     sync.Mutex      // guards the fields below, and the setting of current; locks of the registry and of members may be taken while it is held
	reason *CloseError     // the first reason to end; nil while the connection lives
	ctx    context.Context // nil until Context is called
	cancel context.CancelCauseFunc
}

// shared is what the connections of a worker have in common. They know nothing else of the worker.
type shared struct {
	registry     *registry
	members      *members
	bases        []address.Base
	public       *address.Base    // leads to any worker of the cluster; nil without WorkerOptions.PublicURL
	cluster      *cluster         // nil without WorkerOptions.Cluster
	tickets      session.Opener   // seals and opens the tickets of sessions
	ticketKey    []byte           // with which it does; nil if the keys of the cluster do
	leaving      *leaving         // nil without WorkerOptions.SessionFile
	isSaving     atomic.Bool      // a Shutdown is about to save the sessions, and nobody may take them any more
	isHanding    atomic.Bool      // a Shutdown leaves its sessions to other workers
	clock        *alarms[alarmed] // of sessions, and of what is left of them
	maxPushBytes int64
	maxGroups    int // negative: no limit
	log          *slog.Logger
	count        counters
	isKnown      func(ctx context.Context, isGroup bool, name string) error // see Worker.isKnown; nil without a Directory
	sendings     sync.Pool                                                  // of *sending
}

// address is where other workers reach this one, or "".
func (s *shared) address() string {
	if s.cluster == nil {
		return ""
	}
	return s.cluster.address
}

// ID returns the connection's ID: a random version 4 UUID in canonical lower-case text (RFC 9562), never used again. Anyone who
// knows it can push to the client, so keep it out of logs.
func (c *Conn) ID() string { return c.id }

// String returns the first 8 digits of the ID: enough to tell connections apart in a log, too few to push with.
func (c *Conn) String() string { return c.id[:8] }

// Addresses returns the connection's addresses in the form that the default greeting uses, with the ID as the user of the URL:
// http://ID@10.0.0.5:48775/ws. There is one for each host that the worker advertises.
func (c *Conn) Addresses() []string {
	all := make([]string, len(c.shared.bases))
	for i, b := range c.shared.bases {
		all[i] = b.Userinfo(c.path.String(), c.id)
	}
	return all
}

// PathAddresses returns the same addresses in the form that has the ID in the path: http://10.0.0.5:48775/ws/@connections/ID.
// Every HTTP client can use it, while several, browsers among them, refuse or drop the user of a URL.
func (c *Conn) PathAddresses() []string {
	all := make([]string, len(c.shared.bases))
	for i, b := range c.shared.bases {
		all[i] = b.Path(c.path.String(), c.id)
	}
	return all
}

// addressText returns the connection's addresses as the default greeting has them.
func (c *Conn) addressText() string {
	if sealed := c.SealedAddress(); sealed != "" {
		return sealed
	}
	return strings.Join(c.Addresses(), ",")
}

// SealedID returns the ID that every worker of the Cluster understands: Worker.Push accepts it, and so does every address in place of the
// ID. It stays the same for the life of the connection, unless that is a session that moves to another worker, where it has another one,
// which leads to it as well. Without WorkerOptions.Cluster it is "".
func (c *Conn) SealedID() string {
	if c.shared.cluster == nil {
		return ""
	}
	return c.shared.cluster.sealedID(c.id)
}

// SealedAddress returns the address that leads to the connection through any worker of the Cluster:
// https://push.example.com/ws/@connections/SEALED-ID. Without WorkerOptions.PublicURL it is "".
func (c *Conn) SealedAddress() string {
	if c.shared.public == nil {
		return ""
	}
	return c.shared.public.Path(c.path.String(), c.SealedID())
}

// Close ends the connection with a close frame (RFC 6455 section 5.5.1), and returns without waiting until it is written: messages that
// have not begun are withdrawn, and their pushes get ErrGone. The client has 2 s to answer the close frame. code must be 1000 to 1003, 1007
// to 1009, 1011 to 1014 or 3000 to 4999, and reason valid UTF-8 of at most 123 bytes; otherwise Close does nothing and returns an error. If
// the connection has already ended, Close returns ErrGone, or ErrShutdown if it is a session that Worker.Shutdown has saved for the next
// worker, where it goes on. A session that has moved to another worker is closed there.
func (c *Conn) Close(code int, reason string) error {
	if err := wire.CheckClose(code, reason); err != nil {
		return err
	}
	if c.end(&CloseError{Cause: CauseClosed, Code: code, Reason: reason}) {
		return nil
	}
	if d, ok := c.departure(); ok {
		d.close(code, reason)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overLocked()
}

// overLocked returns why nothing can be changed about the connection any more, or nil. ErrShutdown says that it goes on at the next worker.
func (c *Conn) overLocked() error {
	switch {
	case c.reason == nil && c.session.isSession() && (c.session.isTaken || c.session.isFrozenLocked()), c.reason != nil && c.reason.Cause == CauseMoved:
		return ErrShutdown
	case c.reason != nil:
		return ErrGone
	}
	return nil
}

// Resumed reports whether the connection is a session that has come from another worker, or from before a restart, so that HandlerOptions.OnConnect has
// not been called for it here: the first that the application hears of it is OnResume, or OnDisconnect.
func (c *Conn) Resumed() bool { return c.session.isSession() && c.session.hasCome }

// Context returns a context that ends with the connection; its cause is the *CloseError that OnDisconnect gets. It carries no
// values. It is not the context of the handshake's request, which ended with the handshake.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		if c.reason != nil {
			c.cancel(c.reason)
		}
	}
	return c.ctx
}

// Value returns what HandlerOptions.Accept returned for this client: for a session, when it last came back. For one that a worker has found
// in WorkerOptions.SessionFile, or that another one's Shutdown has handed to it, it is what HandlerOptions.LoadValue has returned, until
// the client is back.
func (c *Conn) Value() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.value.(savedValue); ok {
		return nil
	}
	return c.value
}

// Info is what a worker knows about a connection, beside its ID.
type Info struct {
	// RemoteAddr is the client's network address as the handshake request had it: http.Request.RemoteAddr, which a
	// middleware in front of the Handler may have set. What is longer than 128 bytes is cut, and ends in an ellipsis (…).
	RemoteAddr string

	// UserAgent is the User-Agent header of the handshake request. What is longer than 512 bytes is cut, and ends in an ellipsis (…).
	UserAgent string

	// Path is the path in the connection's addresses: that of the handshake's request line, escaped, without its query, with
	// %2C in place of a comma. It has at most 1024 bytes.
	Path string

	// Subprotocol is the negotiated subprotocol, or "". It is the application's: wspush.v1 is not told.
	Subprotocol string

	// User is whose connection it is: Conn.User. Groups are those that it is in, sorted: Conn.Groups.
	User   string
	Groups []string

	// ConnectedAt is when the handshake was done: for a session, the first.
	ConnectedAt time.Time

	// Session says that the connection is a session: it outlives its WebSocket. The fields above but ID and Path, ConnectedAt, and those about
	// users and groups, are those of its present WebSocket, or of the last one. Suspended says that it has none at the moment, and Since since when
	// that is, or since when it has the present one. Without a session, Since is ConnectedAt.
	Session   bool
	Suspended bool
	Since     time.Time

	// ResumableFor is how long a suspended session still waits for its client, or would wait if it was suspended now; 0 without a session.
	ResumableFor time.Duration

	// Buffered and BufferedBytes are how many messages, and how many bytes of them, have been accepted for a session and are not known to have
	// been received: some of them wait, and others are written. They are 0 without a session.
	Buffered, BufferedBytes int

	// LastActive is when the last byte came from the client, or the last message was written to it.
	LastActive time.Time

	// RoundTrip is the time from writing a ping until its pong, for the latest ping that the client has answered, whether it
	// was sent to test the connection or to confirm a push. It is 0 before the first.
	RoundTrip time.Duration

	// Pending is how many bytes of messages are waiting to be written to the client, plus 512 for each message:
	// WorkerOptions.MaxPending bounds it. It is 0 for a client that keeps up.
	Pending int
}

// Info returns what is known about the connection now, or was when it ended.
func (c *Conn) Info() Info {
	i := Info{
		Path:        c.path.String(),
		User:        c.User(),
		Groups:      c.Groups(),
		ConnectedAt: c.connectedAt,
		Since:       c.connectedAt,
		Pending:     c.outbox.Pending(),
	}
	active := time.Duration(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	i.RemoteAddr, i.UserAgent = c.remoteAddr, c.userAgent
	if s := c.current.Load(); s != nil {
		i.Subprotocol, active, i.RoundTrip = s.Subprotocol(), max(s.Received(), s.Sent()), s.RoundTrip()
	}
	if k := c.session; k != nil {
		i.Subprotocol = k.protocol
		if k.away != nil {
			active, i.RoundTrip = k.away.active, k.away.roundTrip
		}
		k.describeLocked(&i)
	}
	i.LastActive = c.connectedAt.Add(active)
	return i
}

// newConn makes a connection for the request, which its client made at path. It keeps nothing of the request that is not bounded. attach
// completes it.
func newConn(shared *shared, r *http.Request, path address.Path) *Conn {
	return &Conn{
		id:         uuid.NewString(),
		shared:     shared,
		remoteAddr: remoteOf(r),
		userAgent:  clip(r.UserAgent(), maxUserAgent),
		path:       path,
	}
}

// attach gives the connection its first WebSocket when the handshake is done.
func (l *life) attach(s *socket.Socket) {
	c := l.Conn
	c.connectedAt = time.Now().Add(-s.Now())
	c.mu.Lock()
	c.current.Store(s)
	c.isAttached = true
	if c.session.isSession() {
		c.session.attachLocked(l)
	}
	reason, isCut := c.reason, c.isCut
	c.mu.Unlock()
	switch { // Shutdown came before the end of the handshake
	case isCut:
		s.Reset()
	case reason != nil:
		s.Close(reason.Code, reason.Reason)
	}
}

// isUpgrading reports whether the handshake is still under way.
func (c *Conn) isUpgrading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.isAttached
}

// register lets the connection be found by its ID, unless it has ended already: then it never will be. Until it is open,
// pushes to it are refused with ErrBusy.
func (c *Conn) register() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == nil {
		c.shared.registry.add(c)
	}
}

// end ends the connection without waiting. Only the first reason counts: end returns false if there was one before.
func (c *Conn) end(reason *CloseError) bool {
	c.mu.Lock()
	e := c.endLocked(reason)
	c.mu.Unlock()
	e.carryOut()
	return e.isFirst || e.isLater
}

// ending is what remains to be done about the end of a connection when no lock is held.
type ending struct {
	conn    *Conn
	reason  *CloseError
	isFirst bool           // there was no reason to end before
	isLater bool           // it ends once it is certain where the session is
	socket  *socket.Socket // nil: attach will close it, or a session has none
	session *resumable     // whose OnDisconnect nobody else calls; nil: somebody does
}

// endLocked ends the connection but for what carryOut does.
func (c *Conn) endLocked(reason *CloseError) ending {
	if c.reason != nil || c.session.isTakenFor(reason) {
		return ending{conn: c}
	}
	if c.session.isFrozenFor(reason) {
		c.session.moving.close = reason
		return ending{conn: c, isLater: true}
	}
	e := ending{conn: c, reason: reason, isFirst: true}
	if c.session.isSession() && c.session.endLocked(reason) {
		e.session = c.session
	}
	c.reason = reason
	// Under the same lock, so that nobody who knows the reason, OnDisconnect above all, can still find the connection.
	c.shared.registry.remove(c)
	c.leaveAllLocked()
	if c.cancel != nil {
		c.cancel(reason)
	}
	e.socket = c.current.Load()
	return e
}

func (e ending) carryOut() {
	if e.socket != nil {
		closeFor(e.socket, e.reason)
	}
	if k := e.conn.session; e.isFirst && k.isSession() {
		e.conn.outbox.End() // unless its WebSocket has done so, which may have been lost just now
	}
	if e.session != nil {
		e.session.handler.worker.roster.stir(e.conn)
		go e.session.handOn(nil)
	}
}

// endReason returns why the connection ended, or nil while it lives.
func (c *Conn) endReason() *CloseError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// cut ends the connection at once, without a closing handshake.
func (c *Conn) cut() {
	c.mu.Lock()
	c.isCut = true
	s := c.current.Load()
	var old []*life
	if c.session != nil {
		old = slices.Clone(c.session.lives)
	}
	c.mu.Unlock()
	if s != nil {
		s.Reset()
	}
	for _, l := range old {
		l.socket.Reset()
	}
}
