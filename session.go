package wspush

import (
	"context"
	"crypto/rand"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/socket"
)

// resumable is what a connection has beside a plain one if its client speaks wspush.v1. With a window it is a session: it outlives its
// WebSocket.
//
// One WebSocket after another is the session's, each with a life of its own. What happens to a WebSocket is the session's matter only as
// long as it is the present one: the late timeout of an old one must not end what has been resumed.
type resumable struct {
	conn     *Conn
	handler  *Handler
	window   time.Duration // how long the session waits for its client; 0: it is no session
	protocol string        // the application's subprotocol, or ""

	alarm alarm        // guarded by the clock
	began atomic.Int64 // by the connection's clock: when the handshake of the present WebSocket was done

	// Conn.mu guards what follows, except greeted.
	tickets tickets
	greeted atomic.Int64  // by the worker's clock: when the client has confirmed the latest hello, while tickets does not know; 0: it has not
	life    *life         // of the present WebSocket; nil while suspended, and before the first
	lives   []*life       // whose goroutines have not ended: the present one and those before it
	since   time.Duration // by the worker's clock: when it was suspended, or its present WebSocket connected
	arrived time.Duration // by the worker's clock: when the handshake of the present WebSocket, or of the last one, came in
	away    *absence      // nil unless it is suspended
	moving  *moving       // nil unless it has moved, or somebody has asked for it
	succession
}

// absence is what is known of a session that is suspended.
type absence struct {
	lostTo    *CloseError   // why it is
	active    time.Duration // by the connection's clock: when its last WebSocket was last active
	roundTrip time.Duration // the last one of that
}

// isSession reports whether the connection outlives its WebSocket. For nil it does not.
func (k *resumable) isSession() bool { return k != nil && k.window > 0 }

// isSuspendedLocked reports whether the session lives and has no WebSocket.
func (k *resumable) isSuspendedLocked() bool {
	return k.isSession() && k.conn.isAttached && k.life == nil && k.conn.reason == nil
}

// now is the time by the worker's clock.
func (k *resumable) now() time.Duration { return time.Since(k.conn.shared.clock.start) }

// isTakenFor reports whether the session is being written, so that nothing but that can end it here.
func (k *resumable) isTakenFor(reason *CloseError) bool {
	return k.isSession() && k.isTaken && reason.Cause != CauseMoved && reason.Cause != CauseShutdown
}

// remainingLocked is how long the session waits for its client from now on, or would wait if it was suspended now.
func (k *resumable) remainingLocked() time.Duration {
	switch {
	case k.conn.reason != nil && k.conn.reason.Cause != CauseMoved:
		return 0
	case k.life != nil:
		return k.window
	}
	now := k.now()
	if l := k.conn.shared.leaving; l != nil {
		if at := time.Duration(l.since.Load()); at > 0 {
			now = at // nobody can come back since then
		}
	}
	return min(max(k.since+k.window-now, 0), k.window)
}

