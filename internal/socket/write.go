package socket

import (
	"math"
	"runtime"
	"time"
)

// chunkSize is how much of a message must go out per WriteTimeout, how much of it a write that may wait is given, and how much
// small messages may fill of one write.
const chunkSize = 16 << 10

// Start writes m, or queues it behind what waits. If m is then pending, m.settled gets the outcome. Otherwise err is the
// outcome: nil when every byte is written; ErrFull or ErrClosed when nothing is and nothing will be; ErrBroken.
//
// A caller that finds nobody writing writes its own message, as far as that goes without waiting. What remains is left to
// a goroutine that lives only while something waits: a caller that wrote for others, or was stuck in a write of its own,
// could not leave when its context ends.
func (s *Socket) Start(m *Message) (pending bool, err error) {
	s.mu.Lock()
	s.compressLocked(m)
	if err := s.enqueueLocked(m, s.Now()); err != nil {
		s.mu.Unlock()
		return false, err
	}
	return s.writeAndUnlock(m)
}

// enqueueLocked adds m to the queue, or returns the reason why not.
func (s *Socket) enqueueLocked(m *Message, now time.Duration) error {
	switch {
	case s.phase == phaseGreeting:
		return ErrFull
	case s.phase >= phaseClosing:
		return ErrClosed
	case !s.queue.admitsLocked(m, 0) || !s.queue.reserveLocked(m):
		return ErrFull
	}
	m.timed, m.began = true, now
	s.queue.addLocked(m)
	if m.confirm {
		s.wantPingLocked()
	}
	return nil
}

// mustWaitLocked reports whether what is in the queue cannot be written by the caller.
func (s *Socket) mustWaitLocked() bool { return s.turn != turnFree || s.raw == nil }

// StartAll is Start for several messages, which share writes. The outcome of each goes to its settled, maybe before StartAll
// returns; from then on the message belongs to its owner again.
func (s *Socket) StartAll(messages []*Message) {
	s.mu.Lock()
	s.compressAllLocked(messages)
	now := s.Now()
	var failure error
	first, queued := false, false
	for _, m := range messages {
		err := s.enqueueLocked(m, now)
		if err == ErrFull && queued && failure == nil && !s.mustWaitLocked() {
			// Maybe only the others leave no room: the client has not had the chance to read them.
			failure, first = s.writeQueueLocked()
			err = s.enqueueLocked(m, now)
		}
		switch {
		case err != nil:
			m.settle(err)
		case s.mustWaitLocked():
			queued = true
			s.queue.countLocked(m)
		default:
			queued = true
		}
	}
	switch {
	case !queued || failure != nil:
	case s.mustWaitLocked():
		s.flushSoonLocked()
	default:
		failure, first = s.writeQueueLocked()
	}
	s.mu.Unlock()
	if failure != nil {
		s.broken(failure, first)
	}
}

// writeQueueLocked writes what is in the queue, as far as the connection takes it at once, for messages whose outcome goes to
// their settled. Nobody else has the turn. It releases mu while it writes. If failure is not nil, the caller must call broken
// with both results, without holding mu.
func (s *Socket) writeQueueLocked() (failure error, first bool) {
	s.turn = turnTaken
	failure = s.writeNowLocked()
	first = failure != nil && s.failLocked()
	s.queue.countAllLocked()
	s.endTurnLocked(false)
	return failure, first
}

// writeAndUnlock writes m, which is in the queue, at once if that is possible, and otherwise leaves it to flush; and so the ping
// that is to follow it. The caller holds mu, which is released.
func (s *Socket) writeAndUnlock(m *Message) (pending bool, err error) {
	if s.mustWaitLocked() {
		s.queue.countLocked(m)
		s.flushSoonLocked()
		s.mu.Unlock()
		return true, nil
	}
	s.turn = turnTaken
	settled := m.settled
	m.settled = nil
	failure := s.writeNowLocked()
	first := failure != nil && s.failLocked()
	if pending = !m.done; pending {
		s.queue.countLocked(m)
		m.settled = settled
	}
	err = m.err
	s.endTurnLocked(false)
	s.mu.Unlock()
	if failure != nil {
		s.broken(failure, first)
	}
	return pending, err
}

// writeNowLocked writes what is in the queue when it is called, as far as the connection takes it at once. The caller has the
// turn. mu is released during each write.
func (s *Socket) writeNowLocked() (failure error) {
	g := s.shared.gather()
	defer s.shared.releaseGather(g)
	for frames := s.queue.messages.n; frames > 0; {
		s.timeWriteLocked()
		s.queue.fillLocked(g, frames)
		s.mu.Unlock()
		n, err := g.tryWrite(s.raw)
		s.mu.Lock()
		frames -= s.wroteLocked(n).frames
		if err != nil {
			return err
		}
		if n < g.size {
			return nil
		}
	}
	return nil
}

