package socket

import "time"

// A message is confirmed by a ping that goes out after it: frames arrive in order (RFC 6455 section 5.4), so whoever answers
// the ping has read everything before it. One pong confirms all messages that went out before its ping, and the next ping
// waits for it. So a client never has more than one number to answer, however many publishers wait.

// wantPing sees to it that a ping goes out after m, which has just joined the queue; mu is held.
func (s *Socket) wantPing(m *Message) {
	m.ping = s.pings + 1
	s.wanted = m.ping
	if !s.awaitsPong() {
		s.queuePing()
	}
}

// queuePing queues the next ping, behind the first message that wants one. Those that it leaves behind want the one after
// it. mu is held.
func (s *Socket) queuePing() {
	s.pings++
	s.ping = pingFrame(s.pings)
	if s.queue.addPing(s.ping) {
		s.wanted = s.pings + 1
	}
}

// answer takes note that the client has read everything that went out before a ping of this number; mu is held.
func (s *Socket) answer(number uint64, at time.Duration) {
	if number == s.queue.pinged {
		s.roundTrip = at - s.pingedAt
		s.traffic.roundTrip.Record(s.roundTrip)
	}
	s.answered = number
	s.queue.takeUnconfirmed(func(m *Message) bool {
		if m.ping > number {
			return false
		}
		m.roundTrip = at - m.sent
		m.settle(nil)
		return true
	})
	if s.wanted > s.pings && !s.closing {
		s.queuePing()
	}
}

// confirmWritten does what the end of a write means for messages that are to be confirmed; mu is held. Before the write, so
// many messages were unconfirmed, and that was the last ping that was out.
func (s *Socket) confirmWritten(messages int, pinged uint64) {
	if s.queue.pinged > pinged {
		s.pingedAt = s.writing
	}
	left := false
	for _, m := range s.queue.unconfirmed[messages:] {
		m.sent = s.writing
		left = left || m.left != nil
	}
	if left {
		s.queue.takeUnconfirmed(func(m *Message) bool {
			if m.left == nil {
				return false
			}
			m.settle(ErrUnconfirmed)
			return true
		})
	}
	if s.isDeaf {
		s.deafen()
	}
	if early := s.early; early > 0 {
		s.early = 0
		if early <= s.queue.pinged {
			s.answer(early, s.Now())
		}
	}
}

// confirmLast sends a last ping before a close frame, if a message wants one: while the client reads on, it can still
// answer. mu is held.
func (s *Socket) confirmLast() {
	if !s.isDeaf && s.queue.wants(s.pings) {
		s.queuePing()
	}
}

// deafen says that no pong will be heard any more; mu is held.
func (s *Socket) deafen() {
	s.isDeaf = true
	s.queue.takeUnconfirmed(func(m *Message) bool {
		m.settle(ErrBroken)
		return true
	})
}

// RoundTrip is how long the client took to answer the latest ping that it has answered; 0 if it has answered none.
func (s *Socket) RoundTrip() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roundTrip
}
