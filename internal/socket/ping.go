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
	if !s.awaited {
		s.awaited = true
		s.pings++
	}
	s.ping = controlFrame(opPing, s.appendPing(nil))
	s.writeControl(s.ping)
}

// appendPing appends the payload of the latest ping.
func (s *Socket) appendPing(b []byte) []byte { return strconv.AppendUint(b, s.pings, 10) }

// gotPong takes note of an answer. A pong that answers nothing is allowed, and means no more than any other byte.
func (s *Socket) gotPong(payload []byte) {
	var digits [20]byte
	s.mu.Lock()
	answered := s.awaited && bytes.Equal(payload, s.appendPing(digits[:0]))
	if answered {
		s.awaited = false
	}
	s.mu.Unlock()
	if answered {
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