// sessionOutcome turns the socket's errors for which a session has outcomes of its own into them, and returns the others.
func (c *Conn) sessionOutcome(err error) error {
	if !c.session.isSession() {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch err {
	case socket.ErrBuffered:
		return bufferedFor(c.session.remainingLocked())
	case socket.ErrSuspended:
		return ErrSuspended
	case socket.ErrLeft, socket.ErrUnconfirmed: // it has begun, and will be sent
		if c.reason == nil || c.reason.Cause == CauseMoved {
			return bufferedFor(c.session.remainingLocked())
		}
	case context.DeadlineExceeded:
		if c.session.isSuspendedLocked() {
			return ErrSuspended
		}
	}
	return err
}

// attachLocked begins the life of a session.
func (k *resumable) attachLocked(l *life) {
	k.life, k.lives, k.since = l, []*life{l}, k.now()
	k.isLed, k.leader, k.isCalling = true, l, true
	if k.conn.reason == nil {
		k.conn.shared.count.sessions.Add(1)
	}
}

// describeLocked fills in what Info says of a session.
func (k *resumable) describeLocked(i *Info) {
	if !k.isSession() {
		return
	}
	c := k.conn
	i.Session, i.Suspended = true, k.isSuspendedLocked()
	i.Since = c.shared.clock.start.Add(k.since)
	i.ResumableFor = k.remainingLocked()
	i.Buffered, i.BufferedBytes = c.outbox.Buffered()
}

// lost is called when something has happened to the WebSocket, or is about to, that ends a plain connection. It ends a session only if that is
// meant; otherwise the session is suspended.
func (l *life) lost(reason *CloseError) {
	c, k := l.Conn, l.session
	if !k.isSession() {
		c.end(reason)
		return
	}
	c.mu.Lock()
	switch {
	case k.life != l: // it has another WebSocket now, or none any more
		c.mu.Unlock()
		closeFor(l.socket, reason)
	case c.reason != nil || !reason.suspends() || !c.shared.keepsSessions() && l.handler.worker.roster.isClosed():
		e := c.endLocked(reason)
		c.mu.Unlock()
		e.carryOut()
	default:
		l.suspendAndUnlock(reason)
	}
}

// suspendAndUnlock suspends the session, whose present life is l and whose lock is held.
func (l *life) suspendAndUnlock(reason *CloseError) {
	c := l.Conn
	waited := l.session.suspendLocked(reason)
	c.mu.Unlock()
	c.shared.log.Debug("wspush: suspended", "conn", c.String(), "cause", reason.Cause, "code", reason.Code, "reason", reason.Reason, "error", reason.Err)
	closeFor(l.socket, reason)
	if waited {
		go l.drain()
	}
}

// closeFor closes a WebSocket for a reason.
func closeFor(s *socket.Socket, reason *CloseError) {
	if reason.Code == codeAbnormal { // a code that must not be sent
		s.Cut()
	} else {
		s.Close(reason.Code, reason.Reason)
	}
}

// suspends reports whether the reason, which is about a WebSocket, leaves a session alive.
func (e *CloseError) suspends() bool {
	switch e.Cause {
	case CauseClient:
		return !session.Ends(e.Code)
	case CauseLost, CauseIdle, CauseNoAnswer, CauseExpired, CauseWriteTimeout:
		return true
	}
	return false
}

// suspendLocked takes the present WebSocket from the session. It reports whether that has no goroutine yet, and nobody else will start one.
func (k *resumable) suspendLocked(reason *CloseError) (waited bool) {
	c, l := k.conn, k.life
	s := l.socket
	k.away = &absence{lostTo: reason, active: max(s.Received(), s.Sent()), roundTrip: s.RoundTrip()}
	k.leaveTicketsLocked()
	k.life, k.since = nil, k.now()
	c.current.Store(nil)
	c.outbox.Detach(s)
	c.shared.count.suspended.Add(1)
	c.shared.clock.set(k, k.window)
	return k.dropLocked(l)
}

func (k *resumable) bell() *alarm { return &k.alarm }

// Kept is called by the outbox, whose lock is held: something is to be confirmed.
func (k *resumable) Kept() { k.conn.shared.clock.set(k, socket.ConfirmAfter) }

// fire does what is due: it ends a session whose window is over, or has the client of a connected one asked what it has.
//
// There is one alarm for both, which each may set for the other's time: whoever is woken looks what the time is for.
func (k *resumable) fire() {
	c := k.conn
	c.mu.Lock()
	switch {
	case c.reason != nil || !c.isAttached:
		c.mu.Unlock()
	case k.isFrozenLocked():
		then := k.thawIfDueLocked()
		c.mu.Unlock()
		then()
	case k.life == nil:
		if left := k.remainingLocked(); left > 0 {
			c.shared.clock.set(k, left)
			c.mu.Unlock()
			return
		}
		e := c.endLocked(&CloseError{Cause: CauseAway, Code: codeAbnormal, Err: k.away.lostTo})
		c.mu.Unlock()
		e.carryOut()
	default:
		c.mu.Unlock()
		again := c.outbox.Confirm()
		if again == 0 {
			return
		}
		c.mu.Lock()
		if k.life != nil && c.reason == nil { // otherwise the alarm is for something else by now
			c.shared.clock.set(k, again)
		}
		c.mu.Unlock()
	}
}

// endLocked is the session's part of the end of its connection. It reports whether there is no goroutine that calls OnDisconnect.
func (k *resumable) endLocked(reason *CloseError) (leads bool) {
	c := k.conn
	if !c.isAttached {
		return false // attach will close it
	}
	c.shared.count.sessions.Add(-1)
	k.bury(reason)
	if m := k.moving; m != nil && m.owner.Moves > 0 && k.handler.worker.hasOwners() {
		k.handler.worker.membership.Disclaim(registerKey(c.id))
	}
	c.shared.clock.drop(k)
	if k.life != nil {
		return false
	}
	c.shared.count.suspended.Add(-1)
	c.outbox.End()
	return k.leadLocked(nil)
}

// bury leaves a tombstone where the client may come back to a session that has ended. While a worker shuts down and saves none there is none:
// whatever cut the client off, it is to come back to another worker, and a code would tell it not to.
func (k *resumable) bury(reason *CloseError) {
	switch reason.Cause {
	case CauseClient, CauseShutdown, CauseMoved:
		return
	}
	if reason.Err == errOwnerGone || reason.Err == errTakerGone {
		return // another worker may have it
	}
	if !k.conn.shared.keepsSessions() && k.handler.worker.roster.isClosed() {
		return
	}
	k.settleTicketsLocked()
	s := &tombstone{id: k.conn.id, handler: k.handler, path: k.conn.path.String(), tickets: k.tickets}
	lasts := k.window
	if reason.Cause == CauseAway {
		s.isExpired = true
	} else {
		s.code, s.reason = reason.Code, reason.Reason
		if s.code == codeAbnormal {
			s.code, s.reason = codeInternal, reasonInternal
		}
		if k.life == nil {
			lasts = max(k.remainingLocked(), time.Second)
		}
	}
	k.handler.worker.tombstones.add(s, lasts)
}

// stopIfSuspended is stop for a session that has no WebSocket. It reports whether that is so.
func (c *Conn) stopIfSuspended(reason *CloseError) bool {
	c.mu.Lock()
	isSuspended := c.session.isSuspendedLocked()
	c.mu.Unlock()
	if isSuspended {
		c.stop(reason) // it stays suspended: nobody can come back any more
	}
	return isSuspended
}

// Greeted is for the socket to call, with its lock held: the client has the hello, and the ticket in it. A socket that is not the session's
// any more does not call it.
func (l *life) Greeted() {
	if k := l.session; k != nil {
		k.greeted.Store(max(int64(k.now()), 1))
	}
}

// ticketGrace is how long the former ticket stays good once the hello with its successor is confirmed. A browser confirms what its page may
// never see, if that is just being reloaded.
const ticketGrace = 10 * time.Second

// settleTicketsLocked lets the former tickets go once their time is over.
func (k *resumable) settleTicketsLocked() {
	if at := k.greeted.Load(); at > 0 && k.now()-time.Duration(at) >= ticketGrace {
		k.greeted.Store(0)
		k.tickets.confirm()
	}
}

// leaveTicketsLocked is for the end of the present WebSocket, or its loss: whether the page has seen the hello, nobody knows from now on.
func (k *resumable) leaveTicketsLocked() {
	k.settleTicketsLocked()
	if k.greeted.Swap(0) > 0 {
		k.tickets.see()
	}
}

// findLocked returns which of the session's tickets it is, or -1.
func (k *resumable) findLocked(ticket session.Ticket) int {
	k.settleTicketsLocked()
	return k.tickets.find(ticket)
}

// hello makes the first message of a WebSocket, for which there is a new ticket.
//
// It tells the addresses where the default greeting would. An application that has a greeting of its own may keep them from its clients, and
// whoever offers wspush.v1 must not get around that.
func (k *resumable) hello(h session.Hello) *socket.Message {
	h.Window = inSeconds(k.window)
	if k.handler.opts.Greeting == nil {
		h.Address = k.conn.addressText()
	}
	return socket.NewHello(h.JSON())
}

// ticketLocked returns the text of a new ticket.
func (k *resumable) ticketLocked() string {
	c := k.conn
	return c.shared.tickets.Text(session.Ticket{Session: c.id, Secret: k.tickets.add(), Owner: c.shared.address()})
}

// setTicketKey says how tickets are sealed and opened: with the keys of a Cluster, or with one that only this worker has, and whose sessions it has
// loaded. A ticket that was not sealed would tell the connection's ID, which is the right to push, to clients that are told no address.
func (s *shared) setTicketKey(loaded []byte) error {
	if s.cluster != nil {
		s.tickets = session.NewOpener(s.cluster.keys)
		return nil
	}
	if s.ticketKey = loaded; s.ticketKey == nil {
		s.ticketKey = make([]byte, 32)
		_, _ = rand.Read(s.ticketKey) // never fails
	}
	keys, err := seal.New([][]byte{s.ticketKey})
	if err != nil {
		return err // random bytes do not look like a mistake
	}
	s.tickets = session.NewOpener(keys)
	return nil
}

// finishedLocked takes note that the goroutine of a life is about to end.
func (k *resumable) finishedLocked(l *life) {
	if i := slices.Index(k.lives, l); i >= 0 {
		k.lives = slices.Delete(k.lives, i, i+1)
	}
	if len(k.lives) == 0 {
		k.lives = nil
	}
}

// An UnconfirmedMessage is one that was accepted for a client that is not known to have received it: see [Conn.Unconfirmed].
type UnconfirmedMessage struct {
	Type    MessageType
	Data    []byte // as it was pushed; it must not be changed
	Written bool   // all of it was written to a WebSocket, once at least, so that the client may have it
}

// Unconfirmed yields the messages that were accepted for a session and that its client has not confirmed, in the order in which they were
// pushed. It is for HandlerOptions.OnDisconnect: while the connection lives, it yields nothing, and for one that is no session it never does.
// Once OnDisconnect has returned, they are let go.
func (c *Conn) Unconfirmed() iter.Seq[UnconfirmedMessage] {
	return func(yield func(UnconfirmedMessage) bool) {
		if !c.session.isSession() || c.endReason() == nil {
			return
		}
		for _, m := range c.outbox.Unconfirmed() {
			typ := Text
			if m.Binary {
				typ = Binary
			}
			if !yield(UnconfirmedMessage{Type: typ, Data: m.Data, Written: m.Written}) {
				return
			}
		}
	}
}
