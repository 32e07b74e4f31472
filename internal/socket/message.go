package socket

import (
	"bytes"
	"time"
)

// A Message is one frame on its way to the client: a message of the application's, or a control frame of the socket's own.
// From Start until it is settled it belongs to the Socket, and Socket.mu guards it.
type Message struct {
	header  [maxHeader]byte
	head    int    // length of the header
	data    []byte // the caller's own, until the caller leaves
	cost    int    // what it counts against MaxPending while it waits; 0 for a control frame
	control bool
	counted bool   // in what waits for all clients together
	confirm bool   // its outcome is not known before a pong has come
	ping    uint64 // which ping: of one, its number; of a message to be confirmed, the one that goes out after it

	written int // bytes of header and data that the connection has taken
	taken   int // bytes after those that the write under way was given
	marked  int // written, when the write timeout last began anew

	left    error // the caller left while a write was under way that does not wait: decide when that is over
	done    bool
	err     error       // the outcome, once done
	settled func(error) // tells the caller; nil when there is none to tell

	timed     bool // it is a push: Start has been called at began, by the socket's clock
	began     time.Duration
	sent      time.Duration // when the last of it was written, by the socket's clock, if it is to be confirmed
	roundTrip time.Duration // from then until it was confirmed
}

// messageOverhead is what a message counts against MaxPending beyond its own bytes, so that empty ones are bounded, too.
const messageOverhead = 256

// NewMessage makes a message; see Prepare.
func (s *Socket) NewMessage(binary bool, data []byte, settled func(error)) (*Message, error) {
	m := new(Message)
	if err := s.Prepare(m, binary, data, settled); err != nil {
		return nil, err
	}
	return m, nil
}

// Prepare makes m, which may have been another message until that was settled, a new one. If Start then says that it is
// pending, settled is called once with the outcome; it must not block, nor call the Socket. data is read until the message
// is settled or abandoned, and not changed.
func (s *Socket) Prepare(m *Message, binary bool, data []byte, settled func(error)) error {
	first := byte(opText)
	if binary {
		first = opBinary
	}
	if s.compress && len(data) >= compressFrom {
		var err error
		if data, err = s.shared.deflate(data); err != nil {
			return err
		}
		first |= rsv1Bit
	}
	*m = Message{data: data, cost: len(data) + messageOverhead, settled: settled}
	m.head = putHeader(&m.header, first, len(data))
	return nil
}

// Confirm has m, which has just been prepared, settled with nil only when the client has answered a ping that went out after
// it; once it is written, an outcome other than that is ErrBroken or ErrUnconfirmed.
func (m *Message) Confirm() { m.confirm = true }

// RoundTrip is the time from the writing of m, which has been confirmed, to the answer.
func (m *Message) RoundTrip() time.Duration { return m.roundTrip }

func controlFrame(op byte, payload []byte) *Message {
	m := &Message{control: true}
	m.setControl(op, payload)
	return m
}

func (m *Message) setControl(op byte, payload []byte) {
	m.data = payload
	m.head = putHeader(&m.header, op, len(payload))
}

func (m *Message) size() int { return m.head + len(m.data) }

// take copies what the connection has not got yet into dst, as far as it fits, and notes how much that was.
func (m *Message) take(dst []byte) int {
	n, at := 0, m.written
	if at < m.head {
		n = copy(dst, m.header[at:m.head])
		at += n
	}
	if at >= m.head {
		n += copy(dst[n:], m.data[at-m.head:])
	}
	m.taken = n
	return n
}

// started reports whether a byte of the message is out, or may be.
func (m *Message) started() bool { return m.written+m.taken > 0 }

// detach makes the message independent of its caller, who leaves without learning the outcome.
func (m *Message) detach() {
	m.data = bytes.Clone(m.data)
	m.settled = nil
	m.confirm = false
}

// settle ends the message with its outcome. When settled has been told, the message is the caller's again.
func (m *Message) settle(err error) {
	m.done, m.err = true, err
	if m.settled != nil {
		m.settled(err)
	}
}
