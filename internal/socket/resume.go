package socket

import "errors"

// ErrOffset refuses a client that says to have received more than it was sent.
var ErrOffset = errors.New("more messages than there were")

// prepare gives s, whose client comes back to a session, the lock and the clock of the session's outbox. Until Resume it has nothing to write
// but what is its own.
func (o *Outbox) prepare(s *Socket) {
	s.outbox = o
	s.feed = o.apart(s)
	s.received.Store(int64(o.now()))
}

// apart returns an outbox for the frames of a socket that is not the WebSocket of o, or is not any more. No message is let in.
func (o *Outbox) apart(s *Socket) *Outbox {
	return &Outbox{shared: o.shared, start: o.start, max: o.max, stage: stageEnded, socket: s}
}

// Resume makes s the WebSocket of a session whose client has received offset messages, in place of the one before, if there is one. The
// messages after from will be written: from is offset, or more if what follows offset is not there any more. Nothing is written before
// Release. s has been made by Accept for this Outbox, with Choose. The error is ErrOffset if the client cannot have received so many,
// ErrFrozen while the session is about to move, or ErrClosed if it has ended; nothing has changed then.
func (o *Outbox) Resume(s *Socket, offset uint64) (from uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.spoken
	switch {
	case o.stage != stageOpen:
		return 0, ErrClosed
	case o.isFrozenLocked():
		return 0, ErrFrozen
	case offset > k.begun:
		return 0, ErrOffset
	}
	if o.socket != nil {
		o.detachLocked(o.socket, false)
	}
	o.setSuspendedLocked(false)
	all := &o.shared.pendingAll
	released, again := all.retained.takeOut(all, &k.session)
	for i := range k.kept {
		k.cost -= k.kept[i].cost // until it is queued again
	}
	o.unbufferLocked(k.kept)
	again = append(again, k.kept...)
	clear(k.kept)
	k.kept = k.kept[:0]
	from = max(offset, released)
	now := o.now()
	for n := released + 1; len(again) > 0 && n <= from; n++ {
		e := &again[0]
		k.cost += e.cost // which confirmLocked takes away
		o.confirmLocked(e, now)
		all.release(e.held, e.cost)
		again = again[1:]
	}
	for m := o.messages.first; m != nil && m.session.number > 0 && m.session.number <= from; m = o.messages.first {
		o.removeLocked(m) // it was cut off, as far as the worker knew
		m.settle(nil)
	}
	number, before := from, o.messages.first
	for i := range again {
		number++
		o.insertLocked(again[i].message(number), before)
	}
	k.confirmed = from
	all.retained.setReleased(&k.session, from)
	o.socket, s.feed, s.turn = s, o, turnHeld
	return from, nil
}

// message returns the message that e was, to be written again.
func (e *kept) message(number uint64) *Message {
	m := e.waiter
	if m == nil {
		m = new(Message)
	}
	m.head = putHeader(&m.header, firstByte(e.binary), len(e.data))
	m.data, m.held, m.cost = e.data, e.held, e.cost
	m.kept, m.counted, m.out = true, true, false
	m.written, m.taken, m.marked = 0, 0, 0
	m.session = inSession{number: number, owned: true, fixed: true, again: e.again, absence: m.session.absence, mark: e.mark}
	if m.looksLikeControl() {
		m.double()
	}
	return m
}

// Detach ends what s is to the session, which goes on without it: nothing that happens to s concerns the session any more. What s is writing
// goes out, and Close then closes only the WebSocket. It reports false if s is not the session's WebSocket, or the session has ended.
func (o *Outbox) Detach(s *Socket) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.detachLocked(s, true)
}

