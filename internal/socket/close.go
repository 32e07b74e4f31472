package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Linger is how long the connection outlives the close frame, whatever the client does. What a slow client has not taken by
// then is left to the kernel, rather than dropped: it includes the close frame, and messages that were reported as written.
const Linger = 2 * time.Second

// drainMax is how many bytes are read after a close frame that answers a violation. It is about what can be on its way when the client
// learns of it; a client that goes on has no claim to a proper end.
const drainMax = 4 << 20

// defaultCloseTimeout bounds the writing of a close frame where writes are not bounded: a closed socket must be released.
const defaultCloseTimeout = 10 * time.Second

// Close queues the close frame and returns. A session ends with its WebSocket, unless Detach has been called. The message under way is finished first; those behind it are withdrawn with
// ErrClosed. A message that is to be confirmed still gets its ping. All of that may take WriteTimeout, and the connection then
// lasts Linger at most. Code 1005 sends a frame without a code. Only the first call has an effect.
func (s *Socket) Close(code int, reason string) {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	if s.phase >= phaseClosing {
		return
	}
	s.phase = phaseClosing
	s.feed.endLocked()
	s.feed.withdrawLocked()
	if s.noMorePongs {
		s.feed.unansweredLocked()
	}
	s.lastPingLocked()
	s.closeFrame = controlFrame(opClose, closePayload(code, reason))
	s.feed.addLocked(s.closeFrame)
	timeout := s.writeTimeout
	if timeout <= 0 {
		timeout = defaultCloseTimeout
	}
	s.setTimerLocked(timeout, s.Reset)
	s.flushSoonLocked()
}

// Cut ends the connection at once, and says nothing to the client. A goroutine that is writing finds out, and settles what
// waits. What the kernel has already taken may still arrive.
func (s *Socket) Cut() {
	s.refuse()
	s.closeConn()
}

// Reset is Cut for a client that does not read: it also frees the kernel's memory at once.
func (s *Socket) Reset() {
	s.refuse()
	s.dropUnsent()
	s.closeConn()
}

// refuse accepts no message from here on.
func (s *Socket) refuse() {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	s.phase = max(s.phase, phaseCut)
	s.feed.endLocked()
	s.ignorePongsLocked()
	if s.turn == turnFree {
		s.setOverLocked()
	}
}

// giveUp ends the wait for the client's close frame.
func (s *Socket) giveUp() {
	s.outbox.mu.Lock()
	s.ignorePongsLocked() // a callback may keep Read from finding out
	s.outbox.mu.Unlock()
	s.closeConn()
}

// closeConn closes the connection under everything. It waits until a goroutine that is writing has noticed, which may need mu
// for that: the caller must not hold mu.
func (s *Socket) closeConn() { _ = plainConn(s.conn).Close() }

// dropUnsent makes closeConn reset the connection rather than send what the kernel still holds.
func (s *Socket) dropUnsent() {
	if tcp, ok := plainConn(s.conn).(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// failLocked gives the socket up because a write has failed, and with it whatever waits. The caller has the turn, and must then call
// broken without holding mu.
func (s *Socket) failLocked() (first bool) {
	first = s.phase < phaseClosing
	s.outbox.detachLocked(s, true)
	s.feed.lostLocked()
	s.ping, s.pong = nil, nil
	s.ignorePongsLocked()
	s.setOverLocked()
	return first
}

// broken ends the connection after a failed write, and tells the owner unless the connection was ending anyway.
func (s *Socket) broken(err error, first bool) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ErrTimeout
	}
	s.dropUnsent() // before the owner closes it
	if first {
		s.owner.Failed(err) // before Read fails as a consequence
	}
	s.closeConn()
}

// closeWrittenLocked starts the wait for the client's half of the closing handshake.
func (s *Socket) closeWrittenLocked() {
	if s.setOverLocked() {
		s.setTimerLocked(Linger, s.giveUp)
	}
}

// setOverLocked begins phaseOver, unless it has begun before.
func (s *Socket) setOverLocked() (first bool) {
	if s.phase == phaseOver {
		return false
	}
	s.phase = phaseOver
	if s.feed.keeps() {
		s.feed.lostLocked() // also what could not begin
	}
	if s.over != nil {
		close(s.over)
	}
	return true
}

// waitUntilOver waits until phaseOver begins.
func (s *Socket) waitUntilOver() {
	s.outbox.mu.Lock()
	if s.phase == phaseOver {
		s.outbox.mu.Unlock()
		return
	}
	s.over = make(chan struct{})
	s.outbox.mu.Unlock()
	<-s.over
}

// setTimerLocked has f called after d, in place of what the timer would have done.
func (s *Socket) setTimerLocked(d time.Duration, f func()) {
	s.stopTimerLocked()
	s.running.Add(1)
	s.timer = time.AfterFunc(d, func() {
		defer s.running.Done()
		f()
	})
}

// stopTimerLocked stops the timer. What it has already begun goes on; running waits for that.
func (s *Socket) stopTimerLocked() {
	if s.timer != nil && s.timer.Stop() {
		s.running.Done()
	}
	s.timer = nil
}

// Finish releases everything, after Read has returned an error and Close or Cut has been called. It takes WriteTimeout plus Linger
// at most.
func (s *Socket) Finish() {
	if s.in.ended == endLost {
		s.Cut()
	}
	s.waitUntilOver()
	if s.in.ended == endViolation {
		s.drain()
	}
	// Over TLS this waits for a client that does not read; the timer is still set, and ends that.
	_ = s.conn.Close()
	s.outbox.mu.Lock()
	s.stopTimerLocked()
	s.outbox.mu.Unlock()
	s.running.Wait()
}

// drain reads on after a close frame that answers a violation, until the client closes, too. To close with bytes unread would
// reset the connection, and the client might never see the close frame. The timer bounds the wait, and drainMax the work.
func (s *Socket) drain() {
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = s.conn.SetReadDeadline(time.Time{})
	_, _ = io.CopyN(io.Discard, s.conn, drainMax)
}

// plainConn is the connection under TLS. Its Close does not wait for TLS to say goodbye.
func plainConn(conn net.Conn) net.Conn {
	for {
		c, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = c.NetConn()
	}
}
