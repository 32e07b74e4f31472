package wspush

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/socket"
)

// A Conn is one client's WebSocket, from its greeting to its end. It is safe for concurrent use. Once it has ended, Push
// and Close return ErrGone, and everything else still answers.
type Conn struct {
	id          string
	next        *Conn // the registry's
	shared      *shared
	value       any
	remoteAddr  string
	userAgent   string
	path        string
	connectedAt time.Time

	socket *socket.Socket // set by attach, before anyone but Shutdown knows the connection

	mu      sync.Mutex  // guards what follows but calling, and socket while it is being set; the registry's may be locked within
	reason  *CloseError // the first reason to end; nil while the connection lives
	isCut   bool
	calling atomic.Uint64   // which goroutine runs a callback of the application; see callback.go
	ctx     context.Context // nil until somebody asks for it
	cancel  context.CancelCauseFunc
}

// shared is what a worker's connections have in common. They know nothing else of the worker.
type shared struct {
	registry     *registry
	bases        []address.Base
	public       *address.Base // of any worker; nil if there is none
	cluster      *cluster      // nil if there is none
	maxPushBytes int64
	log          *slog.Logger
	count        counters
	sendings     sync.Pool   // of *sending
	confirms     atomic.Bool // PushConfirmed has been called in-process
}

// ID returns the connection's ID: a random version 4 UUID in canonical lower-case text (RFC 9562), never used again.
// Whoever knows it can push to the client, so it belongs in no log.
func (c *Conn) ID() string { return c.id }

// String returns the first 8 digits of the ID, which are enough to tell connections apart in a log, and no right to push.
func (c *Conn) String() string { return c.id[:8] }

// Addresses returns the connection's addresses in the form that names the ID as the URL's user, one for each host that the
// worker advertises: http://ID@10.0.0.5:48775/ws. The default greeting holds them.
func (c *Conn) Addresses() []string {
	all := make([]string, len(c.shared.bases))
	for i, b := range c.shared.bases {
		all[i] = b.Userinfo(c.path, c.id)
	}
	return all
}

// URLs returns the connection's addresses in the form that names the ID in the path: http://10.0.0.5:48775/ws/@connections/ID.
// Every HTTP client can use it; several, browsers among them, refuse or drop a user in a URL.
func (c *Conn) URLs() []string {
	all := make([]string, len(c.shared.bases))
	for i, b := range c.shared.bases {
		all[i] = b.Path(c.path, c.id)
	}
	return all
}

// Token returns what names the connection to every worker of the Cluster: for Worker.Push, and in place of the ID in any
// address of theirs. It is the same each time, as long as the first key is. Without WorkerOptions.Cluster it is "".
func (c *Conn) Token() string {
	if c.shared.cluster == nil {
		return ""
	}
	return c.shared.cluster.token(c.id)
}

// PublicURL returns the connection's sealed address, which leads to it through any worker of the Cluster:
// https://push.example.com/ws/@connections/TOKEN. Without WorkerOptions.PublicURL it is "".
func (c *Conn) PublicURL() string {
	if c.shared.public == nil {
		return ""
	}
	return c.shared.public.Path(c.path, c.Token())
}

// Push sends data to the client as one message, and returns nil once every byte of it is written to the socket. The
// messages of one connection are written in the order in which Push was called, each of them whole.
//
// An error that matches ErrUnknown means that part of the message may have been written. Every other means that nothing
// was and nothing will be: ErrGone, ErrBusy, ErrTooLarge, ErrInvalidUTF8, ErrShutdown, or ctx's error. ctx bounds only the
// wait: if it ends before the message has begun, the message is withdrawn; after that the connection finishes it, and
// Push returns ErrUnknown. The connection is unharmed either way, and its own end ends the wait as well. An empty message
// is a message. data is not kept.
func (c *Conn) Push(ctx context.Context, typ MessageType, data []byte) error {
	err := checkMessage(typ, data, c.shared.maxPushBytes)
	if err == nil {
		_, err = c.send(ctx, typ, data, false)
	}
	c.shared.count.push(err)
	return err
}

