package socket

import (
	"math"
	"runtime"
	"time"
)

// chunkSize is how much one write hands to the connection, and how much of a message must go out per WriteTimeout.
const chunkSize = 16 << 10

// Start writes m, or queues it behind what waits. If it is then pending, m.settled gets the outcome; otherwise err is the
// outcome: nil when every byte is written; ErrFull or ErrClosed when none is and none will be; ErrBroken.
//
// A caller that finds nobody writing writes its own message, as far as that goes without waiting. What remains is left to
// a goroutine that lives only while something waits: a caller that wrote for others, or was stuck in a write of its own,
// could not leave when its context ends.
func (s *Socket) Start(m *Message) (pending bool, err error) {
	s.mu.Lock()
	if err := s.take(m, s.Now()); err != nil {
		s.mu.Unlock()
		return false, err
	}
	return s.write(m)
}

// take takes m into the queue, now by the socket's clock, or returns why not; mu is held.
func (s *Socket) take(m *Message, now time.Duration) error {
	switch {
	case s.closing:
		return ErrClosed
	case s.unopened:
		return ErrFull
	case !s.queue.admits(m):
		return ErrFull
	}
	m.timed, m.began = true, now
	s.queue.add(m)
	if m.confirm {
		s.wantPing(m)
	}
	return nil
}

// StartAll is Start for several messages, which share writes. The outcome of each goes to its settled, maybe before StartAll
// returns; from then on it is its owner's again.
func (s *Socket) StartAll(messages []*Message) {
	s.mu.Lock()
	now := s.Now()
	var failure error
	first, taken := false, false
	for _, m := range messages {
		err := s.take(m, now)
		if err == ErrFull && taken && failure == nil && !s.turn && s.raw != nil {
			// It may be only the others that leave no room: the client has not had the chance to read them.
			failure, first = s.writeNow()
			err = s.take(m, now)
		}
		taken = taken || err == nil
		if err != nil {
			m.settle(err)
		}
	}
	switch {
	case !taken || failure != nil:
	case s.turn || s.raw == nil:
		s.queue.countAll()
		s.writeSoon()
	default:
		failure, first = s.writeNow()
	}
	s.mu.Unlock()
	if failure != nil {
		s.broken(failure, first)
	}
}

// writeNow writes what is in the queue, as far as the connection takes it at once, for messages whose outcome goes to their
// settled; nobody has the turn. mu is held on entry and on return, and not while writing. If failure is not nil, broken is
// to be called with both, without mu.
func (s *Socket) writeNow() (failure error, first bool) {
	s.turn = true
	failure = s.writeOwn()
	first = failure != nil && s.fail()
	s.queue.countAll()
	s.endTurn(false)
	return failure, first
}

// write sees to it that m, which is in the queue, gets written, at once if it can be, and so does the ping that is to follow
// it. mu is held on entry, and not on return.
func (s *Socket) write(m *Message) (pending bool, err error) {
	if s.turn || s.raw == nil {
		s.queue.count(m)
		s.writeSoon()
		s.mu.Unlock()
		return true, nil
	}
	s.turn = true
	settled := m.settled
	m.settled = nil
	failure := s.writeOwn()
	first := failure != nil && s.fail()
	if pending = !m.done; pending {
		s.queue.count(m)
		m.settled = settled
	}
	err = m.err
	s.endTurn(false)
	s.mu.Unlock()
	if failure != nil {
		s.broken(failure, first)
	}
	return pending, err
}

// writeOwn writes what is in the queue now, which is the caller's, as far as the connection takes it at once. mu is held on
// entry and on return, and not while writing.
func (s *Socket) writeOwn() (failure error) {
	buf := s.shared.buffer()
	defer s.shared.release(buf)
	for frames := len(s.queue.messages); frames > 0; {
		chunk := s.fill(*buf, frames)
		s.mu.Unlock()
		n, err := s.raw.tryWrite(chunk)
		s.mu.Lock()
		frames -= s.wrote(n).frames
		if err != nil {
			return err
		}
		if n < len(chunk) {
			return nil
		}
	}
	return nil
}

// Abandon gives m up because its caller leaves for the given cause. The outcome is cause if not one byte of m was written,
// for then it is withdrawn; ErrLeft if it has begun, and the Socket then goes on with a copy; and ErrUnconfirmed if all of it
// was written. If not decided, the
// outcome goes to m.settled, which has it already or will in a moment.
func (s *Socket) Abandon(m *Message, cause error) (outcome error, decided bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.done:
		return nil, false
	case m.confirm && m.written == m.size():
		s.queue.takeUnconfirmed(func(other *Message) bool { return other == m })
		return ErrUnconfirmed, true
	case m.written == 0 && m.taken > 0 && s.raw != nil:
		m.left = cause // that write does not wait: better to know than to guess
		s.leaving++
		return nil, false
	case m.started():
		m.detach()
		return ErrLeft, true
	}
	m.settled = nil
	s.queue.drop(func(other *Message) error {
		if other == m {
			return cause
		}
		return nil
	})
	return cause, true
}

// writeSoon sees to it that what is in the queue gets written; mu is held.
func (s *Socket) writeSoon() {
	if s.turn {
		return
	}
	s.turn = true
	s.running.Go(s.flush)
}

