package socket

import "time"

// A Mover takes what an Outbox is pushed whose session has moved to where the session is now, and tells the outcomes by Settle.
//
// The Messages that it is given stand for those of the senders, and are never used for anything else. Carry and Await are called with the Outbox's
// lock held, in the order of the messages: they must neither block nor call the Outbox.
type Mover interface {
	// Carry is called with a message that is to be pushed to the session where it is now.
	Carry(m *Message)
	// Await is called with a message that the other Outbox has, and whose sender waits here. Its data is gone. There are place messages of the session
	// before it: whichever copy the other Outbox has been loaded with, it is at place-Saved.Released in Saved.Messages.
	Await(m *Message, place uint64)
	// Withdraw is called, with no lock held, when the sender of a message gives up for the given cause. It may call Settle. Whether or not it does,
	// the sender waits until somebody does. The message may be settled already.
	Withdraw(m *Message, cause error)
}

// Leave ends a session that is frozen because another Outbox goes on with the latest copy. What is in the copy is let go, but to is to await it
// where a sender waits; and to carries what has come since, and what comes from now on, whatever else happens to this Outbox. It reports false, and
// does nothing, if the session is not frozen.
func (o *Outbox) Leave(to Mover) bool {
	o.mu.Lock()
	if !o.isFrozenLocked() {
		o.mu.Unlock()
		return false
	}
	withdrawn := o.leaveToLocked(to)
	o.mu.Unlock()
	for _, w := range withdrawn {
		to.Withdraw(w.message, w.cause)
	}
	return true
}

// withdrawal is a message whose sender has given up while nothing could be decided.
type withdrawal struct {
	message *Message
	cause   error
}

func (o *Outbox) leaveToLocked(to Mover) (withdrawn []withdrawal) {
	s, v, all := o.spoken, o.spoken.moving, &o.shared.pendingAll
	v.isFrozen, v.confirmed, v.marks, v.to, v.given = false, nil, nil, to, make(map[*Message]*Message)
	o.setSuspendedLocked(false)
	o.endLocked()
	place := s.confirmed
	for i := range s.kept {
		e := &s.kept[i]
		s.cost -= e.cost
		if e.waiter != nil {
			to.Await(o.giveLocked(e.waiter), place)
		}
		place++
	}
	o.unbufferLocked(s.kept)
	all.releaseAll(s.kept)
	s.kept = nil
	for m := o.messages.first; m != nil; {
		next := m.next
		switch {
		case !m.session.copied:
			o.unlinkLocked(m)
			o.bufferLocked(m, -1)
			o.waiting += m.cost
			to.Carry(o.giveLocked(m))
		case m.hasSender():
			o.removeLocked(m)
			cause := m.left
			m.session.plain = nil
			m.forgetData()
			given := o.giveLocked(m)
			to.Await(given, place)
			if cause != nil {
				withdrawn = append(withdrawn, withdrawal{given, cause})
			}
			place++
		default:
			o.removeLocked(m)
			place++
		}
		m = next
	}
	return withdrawn
}

// carryLocked has a message carried that has come after Leave, or returns the reason why not.
func (o *Outbox) carryLocked(m *Message) error {
	if !o.admitsLocked(m, 0) || !o.reserveLocked(m) {
		return ErrFull
	}
	o.secureLocked(m)
	o.waiting += m.cost
	o.countLocked(m) // which may copy it, too, before anybody reads it
	o.spoken.moving.to.Carry(o.giveLocked(m))
	return nil
}

// giveLocked returns what the Mover is given for m: something of its own, since m is used for another message once its sender knows the outcome. As
// long as m is to be carried, it counts in what waits.
func (o *Outbox) giveLocked(m *Message) (given *Message) {
	v := o.spoken.moving
	given = &Message{header: m.header, data: m.plainData(), confirm: m.confirm}
	given.session = inSession{absence: m.session.absence, mark: m.session.mark}
	given.settled = func(err error) {
		delete(v.given, m)
		if !m.out {
			o.waiting -= m.cost
			if m.counted {
				m.counted = false
				o.shared.pendingAll.release(m.held, m.cost)
			}
		}
		m.roundTrip = given.roundTrip
		m.settle(err)
	}
	v.given[m] = given
	return given
}

// Settle tells the sender of m, which a Mover has been given, what became of it. Only the first call counts. From then on m.Data is the sender's
// again, and must not be read.
func (o *Outbox) Settle(m *Message, roundTrip time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !m.done {
		m.roundTrip = roundTrip
		m.settle(err)
	}
}

// Attach gives m, which Load has returned, the sender that it has been loaded without: settled is called once with the outcome, as for a message
// that Start has left pending. If there is an outcome already, it is returned, and settled is never called.
func (o *Outbox) Attach(m *Message, settled func(error)) (done bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case m.done:
		return true, m.err
	case m.settled == nil: // it has been abandoned, and the outbox goes on with it
		return true, ErrLeft
	}
	m.settled = settled
	return false, nil
}
