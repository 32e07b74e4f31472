package socket

import (
	"bytes"
	"strconv"
)

// Ping sends a ping, unless one is still waiting to go out. Its payload is a decimal number, which stays the same until it is
// answered: a client need answer only the latest of several pings (RFC 6455 section 5.5.3), and some clients give up on a
// server that has many different ones open.
func (s *Socket) Ping() {
	s.outbox.mu.Lock()
	if s.phase != phaseOpen || s.feed.stage != stageOpen || s.ping != nil {
		s.outbox.mu.Unlock()
		return
	}
	if !s.awaitsPongLocked() {
		s.pings++
	}
	s.timerPingOut = true
	s.ping = pingFrame(s.pings)
	s.feed.addControlLocked(s.ping)
	_, _ = s.writeAndUnlock(s.ping)
}

func pingFrame(number uint64) *Message {
	m := controlFrame(opPing, strconv.AppendUint(nil, number, 10))
	m.ping = number
	return m
}

// awaitsPongLocked reports whether the latest ping has not been answered. It may still be waiting to go out.
func (s *Socket) awaitsPongLocked() bool { return s.answered < s.pings }

// gotPong records an answer, and reports whether it is one. A pong that answers no ping is allowed, and means no more than any other
// byte.
func (s *Socket) gotPong(payload []byte) (answers bool) {
	number, err := strconv.ParseUint(string(payload), 10, 64)
	if err != nil || !bytes.Equal(payload, strconv.AppendUint(nil, number, 10)) {
		return false
	}
	s.outbox.mu.Lock()
	if number <= s.answered || number > s.pings {
		s.outbox.mu.Unlock()
		return false
	}
	s.traffic.pongs.Add(1)
	timerPingOut := s.timerPingOut
	s.timerPingOut = false
	if number > s.pinged {
		// As far as the socket knows, the ping is not out. It may be in the write under way: the end of that will tell.
		s.early = number
	} else {
		s.answeredLocked(number, s.Now())
	}
	if s.ping != nil && s.turn == turnFree { // answeredLocked has queued it
		_, _ = s.writeAndUnlock(s.ping)
	} else {
		if s.feed.readyLocked() { // there is room again for what must not begin before
			s.flushSoonLocked()
		}
		s.outbox.mu.Unlock()
	}
	if timerPingOut {
		s.owner.Answered()
	}
	return true
}

// gotPing answers a ping. Of several that come in while the client does not read, it answers the latest (RFC 6455 section
// 5.5.3), so that the answers cannot pile up.
func (s *Socket) gotPing(payload []byte) {
	s.outbox.mu.Lock()
	if s.phase >= phaseClosing {
		s.outbox.mu.Unlock()
		return
	}
	payload = bytes.Clone(payload) // it is in the reader's buffer
	if s.pong != nil && !s.pong.under() {
		s.pong.setControl(opPong, payload)
		s.outbox.mu.Unlock()
		return
	}
	s.pong = controlFrame(opPong, payload)
	s.feed.addControlLocked(s.pong)
	_, _ = s.writeAndUnlock(s.pong)
}
