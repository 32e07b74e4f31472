package socket

import (
	"errors"
	"slices"
)

// A session moves to another Outbox, mostly that of another worker, in two steps. Freeze copies it, and from then on it stands still: nothing goes
// out, and what it is pushed waits. Then either Thaw has it go on as if its client had been away, or Leave says that the other one goes on, and a
// Mover is given the messages whose senders wait here.

// ErrFrozen refuses a client that comes back to a session while it moves.
var ErrFrozen = errors.New("the session is about to move")

// moving is what an Outbox has because its session moves, has moved away, or has just come. The Outbox's lock guards it.
type moving struct {
	isFrozen  bool     // since Freeze
	confirmed []uint64 // marks of what clients have said to have received, since the session is frozen

	to    Mover                 // since Leave; nil before
	given map[*Message]*Message // what to has, by the sender's message

	marks map[uint64]struct{} // that have come; nil if the Outbox remembers none
}

// movingLocked returns what there is to know about the moves of a session, which it makes if need be.
func (o *Outbox) movingLocked() *moving {
	if o.spoken.moving == nil {
		o.spoken.moving = new(moving)
	}
	return o.spoken.moving
}

// forgetMovingLocked lets go of what is not needed any more.
func (o *Outbox) forgetMovingLocked() {
	if v := o.spoken.moving; !v.isFrozen && v.to == nil && v.marks == nil {
		o.spoken.moving = nil
	}
}

// isFrozenLocked reports whether the session stands still.
func (o *Outbox) isFrozenLocked() bool {
	return o.spoken != nil && o.spoken.moving != nil && o.spoken.moving.isFrozen
}

// Freeze has the session stand still, and returns a copy of it for another Outbox to go on with. Its WebSocket, if there is one, is lost to it as
// by Detach. Everything that waits is in the copy. Senders go on waiting for confirmations, and for what IfAway says about messages that have not
// begun; the others are told ErrBuffered. From then on every message that the limits let in is pending, whatever it is.
//
// If known is set, the client says that it has received offset messages, which are confirmed by that, and the copy begins with those after them. It
// is ErrOffset if the client cannot have received so many, and ErrClosed if the session has ended, or has not been opened by Hold yet; nothing has
// changed then. Freeze may be called again: the copy is the same, less what the client has received since.
func (o *Outbox) Freeze(offset uint64, known bool) (saved Saved, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.keeps() || o.stage != stageOpen:
		return Saved{}, ErrClosed
	case known && offset > o.spoken.begun:
		return Saved{}, ErrOffset
	}
	v := o.movingLocked()
	if o.socket != nil {
		o.detachLocked(o.socket, false)
	}
	o.setSuspendedLocked(true)
	if known {
		o.hasReceivedLocked(offset)
	}
	if !v.isFrozen {
		v.isFrozen = true
		for m := o.messages.first; m != nil; {
			next := m.next
			m.own()
			if m.isAcceptedByFreeze() {
				o.handOverLocked(m, ErrBuffered)
			}
			m = next
		}
		for m := o.messages.first; m != nil; m = m.next {
			m.session.copied = true
		}
	}
	return o.copyLocked(), nil
}

// isAcceptedByFreeze reports whether the sender of m, which waits, need not wait any more because m is in the copy.
func (m *Message) isAcceptedByFreeze() bool {
	return m.hasSender() && !m.confirm && (m.session.number > 0 || m.session.absence == absenceBuffers)
}

// hasReceivedLocked notes that the client has received offset messages, whose senders are told. Nothing is left of them.
func (o *Outbox) hasReceivedLocked(offset uint64) {
	k, v, all := o.spoken, o.spoken.moving, &o.shared.pendingAll
	for _, e := range all.retained.dropTo(all, &k.session, offset) {
		v.noteConfirmed(e.mark)
	}
	if offset <= k.confirmed {
		return
	}
	now := o.now()
	n := int(min(offset-k.confirmed, uint64(len(k.kept))))
	for i := range k.kept[:n] {
		v.noteConfirmed(k.kept[i].mark)
		o.confirmLocked(&k.kept[i], now)
	}
	o.unbufferLocked(k.kept[:n])
	all.releaseAll(k.kept[:n])
	k.kept = slices.Delete(k.kept, 0, n)
	for m := o.messages.first; m != nil && m.session.number > 0 && m.session.number <= offset; m = o.messages.first {
		v.noteConfirmed(m.session.mark)
		o.removeLocked(m) // it was cut off, as far as the worker knew
		m.settle(nil)
	}
	k.confirmed = offset
	all.retained.setReleased(&k.session, offset)
}

// copyLocked returns the copy of a session that is frozen.
func (o *Outbox) copyLocked() Saved {
	s, v := o.spoken, o.spoken.moving
	released, retained := o.shared.pendingAll.retained.list(&s.session)
	saved := Saved{Released: released, Confirmed: s.confirmed, Begun: s.begun, MaxUnconfirmed: s.max, Marks: slices.Clone(v.confirmed)}
	for _, part := range [][]kept{retained, s.kept} {
		for i := range part {
			saved.Messages = append(saved.Messages, part[i].saved())
		}
	}
	for m := o.messages.first; m != nil && m.session.copied; m = m.next {
		saved.Messages = append(saved.Messages, m.saved())
	}
	saved.Marks = append(saved.Marks, o.rememberedLocked()...)
	for i := range saved.Messages {
		if mark := saved.Messages[i].Mark; mark != 0 {
			saved.Marks = append(saved.Marks, mark)
		}
	}
	slices.Sort(saved.Marks)
	saved.Marks = slices.Compact(saved.Marks)
	return saved
}

// Thaw has a session that is frozen go on as if its client had been away since Freeze.
func (o *Outbox) Thaw() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isFrozenLocked() {
		return
	}
	o.thawLocked()
	for m := o.messages.first; m != nil; {
		next := m.next
		o.leaveAloneLocked(m)
		m = next
	}
}

// thawLocked ends what Freeze has begun, and withdraws the messages of those who have left meanwhile.
func (o *Outbox) thawLocked() {
	v := o.spoken.moving
	v.isFrozen, v.confirmed = false, nil
	for m := o.messages.first; m != nil; {
		next := m.next
		m.session.copied = false
		if cause := m.left; cause != nil {
			o.removeLocked(m)
			m.settle(cause)
		}
		m = next
	}
	o.forgetMovingLocked()
}
