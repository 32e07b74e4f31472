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
	defer s.mu.Unlock()
	if s.closing || s.unopened || s.ping != nil && !s.ping.done {
		return
	}
	if !s.awaited {
		s.awaited = true
		s.pings++
	}
	s.ping = controlFrame(opPing, s.pingPayload())
	s.queue.addControl(s.ping)
	s.writeSoon()
}

func (s *Socket) pingPayload() []byte { return strconv.AppendUint(nil, s.pings, 10) }

// gotPong takes note of an answer. A pong that answers nothing is allowed, and means no more than any other byte.
func (s *Socket) gotPong(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.Equal(payload, s.pingPayload()) {
		s.awaited = false
	}
}

// gotPing answers a ping. Of several that come while the client does not read, the latest is answered (RFC 6455 section
// 5.5.3), so they cannot pile up. coder/websocket would close the connection if its pong were not out in 5 s.
func (s *Socket) gotPing(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	payload = bytes.Clone(payload) // the reader's, who needs it again
	if s.pong != nil && !s.pong.done && !s.pong.started() {
		s.pong.setControl(opPong, payload)
		return
	}
	s.pong = controlFrame(opPong, payload)
	s.queue.addControl(s.pong)
	s.writeSoon()
}
