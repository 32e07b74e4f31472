package wspush

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// A Conn is one client's WebSocket, from its greeting to its end. It is safe for concurrent use. Once it has ended, Push returns
// ErrGone, or ErrShutdown if Worker.Shutdown ended it; Close returns ErrGone; all other methods still work.
type Conn struct {
	id          string
	next        *Conn // guarded by the registry
	shared      *shared
	value       any
	remoteAddr  string
	userAgent   string
	path        address.Path
	connectedAt time.Time

	outbox  socket.Outbox                 // what is to be written to the client
	current atomic.Pointer[socket.Socket] // its WebSocket; set by attach, before anything but Shutdown can reach the connection

	calling    atomic.Bool  // a callback of the application is running
	registered registration // guarded by the registry's shard

	sends       *sends       // set once by sendings, under mu; nil until Send is called
	memberships *memberships // set once, by setUser or under mu; nil if there have been none

	mu     sync.Mutex  // guards the fields below, and the setting of current; locks of the registry and of members may be taken while it is held
	reason *CloseError // the first reason to end; nil while the connection lives
	isCut  bool
	isOpen bool            // it has been opened to pushes
	ctx    context.Context // nil until Context is called
	cancel context.CancelCauseFunc
}

// shared is what the connections of a worker have in common. They know nothing else of the worker.
type shared struct {
	registry     *registry
	members      *members
	bases        []address.Base
	public       *address.Base // leads to any worker of the cluster; nil without WorkerOptions.PublicURL
	cluster      *cluster      // nil without WorkerOptions.Cluster
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

// SealedID returns the ID that every worker of the Cluster understands: Worker.Push accepts it, and so does every address in
// place of the ID. It stays the same for the life of the connection. Without WorkerOptions.Cluster it is "".
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

// Close ends the connection with a close frame (RFC 6455 section 5.5.1), and returns without waiting until it is written:
// messages that have not begun are withdrawn, and their pushes get ErrGone. The client has 2 s to answer the close frame.
// code must be 1000 to 1003, 1007 to 1009, 1011 to 1014 or 3000 to 4999, and reason valid UTF-8 of at most 123 bytes; otherwise
// Close does nothing and returns an error. If the connection has already ended, Close returns ErrGone.
func (c *Conn) Close(code int, reason string) error {
	if err := wire.CheckClose(code, reason); err != nil {
		return err
	}
	if !c.end(&CloseError{Cause: CauseClosed, Code: code, Reason: reason}) {
		return ErrGone
	}
	return nil
}

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

// Value returns what HandlerOptions.Accept returned for this client.
func (c *Conn) Value() any { return c.value }

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

	// Subprotocol is the negotiated subprotocol, or "".
	Subprotocol string

	// User is whose connection it is: Conn.User. Groups are those that it is in, sorted: Conn.Groups.
	User   string
	Groups []string

	// ConnectedAt is when the handshake was done.
	ConnectedAt time.Time

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
	s := c.current.Load()
	return Info{
		RemoteAddr:  c.remoteAddr,
		UserAgent:   c.userAgent,
		Path:        c.path.String(),
		Subprotocol: s.Subprotocol(),
		User:        c.User(),
		Groups:      c.Groups(),
		ConnectedAt: c.connectedAt,
		LastActive:  c.connectedAt.Add(max(s.Received(), s.Sent())),
		RoundTrip:   s.RoundTrip(),
		Pending:     c.outbox.Pending(),
	}
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

// attach gives the connection its WebSocket when the handshake is done.
func (c *Conn) attach(s *socket.Socket) {
	c.connectedAt = time.Now().Add(-s.Now())
	c.mu.Lock()
	c.current.Store(s)
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
func (c *Conn) isUpgrading() bool { return c.current.Load() == nil }

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
	if c.reason != nil {
		c.mu.Unlock()
		return false
	}
	c.reason = reason
	// Under the same lock, so that nobody who knows the reason, OnDisconnect above all, can still find the connection.
	c.shared.registry.remove(c)
	c.leaveAllLocked()
	if c.cancel != nil {
		c.cancel(reason)
	}
	s := c.current.Load()
	c.mu.Unlock()
	switch {
	case s == nil: // attach will close it
	case reason.Code == codeAbnormal: // a code that must not be sent
		s.Cut()
	default:
		s.Close(reason.Code, reason.Reason)
	}
	return true
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
	c.mu.Unlock()
	if s != nil {
		s.Reset()
	}
}
