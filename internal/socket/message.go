package socket

import (
	"bytes"
	"time"
)

// A Message is one frame on its way to the client: a message of the application's, or a control frame of the socket's own.
// From Start until it is settled it belongs to an Outbox, whose lock guards it.
type Message struct {
	header  [maxHead]byte
	head    uint8 // length of the header
	control bool
	counted bool // it counts in what waits for all clients together
	confirm bool // it is settled only when a pong has come
	copies  bool // its data is copied if it has to wait
	timed   bool // it was started by a caller, at began
	done    bool // it is settled
	kept    bool // data stays as it is even if the caller leaves
	squeeze bool // it is to be compressed, if the client takes that and there is room for it
	out     bool // it is written in full, and waits to be confirmed; data is gone
	within  bool // its caller is in Start, which returns the outcome: settled is not called
	session inSession
	data    []byte   // the caller's own, unless it is kept
	lender  Lender   // wants data back; nil if nobody does, or it has been given back
	payload *Payload // what data is of, if others are sent the same; nil once the data is kept
	held    *Holding // of the data, if others are sent the same
	cost    int      // what it counts against MaxPending while it waits; 0 for a control frame
	ping    uint64   // of a ping: its number; of an unconfirmed message: the number of the first ping behind it

	next, prev *Message // in the list that it is in

	written int // bytes of header and data that the connection has taken
	taken   int // how many more bytes the write under way was given
	marked  int // the value of written when the write timeout last restarted

	left    error       // why its caller left during a write that may have begun it; the outcome depends on that write
	err     error       // the outcome, once done
	settled func(error) // tells the caller; nil if there is none to tell

	began     time.Duration // by the connection's clock, like the others
	sent      time.Duration // when the last of it was written, if it is to be confirmed
	roundTrip time.Duration // from then until it was confirmed
}

// inSession is what is known about a message because its Outbox keeps messages.
type inSession struct {
	number  uint64 // in the count of the session's messages; 0: its first byte has not gone to a WebSocket
	plain   *plain // what it was before it was compressed; nil if it is not
	owned   bool   // data is the outbox's own: nobody will ever change it
	fixed   bool   // it keeps its number: some of it was given to an earlier WebSocket
	again   bool   // all of it was written to an earlier WebSocket
	copied  bool   // the session is frozen, and its copy has the message
	noted   bool   // its mark has been noted
	absence absence
	mark    uint64 // of a push that may come twice; 0: none
}

// absence is what becomes of a message that has not begun while the client is away.
type absence uint8

const (
	absenceBuffers absence = iota // it is accepted, and sent when the client is back; one that is to be confirmed waits
	absenceWaits                  // it waits, until its sender gives up
	absenceRefuses                // it is refused
)

// messageOverhead is what a message counts against MaxPending beyond its own bytes, so that empty ones are bounded, too.
const messageOverhead = 512

// firstByte is the first byte of a message's frame, without finBit.
func firstByte(binary bool) byte {
	if binary {
		return opBinary
	}
	return opText
}

// NewMessage makes a message; see Prepare.
func NewMessage(binary bool, data []byte, settled func(error)) *Message {
	m := new(Message)
	m.Prepare(binary, data, settled)
	return m
}

// Prepare makes m a new message. It may have been another one before, if that has been settled. If Start reports that m is
// pending, settled is called once with the outcome; it must neither block nor call the Outbox or the Socket. data is read until
// the message is settled or abandoned, and never changed.
func (m *Message) Prepare(binary bool, data []byte, settled func(error)) {
	*m = Message{data: data, squeeze: len(data) >= compressFrom, cost: len(data) + messageOverhead, settled: settled}
	m.head = putHeader(&m.header, firstByte(binary), len(data))
}

// A Lender is told when the data of a message is not read any more, although the message is not settled. GiveBack is called once at
// most, perhaps with the Outbox's lock held: it must neither block nor call the Outbox or the Socket. It has returned before the
// sender of the message learns of any outcome.
type Lender interface{ GiveBack() }

// Lend says that lender wants the data of m, which has just been prepared, back as soon as possible: once m is written and only waits
// to be confirmed, or when its data is compressed. If m is settled, or abandoned, before that, GiveBack is never called.
func (m *Message) Lend(lender Lender) { m.lender = lender }

// giveBack lets the lender have the data, which m does not use any more.
func (m *Message) giveBack() {
	if lender := m.lender; lender != nil {
		m.lender = nil
		lender.GiveBack()
	}
}

// forgetData ends the use of the data of m, which is written in full: the wait for its confirmation can be long, and counts nowhere.
func (m *Message) forgetData() {
	m.out, m.data, m.payload, m.held = true, nil, nil, nil
	m.giveBack()
}

// compress makes m, for which there is room, shorter if that is possible. It takes its time: no lock should be held.
func (m *Message) compress(sh *Shared) {
	m.squeeze = false
	if m.payload != nil {
		if f := m.payload.compress(); f != nil {
			m.become(f)
		}
		return
	}
	if shorter := sh.deflate(m.data); shorter != nil {
		m.head = putHeader(&m.header, m.header[0]&opBits|rsv1Bit, len(shorter))
		m.data, m.kept, m.cost = shorter, true, len(shorter)+messageOverhead
		m.giveBack()
	}
}

// become makes m the compressed frame of its payload, which is kept.
func (m *Message) become(f *frame) {
	m.header, m.head, m.data, m.held = f.header, f.head, f.data, f.held
	m.squeeze, m.kept, m.payload, m.cost = false, true, nil, len(f.data)+messageOverhead
}

