package wspush

import (
	"context"
	"time"

	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/takeover"
)

// moving is what a session has beside that has come from another worker, or that another worker is taking. Conn.mu guards it.
//
// While another worker takes it, the session is frozen: it has no WebSocket, its outbox lets nothing more in that could be missing from the copy,
// and nothing ends it but the end of a Shutdown.
type moving struct {
	owner   takeover.Owner
	earlier []sessionfile.Owner // who had it before, the first one first
	// By place in the copy that has come, which begins with that after released: those whose senders wait at the worker where it has come from, until
	// they attach.
	waiting  []*socket.Message
	released uint64

	certain chan struct{} // closed when it is certain who has the session; nil unless it is frozen
	copied  []byte        // what the taker gets, while the session is frozen, if that is too much for one reply
	copyOf  uint64        // the number of the take that it is for
	until   time.Duration // by the worker's clock: when the session thaws, if nothing is heard
	close   *CloseError   // how it is to end if it thaws; it ends the same way at its new worker if not
	thawing bool          // somebody is finding out who owns it
	losses  uint64        // of the register, as far as they were known when the session was frozen: see membership.Losses
}

// thawAfter is how long a session stays frozen for somebody who has asked for it and is not heard of again.
const thawAfter = 5 * time.Second

// maxEarlier bounds how many former owners a session remembers. Those before lead to one of these.
const maxEarlier = 16

// isFrozenLocked reports whether somebody is taking the session.
func (k *resumable) isFrozenLocked() bool { return k.moving != nil && k.moving.owner.IsFrozen() }

// isFrozenFor reports whether the session, which is frozen, cannot end for this reason before it is known where it is. For nil it is not.
func (k *resumable) isFrozenFor(reason *CloseError) bool {
	return k.isSession() && k.isFrozenLocked() && reason.Cause != CauseShutdown && k.moving.close == nil
}

// movingLocked returns k.moving, which it makes if need be.
func (k *resumable) movingLocked() *moving {
	if k.moving == nil {
		k.moving = new(moving)
	}
	return k.moving
}

// A freezing is what has come of an attempt to freeze a session.
type freezing struct {
	number uint64 // of the take
	moves  uint64 // how often the session has moved to be here
	saved  socket.Saved
	taken  takenSession
}

// freeze freezes the session for by, who has a ticket of it or is offered it, and whose user it has to be. It may be frozen already.
func (k *resumable) freeze(by takeover.Worker, q *take) (f freezing, err error) {
	c := k.conn
	c.mu.Lock()
	switch {
	case c.reason != nil, !c.isAttached:
		err = errNotHere
	case k.isTaken || c.shared.isSaving.Load():
		err = ErrShutdown
	case q.isOffered:
	case k.findLocked(session.Ticket{Session: c.id, Secret: q.secret}) < 0:
		err = errNotHere
	case c.userLocked() != q.user:
		err = errOtherUser
	}
	if err != nil {
		c.mu.Unlock()
		return f, err
	}
	f.saved, err = c.outbox.Freeze(q.offset, !q.isOffered)
	if err != nil {
		c.mu.Unlock()
		if err == socket.ErrClosed {
			err = errNotHere
		}
		return f, err
	}
	old, waited := k.life, false
	remaining := k.remainingLocked()
	if old != nil {
		waited = k.suspendLocked(&CloseError{Cause: CauseLost, Code: session.CodeReplaced, Reason: reasonReplaced})
	}
	k.settleTicketsLocked()
	m := k.movingLocked()
	if w := k.handler.worker; w.hasOwners() {
		if !m.owner.IsFrozen() {
			m.losses = w.membership.Losses()
		}
		m.owner.Moves = max(m.owner.Moves, w.membership.Claimed(registerKey(c.id)))
	}
	if f.number, _ = m.owner.Take(by); m.certain == nil {
		m.certain = make(chan struct{})
	}
	f.taken = takenSession{c, f.saved, remaining}
	f.moves = m.owner.Moves
	k.moving.until = k.now() + thawAfter
	c.shared.clock.set(k, thawAfter)
	c.mu.Unlock()
	if old != nil {
		old.socket.Close(session.CodeReplaced, reasonReplaced)
		if waited {
			go old.drain()
		}
	}
	return f, nil
}

