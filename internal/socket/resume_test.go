package socket

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/testutil"
)

// A path is a network path to a client, and the client's endpoint at its end. What is written waits in the path until the client reads it.
type path struct {
	net.Conn
	fd   uintptr // its place in model.paths
	room int     // bytes that the path takes before a write has to wait

	compress bool // the client takes compressed messages

	mu     sync.Mutex // guards what follows
	bytes  []byte     // written and not read
	all    []byte     // written
	broken bool
	wake   chan struct{} // closed and made anew when there may be room
}

// take takes as much of p as there is room for.
func (p *path) take(pieces ...[]byte) (n int, wake chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return 0, nil, io.ErrClosedPipe
	}
	for _, piece := range pieces {
		k := min(len(piece), p.room-len(p.bytes))
		p.bytes = append(p.bytes, piece[:k]...)
		p.all = append(p.all, piece[:k]...)
		n += k
	}
	return n, p.wake, nil
}

// read takes at most n bytes out of the path.
func (p *path) read(n int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.bytes))
	data := bytes.Clone(p.bytes[:n])
	p.bytes = p.bytes[n:]
	p.signalLocked()
	return data
}

// addWritten adds the texts of the messages of which every byte was written to the path.
func (p *path) addWritten(texts map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream := p.all; ; {
		op, data, rest, ok := parse(stream)
		if !ok {
			return
		}
		stream = rest
		if text, ok := messageText(op, data); ok {
			texts[text] = true
		}
	}
}

// messageText returns what was pushed, if a frame is one of a message. It is, for all that the frame says, if it is the hello.
func messageText(op byte, data []byte) (text string, ok bool) {
	if op&opBits > opBinary {
		return "", false
	}
	if op&rsv1Bit != 0 {
		data, _ = testutil.Inflate(data)
	}
	text = string(data)
	if op&opBits == opText && strings.HasPrefix(text, "\x06") {
		return text[1:], text != v1.Probe
	}
	return text, true
}

// waiting reports whether there is something to read.
func (p *path) waiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.bytes) > 0
}

func (p *path) signalLocked() {
	close(p.wake)
	p.wake = make(chan struct{})
}

// cut makes every write fail.
func (p *path) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	p.signalLocked()
}

func (p *path) Write(b []byte) (n int, err error) {
	for n < len(b) {
		k, wake, err := p.take(b[n:])
		if err != nil {
			return n, err
		}
		if n += k; n < len(b) {
			<-wake
		}
	}
	return n, nil
}

func (p *path) Close() error                     { p.cut(); return nil }
func (p *path) SetWriteDeadline(time.Time) error { return nil }

// rawPath is a path as a descriptor is.
type rawPath struct{ *path }

func (p rawPath) Control(func(uintptr)) error   { return errors.ErrUnsupported }
func (p rawPath) Read(func(uintptr) bool) error { return errors.ErrUnsupported }

func (p rawPath) Write(f func(uintptr) bool) error {
	for {
		p.mu.Lock()
		wake, broken := p.wake, p.broken
		p.mu.Unlock()
		if f(p.fd) {
			return nil
		}
		if broken {
			return io.ErrClosedPipe
		}
		<-wake
	}
}

// A pushed is a message that was pushed in the model, and what its sender was told.
type pushed struct {
	text    string
	binary  bool
	message *Message
	outbox  *Outbox // that message was given to
	mark    uint64
	direct  bool // it has come by another way than message's, and before
	confirm bool
	asked   bool // its sender was told, or has left
	outcome error
}

// accepted reports whether the sender may count on it. While nobody has told it anything, it may become either.
func (p *pushed) accepted() bool {
	switch p.outcome {
	case nil, ErrBuffered, ErrLeft, ErrUnconfirmed:
		return p.asked
	}
	return false
}

// A reference is what has happened to one session, as those outside see it: what was pushed, what its senders were told, and what has reached the
// client. It knows nothing of the Outbox, which may be replaced by one that goes on with the same session.
type reference struct {
	pushed   []*pushed // in order
	had      []string  // what any endpoint of the client has had
	seen     []string  // what the page has
	received int       // up to this number in the client's count, the worker knows that the client has everything
	paths    []*path   // that the session has had
}

