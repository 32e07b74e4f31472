package socket

import (
	"bytes"

	v1 "github.com/wspush/wspush/internal/session" // here, a session is what an Outbox keeps
)

// What a client that speaks wspush.v1 sees beside raw messages: a hello in front, and control messages, which are texts that begin with
// v1.ControlByte. A message of the application's that begins with it gets another one in front, which the client takes away.

// spoken is what an Outbox has because its client speaks wspush.v1. The Outbox's lock guards it, except where another one is named.
type spoken struct {
	probe *Message // the answer to a probe that waits to go out; nil if none does
	hello uint64   // the ping behind the hello of the present WebSocket; 0: there is none, or it has been answered

	moving *moving // nil unless the session moves, or has moved

	session
}

// Speak says that the client speaks wspush.v1. It must be called after Init and before Accept.
func (o *Outbox) Speak() { o.spoken = new(spoken) }

// Hold lets messages in behind hello and first, which none of them can overtake; nothing is written before Release. Before Hold, every
// message is refused with ErrFull, and no ping is sent. Either may be nil; if both are, Hold only lets messages in. hello, which is for
// clients that speak wspush.v1, is not a message to be counted. No limit refuses first, but it counts in what waits for all sockets.
func (s *Socket) Hold(hello, first *Message) {
	o := s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if first != nil && first.squeeze && s.compress && (o.spoken == nil || o.rememberLocked(first)) {
		o.compressLocked(first)
	}
	if o.stage != stageGreeting {
		return
	}
	o.stage = stageOpen
	if hello != nil {
		s.turn = turnHeld
		o.addLocked(hello)
	}
	if first != nil {
		s.turn = turnHeld
		if o.spoken != nil {
			o.formLocked(first)
			o.secureLocked(first)
		}
		o.addLocked(first)
		o.countLocked(first)
	}
	if hello != nil {
		s.pingForHelloLocked(nil)
	}
}

// Hello puts hello before everything else that the client is sent. The socket is one for which Resume has been called, and Release has not.
func (s *Socket) Hello(hello *Message) {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	if s.phase == phaseOpen {
		before := s.feed.messages.first
		s.feed.insertLocked(hello, before)
		s.pingForHelloLocked(before)
	}
}

// pingForHelloLocked queues the ping whose answer says that the client of a session has its hello.
func (s *Socket) pingForHelloLocked(before *Message) {
	f := s.feed
	if !f.keeps() {
		return
	}
	s.pings++
	s.ping = pingFrame(s.pings)
	f.insertLocked(s.ping, before)
	f.spoken.hello = s.pings
	s.pingWanted = f.toConfirm > 0
}

// Release ends Hold, or what Resume has begun: from now on messages are written.
func (s *Socket) Release() {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	if s.turn == turnHeld {
		s.endTurnLocked(false)
	}
}

// greetedLocked notices that the client has answered the ping behind its hello.
func (s *Socket) greetedLocked(number uint64) {
	if f := s.feed; f.spoken != nil && f.spoken.hello > 0 && number >= f.spoken.hello {
		f.spoken.hello = 0
		s.owner.Greeted()
	}
}

// AnswerProbe answers a probe. Of several that come in while the client does not read, it answers one: any answer is as good as another.
func (s *Socket) AnswerProbe() {
	s.outbox.mu.Lock()
	f := s.feed
	if s.phase >= phaseClosing || f.spoken == nil || f.spoken.probe != nil {
		s.outbox.mu.Unlock()
		return
	}
	f.spoken.probe = NewHello([]byte(v1.Probe))
	f.addControlLocked(f.spoken.probe)
	_, _ = s.writeAndUnlock(f.spoken.probe)
}

// probeWrittenLocked notices that the answer to a probe is out.
func (s *Socket) probeWrittenLocked() {
	if p := s.feed.spoken; p != nil && p.probe != nil && p.probe.done {
		p.probe = nil
	}
}

// looksLikeControl reports whether the client would take m, which is not compressed, for a control message.
func (m *Message) looksLikeControl() bool {
	return m.header[0]&opBits == opText && len(m.data) > 0 && m.data[0] == v1.ControlByte
}

// double puts another v1.ControlByte in front of m.
func (m *Message) double() {
	m.head = putHeader(&m.header, opText, len(m.data)+1)
	m.header[m.head] = v1.ControlByte
	m.head++
}

// formLocked gives m the form in which a client that speaks wspush.v1 gets it, and in which a session counts and keeps it. It may be called
// more than once.
func (o *Outbox) formLocked(m *Message) {
	if m.header[0]&rsv1Bit == 0 {
		m.session.plain = nil
		if m.looksLikeControl() {
			m.double()
		}
	}
	if p := m.session.plain; o.keeps() && p != nil {
		m.held, m.cost = p.held, len(p.data)+messageOverhead
		if o.socket == nil || !o.socket.compress { // which has come while m was compressed for the one before
			m.uncompress()
		}
	}
}

// secureLocked copies the data of m, which a session has let in, if it would otherwise be written from where its caller has it: a WebSocket
// that the session loses may still be writing it when the caller has been told.
func (o *Outbox) secureLocked(m *Message) {
	if o.keeps() && (len(m.data) > copyMax || m.lender != nil) {
		m.own()
	}
}

// A plain is what a message is before it is compressed: what is kept for another WebSocket, which may not take compressed messages.
type plain struct {
	data []byte
	held *Holding
}

// rememberLocked keeps the plain form of m, which is about to be compressed. It reports false if m must not be compressed.
func (o *Outbox) rememberLocked(m *Message) bool {
	if m.looksLikeControl() {
		m.squeeze = false
		return false
	}
	if !o.keeps() || m.session.plain != nil {
		return true
	}
	p := &plain{held: m.held}
	switch {
	case m.payload == nil:
		m.own()
		p.data = m.data
	case m.kept:
		p.data = m.data
	default:
		p.data = m.payload.copied()
	}
	m.session.plain, m.session.owned = p, true
	return true
}

// own makes data the outbox's own, so that nobody else can change it, and the same for all who are sent it.
func (m *Message) own() {
	if m.session.owned {
		return
	}
	switch {
	case m.payload == nil:
		m.data = bytes.Clone(m.data)
	case !m.kept:
		m.data = m.payload.copied()
	}
	m.payload, m.kept, m.session.owned = nil, true, true
	m.giveBack()
}

// plainData is what m says, uncompressed.
func (m *Message) plainData() []byte {
	if p := m.session.plain; p != nil {
		return p.data
	}
	return m.data
}

// handOver returns m as a message of the outbox's own: the caller's is free again once it is settled.
func (m *Message) handOver() *Message {
	m.own()
	own := new(Message)
	*own = *m
	own.settled, own.left, own.within, own.timed = nil, nil, false, false
	own.next, own.prev = nil, nil
	m.counted = false
	return own
}