// Abandon gives up m because its caller leaves, for the given cause. The outcome is cause if no byte of m was written: it is
// withdrawn. It is ErrLeft if m has begun; the Socket then goes on with a copy of the data. It is ErrUnconfirmed if all of m
// was written. If Abandon has not decided, the outcome goes to m.settled, which has it already or will have it in a moment.
//
// It takes the same time however many messages wait: thousands of callers may leave at once.
func (s *Socket) Abandon(m *Message, cause error) (outcome error, decided bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.done:
		return nil, false
	case m.out:
		s.queue.unconfirmed.remove(m)
		outcome = ErrUnconfirmed
	case m.taken > 0 && s.raw != nil:
		m.left = cause // that write does not wait, and may be reading the data: better to know than to guess
		return nil, false
	case m.begun():
		s.queue.detachLocked(m)
		return ErrLeft, true
	default:
		s.queue.removeLocked(m)
		outcome = cause
	}
	m.settled = nil
	m.settle(outcome)
	return outcome, true
}

// flushSoonLocked has flush write what is in the queue, unless somebody has the turn.
func (s *Socket) flushSoonLocked() {
	if s.turn != turnFree {
		return
	}
	s.turn = turnTaken
	s.running.Go(s.flush)
}

// flush has the turn from the start. It writes until the queue is empty.
func (s *Socket) flush() {
	var err error
	if s.raw != nil {
		err = s.flushRaw()
	} else {
		err = s.flushConn()
	}
	if err == nil {
		return
	}
	s.mu.Lock()
	first := s.failLocked()
	s.turn = turnFree
	s.mu.Unlock()
	s.broken(err, first)
}

// flushConn is flush for any connection. A write to it may wait, and does not say how far it has got, so each write is given
// a piece of one message only: the other messages can still be withdrawn, and WriteTimeout is for each piece.
func (s *Socket) flushConn() error {
	g := s.shared.gather()
	defer s.shared.releaseGather(g)
	for {
		s.mu.Lock()
		s.timeWriteLocked()
		piece := s.queue.pieceLocked(&g.buf)
		if len(piece) == 0 {
			s.endTurnLocked(true)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		s.setWriteDeadline()
		n, err := s.conn.Write(piece)
		s.mu.Lock()
		s.wroteLocked(n)
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// maxYields is how often flushRaw lets other goroutines run before it writes what there is.
const maxYields = 4

// flushRaw is flush for a connection with a descriptor. Everything that waits goes out in one write, which does not block;
// flushRaw waits only when the kernel takes nothing more, and then it has nothing in hand, not even a gather: many connections may
// have to wait.
func (s *Socket) flushRaw() error {
	var failure error
	armed, set := false, false // a deadline is set for the chunk under way; any deadline is set
	expected, yields := 0, 0   // messages that may soon wait; how often others were let run since the last write
	err := s.raw.Write(func(fd uintptr) bool {
		g := s.shared.gather()
		defer s.shared.releaseGather(g) // not to be kept for a client that does not read
		for {
			s.mu.Lock()
			if s.queue.messages.n < expected && yields < maxYields {
				// Publishers that have just heard of their message may have another: together these cost one write.
				s.mu.Unlock()
				yields++
				runtime.Gosched()
				continue
			}
			s.timeWriteLocked()
			s.queue.fillLocked(g, math.MaxInt)
			if g.size == 0 {
				s.endTurnLocked(set)
				s.mu.Unlock()
				return true
			}
			s.mu.Unlock()
			n, err := g.kernel(fd, g)
			s.mu.Lock()
			p := s.wroteLocked(n)
			expected, yields = p.settled+s.queue.messages.n, 0
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
		// An error means that the connection is closed, which the write will report.
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.writeTimeout))
	}
}

// endTurnLocked gives up the turn, to flush if something waits. A deadline that stayed set would fail the next write after a
// silence.
func (s *Socket) endTurnLocked(deadlineSet bool) {
	if deadlineSet {
		_ = s.conn.SetWriteDeadline(time.Time{})
	}
	s.turn = turnFree
	switch {
	case s.queue.messages.n > 0:
		s.flushSoonLocked()
	case s.phase == phaseCut: // which began during a write that did not fail
		s.setOverLocked()
	}
}

// timeWriteLocked notes when a write begins.
func (s *Socket) timeWriteLocked() {
	if s.awaitsPongLocked() {
		s.writing = s.Now()
	}
}

// wroteLocked does what follows from n bytes of the last write being out.
func (s *Socket) wroteLocked(n int) progress {
	pinged, now := s.queue.pinged, s.Now()
	s.traffic.out.Add(uint64(n))
	p := s.queue.wroteLocked(attempt{n: n, began: s.writing, ended: now, closing: s.phase >= phaseClosing}, s.traffic)
	if p.messages > 0 {
		s.sent.Store(int64(now))
	}
	if s.awaitsPongLocked() || s.noMorePongs {
		s.confirmWrittenLocked(pinged)
	}
	if s.closeFrame != nil && s.closeFrame.done {
		s.closeWrittenLocked()
	}
	if s.ping != nil && s.ping.done {
		s.ping = nil
	}
	if s.pong != nil && s.pong.done {
		s.pong = nil
	}
	return p
}

// Admits reports whether there is room for a message of n bytes now. It can be asked before there is a message; what others send
// meanwhile may change the answer. It says nothing about a connection that is closed.
func (s *Socket) Admits(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase != phaseGreeting && s.queue.admitsLocked(&Message{cost: n + messageOverhead}, 0)
}