// unconfirmed returns what is unconfirmed once the session has ended: everything that it had accepted, or had begun, but for what the client is
// known to have.
func (r *reference) unconfirmed() (all []Unconfirmed) {
	written := make(map[string]bool)
	for _, p := range r.paths {
		p.addWritten(written)
	}
	number := 0
	for _, p := range r.pushed {
		if !p.accepted() && p.outcome != ErrBroken {
			continue
		}
		if number++; number > r.received {
			all = append(all, Unconfirmed{Binary: p.binary, Data: []byte(p.text), Written: written[p.text]})
		}
	}
	return all
}

// A model is one session after another under a random schedule, and the client at their end.
type model struct {
	t      *testing.T
	random *rand.Rand
	shared *Shared // of the worker that has the session
	outbox *Outbox // of the present session
	raw    bool
	moves  moves

	mu    sync.Mutex // guards what follows: senders are told on any goroutine
	paths []*path    // of all sessions
	delay func()     // is called before each write to a rawPath; nil: nothing is
	*reference

	socket *Socket // the present WebSocket; nil while there is none
	path   *path
	stream []byte         // what the endpoint has read and not understood yet
	hello  string         // of the present WebSocket; "" before it is read
	count  int            // of the messages that the endpoint has had, as the client counts
	inbox  []string       // what the endpoint has, and the page has not
	pings  []receivedPing // that the endpoint has not answered
	closed bool           // the present WebSocket has brought a close frame
	log    []string
}

// A receivedPing is a ping that has come to the endpoint behind so many messages.
type receivedPing struct {
	payload string
	count   int
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nafter\n%s", fmt.Sprintf(format, args...), strings.Join(m.log[max(0, len(m.log)-60):], "\n"))
}

// A modelKeeper does what the owner of a session does.
type modelKeeper struct{ outbox *Outbox }

func (k *modelKeeper) Kept() { time.AfterFunc(ConfirmAfter, k.confirm) }

func (k *modelKeeper) confirm() {
	if again := k.outbox.Confirm(); again > 0 {
		time.AfterFunc(again, k.confirm)
	}
}

func (m *model) Failed(error) {}
func (m *model) Answered()    {}
func (m *model) Greeted()     {}

// newPath makes the path of a new WebSocket.
func (m *model) newPath(room int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.path = &path{fd: uintptr(len(m.paths)), room: room, wake: make(chan struct{})}
	m.paths = append(m.paths, m.path)
	m.reference.paths = append(m.reference.paths, m.path)
}

// newSocket makes a WebSocket on the latest path.
func (m *model) newSocket() *Socket {
	s := &Socket{conn: m.path, owner: m, writeTimeout: -1, traffic: new(stripe), compress: m.path.compress}
	if m.raw {
		s.raw = rawPath{m.path}
	}
	return s
}

// connect gives the session a new WebSocket, whose client says to have offset messages; offset is -1 for the first.
func (m *model) connect(offset int) {
	m.newPath(1 + m.random.IntN(40<<10))
	m.path.compress = m.random.IntN(3) == 0
	s := m.newSocket()
	s.pings = m.random.Uint64N(1 << 62)
	s.answered = s.pings
	old := m.socket
	m.socket, m.stream, m.hello, m.pings, m.closed = s, nil, "", nil, false
	m.count, m.received = max(offset, 0), max(offset, 0)
	if offset < 0 {
		m.outbox.attach(s)
		s.Hold(NewHello([]byte("hello 0")), NewMessage(false, []byte("greeting"), nil))
		m.pushed = append(m.pushed, &pushed{text: "greeting", asked: true})
		s.Release()
		return
	}
	m.outbox.prepare(s)
	from, err := m.outbox.Resume(s, uint64(offset))
	if err != nil {
		m.fail("resume at %d: %v", offset, err)
	}
	if from != uint64(offset) {
		m.fail("%d messages are missed", from-uint64(offset))
	}
	if old != nil && m.random.IntN(2) == 0 {
		old.Close(3909, "replaced")
	} else if old != nil {
		old.Reset()
	}
	s.Hello(NewHello([]byte("hello " + strconv.Itoa(offset))))
	s.Release()
}

