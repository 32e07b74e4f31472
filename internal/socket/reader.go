package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"time"
	"unicode/utf8"
)

// Close codes of RFC 6455 section 7.4.1 that the reader decides on.
const (
	codeProtocol = 1002
	codeNoStatus = 1005
	codeInvalid  = 1007
	codePolicy   = 1008
	codeTooBig   = 1009
)

// PeerClosed is the error of Read when the client has sent a close frame. Code is 1005 if the frame has no code.
type PeerClosed struct {
	Code   int
	Reason string
}

func (e *PeerClosed) Error() string {
	return fmt.Sprintf("closed by the client: %d %q", e.Code, e.Reason)
}

// Violation is the error of Read when the client has broken the protocol or exceeded a limit. Code and Reason are what the
// close frame should say.
type Violation struct {
	Code   int
	Reason string
	Err    error
}

func (e *Violation) Error() string { return e.Reason + ": " + e.Err.Error() }
func (e *Violation) Unwrap() error { return e.Err }

// A reader is the reading side of a Socket between two messages. The goroutine that reads owns it. The state of a message
// on its way in lives on that goroutine's stack, in an incoming.
//
// While the client is silent, a connection keeps only first: a buffer for its whole life would be most of its cost. The
// reader borrows one of the worker's buffers when more bytes come in, and returns it when they have been read.
type reader struct {
	// Input.
	ahead  []byte          // received but not read: in first, in *buffer, or what came with the handshake
	first  [firstSize]byte // for what ends a silence
	buffer *[]byte         // nil when it is not needed
	err    error           // why nothing will come in after ahead; nil while the connection lives
	timed  bool            // the connection has a read deadline

	// The end.
	ended ending
}

// firstSize has room for a pong that answers one of our pings: 6 bytes and a number.
const firstSize = 32

// ending is how reading ended.
type ending uint8

const (
	endLost      ending = iota // the connection broke or was closed
	endPeer                    // the client sent a close frame
	endViolation               // the client sent something that must be answered with a close frame
)

// controlTimeout is how long a control frame may take to arrive once its first byte has come.
const controlTimeout = 5 * time.Second

// Read waits for the client's next message and returns its content, or skips it if keep is false. On the way it answers
// pings and records pongs. The error is a *PeerClosed, a *Violation, or the connection's own. After an error, call Close or
// Cut, and then Finish. Only one goroutine may read.
func (s *Socket) Read(keep bool) (binary bool, data []byte, err error) {
	m := incoming{socket: s}
	data, err = m.read(keep)
	s.endWait()
	s.dropBuffer()
	if err != nil {
		s.readFailed(err)
		return false, nil, err
	}
	return m.binary, data, nil
}

// readFailed records how reading ended.
func (s *Socket) readFailed(err error) {
	switch err.(type) {
	case *PeerClosed:
		s.in.ended = endPeer
	case *Violation:
		s.in.ended = endViolation
	default:
		s.in.ended = endLost
	}
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	if s.in.ended == endLost {
		s.outbox.detachLocked(s, true)
	}
	s.ignorePongsLocked()
}

// Idle reports whether Read would have to wait for the client, as far as is known.
func (s *Socket) Idle() bool { return len(s.in.ahead) == 0 && s.in.err == nil }

// Await waits until Read has something to do: until something comes in, or the connection ends. It records pongs itself,
// because on most silent connections nothing else comes in.
//
// It is for a goroutine that does nothing else. The stack of a goroutine that has been in Read is several times as large,
// and would stay that large for as long as the client is silent.
func (s *Socket) Await() {
	for s.Idle() {
		s.receive(s.in.first[:])
		s.readPongs()
	}
}

// readPongs records the complete pongs at the head of what has come in.
func (s *Socket) readPongs() {
	var none framing
	for {
		h, broken := s.parseHeader(&none, s.in.ahead)
		if broken != nil || h.size == 0 || h.op() != opPong || h.length > uint64(len(s.in.ahead)-h.size) {
			return
		}
		s.gotPong(s.in.control(h))
	}
}

