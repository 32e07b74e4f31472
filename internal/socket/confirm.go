package socket

import "time"

// A message is confirmed by a ping that goes out after it. Frames arrive in order (RFC 6455 section 5.4), so a client that
// answers the ping has read everything before it. One pong confirms all messages that went out before its ping, and the next
// ping waits for that pong. So a client never has more than one number to answer, however many publishers wait.

// wantPingLocked makes sure that a ping goes out after a message that has just been accepted.
func (s *Socket) wantPingLocked() {
	s.pingWanted = true
	if !s.awaitsPongLocked() {
		s.queuePingLocked()
	}
}

// queuePingLocked queues the next ping, behind the first message that wants one. The messages behind it want the next.
func (s *Socket) queuePingLocked() {
	s.pings++
	s.ping = pingFrame(s.pings)
	s.pingWanted = s.feed.addPingLocked(s.ping)
}

// answeredLocked records that the client has read everything that went out before the first ping with this number.
func (s *Socket) answeredLocked(number uint64, at time.Duration) {
	if number == s.pinged {
		s.roundTrip = at - s.pingedAt
		s.traffic.roundTrip.Record(s.roundTrip)
	}
	s.answered = number
	s.feed.confirmedLocked(number, at)
	s.greetedLocked(number)
	if s.pingWanted && s.phase < phaseClosing {
		s.queuePingLocked()
	}
	s.confirmSoonLocked()
}

// confirmWrittenLocked does what the end of a write means for pings and for messages to be confirmed; pinged was the latest ping that
// was out before the write.
func (s *Socket) confirmWrittenLocked(pinged uint64) {
	if s.pinged > pinged {
		s.pingedAt = s.writing
	}
	if s.noMorePongs {
		s.ignorePongsLocked() // also for what has just been written
	}
	if early := s.early; early > 0 {
		s.early = 0
		if early <= s.pinged { // otherwise the client has guessed the number
			s.answeredLocked(early, s.Now())
		}
	}
}

// lastPingLocked queues a last ping before a close frame, if a message wants one: a client that reads on can still answer it.
func (s *Socket) lastPingLocked() {
	if !s.noMorePongs && s.feed.wantsAfterLocked(s.pings) {
		s.queuePingLocked()
	}
}

// ignorePongsLocked gives up the messages that wait for a pong, now and from here on.
func (s *Socket) ignorePongsLocked() {
	s.noMorePongs = true
	s.feed.unansweredLocked()
}

// RoundTrip is how long the client took to answer the latest ping that it has answered; 0 if it has answered none.
func (s *Socket) RoundTrip() time.Duration {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	return s.roundTrip
}
