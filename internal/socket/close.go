package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Linger is how long the connection outlives the close frame, whatever the peer does. What a slow one has not taken by then
// is left to the kernel, rather than dropped: it includes the close frame, and messages that have been reported as written.
const Linger = 2 * time.Second

// defaultCloseTimeout bounds the writing of a close frame where writes are not bounded: a closed socket must be released.
const defaultCloseTimeout = 10 * time.Second

// Close queues the close frame and returns. The message under way is finished first; those that wait behind it are
// withdrawn with ErrClosed. A message that is to be confirmed still gets its ping. All of that may take WriteTimeout, and
// the connection then lasts at most Linger. Code 1005 sends a frame without a code. Only the first call has an effect.
func (s *Socket) Close(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	s.closing = true
	s.sortOut()
	s.confirmLast()
	s.closeFrame = controlFrame(opClose, closePayload(code, reason))
	s.queue.add(s.closeFrame)
	timeout := s.writeTimeout
	if timeout <= 0 {
		timeout = defaultCloseTimeout
	}
	s.setTimer(timeout, s.Reset)
	s.writeSoon()
}

// Cut ends the connection at once, with nothing said to the client. Who is writing
// finds out, and settles what waits. What the kernel has taken already may still arrive.
func (s *Socket) Cut() {
	s.refuse()
	s.closeConn()
}

// Reset is Cut for a peer that does not read: it is not to cost the kernel's memory any longer, either.
func (s *Socket) Reset() {
	s.refuse()
	s.dropUnsent()
	s.closeConn()
}

// refuse takes no message any more.
func (s *Socket) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing, s.isCut = true, true
	s.deafen()
	if !s.turn {
		s.setOver()
	}
}

// giveUp ends the wait for the peer: it has had its time.
func (s *Socket) giveUp() {
	s.mu.Lock()
	s.deafen() // also when a callback keeps Read from hearing of it
	s.mu.Unlock()
	s.closeConn()
}

// closeConn closes the connection under everything. It waits for whoever is just writing to it to notice, who may need mu
// for that: mu must not be held.
func (s *Socket) closeConn() { _ = plainConn(s.conn).Close() }

// dropUnsent has closeConn reset the connection rather than send what the kernel still holds.
func (s *Socket) dropUnsent() {
	if tcp, ok := plainConn(s.conn).(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// fail settles what waits because a write has failed: what has begun with ErrBroken, everything else with ErrClosed. Only
// who has the write turn may call it, with mu held, and must then call broken without it.
func (s *Socket) fail() (first bool) {
	first = !s.closing
	s.closing = true
	s.queue.drop(func(m *Message) error {
		if m.started() {
			return ErrBroken
		}
		return ErrClosed
	})
	s.ping, s.pong = nil, nil
	s.deafen()
	s.setOver()
	return first
}

// broken ends the connection that has failed, and says why unless it was ending anyway.
func (s *Socket) broken(err error, first bool) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ErrTimeout
	}
	s.dropUnsent() // while it is open: who hears of the failure will close it
	if first {
		s.owner.Failed(err) // before Read fails for a reason that is only the consequence
	}
	s.closeConn()
}

// closeWritten starts the wait for the peer's half of the closing handshake; mu is held.
func (s *Socket) closeWritten() {
	if s.setOver() {
		s.setTimer(Linger, s.giveUp)
	}
}

// setOver says that the close frame is written or never will be, and that no other write will begin; mu is held.
func (s *Socket) setOver() bool {
	if s.isOver {
		return false
	}
	s.isOver = true
	if s.over != nil {
		close(s.over)
	}
	return true
}

// awaitOver waits until the close frame is written or never will be, and no other write will begin.
func (s *Socket) awaitOver() {
	s.mu.Lock()
	if s.isOver {
		s.mu.Unlock()
		return
	}
	s.over = make(chan struct{})
	s.mu.Unlock()
	<-s.over
}

// setTimer has f run after d, in place of what the timer would have done; mu is held.
func (s *Socket) setTimer(d time.Duration, f func()) {
	s.stopTimer()
	s.running.Add(1)
	s.timer = time.AfterFunc(d, func() {
		defer s.running.Done()
		f()
	})
}

// stopTimer stops the timer, or leaves what is running already to running; mu is held.
func (s *Socket) stopTimer() {
	if s.timer != nil && s.timer.Stop() {
		s.running.Done()
	}
	s.timer = nil
}

// Finish releases everything, after Read has returned an error and either Close or Cut was called. It takes at most
// WriteTimeout and Linger together.
func (s *Socket) Finish() {
	if s.ended == endLost {
		s.Cut()
	}
	s.awaitOver()
	if s.ended == endViolation {
		s.drain()
	}
	// Over TLS this waits for a peer that does not read; the timer is still there to end that.
	_ = s.conn.Close()
	s.mu.Lock()
	s.stopTimer()
	s.mu.Unlock()
	s.running.Wait()
}

// drain reads on after a close frame that answers a violation, until the peer has closed, too: to close with bytes unread
// would reset the connection, and the peer might never see the close frame. The timer bounds it.
func (s *Socket) drain() {
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = s.conn.SetReadDeadline(time.Time{})
	_, _ = io.Copy(io.Discard, s.conn)
}

// plainConn is the connection under TLS, whose Close does not wait to say goodbye.
func plainConn(conn net.Conn) net.Conn {
	for {
		c, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = c.NetConn()
	}
}