// PushConfirmed is Push, but returns nil only when the client's WebSocket endpoint has read the message: a ping goes out
// after it (RFC 6455 section 5.5.2), and frames are read in order, so the pong to it proves that. It needs no code in the
// client. roundTrip is the time from the writing of the message to the pong.
//
// It does not mean that the client's application has handled the message: a browser answers pings while a page's script is
// busy. A proxy that terminates the WebSocket, rather than passing it through, answers in its client's stead.
//
// Errors are those of Push. Of them, ErrUnknown means here that the message may have been written, in part or in full, and
// was not confirmed when the connection ended, or ctx did. A ctx that never ends has PushConfirmed wait for as long as the
// connection lives. In a callback of the same connection it fails at once, with an error that is none of these, and
// nothing is written: nobody would read the pong.
func (c *Conn) PushConfirmed(ctx context.Context, typ MessageType, data []byte) (roundTrip time.Duration, err error) {
	if !c.shared.confirms.Load() { // a store would cost every other core its copy
		c.shared.confirms.Store(true)
	}
	switch err = checkMessage(typ, data, c.shared.maxPushBytes); {
	case err != nil:
	case c.endReason() == nil && c.inCallback():
		err = errInCallback
	default:
		roundTrip, err = c.send(ctx, typ, data, true)
	}
	c.shared.count.pushConfirmed(err)
	return roundTrip, err
}

// send is Push or PushConfirmed with a message that has been checked.
func (c *Conn) send(ctx context.Context, typ MessageType, data []byte, confirm bool) (roundTrip time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s, err := c.begin(typ, data, confirm)
	if s == nil {
		return 0, err
	}
	return c.await(ctx, s)
}

// begin sends a message, and returns the outcome if that is known at once; otherwise it returns what await is to wait for. A
// message that is to be confirmed is pending unless it fails.
func (c *Conn) begin(typ MessageType, data []byte, confirm bool) (pending *sending, err error) {
	s, _ := c.shared.sendings.Get().(*sending)
	if s == nil {
		s = newSending()
	}
	waiting, err := c.start(&s.message, typ, data, confirm, s.settle)
	if waiting {
		return s, nil
	}
	if confirm && err == nil { // faster than Start could say so
		s.settle(nil)
		return s, nil
	}
	c.shared.release(s)
	return nil, err
}

// await returns the outcome of what begin has left pending, or gives it up when ctx ends. The round trip is that of a
// message which has been confirmed.
func (c *Conn) await(ctx context.Context, s *sending) (roundTrip time.Duration, err error) {
	// Most often others are about to push, too, and whoever writes for all of them to do so. To have let them goes faster
	// than to sleep and be woken.
	runtime.Gosched()
	select {
	case err = <-s.settled:
		return c.settled(s, err)
	default:
	}
	select {
	case err = <-s.settled:
		return c.settled(s, err)
	case <-ctx.Done():
	}
	// From here on the message may be the socket's for longer than the caller waits, so it is not used again.
	err, decided := c.socket.Abandon(&s.message, ctx.Err())
	if !decided {
		if err = <-s.settled; err == nil {
			roundTrip = s.message.RoundTrip()
		}
	}
	return roundTrip, c.outcome(err)
}

// settled returns the outcome of a message that nobody uses any more.
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
}

func newSending() *sending {
	s := &sending{settled: make(chan error, 1)}
	s.settle = func(err error) { s.settled <- err }
	return s
}

// release takes back what nobody uses any more, without the data of the caller's.
func (sh *shared) release(s *sending) {
	s.message = socket.Message{}
	sh.sendings.Put(s)
}

// start begins to send a message as m, to be confirmed or not. If it is pending, settled is called with what is yet to be
// put through outcome, under a lock: it must not wait or call anything of the connection. Otherwise err is the result.
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

// outcome turns what became of a message into what Push returns.
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

// checkMessage refuses what must not be sent to any client.
func checkMessage(typ MessageType, data []byte, limit int64) error {
	switch {
	case typ != Text && typ != Binary:
		return errMessageType
	case limit >= 0 && int64(len(data)) > limit:
		return ErrTooLarge
	case typ == Text && !utf8.Valid(data):
		return ErrInvalidUTF8
	}
	return nil
}