// detachLocked is Detach. If away is set, the client is away from now on: whoever waits for a message to be written is told.
func (o *Outbox) detachLocked(s *Socket, away bool) bool {
	if !o.keeps() || o.socket != s || o.stage != stageOpen {
		return false
	}
	apart := o.apart(s)
	for m := o.messages.first; m != nil; {
		next := m.next
		switch {
		case m.control:
			o.removeLocked(m)
			apart.addLocked(m)
		case m.under():
			apart.addLocked(o.restLocked(m))
			m.written, m.taken, m.marked, m.session.fixed = 0, 0, 0, true
			if m.left != nil {
				m.left = nil
				o.handOverLocked(m, ErrLeft)
			}
		}
		m = next
	}
	o.spoken.probe, o.spoken.hello = nil, 0
	s.feed, o.socket = apart, nil
	o.countAllLocked()
	for m := o.messages.first; m != nil; {
		next := m.next
		m.uncompress()
		if away {
			o.leaveAloneLocked(m)
		}
		m = next
	}
	if away {
		o.setSuspendedLocked(true)
	}
	return true
}

// restLocked is what is still to be written of m, for the WebSocket that has begun it.
func (o *Outbox) restLocked(m *Message) *Message {
	m.own()
	rest := &Message{header: m.header, head: m.head, data: m.data, kept: true, written: m.written, taken: m.taken, marked: m.marked}
	rest.session.owned = true
	number := m.session.number // m itself may be used for another message by then
	rest.settled = func(err error) {
		if err == nil {
			o.writtenLocked(number)
		}
	}
	return rest
}

// writtenLocked notes that a WebSocket that is not the session's any more has written the rest of the message with this number.
func (o *Outbox) writtenLocked(number uint64) {
	for m := o.messages.first; m != nil && (m.control || m.session.number > 0); m = m.next {
		if m.session.number == number {
			m.session.again = true
			return
		}
	}
	for i := range o.spoken.left {
		if e := &o.spoken.left[i]; e.number == number {
			e.again = true
		}
	}
}

// uncompress makes m what it was before it was compressed: another WebSocket may not take it otherwise.
func (m *Message) uncompress() {
	if p := m.session.plain; p != nil {
		m.data, m.session.plain = p.data, nil
		m.head = putHeader(&m.header, m.header[0]&opBits, len(p.data))
	}
}

// leaveAloneLocked tells the sender of m, which waits, that the client is away, unless it is to wait.
func (o *Outbox) leaveAloneLocked(m *Message) {
	begun := m.session.number > 0
	switch {
	case !m.hasSender() || m.confirm && m.session.absence != absenceRefuses:
	case m.session.absence == absenceRefuses && !begun:
		o.removeLocked(m)
		m.settle(ErrSuspended)
	case m.confirm || m.session.absence == absenceWaits && !begun:
	default:
		o.handOverLocked(m, ErrBuffered)
	}
}

// buffersLocked reports whether m is accepted at once although the client is away.
func (o *Outbox) buffersLocked(m *Message) bool {
	return !m.confirm && m.session.absence == absenceBuffers
}

// handOverLocked settles m, which waits, and goes on with a message of the outbox's own.
func (o *Outbox) handOverLocked(m *Message, err error) {
	before := m.next
	counted := m.counted
	own := m.handOver()
	own.confirm = false
	own.counted = counted
	o.unlinkLocked(m)
	o.bufferLocked(m, -1)
	o.insertLocked(own, before)
	m.settle(err)
}

// setSuspendedLocked counts a session whose client is away, or does so no more.
func (o *Outbox) setSuspendedLocked(suspended bool) {
	if o.spoken.suspended == suspended {
		return
	}
	o.spoken.suspended = suspended
	cost := int64(suspendedCost)
	if !suspended {
		cost = -cost
	}
	o.shared.pendingAll.cost.Add(cost)
}

// End ends a session whose client is away: what has begun is ErrBroken, what has not is ErrClosed. It reports false, and does nothing, if there
// is a WebSocket, whose Close ends the session, or if the session has ended.
func (o *Outbox) End() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stage != stageOpen || o.socket != nil {
		return false
	}
	if o.isFrozenLocked() {
		o.thawLocked()
	}
	o.setSuspendedLocked(false)
	o.lostLocked()
	o.neverReceivedLocked()
	return true
}
