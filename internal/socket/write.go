package socket

import (
	"math"
	"runtime"
	"time"
)

// chunkSize is how much of a message must go out per WriteTimeout, how much of it a write that may wait is given, and how much
// small messages may fill of one write.
const chunkSize = 16 << 10

// mustWaitLocked reports whether what waits cannot be written by the caller.
func (s *Socket) mustWaitLocked() bool { return s.turn != turnFree || s.raw == nil }

// writeQueueLocked writes what waits, as far as the connection takes it at once, for messages whose outcome goes to
// their settled. Nobody else has the turn. It releases mu while it writes. If failure is not nil, the caller must call broken
// with both results, without holding mu.
func (s *Socket) writeQueueLocked() (failure error, first bool) {
	s.turn = turnTaken
	failure = s.writeNowLocked()
	first = failure != nil && s.failLocked()
	s.feed.countAllLocked()
	s.endTurnLocked(false)
	return failure, first
}

// writeAndUnlock writes m, which waits, at once if that is possible, and otherwise leaves it to flush; and so the ping
// that is to follow it. The caller holds mu, which is released.
func (s *Socket) writeAndUnlock(m *Message) (pending bool, err error) {
	if s.mustWaitLocked() {
		s.outbox.countLocked(m)
		s.flushSoonLocked()
		s.outbox.mu.Unlock()
		return true, nil
	}
	s.turn = turnTaken
	m.within = true
	failure := s.writeNowLocked()
	first := failure != nil && s.failLocked()
	m.within = false
	if pending = !m.done; pending {
		s.outbox.countLocked(m)
	}
	err = m.err
	s.endTurnLocked(false)
	s.outbox.mu.Unlock()
	if failure != nil {
		s.broken(failure, first)
	}
	return pending, err
}

// writeNowLocked writes what waits when it is called, as far as the connection takes it at once. The caller has the
// turn. mu is released during each write.
func (s *Socket) writeNowLocked() (failure error) {
	g := s.outbox.shared.gather()
	defer s.outbox.shared.releaseGather(g)
	for frames := s.feed.messages.n; frames > 0; {
		s.timeWriteLocked()
		s.feed.fillLocked(g, frames)
		if g.size == 0 {
			return nil // what waits must not begin
		}
		s.outbox.mu.Unlock()
		n, err := g.tryWrite(s.raw)
		s.outbox.mu.Lock()
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

// flushSoonLocked has flush write what waits, unless somebody has the turn.
func (s *Socket) flushSoonLocked() {
	if s.turn != turnFree {
		return
	}
	s.turn = turnTaken
	s.running.Go(s.flush)
}

// flush has the turn from the start. It writes until nothing waits.
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
	s.outbox.mu.Lock()
	first := s.failLocked()
	s.turn = turnFree
	s.outbox.mu.Unlock()
	s.broken(err, first)
}

// flushConn is flush for any connection. A write to it may wait, and does not say how far it has got, so each write is given
// a piece of one message only: the other messages can still be withdrawn, and WriteTimeout is for each piece.
func (s *Socket) flushConn() error {
	g := s.outbox.shared.gather()
	defer s.outbox.shared.releaseGather(g)
	for {
		s.outbox.mu.Lock()
		s.timeWriteLocked()
		piece := s.feed.pieceLocked(&g.buf)
		if len(piece) == 0 {
			s.endTurnLocked(true)
			s.outbox.mu.Unlock()
			return nil
		}
		s.outbox.mu.Unlock()
		s.setWriteDeadline()
		n, err := s.conn.Write(piece)
		s.outbox.mu.Lock()
		s.wroteLocked(n)
		s.outbox.mu.Unlock()
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
		g := s.outbox.shared.gather()
		defer s.outbox.shared.releaseGather(g) // not to be kept for a client that does not read
		for {
			s.outbox.mu.Lock()
			if s.feed.messages.n < expected && yields < maxYields {
				// Publishers that have just heard of their message may have another: together these cost one write.
				s.outbox.mu.Unlock()
				yields++
				runtime.Gosched()
				continue
			}
			s.timeWriteLocked()
			s.feed.fillLocked(g, math.MaxInt)
			if g.size == 0 {
				s.endTurnLocked(set)
				s.outbox.mu.Unlock()
				return true
			}
			s.outbox.mu.Unlock()
			n, err := g.kernel(fd, g)
			s.outbox.mu.Lock()
			p := s.wroteLocked(n)
			expected, yields = p.settled+s.feed.messages.n, 0
			s.outbox.mu.Unlock()
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
	ready := s.feed.readyLocked()
	if !ready && s.feed.messages.n > 0 {
		s.confirmSoonLocked() // what waits must not begin before
		ready = s.feed.readyLocked()
	}
	switch {
	case ready:
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
	pinged, now := s.pinged, s.Now()
	s.traffic.out.Add(uint64(n))
	p := s.feed.wroteLocked(attempt{n: n, began: s.writing, ended: now}, s.traffic)
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
	s.probeWrittenLocked()
	if p.messages > 0 {
		s.confirmSoonLocked()
	}
	return p
}