// Close ends the connection with a close frame (RFC 6455 section 5.5.1), and returns without waiting for it to be written:
// messages that have not begun are withdrawn, with ErrGone for those who push them. The client gets 2 s from the close
// frame to answer it. code is 1000 to 1003, 1007 to 1014 or 3000 to 4999, and reason valid UTF-8 of at most 123 bytes;
// otherwise nothing happens but the error. If the connection has ended already, Close returns ErrGone.
func (c *Conn) Close(code int, reason string) error {
	if err := checkClose(code, reason); err != nil {
		return err
	}
	if !c.end(&CloseError{Cause: CauseClosed, Code: code, Reason: reason}) {
		return ErrGone
	}
	return nil
}

// Context returns a context that ends when the connection does; its cause is the *CloseError that OnDisconnect gets. It
// carries no values, and is not the context of the request that became the connection, which ended with the handshake.
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

// Value returns what Options.Accept returned for this client.
func (c *Conn) Value() any { return c.value }

// RemoteAddr returns the client's network address as the handshake request had it: http.Request.RemoteAddr, which a
// middleware in front of the Handler may have set.
func (c *Conn) RemoteAddr() string { return c.remoteAddr }

// UserAgent returns the User-Agent header of the handshake request.
func (c *Conn) UserAgent() string { return c.userAgent }

// Path returns the path in the connection's addresses: the one in the request line of the handshake, escaped, without
// query, with a comma as %2C.
func (c *Conn) Path() string { return c.path }

// Subprotocol returns the negotiated subprotocol, or "".
func (c *Conn) Subprotocol() string { return c.socket.Subprotocol() }

// ConnectedAt returns when the handshake was done.
func (c *Conn) ConnectedAt() time.Time { return c.connectedAt }

// LastActive returns when the last byte came in from the client, or the last message went out to it.
func (c *Conn) LastActive() time.Time {
	return c.connectedAt.Add(max(c.socket.Received(), c.socket.Sent()))
}

// RoundTrip returns how long the client took to answer the latest ping that it has answered, of the timers' or of
// PushConfirmed's: from the writing of the ping to the pong. It is 0 before the first.
func (c *Conn) RoundTrip() time.Duration { return c.socket.RoundTrip() }

// Pending returns how many bytes of messages wait to be written to the client, with 256 more for each message: what
// WorkerOptions.MaxPending bounds. It is 0 for a client that reads.
func (c *Conn) Pending() int { return c.socket.Pending() }

// newConn makes the connection that the request asks for; attach completes it.
func newConn(shared *shared, r *http.Request) *Conn {
	return &Conn{
		id:         uuid.NewString(),
		shared:     shared,
		remoteAddr: r.RemoteAddr,
		userAgent:  r.UserAgent(),
		path:       address.RequestPath(r),
	}
}

// attach gives the connection its socket, once the handshake is done.
func (c *Conn) attach(s *socket.Socket) {
	c.connectedAt = time.Now().Add(-s.Now())
	c.mu.Lock()
	c.socket = s
	reason, isCut := c.reason, c.isCut
	c.mu.Unlock()
	switch { // Shutdown was faster than the handshake
	case isCut:
		s.Reset()
	case reason != nil:
		s.Close(reason.Code, reason.Reason)
	}
}

// isUpgrading reports whether the handshake is not done.
func (c *Conn) isUpgrading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.socket == nil
}

// register lets publishers find the connection, unless it has ended already: then they never will.
func (c *Conn) register() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == nil {
		c.shared.registry.add(c)
	}
}

// end ends the connection, for the first reason that anyone has; false means that there was one before. It does not wait.
func (c *Conn) end(reason *CloseError) bool {
	c.mu.Lock()
	if c.reason != nil {
		c.mu.Unlock()
		return false
	}
	c.reason = reason
	// In one step, so that whoever knows the reason, OnDisconnect above all, finds the connection nowhere.
	c.shared.registry.remove(c)
	if c.cancel != nil {
		c.cancel(reason)
	}
	s := c.socket
	c.mu.Unlock()
	switch {
	case s == nil: // attach will see the reason
	case reason.Code == codeAbnormal: // which is no code to send
		s.Cut()
	default:
		s.Close(reason.Code, reason.Reason)
	}
	return true
}

// endReason is nil while the connection lives.
func (c *Conn) endReason() *CloseError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// cut ends at once what end has left.
func (c *Conn) cut() {
	c.mu.Lock()
	c.isCut = true
	s := c.socket
	c.mu.Unlock()
	if s != nil {
		s.Reset()
	}
}
