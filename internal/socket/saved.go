package socket

import "time"

// Saved is what an Outbox keeps of a session, for another Outbox to go on with, in this process or in another.
type Saved struct {
	// The numbers of the last message of which nothing is left, of the last that the client's endpoint has confirmed, and of the last that has
	// begun. Released <= Confirmed <= Begun <= Released + len(Messages).
	Released, Confirmed, Begun uint64
	Messages                   []SavedMessage // those after Released, in order
	MaxUnconfirmed             int            // for Keep
	Marks                      []uint64       // of what the session has got, as far as that is known
}

// A SavedMessage is one that a session has accepted.
type SavedMessage struct {
	Unconfirmed
	Held *Holding // of the data, if others have the same; nil otherwise
	Mark uint64   // 0: none

	// Waits is set by Freeze if a sender waits for the outcome. Only then the others mean something: they are as those of the Message.
	Waits, Confirm, Hasty, Patient bool
}

// saved returns e, which has been written, for another Outbox.
func (e *kept) saved() SavedMessage {
	s := SavedMessage{Unconfirmed: e.unconfirmed(), Held: e.held, Mark: e.mark}
	if e.waiter != nil {
		s.waitFor(e.waiter)
	}
	return s
}

// saved returns m, which waits and is the outbox's own, for another Outbox.
func (m *Message) saved() SavedMessage {
	s := SavedMessage{Unconfirmed: Unconfirmed{Binary: m.Binary(), Data: m.plainData(), Written: m.session.again}, Held: m.held, Mark: m.session.mark}
	if m.hasSender() {
		s.waitFor(m)
	}
	return s
}

func (s *SavedMessage) waitFor(m *Message) {
	s.Waits, s.Confirm, s.Hasty, s.Patient = true, m.confirm, m.Hasty(), m.Patient()
}

// waiter returns a message whose sender is still to come, or nil if none waits.
func (s *SavedMessage) waiter(now time.Duration) *Message {
	if !s.Waits {
		return nil
	}
	m := &Message{confirm: s.Confirm, sent: now, settled: func(error) {}}
	if s.Hasty || s.Patient {
		m.IfAway(s.Patient)
	}
	return m
}

// Save ends a session for another Outbox to go on with it. The senders of what has begun are told ErrBuffered: it will be sent. Those that wait
// for a client with what has not begun are told ErrClosed, and it is not saved. Its WebSocket, if there is one, is lost to it as by Detach.
// What is saved is also what Unconfirmed returns, but for what the client has confirmed. Save reports false, and does nothing, if the
// session has ended, or has not been opened by Hold yet.
func (o *Outbox) Save() (saved Saved, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.keeps() || o.stage != stageOpen {
		return Saved{}, false
	}
	if o.socket != nil {
		o.detachLocked(o.socket, true)
	}
	o.setSuspendedLocked(false)
	s, all := o.spoken, &o.shared.pendingAll
	released, retained := all.retained.takeOut(all, &s.session)
	defer all.releaseAll(retained)
	if o.isFrozenLocked() {
		o.thawLocked()
	}
	o.stage = stageEnded
	saved = Saved{Released: released, Confirmed: s.confirmed, Begun: s.begun, MaxUnconfirmed: s.max}
	for _, part := range [][]kept{retained, s.kept} {
		for i := range part {
			e := part[i]
			e.waiter = nil // who is told in a moment
			saved.Messages = append(saved.Messages, e.saved())
		}
	}
	for i := range s.kept {
		if m := s.kept[i].waiter; m != nil {
			s.kept[i].waiter = nil
			m.settle(ErrBuffered)
		}
	}
	o.dropLocked(func(m *Message) error {
		if m.session.number == 0 && m.hasSender() {
			return ErrClosed
		}
		m.own()
		e := m.saved()
		e.Waits, e.Confirm, e.Hasty, e.Patient = false, false, false, false // its sender is told in a moment
		saved.Messages = append(saved.Messages, e)
		return ErrBuffered
	})
	return saved, true
}

// Load makes o, which is new and for which Keep has been called, what another Outbox was that has been saved: that of a session whose client is
// away. Everything that was accepted is, however much that is. now is the time by the connection's clock.
//
// For each of saved.Messages for which a sender waits, senders has the Message at the same index, for Attach and Abandon; the others are nil, and so
// is senders if there are none. Until ForgetMarks, o refuses messages that the session has got before.
func (o *Outbox) Load(saved Saved, now time.Duration) (senders []*Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.start, o.stage = time.Now().Add(-now), stageOpen
	s, all := o.spoken, &o.shared.pendingAll
	s.begun, s.confirmed = saved.Begun, saved.Confirmed
	all.retained.setReleased(&s.session, saved.Released)
	messages := make([]kept, len(saved.Messages))
	for i, m := range saved.Messages {
		e := &messages[i]
		*e = kept{data: m.Data, held: m.Held, mark: m.Mark, cost: len(m.Data) + messageOverhead, binary: m.Binary, again: m.Written, sent: now}
		if e.waiter = m.waiter(now); e.waiter != nil {
			if senders == nil {
				senders = make([]*Message, len(messages))
			}
			senders[i] = e.waiter
		}
		all.hold(e.held, e.cost)
	}
	n := saved.Confirmed - saved.Released
	for i := range messages[:n] {
		if m := messages[i].waiter; m != nil { // which no Freeze says
			messages[i].waiter = nil
			m.settle(nil)
		}
	}
	if n > 0 {
		all.retained.add(all, &batch{session: &s.session, kept: messages[:n:n], upTo: saved.Confirmed})
	}
	written := saved.Begun - saved.Released
	s.kept = messages[n:written:written]
	for i := range s.kept {
		s.cost += s.kept[i].cost
		if m := s.kept[i].waiter; m != nil {
			m.out = true
		}
		all.buffered.add(1, len(s.kept[i].data))
	}
	for i := range messages[written:] {
		m := messages[written:][i].message(0)
		m.session.fixed = false
		o.addLocked(m)
	}
	o.setSuspendedLocked(true)
	o.rememberMarksLocked(saved)
	return senders
}