// costForAll is what m adds to what waits for all clients.
func (m *Message) costForAll() int {
	if m.held != nil {
		return m.held.cost(m.cost)
	}
	return m.cost
}

// Confirm changes when m, which has just been prepared, is settled with nil: when the client has answered a ping that went
// out after it. Once m has been written, any other outcome is ErrBroken or ErrUnconfirmed.
func (m *Message) Confirm() { m.confirm = true }

// IfAway says what becomes of m, which has just been prepared, while the client of a session is away and m has not begun: it is refused
// with ErrSuspended, or, if waits is set, waits for as long as its sender does. Without IfAway it is accepted at once, and its outcome is
// ErrBuffered, unless it is to be confirmed: then it waits.
func (m *Message) IfAway(waits bool) {
	m.session.absence = absenceRefuses
	if waits {
		m.session.absence = absenceWaits
	}
}

// NewHello makes the first message to a client that speaks wspush.v1. It goes before all others, and is not counted as one.
func NewHello(text []byte) *Message {
	m := &Message{control: true, kept: true}
	m.setControl(opText, text)
	return m
}

// CopyIfWaiting has the Outbox copy the data of m, which has just been prepared, if m is pending when Start returns: its caller
// may then change it.
func (m *Message) CopyIfWaiting() { m.copies = true }

// keepData makes data independent of the caller. No write may be reading it.
func (m *Message) keepData() {
	switch {
	case m.kept:
	case m.payload != nil:
		m.data = m.payload.copied()
	default:
		m.data = bytes.Clone(m.data)
	}
	m.payload, m.kept = nil, true
}

// Keep says that the data of m, which has just been prepared, does not change before m is settled or, if Abandon returns ErrLeft,
// ever again. A large message is then never copied.
func (m *Message) Keep() { m.kept = true }

// Binary reports whether m is binary, and not text.
func (m *Message) Binary() bool { return m.header[0]&opBits == opBinary }

// Data is what m says, as it was pushed. It must not be changed.
func (m *Message) Data() []byte { return m.plainData() }

// Confirms reports whether m is to be confirmed.
func (m *Message) Confirms() bool { return m.confirm }

// Hasty reports whether m is to be refused while the client is away: IfAway(false).
func (m *Message) Hasty() bool { return m.session.absence == absenceRefuses }

// Patient reports whether m is to wait while the client is away: IfAway(true).
func (m *Message) Patient() bool { return m.session.absence == absenceWaits }

// RoundTrip is the time from the writing of m, which has been confirmed, to the pong that confirmed it.
func (m *Message) RoundTrip() time.Duration { return m.roundTrip }

func controlFrame(op byte, payload []byte) *Message {
	m := &Message{control: true, kept: true}
	m.setControl(op, payload)
	return m
}

func (m *Message) setControl(op byte, payload []byte) {
	m.data = payload
	m.head = putHeader(&m.header, op, len(payload))
}

func (m *Message) size() int { return int(m.head) + len(m.data) }

// unwritten returns what the connection has not taken yet of header and data.
func (m *Message) unwritten() (header, data []byte) {
	at, head := m.written, int(m.head)
	if at < head {
		return m.header[at:head], m.data
	}
	return nil, m.data[at-head:]
}

// giveTo adds what the connection has not taken yet to g, as much as g takes, and notes how much that was.
func (m *Message) giveTo(g *gather) {
	header, data := m.unwritten()
	if m.taken = g.add(header); m.taken == len(header) {
		m.taken += g.add(data)
	}
}

// piece returns the next chunkSize bytes that the connection has not taken yet, or all that there are, and notes how much that
// is. It returns data as it lies if that is kept, and otherwise, because the caller may leave during the write, a copy in buf.
func (m *Message) piece(buf *[chunkSize]byte) (p []byte) {
	header, data := m.unwritten()
	if len(header) == 0 && m.kept {
		p = data[:min(len(data), len(buf))]
	} else {
		n := copy(buf[:], header)
		n += copy(buf[n:], data)
		p = buf[:n]
	}
	m.taken = len(p)
	return p
}

// begun reports whether a byte of the message is out, or may be.
func (m *Message) begun() bool { return m.under() || m.session.number > 0 }

// under reports whether the message is under way on the WebSocket that writes it now, or may be.
func (m *Message) under() bool { return m.written+m.taken > 0 }

// hasSender reports whether somebody is to be told the outcome.
func (m *Message) hasSender() bool { return m.settled != nil || m.within }

// settle ends the message with its outcome. Once settled has been told, the message belongs to the caller again.
func (m *Message) settle(err error) {
	m.done, m.err = true, err
	if m.settled != nil && !m.within {
		m.settled(err)
	}
}

// A list is a list of messages that are linked to each other, so that one is removed without a search. A message is in at most
// one list.
type list struct {
	first, last *Message
	n           int
}

// insert puts m before another message, or at the end if that is nil.
func (l *list) insert(m, before *Message) {
	after := l.last
	if before != nil {
		after = before.prev
	}
	m.prev, m.next = after, before
	if after != nil {
		after.next = m
	} else {
		l.first = m
	}
	if before != nil {
		before.prev = m
	} else {
		l.last = m
	}
	l.n++
}

// remove takes m, which is in the list, out of it.
func (l *list) remove(m *Message) {
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		l.first = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	} else {
		l.last = m.prev
	}
	m.prev, m.next = nil, nil
	l.n--
}