// endpoint has the client's endpoint read at most n bytes, and understand what it has.
func (m *model) endpoint(n int) {
	m.stream = append(m.stream, m.path.read(n)...)
	for {
		op, data, rest, ok := parse(m.stream)
		if !ok {
			return
		}
		m.stream = rest
		switch {
		case op&opBits == opPing:
			m.pings = append(m.pings, receivedPing{string(data), m.count})
		case op&opBits == opClose:
			m.closed = true
		case op&opBits > opBinary:
			m.fail("a frame with opcode %d", op)
		case m.hello == "":
			if m.hello = string(data); !strings.HasPrefix(m.hello, "hello ") {
				m.fail("before the hello: %q", m.hello)
			}
		default:
			if op&rsv1Bit != 0 && !m.path.compress {
				m.fail("a compressed message")
			}
			text, ok := messageText(op, data)
			if !ok {
				continue
			}
			m.count++
			m.inbox = append(m.inbox, text)
			m.had = append(m.had, text)
		}
	}
}

// parse takes one frame from the head of stream.
func parse(stream []byte) (first byte, data, rest []byte, ok bool) {
	if len(stream) < 2 {
		return 0, nil, nil, false
	}
	n, head := int(stream[1]), 2
	switch n {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	if len(stream) < head {
		return 0, nil, nil, false
	}
	switch head {
	case 4:
		n = int(binary.BigEndian.Uint16(stream[2:]))
	case 10:
		n = int(binary.BigEndian.Uint64(stream[2:]))
	}
	if len(stream) < head+n {
		return 0, nil, nil, false
	}
	return stream[0], stream[head : head+n], stream[head+n:], true
}

// isSuspended reports whether the session lives and has no WebSocket.
func (m *model) isSuspended() bool {
	m.outbox.mu.Lock()
	defer m.outbox.mu.Unlock()
	return m.outbox.stage == stageOpen && m.outbox.socket == nil
}

// read has the page read what its endpoint has.
func (m *model) read(n int) {
	n = min(n, len(m.inbox))
	m.seen = append(m.seen, m.inbox[:n]...)
	m.inbox = m.inbox[n:]
}

// pong has the endpoint answer the first of its pings.
func (m *model) pong() {
	ping := m.pings[0]
	m.pings = m.pings[1:]
	m.note("pong %s", ping.payload)
	if !m.isSuspended() {
		m.received = max(m.received, ping.count)
	}
	m.socket.gotPong([]byte(ping.payload))
}

// start pushes one message, or several at once.
func (m *model) start(n int) {
	var all []*Message
	var payload *Payload
	outbox := m.entry()
	for range n {
		size := m.random.IntN(40)
		switch m.random.IntN(8) {
		case 0:
			size = m.random.IntN(20 << 10)
		case 1:
			size = 600
		}
		p := &pushed{text: fmt.Sprintf("%d %s", len(m.pushed), strings.Repeat("x", size)), binary: m.random.IntN(3) == 0, confirm: m.random.IntN(4) == 0}
		if m.random.IntN(6) == 0 {
			p.text = "\x06" + p.text
		}
		data := []byte(p.text)
		settled := m.settled(p, data)
		p.outbox = outbox
		p.message = NewMessage(p.binary, data, settled)
		if m.random.IntN(4) == 0 {
			payload = outbox.shared.NewPayload(p.binary, data)
			p.message.PrepareShared(payload, settled)
		}
		if p.confirm {
			p.message.Confirm()
		}
		if m.random.IntN(4) == 0 {
			p.message.IfAway(m.random.IntN(2) == 0)
		}
		if m.random.IntN(2) == 0 {
			p.mark = uint64(len(m.pushed) + 1)
			p.message.SetMark(p.mark)
		}
		m.mu.Lock()
		m.pushed = append(m.pushed, p)
		m.mu.Unlock()
		all = append(all, p.message)
		m.note("push %.10q, %d bytes, confirm %t, absence %d", p.text, len(p.text), p.confirm, p.message.session.absence)
		if n == 1 {
			if pending, err := outbox.Start(p.message); !pending {
				if p.confirm && err == nil {
					m.fail("%.10q is confirmed at once", p.text)
				}
				settled(err)
			}
		}
	}
	if n > 1 {
		outbox.StartAll(all)
	}
}

// settled returns what is called with the outcome of a push, whose data it is.
func (m *model) settled(p *pushed, data []byte) func(error) {
	session, isDirect := m.reference, p.direct
	return func(err error) {
		clear(data) // it is the caller's again
		m.mu.Lock()
		defer m.mu.Unlock()
		if err == ErrRepeated && p.direct && !isDirect {
			return
		}
		if p.asked || err == ErrRepeated {
			m.t.Errorf("%.10q is settled twice: %v, %v", p.text, p.outcome, err)
		}
		if p.confirm && err == nil && !slices.Contains(session.had, p.text) {
			m.t.Errorf("%.10q is confirmed, and the endpoint does not have it", p.text)
		}
		p.asked, p.outcome = true, err
	}
}

// leave has the sender of a message that is pending give up.
func (m *model) leave() {
	m.mu.Lock()
	var pending []*pushed
	for _, p := range m.pushed {
		if !p.asked {
			pending = append(pending, p)
		}
	}
	m.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	p := pending[m.random.IntN(len(pending))]
	err, decided := p.outbox.Abandon(p.message, context.Canceled)
	m.note("leave %.10q: %v %t", p.text, err, decided)
	if decided {
		m.mu.Lock()
		defer m.mu.Unlock()
		if p.asked {
			m.fail("%.10q is settled and given up", p.text)
		}
		p.asked, p.outcome = true, err
	}
}

// lose ends the present WebSocket in one of the ways in which that happens.
func (m *model) lose() {
	if m.socket == nil {
		return
	}
	s := m.socket
	kind := m.random.IntN(4)
	m.note("lose %d", kind)
	switch kind {
	case 0: // the network, as the writer sees it, or nobody before the client is back
		m.path.cut()
	case 1: // as the reader sees it
		m.path.cut()
		s.in.ended = endLost
		s.readFailed(io.EOF)
	case 2: // by the server
		if !m.outbox.Detach(s) && !m.isSuspended() {
			m.fail("Detach")
		}
		s.Close(1012, "")
		if m.random.IntN(2) == 0 { // the message under way, and the close frame behind it
			for synctest.Wait(); m.path.waiting(); synctest.Wait() {
				m.endpoint(1 << 30)
			}
			if !m.path.broken && (!m.closed || len(m.stream) > 0) {
				m.fail("no close frame: %.20q", m.stream)
			}
		}
	case 3: // by the client
		s.readFailed(&PeerClosed{Code: 1001})
		m.outbox.Detach(s)
		s.Close(1001, "")
	}
	if m.random.IntN(2) == 0 { // what was on its way arrives
		m.endpoint(1 << 30)
	}
	if kind > 0 {
		m.socket = nil
	}
}

// back has the client come back.
func (m *model) back() {
	if m.random.IntN(2) == 0 {
		m.read(len(m.inbox)) // as a browser's page does before it hears of the end
	}
	m.inbox = nil
	m.note("back at %d", len(m.seen))
	m.connect(len(m.seen))
}

// check compares what the page has seen with what it must have, which is all that was accepted if all is set.
func (m *model) check(all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, p := range m.pushed {
		if n < len(m.seen) && m.seen[n] == p.text {
			n++
			if p.asked && !p.accepted() && p.outcome != ErrBroken {
				m.fail("the page has %.10q, which was %v", p.text, p.outcome)
			}
			continue
		}
		if p.accepted() && (all || n < len(m.seen)) {
			m.fail("the page has not %.10q, which was accepted (%v)", p.text, p.outcome)
		}
	}
	if n < len(m.seen) {
		m.fail("the page has %.10q, which is not what comes next", m.seen[n])
	}
}

// step does something at random.
func (m *model) step() {
	switch m.random.IntN(19) {
	case 0, 1, 2:
		m.start(1)
	case 3:
		m.start(2 + m.random.IntN(8))
	case 4:
		m.leave()
	case 5, 6, 7:
		if m.socket != nil {
			n := 1 + m.random.IntN(30<<10)
			m.note("the endpoint reads %d", n)
			m.endpoint(n)
		}
	case 8:
		m.read(1 + m.random.IntN(4))
	case 9, 10:
		if m.socket != nil && len(m.pings) > 0 {
			m.pong()
		}
	case 11:
		m.lose()
	case 12, 13:
		if m.socket == nil || m.random.IntN(8) == 0 {
			m.back()
		}
	case 14:
		d := time.Duration(m.random.IntN(3000)) * time.Millisecond
		m.note("sleep %v", d)
		// Whatever a page leaves unread for as long as it is retained, it misses: that has a test of its own.
		m.read(len(m.inbox))
		testutil.Pass(d)
	case 16, 17:
		m.deliver(1 + m.random.IntN(4))
		m.repeat()
	case 18:
		if m.random.IntN(3) == 0 {
			m.move()
		}
	case 15:
		switch {
		case m.random.IntN(8) == 0:
			m.restart()
		case m.socket != nil:
			m.note("probe")
			m.socket.AnswerProbe()
		case m.random.IntN(8) == 0:
			m.expire()
		}
	}
	synctest.Wait()
	m.check(false)
	m.checkBuffered()
}

// checkBuffered compares what the session buffers with what is counted for all sessions, of which there is no other.
func (m *model) checkBuffered() {
	messages, bytes := m.outbox.Buffered()
	if n, size := m.shared.Buffered(); n != int64(messages) || size != int64(bytes) {
		m.fail("%d messages of %d bytes are buffered, and %d of %d are counted", messages, bytes, n, size)
	}
	if got, want := m.shared.Pending(), m.outbox.pending(); got != want {
		m.fail("%d bytes count as waiting, want %d", got, want)
	}
}

// pending is what a session counts in what waits for all clients, if there is no other. What is retained is not among it, and data that several
// messages have is once.
func (o *Outbox) pending() (bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := make(map[*Holding]bool)
	add := func(held *Holding, cost int) {
		if held != nil && seen[held] {
			cost = messageOverhead
		}
		seen[held] = true
		bytes += int64(cost)
	}
	for m := o.messages.first; m != nil; m = m.next {
		if m.counted {
			add(m.held, m.cost)
		}
	}
	for _, e := range o.spoken.kept {
		add(e.held, e.cost)
	}
	if o.spoken.suspended {
		bytes += suspendedCost
	}
	return bytes
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 16))}
	m.raw = seed%2 == 0
	m.shared = m.newShared()
	m.begin()
	return m
}