// flush writes until the queue is empty, and then gives up the write turn, which it holds from the start.
func (s *Socket) flush() {
	buf := s.shared.buffer()
	defer s.shared.release(buf)
	var err error
	if s.raw != nil {
		err = s.flushRaw(*buf)
	} else {
		err = s.flushConn(*buf)
	}
	if err == nil {
		return
	}
	s.mu.Lock()
	first := s.fail()
	s.turn = false
	s.mu.Unlock()
	s.broken(err, first)
}

// flushConn is flush for any connection. A write to it may wait, with no word on how far it got, so each is given the
// bytes of one message only: the others can still be withdrawn.
func (s *Socket) flushConn(buf []byte) error {
	for {
		s.mu.Lock()
		chunk := s.fill(buf, 1)
		if len(chunk) == 0 {
			s.endTurn(true)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		s.setWriteDeadline()
		n, err := s.conn.Write(chunk)
		s.mu.Lock()
		s.wrote(n)
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// maxYields is how often flushRaw lets others run before it writes what there is.
const maxYields = 4

// flushRaw is flush for a connection with a descriptor: everything that waits goes out in one write that does not wait,
// and only when the kernel takes nothing more does it wait, with nothing in hand.
func (s *Socket) flushRaw(buf []byte) error {
	var failure error
	armed, set := false, false // a deadline counts for the chunk under way; a deadline is set at all
	expected, yields := 0, 0   // messages that may soon be waiting; how often others have had their turn since the last write
	err := s.raw.conn.Write(func(fd uintptr) bool {
		for {
			s.mu.Lock()
			if len(s.queue.messages) < expected && yields < maxYields {
				// Those who have just heard that their message is out may have another: together they cost one write.
				s.mu.Unlock()
				yields++
				runtime.Gosched()
				continue
			}
			chunk := s.fill(buf, math.MaxInt)
			if len(chunk) == 0 {
				s.endTurn(set)
				s.mu.Unlock()
				return true
			}
			s.mu.Unlock()
			n, err := writeNonblock(fd, chunk)
			s.mu.Lock()
			p := s.wrote(n)
			expected, yields = p.settled+len(s.queue.messages), 0
			s.mu.Unlock()
			if err != nil {
				failure = err
				return true
			}
			if p.chunk {
				armed = false
			}
			if n > 0 {
				continue
			}
			if !armed {
				armed, set = true, true
				s.setWriteDeadline()
			}
			return false
		}
	})
	if failure == nil {
		failure = err
	}
	return failure
}

func (s *Socket) setWriteDeadline() {
	if s.writeTimeout > 0 {
		// An error means that the connection is closed, which the write will say.
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.writeTimeout))
	}
}

// endTurn gives up the write turn, to flush if something waits; mu is held. A deadline that stayed set would fail the next
// write after a silence.
func (s *Socket) endTurn(deadlineSet bool) {
	if deadlineSet {
		_ = s.conn.SetWriteDeadline(time.Time{})
	}
	s.turn = false
	switch {
	case len(s.queue.messages) > 0:
		s.writeSoon()
	case s.isCut: // while this was being written, which went well all the same
		s.setOver()
	}
}

// fill copies what the next write is to have into buf, of at most limit frames; mu is held.
func (s *Socket) fill(buf []byte, limit int) []byte {
	if s.awaitsPong() {
		s.writing = s.Now()
	}
	return s.queue.fill(buf, limit)
}

// wrote does what follows when n bytes of the last fill are out; mu is held.
func (s *Socket) wrote(n int) progress {
	unconfirmed, pinged := len(s.queue.unconfirmed), s.queue.pinged
	s.traffic.out.Add(uint64(n))
	now := s.Now()
	p := s.queue.wrote(n, now, s.traffic)
	if p.messages > 0 {
		s.sent.Store(int64(now))
	}
	if s.awaitsPong() || s.isDeaf {
		s.confirmWritten(unconfirmed, pinged)
	}
	if s.leaving > 0 || s.closing {
		s.sortOut()
		s.leaving = 0
	}
	if s.closeFrame != nil && s.closeFrame.done {
		s.closeWritten()
	}
	if s.ping != nil && s.ping.done {
		s.ping = nil
	}
	if s.pong != nil && s.pong.done {
		s.pong = nil
	}
	return p
}

// sortOut settles what has not begun and never will, and those whose callers wait to hear whether it has; mu is held.
func (s *Socket) sortOut() {
	s.queue.drop(func(m *Message) error {
		switch {
		case m.control || m.started():
			return nil
		case m.left != nil:
			return m.left
		case s.closing:
			return ErrClosed
		}
		return nil
	})
	for _, m := range s.queue.messages {
		if m.left != nil && m.taken == 0 {
			settled := m.settled
			m.left = nil
			m.detach() // before the caller hears of it: then its data is its own again
			settled(ErrLeft)
		}
	}
}

// Admits reports whether there is room for a message of n bytes now, before there is a message: what others send meanwhile may
// change that. It says nothing of a connection that is closed.
func (s *Socket) Admits(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (s.closing || !s.unopened) && s.queue.admits(&Message{cost: n + messageOverhead})
}