// TakePings answers the pings and records the pongs that have come in before the next message, so that a client that sends
// nothing else keeps no buffer: Read would return only after the next message. It waits for the rest of a ping or pong that has
// come in in part. Read reports what is wrong with a frame.
func (s *Socket) TakePings() {
	m := incoming{socket: s}
	for len(s.in.ahead) > 0 {
		if op := s.in.ahead[0] & opBits; op != opPing && op != opPong {
			break
		}
		if h, err := m.header(); err != nil || m.readControl(h) != nil {
			break
		}
	}
	s.endWait()
	s.dropBuffer()
}

// Input.

// receive waits for the connection and puts what comes in into p. Nothing is ahead.
func (s *Socket) receive(p []byte) {
	in := &s.in
	if in.err != nil {
		return
	}
	n, err := s.conn.Read(p)
	if n > 0 {
		s.traffic.in.Add(uint64(n))
		s.received.Store(int64(s.Now()))
	}
	in.ahead, in.err = p[:n], err // TLS, for one, may return both: the bytes come first
}

// receiveMore waits for more than what is ahead, and fails if nothing comes.
func (s *Socket) receiveMore() error {
	in := &s.in
	if in.err != nil {
		return in.err
	}
	if in.buffer == nil {
		in.buffer = s.outbox.shared.buffer()
	}
	buf := *in.buffer
	before := copy(buf, in.ahead)
	s.receive(buf[before:])
	more := len(in.ahead)
	in.ahead = buf[:before+more]
	if more == 0 {
		return in.err
	}
	return nil
}

// take removes the next n bytes from what is ahead. They are valid until more is received.
func (in *reader) take(n int) []byte {
	p := in.ahead[:n]
	in.ahead = in.ahead[n:]
	return p
}

// control removes a control frame that is complete, and returns its payload.
func (in *reader) control(h header) []byte {
	in.take(h.size)
	payload := in.take(int(h.length))
	unmask(payload, h.mask)
	return payload
}

// dropBuffer returns the buffer unless something in it is yet to be read.
func (s *Socket) dropBuffer() {
	in := &s.in
	if len(in.ahead) > 0 {
		return
	}
	in.ahead = nil
	if in.buffer != nil {
		s.outbox.shared.release(in.buffer)
		in.buffer = nil
	}
}

// Control frames.

// readControl reads the control frame whose header is ahead, and does what it asks for.
func (m *incoming) readControl(h header) error {
	s := m.socket
	size := h.size + int(h.length)
	for len(s.in.ahead) < size {
		if err := m.wait(); err != nil {
			return err
		}
	}
	m.control = time.Time{}
	payload := s.in.control(h)
	switch h.op() {
	case opPing:
		s.gotPing(payload)
	case opPong:
		if s.gotPong(payload) {
			return nil // the client had no choice
		}
	default:
		return closedBy(payload)
	}
	return m.addWire(uint64(size))
}

// closedBy returns the error that a close frame with this payload stands for.
func closedBy(payload []byte) error {
	if len(payload) == 0 {
		return &PeerClosed{Code: codeNoStatus}
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), payload[2:]
	if !mayClose(code) {
		return violation(fmt.Sprintf("the close code %d", code))
	}
	if !utf8.Valid(reason) {
		return notUTF8("a close reason")
	}
	return &PeerClosed{code, string(reason)}
}