// newShared returns what the sockets of another worker share.
func (m *model) newShared() *Shared {
	return &Shared{kernel: func(fd uintptr, g *gather) (int, error) {
		m.mu.Lock()
		p, delay := m.paths[fd], m.delay
		m.mu.Unlock()
		if delay != nil {
			delay()
		}
		n, _, err := p.take(g.pieces[:g.n]...)
		return n, err
	}}
}

// begin begins a session.
func (m *model) begin() {
	m.note("begin")
	m.mu.Lock()
	m.reference = new(reference)
	m.mu.Unlock()
	m.outbox, m.socket, m.inbox, m.moves = m.newOutbox(16<<10), nil, nil, moves{}
	m.connect(-1)
	synctest.Wait()
}

// newOutbox returns the outbox of a session.
func (m *model) newOutbox(maxUnconfirmed int) *Outbox {
	o := new(Outbox)
	o.Init(m.shared, 64<<10)
	o.Speak()
	o.Keep(maxUnconfirmed, &modelKeeper{o})
	return o
}

// A random schedule of pushes, withdrawals, losses, returns and moves to other workers: the page sees what was accepted, once and in order, and nothing else; and
// in the end whatever it has not seen is unconfirmed.
func TestSessionModel(t *testing.T) {
	seeds := uint64(300)
	if os.Getenv("WSPUSH_SEEDS") != "" {
		seeds, _ = strconv.ParseUint(os.Getenv("WSPUSH_SEEDS"), 10, 64)
	}
	for seed := range seeds {
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed)
				defer func() {
					for _, p := range m.paths {
						p.cut()
					}
					synctest.Wait()
				}()
				for range 150 {
					m.step()
				}
				if m.random.IntN(2) == 0 {
					m.settle()
				} else {
					m.end()
				}
			})
		}) {
			break
		}
	}
}

