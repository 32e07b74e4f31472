package socket

import "errors"

// A push to a user or a group may reach a session twice while it moves: by the Outbox that it leaves, and by the other one. Such a push has a mark,
// and an Outbox that has been loaded refuses a mark that it knows.

// ErrRepeated refuses a message that the session has got before, by another way. It is no outcome to be counted or told.
var ErrRepeated = errors.New("the session has the message already")

// SetMark gives m, which has just been prepared, the mark of a push that may come to the session by two ways; 0 is none.
func (m *Message) SetMark(mark uint64) { m.session.mark = mark }

// Mark is what SetMark has set.
func (m *Message) Mark() uint64 { return m.session.mark }

// isRepeated reports whether the mark of m has come with another message before, and notes it.
func (v *moving) isRepeated(m *Message) bool {
	mark := m.session.mark
	if mark == 0 || v.marks == nil || m.session.noted {
		return false
	}
	if _, known := v.marks[mark]; known {
		return true
	}
	v.marks[mark], m.session.noted = struct{}{}, true
	return false
}

// rememberMarksLocked has o, which has just been loaded, refuse what has come before.
func (o *Outbox) rememberMarksLocked(saved Saved) {
	marks := make(map[uint64]struct{}, len(saved.Marks))
	for _, mark := range saved.Marks {
		marks[mark] = struct{}{}
	}
	for i := range saved.Messages {
		if mark := saved.Messages[i].Mark; mark != 0 {
			marks[mark] = struct{}{}
		}
	}
	o.movingLocked().marks = marks
}

// ForgetMarks has an Outbox that has been loaded refuse nothing any more because it has come before. It is to be called when nothing can be under
// way that was pushed while the session moved.
func (o *Outbox) ForgetMarks() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.spoken != nil && o.spoken.moving != nil {
		o.spoken.moving.marks = nil
		o.forgetMovingLocked()
	}
}

// rememberedLocked returns the marks that a session that is frozen remembers, but for those of messages that are not in the copy: they are still to
// come to the other Outbox.
func (o *Outbox) rememberedLocked() (marks []uint64) {
	fresh := make(map[uint64]struct{})
	for m := o.messages.last; m != nil && !m.session.copied; m = m.prev {
		fresh[m.session.mark] = struct{}{}
	}
	for mark := range o.spoken.moving.marks {
		if _, isFresh := fresh[mark]; !isFresh {
			marks = append(marks, mark)
		}
	}
	return marks
}

func (v *moving) noteConfirmed(mark uint64) {
	if mark != 0 {
		v.confirmed = append(v.confirmed, mark)
	}
}
