package wspush

import (
	"context"
	"strconv"
	"sync"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/socket"
)

// arrivedPush is a push whose message has come with its session. The worker from which that has come asks what becomes of it: the sender waits there.
type arrivedPush struct {
	holder *holder
	in     *link.Incoming
	place  uint64

	mu          sync.Mutex // guards what follows
	isAbandoned bool
	push        *heldPush // once it is pending
}

// gatherArrived answers the worker from which a session has come, where the sender of one of its messages waits. That worker may ask before the
// session is one of this worker's connections, or after it has moved on.
func (h *holder) gatherArrived(in *link.Incoming, place string) {
	n, err := strconv.ParseUint(place, 10, 64)
	if err != nil {
		in.Answer(0, link.Answer{Code: outcomeLost})
		return
	}
	p := &arrivedPush{holder: h, in: in, place: n}
	chain := in.Cancel
	in.Cancel = func() {
		if chain != nil {
			chain()
		}
		p.abandon()
	}
	id := uuid.UUID(in.ID).String()
	if c, ok := h.worker.Conn(id); ok {
		p.attach(c)
		return
	}
	if h.worker.takeovers.await(id, p.attach) {
		return
	}
	if c, ok := h.worker.Conn(id); ok { // it has just arrived
		p.attach(c)
		return
	}
	p.attach(h.worker.departures.conn(id))
}

// attach waits for the outcome of the message. c is nil if the session is not here.
func (a *arrivedPush) attach(c *Conn) {
	var m *socket.Message
	if c != nil {
		m = c.takeWaiting(a.place)
	}
	if m == nil {
		a.in.Answer(0, link.Answer{Code: outcomeLost})
		return
	}
	p := a.holder.newPush(a.in, 0, c, nil, nil)
	p.arrived = m
	if done, err := c.outbox.Attach(m, p.settle); done {
		p.settle(err)
	}
	if !p.makePending() {
		return
	}
	a.mu.Lock()
	a.push = p
	isAbandoned := a.isAbandoned
	a.mu.Unlock()
	if isAbandoned {
		p.abandon(context.Canceled)
	}
}

func (a *arrivedPush) abandon() {
	a.mu.Lock()
	a.isAbandoned = true
	p := a.push
	a.mu.Unlock()
	if p != nil {
		p.abandon(context.Canceled)
	}
}

// takeWaiting returns the message with this place in the session, if it was in the copy that has come and nobody has attached its sender yet.
func (c *Conn) takeWaiting(place uint64) *socket.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.session
	if !k.isSession() || k.moving == nil || place < k.moving.released || place-k.moving.released >= uint64(len(k.moving.waiting)) {
		return nil
	}
	i := place - k.moving.released
	m := k.moving.waiting[i]
	k.moving.waiting[i] = nil
	return m
}