// mayClose reports whether a client may send this code (RFC 6455 section 7.4, and the registry of section 11.7).
func mayClose(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// Messages.

// incoming is a message on its way in, together with the control frames before it and between its frames.
type incoming struct {
	socket *Socket
	framing
	mask uint32 // of the payload of the frame, from the next byte on
	left uint64 // bytes of that payload that are still to be read

	until    time.Time // by which all of the message must have come in; zero before it is waited for
	control  time.Time // the same of a control frame
	deadline time.Time // the connection's, or zero
}

// read reads the message, and returns its content if it is wanted.
func (m *incoming) read(keep bool) ([]byte, error) {
	for !m.begun {
		if err := m.frame(); err != nil {
			return nil, err
		}
	}
	c := content{text: !m.binary, keep: keep, limit: m.socket.readLimit}
	if m.compressed {
		err := m.socket.outbox.shared.inflate(*m, &c)
		return c.data, err
	}
	if keep && m.left > 0 {
		c.data = make([]byte, 0, min(m.left, chunkSize)) // more only when it has come: the client may never send it
	}
	for {
		p, err := m.next()
		switch {
		case err != nil:
			return nil, err
		case len(p) == 0:
			return c.data, c.end()
		}
		if err := c.add(p); err != nil {
			return nil, err
		}
	}
}

// next returns more of the message's payload, as it comes in and unmasked, and nothing only at the end of the message. What
// it returns is valid until the next call.
func (m *incoming) next() ([]byte, error) {
	for m.left == 0 {
		if m.final {
			return nil, nil
		}
		if err := m.frame(); err != nil {
			return nil, err
		}
	}
	in := &m.socket.in
	for len(in.ahead) == 0 {
		if err := m.wait(); err != nil {
			return nil, err
		}
	}
	p := in.take(int(min(m.left, uint64(len(in.ahead)))))
	m.left -= uint64(len(p))
	m.mask = unmask(p, m.mask)
	return p, nil
}

// frame reads the header of the message's next frame, or a whole control frame that comes before it.
func (m *incoming) frame() error {
	h, err := m.header()
	if err != nil {
		return err
	}
	if isControl(h.op()) {
		return m.readControl(h)
	}
	m.socket.in.take(h.size)
	if !m.begun {
		m.begun, m.binary, m.compressed = true, h.op() == opBinary, h.first&rsv1Bit != 0
	}
	m.final = h.first&finBit != 0
	m.size += h.length
	m.wire += uint64(h.size) + h.length // parseHeader has checked it
	m.left, m.mask = h.length, h.mask
	return nil
}

// addWire counts bytes that are part of the message on the wire, though not of what it contains.
func (m *incoming) addWire(n uint64) error {
	if !m.begun {
		return nil
	}
	if m.wire += n; m.wire > m.socket.wireLimit() {
		return tooMuchWire(m.socket.readLimit)
	}
	return nil
}

// header waits for the header of the next frame, and leaves it where it is.
func (m *incoming) header() (header, error) {
	for {
		h, broken := m.socket.parseHeader(&m.framing, m.socket.in.ahead)
		switch {
		case broken != nil:
			return h, broken
		case h.size > 0:
			return h, nil
		}
		if err := m.wait(); err != nil {
			return h, err
		}
	}
}

// controlAhead reports whether what is ahead begins with a control frame. Whenever something is ahead while more is waited for, it is
// the beginning of a frame.
func (m *incoming) controlAhead() bool {
	ahead := m.socket.in.ahead
	return len(ahead) > 0 && isControl(ahead[0]&opBits)
}

// wait waits for more than what is ahead. What has begun must come in time: a control frame within controlTimeout, and a message within
// readTimeout, with everything between its frames. The connection gets a read deadline only here, so that one costs nothing that is
// there at once; and no new one for each part of a message.
func (m *incoming) wait() error {
	s, control := m.socket, m.controlAhead()
	if control && m.control.IsZero() {
		m.control = time.Now().Add(controlTimeout)
	}
	if begun := m.begun || len(s.in.ahead) > 0 && !control; begun && m.until.IsZero() && s.readTimeout > 0 {
		m.until = time.Now().Add(s.readTimeout)
	}
	deadline := m.until
	if control && (deadline.IsZero() || m.control.Before(deadline)) {
		deadline = m.control
	}
	if deadline != m.deadline {
		m.deadline, s.in.timed = deadline, true
		// An error means that the connection is closed, which reading will report.
		_ = s.conn.SetReadDeadline(deadline)
	}
	switch err := s.receiveMore(); {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case deadline.IsZero() || deadline != m.until:
		return violation("a control frame took more than 5 s to arrive")
	}
	return &Violation{codePolicy, "message too slow", fmt.Errorf("a message that took more than %v to arrive", s.readTimeout)}
}

// endWait removes the deadline of wait.
func (s *Socket) endWait() {
	if s.in.timed {
		s.in.timed = false
		_ = s.conn.SetReadDeadline(time.Time{})
	}
}

// unmask removes the mask from p (RFC 6455 section 5.3), and returns the mask for the bytes that follow.
func unmask(p []byte, mask uint32) uint32 {
	wide := uint64(mask)<<32 | uint64(mask)
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
	}
	for i := range p {
		p[i] ^= byte(mask)
		mask = bits.RotateLeft32(mask, -8)
	}
	return mask
}