// settleLocked is for when it is certain who has the session.
func (m *moving) settleLocked() {
	m.copied = nil
	if m.certain != nil {
		close(m.certain)
		m.certain = nil
	}
}

// whereabouts returns where the session is, if it is not here. It waits as long as that is not certain.
func (c *Conn) whereabouts(ctx context.Context) (*departure, error) {
	if !c.session.isSession() {
		return nil, nil
	}
	for {
		c.mu.Lock()
		var certain chan struct{}
		if m := c.session.moving; m != nil {
			certain = m.certain
		}
		c.mu.Unlock()
		if certain == nil {
			d, _ := c.departure()
			return d, nil
		}
		select {
		case <-certain:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.session.handler.worker.cut.Done():
			return nil, ErrShutdown
		}
	}
}

// thawLocked goes on with the session here. What is to be done without the lock is returned.
func (k *resumable) thawLocked() (then func()) {
	c, m := k.conn, k.moving
	m.thawing = false
	m.settleLocked()
	c.outbox.Thaw()
	c.shared.clock.set(k, k.remainingLocked())
	if reason := m.close; reason != nil {
		m.close = nil
		return c.endLocked(reason).carryOut
	}
	if !k.leadLocked(nil) { // whoever has the lead tells the application
		return func() {}
	}
	return func() {
		k.handler.worker.roster.stir(c)
		k.handOn(nil)
	}
}

// thawIfDueLocked is called when a session may have been frozen for too long.
func (k *resumable) thawIfDueLocked() (then func()) {
	m, w := k.moving, k.handler.worker
	wait := m.until - k.now()
	switch {
	case wait > 0:
	case !w.hasOwners():
		m.owner.Thaw()
		return k.thawLocked()
	case !m.thawing:
		m.thawing = true
		w.takeovers.running.add(1)
		return func() { go w.reclaim(k) }
	default:
		wait = thawAfter
	}
	k.conn.shared.clock.set(k, wait)
	return func() {}
}

// departed is for a taker that says that it has the session.
func (k *resumable) departed(by takeover.Worker, q *taken) takeover.Verdict {
	c := k.conn
	c.mu.Lock()
	if k.moving == nil || c.reason != nil && c.reason.Cause != CauseMoved {
		c.mu.Unlock()
		return takeover.Refused
	}
	wasFrozen := k.isFrozenLocked()
	verdict := k.moving.owner.Taken(by, q.number, q.claimed, q.moves)
	then := func() {}
	if wasFrozen && verdict == takeover.Accepted {
		then = k.departLocked(by, q.addresses, q.sealed)
	}
	c.mu.Unlock()
	then()
	return verdict
}

// departLocked ends the session here, since it is another worker's now. What waits is carried there, and so is what comes later.
func (k *resumable) departLocked(to takeover.Worker, addresses, sealed string) (then func()) {
	c, m, w := k.conn, k.moving, k.handler.worker
	m.settleLocked()
	d := w.departures.add(&departure{worker: w, id: c.id, to: to, moves: m.owner.Moves + 1, addresses: addresses, sealed: sealed})
	c.outbox.Leave(&carrier{departure: d, outbox: &c.outbox})
	w.departures.remember(d, c)
	w.shared.count.departed.Add(1)
	reason := &CloseError{Cause: CauseMoved, Code: session.CodeReplaced, Reason: "moved to another worker"}
	e := c.endLocked(reason)
	ending := m.close
	m.close = nil
	return func() {
		c.shared.log.Debug("wspush: moved", "conn", c.String(), "to", to.Address)
		e.carryOut()
		if ending != nil {
			d.close(ending.Code, ending.Reason)
		}
	}
}