// settle lets everything come to rest: the page has all that was accepted, and nothing is kept for long.
func (m *model) settle() {
	m.note("settle")
	if m.socket != nil {
		m.lose()
	}
	m.back()
	for range 400 {
		m.deliver(1 << 30)
		for synctest.Wait(); m.path.waiting(); synctest.Wait() {
			m.endpoint(1 << 30)
		}
		m.read(len(m.inbox))
		for len(m.pings) > 0 {
			m.pong()
		}
		testutil.Pass(100 * time.Millisecond)
	}
	synctest.Wait()
	m.check(true)
	for _, p := range m.pushed {
		if !p.asked {
			m.fail("the sender of %.10q hears nothing", p.text)
		}
	}
	if n, size := m.outbox.Buffered(); n != 0 || size != 0 || m.shared.Pending() != 0 || m.outbox.waiting != 0 || m.outbox.spoken.cost != 0 || m.outbox.toConfirm != 0 {
		m.fail("%d messages are kept, of %d bytes; %d count for all, %d as waiting, %d as unconfirmed, %d to be confirmed", n, size, m.shared.Pending(), m.outbox.waiting, m.outbox.spoken.cost, m.outbox.toConfirm)
	}
	m.checkBuffered()
	m.checkMoves()
	m.socket.Reset()
	synctest.Wait()
}

