package wspush

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
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
	path        string
	connectedAt time.Time

	socket *socket.Socket // set once by attach, before anything but Shutdown can reach the connection

	calling    atomic.Bool  // a callback of the application is running
	registered registration // guarded by the registry's shard

	mu     sync.Mutex  // guards the fields below, and the setting of socket; the registry's lock may be taken while it is held
	reason *CloseError // the first reason to end; nil while the connection lives
	isCut  bool
	ctx    context.Context // nil until Context is called
	cancel context.CancelCauseFunc
}

// shared is what the connections of a worker have in common. They know nothing else of the worker.
type shared struct {
	registry     *registry
	bases        []address.Base
	public       *address.Base // leads to any worker of the cluster; nil without WorkerOptions.PublicURL
	cluster      *cluster      // nil without WorkerOptions.Cluster
	maxPushBytes int64
	log          *slog.Logger
	count        counters
	sendings     sync.Pool // of *sending
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
		all[i] = b.Userinfo(c.path, c.id)
	}
	return all
}

// PathAddresses returns the same addresses in the form that has the ID in the path: http://10.0.0.5:48775/ws/@connections/ID.
// Every HTTP client can use it, while several, browsers among them, refuse or drop the user of a URL.
func (c *Conn) PathAddresses() []string {
	all := make([]string, len(c.shared.bases))
	for i, b := range c.shared.bases {
		all[i] = b.Path(c.path, c.id)
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
	return c.shared.public.Path(c.path, c.SealedID())
}

// Receipt is what a successful push returns. It is a struct with two fields: State, which is Written, or Received for a push
// with [Confirmed]; and RoundTrip, a time.Duration: how long after the writing of the message the client confirmed it, or 0
// unless State is Received.
type Receipt = wire.Receipt

// State says how far a message has come: Written or Received. It is a string type, whose values are "written" and "received".
type State = wire.State

const (
	// Written means that every byte of the message is written to the client's socket. The client may not have read it.
	Written = wire.Written
	// Received means that the client's WebSocket endpoint has read the message. See [Confirmed].
	Received = wire.Received
)

// PushOption changes what a push does. It is a struct without exported fields: [Confirmed] makes the only one. The zero value
// changes nothing.
type PushOption = wire.PushOption

// Confirmed makes a push wait until the client's WebSocket endpoint has read the message: State is then Received, and RoundTrip
// the time from the writing of the message to the proof. The proof is the pong to a ping that follows the message (RFC 6455
// section 5.5.2): frames are read in order, and every client answers pings without any code of its own.
//
// It does not prove that the client's application has handled the message: a browser answers pings while a page's script is
// busy. And a proxy that terminates the WebSocket, rather than passing it through, answers in place of its client.
//
// A confirmed push whose context has no deadline waits for at most 5 s, as by HTTP; to wait for longer, give the context a later
// one. ErrUnknown then also means that the message may have been written in full but was not confirmed before the wait, or the
// connection, ended.
//
// Do not wait for a confirmation in a callback of the same connection (HandlerOptions.OnConnect, OnMessage): the connection is
// not read until the callback returns, so the push is written but always ends with ErrUnknown. Confirmations of other
// connections are fine there, unless those callbacks in turn wait for this connection.
func Confirmed() PushOption { return wire.Confirmed() }

// Push sends data to the client as one message, and returns once every byte of it is written to the socket, or, with
// [Confirmed], once the client has read it. The messages of one connection are written in the order in which Push was called,
// each of them whole.
//
// An error that matches ErrUnknown means that part of the message may have been written. Any other error means that nothing was
// written, and nothing will be: ErrGone, ErrBusy, ErrTooLarge, ErrInvalidUTF8, ErrShutdown, ctx's error, or an error of its own
// for a typ that is neither Text nor Binary. ctx bounds only the wait: if it ends before the message has begun, the message is
// withdrawn; after that the connection finishes the message, and Push returns ErrUnknown. Either way the connection is
// unharmed. The end of the connection ends the wait as well. An empty message is a message. data is not kept.
func (c *Conn) Push(ctx context.Context, typ MessageType, data []byte, opts ...PushOption) (Receipt, error) {
	return c.push(ctx, typ, data, wire.Options(opts))
}

func (c *Conn) push(ctx context.Context, typ MessageType, data []byte, o wire.PushOptions) (Receipt, error) {
	err := wire.CheckMessage(typ, data, c.shared.maxPushBytes)
	var roundTrip time.Duration
	if err == nil {
		roundTrip, err = c.send(ctx, typ, data, o.Confirmed)
	}
	if o.Confirmed {
		c.shared.count.pushConfirmed(err)
	} else {
		c.shared.count.push(err)
	}
	return receiptOf(o, roundTrip, err)
}

// receiptOf returns the results of Push for a push that ended with err.
func receiptOf(o wire.PushOptions, roundTrip time.Duration, err error) (Receipt, error) {
	switch {
	case err != nil:
		return Receipt{}, err
	case o.Confirmed:
		return Receipt{State: Received, RoundTrip: roundTrip}, nil
	}
	return Receipt{State: Written}, nil
}

// send pushes a message that has been checked.
func (c *Conn) send(ctx context.Context, typ MessageType, data []byte, confirm bool) (roundTrip time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s, err := c.startSending(typ, data, confirm)
	if s == nil {
		return 0, err
	}
	var limit time.Duration
	if confirm {
		if _, ok := ctx.Deadline(); !ok {
			limit = wire.ConfirmWait
		}
	}
	return c.awaitSending(ctx, s, limit)
}

// startSending starts to send a message. It returns the outcome if that is known at once, and otherwise what awaitSending has to
// wait for. A message to be confirmed is pending unless it fails.
func (c *Conn) startSending(typ MessageType, data []byte, confirm bool) (pending *sending, err error) {
	s, _ := c.shared.sendings.Get().(*sending)
	if s == nil {
		s = newSending()
	}
	waiting, err := c.start(&s.message, typ, data, confirm, s.settle)
	if waiting {
		return s, nil
	}
	if confirm && err == nil { // the pong came before Start returned
		s.settle(nil)
		return s, nil
	}
	c.shared.release(s)
	return nil, err
}

// awaitSending returns the outcome of what startSending has left pending. It gives the message up when ctx ends, or, if limit is
// positive, as if ctx had a deadline that far away. roundTrip is that of a confirmed message.
func (c *Conn) awaitSending(ctx context.Context, s *sending, limit time.Duration) (roundTrip time.Duration, err error) {
	// Yield first: other pushers can then share the write, and being woken costs more.
	runtime.Gosched()
	select {
	case err = <-s.settled:
		return c.settled(s, err)
	default:
	}
	var over <-chan time.Time
	if limit > 0 {
		over = s.after(limit)
	}
	select {
	case err = <-s.settled:
		return c.settled(s, err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-over:
		err = context.DeadlineExceeded
	}
	// The socket may use the message for longer than the caller waits, so s does not go back to the pool.
	err, decided := c.socket.Abandon(&s.message, err)
	if !decided {
		if err = <-s.settled; err == nil {
			roundTrip = s.message.RoundTrip()
		}
	}
	return roundTrip, c.outcome(err)
}

// settled returns the outcome of a message that the socket no longer uses.
func (c *Conn) settled(s *sending, err error) (roundTrip time.Duration, _ error) {
	roundTrip = s.message.RoundTrip()
	c.shared.release(s)
	return roundTrip, c.outcome(err)
}

// sending is a message whose sender waits for its outcome.
type sending struct {
	message socket.Message
	settled chan error
	settle  func(error)
	timer   *time.Timer // nil until after is called; stopped by release, before anyone else can have it
}

func newSending() *sending {
	s := &sending{settled: make(chan error, 1)}
	s.settle = func(err error) { s.settled <- err }
	return s
}

// after returns a channel that gets a value after d.
func (s *sending) after(d time.Duration) <-chan time.Time {
	if s.timer == nil {
		s.timer = time.NewTimer(d)
	} else {
		s.timer.Reset(d)
	}
	return s.timer.C
}

// release puts s back into the pool. Its message must no longer be in use.
func (sh *shared) release(s *sending) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.message = socket.Message{}
	sh.sendings.Put(s)
}

// start hands data to the socket as m. If m is then pending, settled is called later with the socket's error, which outcome
// translates. It is called with the socket's lock held, so it must neither block nor call the connection. Otherwise err is the
// outcome.
func (c *Conn) start(m *socket.Message, typ MessageType, data []byte, confirm bool, settled func(error)) (pending bool, err error) {
	if err := c.socket.Prepare(m, typ == Binary, data, settled); err != nil {
		return false, err
	}
	if confirm {
		m.Confirm()
	}
	pending, err = c.socket.Start(m)
	return pending, c.outcome(err)
}

// outcome turns the socket's error for a message into that of Push.
func (c *Conn) outcome(err error) error {
	switch err {
	case socket.ErrFull:
		return ErrBusy
	case socket.ErrClosed:
		if reason := c.endReason(); reason != nil && reason.Cause == CauseShutdown {
			return ErrShutdown
		}
		return ErrGone
	case socket.ErrBroken:
		return errUnknownGone
	case socket.ErrLeft:
		if c.endReason() != nil {
			return errUnknownGone
		}
		return errUnknownOpen
	case socket.ErrUnconfirmed:
		if c.endReason() != nil {
			return errUnknownGone
		}
		return errUnconfirmed
	}
	return err // nil, or a context's
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
	// middleware in front of the Handler may have set.
	RemoteAddr string

	// UserAgent is the User-Agent header of the handshake request.
	UserAgent string

	// Path is the path in the connection's addresses: that of the handshake's request line, escaped, without its query, with
	// %2C in place of a comma.
	Path string

	// Subprotocol is the negotiated subprotocol, or "".
	Subprotocol string

	// ConnectedAt is when the handshake was done.
	ConnectedAt time.Time

	// LastActive is when the last byte came from the client, or the last message was written to it.
	LastActive time.Time

	// RoundTrip is the time from writing a ping until its pong, for the latest ping that the client has answered, whether it
	// was sent to test the connection or to confirm a push. It is 0 before the first.
	RoundTrip time.Duration

	// Pending is how many bytes of messages are waiting to be written to the client, plus 256 for each message:
	// WorkerOptions.MaxPending bounds it. It is 0 for a client that keeps up.
	Pending int
}

// Info returns what is known about the connection now, or was when it ended.
func (c *Conn) Info() Info {
	s := c.socket
	return Info{
		RemoteAddr:  c.remoteAddr,
		UserAgent:   c.userAgent,
		Path:        c.path,
		Subprotocol: s.Subprotocol(),
		ConnectedAt: c.connectedAt,
		LastActive:  c.connectedAt.Add(max(s.Received(), s.Sent())),
		RoundTrip:   s.RoundTrip(),
		Pending:     s.Pending(),
	}
}

// newConn makes a connection for the request. attach completes it.
func newConn(shared *shared, r *http.Request) *Conn {
	return &Conn{
		id:         uuid.NewString(),
		shared:     shared,
		remoteAddr: r.RemoteAddr,
		userAgent:  r.UserAgent(),
		path:       address.RequestPath(r),
	}
}

// attach gives the connection its socket when the handshake is done.
func (c *Conn) attach(s *socket.Socket) {
	c.connectedAt = time.Now().Add(-s.Now())
	c.mu.Lock()
	c.socket = s
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
	return c.socket == nil
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
	if c.reason != nil {
		c.mu.Unlock()
		return false
	}
	c.reason = reason
	// Under the same lock, so that nobody who knows the reason, OnDisconnect above all, can still find the connection.
	c.shared.registry.remove(c)
	if c.cancel != nil {
		c.cancel(reason)
	}
	s := c.socket
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
	s := c.socket
	c.mu.Unlock()
	if s != nil {
		s.Reset()
	}
}
