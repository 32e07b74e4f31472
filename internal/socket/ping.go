package socket

import (
	"bytes"
	"strconv"
)

// Ping sends a ping, unless one is still waiting to go out. Its payload is a number, in decimal, which stays the same until
// it is answered: a peer need answer only the latest of several pings (RFC 6455 section 5.5.3), and some clients give up on
// a server that has many different ones open.
func (s *Socket) Ping() {
	s.mu.Lock()
	if s.closing || s.unopened || s.ping != nil {
		s.mu.Unlock()
		return
	}
	if !s.awaitsPong() {
		s.pings++
	}
	s.isTimers = true
	s.ping = pingFrame(s.pings)
	s.writeControl(s.ping)
}

func pingFrame(number uint64) *Message {
	m := controlFrame(opPing, strconv.AppendUint(nil, number, 10))
	m.ping = number
	return m
}

// awaitsPong reports whether a ping is on its way, there or back; mu is held.
func (s *Socket) awaitsPong() bool { return s.answered < s.pings }

// gotPong takes note of an answer. A pong that answers nothing is allowed, and means no more than any other byte.
func (s *Socket) gotPong(payload []byte) {
	number, err := strconv.ParseUint(string(payload), 10, 64)
	if err != nil || !bytes.Equal(payload, strconv.AppendUint(nil, number, 10)) {
		return
	}
	s.mu.Lock()
	if number <= s.answered || number > s.pings {
		s.mu.Unlock()
		return
	}
	s.traffic.pongs.Add(1)
	isTimers := s.isTimers
	s.isTimers = false
	if number > s.queue.pinged {
		// As far as is known the ping is not out. It may be in the write under way, whose end will tell.
		s.early = number
	} else {
		s.answer(number, s.Now())
	}
	if s.ping != nil && !s.turn { // which answer has made
		s.write(s.ping)
	} else {
		s.mu.Unlock()
	}
	if isTimers {
		s.owner.Answered()
	}
}

// gotPing answers a ping. Of several that come while the client does not read, the latest is answered (RFC 6455 section
// 5.5.3), so they cannot pile up. coder/websocket would close the connection if its pong were not out in 5 s.
func (s *Socket) gotPing(payload []byte) {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return
	}
	payload = bytes.Clone(payload) // the reader's, who needs it again
	if s.pong != nil && !s.pong.started() {
		s.pong.setControl(opPong, payload)
		s.mu.Unlock()
		return
	}
	s.pong = controlFrame(opPong, payload)
	s.writeControl(s.pong)
}

// writeControl sends a control frame. mu is held on entry, and not on return.
func (s *Socket) writeControl(m *Message) {
	s.queue.addControl(m)
	s.write(m)
}