// end ends the session, whether its client is there or away.
func (m *model) end() {
	m.note("end")
	if m.outbox.End() == (m.socket != nil && m.outbox.socket != nil) {
		m.fail("End")
	}
	if m.socket != nil {
		m.socket.Close(1000, "")
		m.path.cut()
		m.socket.readFailed(io.EOF)
	}
	m.checkEnd()
}

// expire ends the session, whose client is away for too long, and begins another one.
func (m *model) expire() {
	m.note("expire")
	if !m.isSuspended() || !m.outbox.End() {
		m.fail("End")
	}
	m.checkEnd()
	m.begin()
}

// restart has another outbox go on with the session, as the next process does, whether its client is there or away.
func (m *model) restart() {
	m.note("restart")
	saved, ok := m.outbox.Save()
	if !ok {
		m.fail("Save")
	}
	m.loseFormer()
	if _, err := m.outbox.Start(NewMessage(false, nil, nil)); err != ErrClosed {
		m.fail("a push after Save: %v", err)
	}
	m.checkEnd()
	if _, ok := m.outbox.Save(); ok {
		m.fail("Save again")
	}
	if len(saved.Marks) > 0 {
		m.fail("marks are saved")
	}
	m.outbox, m.moves = m.newOutbox(saved.MaxUnconfirmed), moves{}
	if senders := m.outbox.Load(apart(saved), time.Duration(m.random.IntN(1000))*time.Second); senders != nil {
		m.fail("senders wait for what is saved")
	}
	m.outbox.ForgetMarks()
}

// apart returns saved as another process gets it.
func apart(saved Saved) Saved {
	saved.Messages = slices.Clone(saved.Messages)
	held := make(map[*Holding]*Holding)
	for i := range saved.Messages {
		e := &saved.Messages[i]
		if e.Data = bytes.Clone(e.Data); e.Held == nil {
			continue
		}
		if held[e.Held] == nil {
			held[e.Held] = new(Holding)
		}
		e.Held = held[e.Held]
	}
	return saved
}

// loseFormer ends the WebSocket that a session has lost because it goes on elsewhere.
func (m *model) loseFormer() {
	if m.socket == nil {
		return
	}
	if m.random.IntN(2) == 0 {
		m.socket.Close(1012, "")
	}
	synctest.Wait()
	if m.random.IntN(2) == 0 {
		m.endpoint(1 << 30)
	}
	m.path.cut()
	m.socket.Reset()
	m.socket = nil
}

// checkEnd compares what a session leaves that has ended with what it must leave.
func (m *model) checkEnd() {
	m.deliver(1 << 30)
	synctest.Wait()
	m.checkMoves()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pushed {
		if !p.asked {
			m.fail("the sender of %.10q hears nothing", p.text)
		}
	}
	got, want := m.outbox.Unconfirmed(), m.unconfirmed()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			m.fail("%.10q is not unconfirmed, want it as number %d, written: %t", want[i].Data, i, want[i].Written)
		case i >= len(want):
			m.fail("%.10q is unconfirmed", got[i].Data)
		case !reflect.DeepEqual(got[i], want[i]):
			m.fail("%.10q is unconfirmed, binary: %t, written: %t, want %.10q, %t, %t", got[i].Data, got[i].Binary, got[i].Written,
				want[i].Data, want[i].Binary, want[i].Written)
		}
	}
	if n, size := m.shared.Buffered(); len(got) < int(n) {
		m.fail("%d messages of %d bytes are counted as buffered, and %d are unconfirmed", n, size, len(got))
	}
	m.outbox.Forget()
	if n, size := m.shared.Buffered(); n != 0 || size != 0 {
		m.fail("%d messages of %d bytes are counted as buffered in the end", n, size)
	}
	if m.shared.Pending() != 0 || m.shared.pendingAll.cost.Load() != 0 {
		m.fail("%d bytes count for all in the end, %d of them as waiting", m.shared.pendingAll.cost.Load(), m.shared.Pending())
	}
}
