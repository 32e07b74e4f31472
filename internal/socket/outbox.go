package socket

import (
	"errors"
	"math"
	"sync"
	"time"
)

// Outcomes of a message other than nil, which means that it has been written.
var (
	ErrFull   = errors.New("too much is waiting for the client")               // nothing was written
	ErrClosed = errors.New("the connection is closed")                         // nothing was written
	ErrLeft   = errors.New("the caller left after the message had begun")      // the rest of it goes out
	ErrBroken = errors.New("the connection broke before the message was done") // some or all of it was written

	// Outcomes in a session. ErrBuffered: the message is accepted, and is sent when the client is back. ErrSuspended: nothing was written.
	ErrBuffered  = errors.New("the client is away, and will be sent the message when it is back")
	ErrSuspended = errors.New("the client is away")

	// ErrUnconfirmed is the outcome of a message that was to be confirmed, and whose caller left after it was written.
	ErrUnconfirmed = errors.New("the client has not confirmed the message")
)

// A stage is how far an Outbox has come. It may skip a stage, and never goes back.
type stage uint8

const (
	// stageGreeting lasts until Hold: nothing may be sent but a close frame.
	stageGreeting stage = iota
	// stageOpen lasts until the socket is closed, cut or lost.
	stageOpen
	// stageEnded: no message is accepted any more. Those that have begun may still go out. If the session has left for another Outbox, its
	// Mover takes messages.
	stageEnded
)

// An Outbox has the messages for one client: those that wait to be written, in order, and those that are written and wait to be
// confirmed. It accepts or refuses each message, and decides what becomes of it; nothing outside this file does.
//
// It belongs to the connection, and does no I/O. The Socket that it is attached to does: it asks the outbox for what goes out next, puts
// control frames between the messages, and reports how much is out, which ping the client has answered, and that it can write no more.
//
// The outbox of a session outlives its socket, and keeps what is written until it is known to have been received; see kept.go.
//
// An Outbox must not be copied. Once Accept has attached it, its methods may be called at any time, from any goroutine.
type Outbox struct {
	// Set once, by Init or attach, then read without a lock.
	shared *Shared
	max    int       // MaxPending; negative: no limit
	start  time.Time // the zero of the connection's clock
	spoken *spoken   // what there is because the client speaks wspush.v1; nil if it does not

	mu     sync.Mutex // guards what follows, and fields of the socket that say so: a push takes one lock
	stage  stage
	socket *Socket // writes what is here; nil before Accept, and while the client of a session is away

	messages  list // that wait, with the socket's control frames between them
	waiting   int  // the cost of all of them
	toConfirm int  // how many of them are to be confirmed

	unconfirmed list // written in full and to be confirmed, in the order of writing; a session has them in kept
}

// Init makes o ready for Accept. maxPending is in bytes; negative: no limit.
func (o *Outbox) Init(shared *Shared, maxPending int) { o.shared, o.max = shared, maxPending }

// attach gives o the socket that writes what is in it.
func (o *Outbox) attach(s *Socket) {
	s.outbox, s.feed = o, o
	o.start = time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.socket = s
}

// now is the time by the connection's clock: the only one for messages, since a message is timed from Start on.
func (o *Outbox) now() time.Duration { return time.Since(o.start) }

// For the senders of messages.

// Start writes m, or queues it behind what waits. If m is then pending, m.settled gets the outcome. Otherwise err is the
// outcome: nil when every byte is written; ErrFull, ErrClosed or ErrSuspended when nothing is and nothing will be; ErrBroken; ErrBuffered;
// ErrRepeated.
//
// A caller that finds nobody writing writes its own message, as far as that goes without waiting. What remains is left to
// a goroutine that lives only while something waits: a caller that wrote for others, or was stuck in a write of its own,
// could not leave when its context ends.
func (o *Outbox) Start(m *Message) (pending bool, err error) {
	o.mu.Lock()
	if o.wantsCompressionLocked(m, 0) {
		o.compressLocked(m)
	}
	if err := o.enqueueLocked(m, o.now()); err != nil {
		o.mu.Unlock()
		return false, err
	}
	if o.socket == nil {
		o.countLocked(m)
		o.mu.Unlock()
		return true, nil
	}
	return o.socket.writeAndUnlock(m)
}

// enqueueLocked adds m to what waits, or returns the reason why not.
func (o *Outbox) enqueueLocked(m *Message, now time.Duration) error {
	frozen := false
	if o.spoken != nil {
		o.formLocked(m) // what it counts is that of its form
		if v := o.spoken.moving; v != nil {
			switch {
			case v.to != nil:
				return o.carryLocked(m)
			case o.stage != stageEnded && v.isRepeated(m):
				return ErrRepeated
			}
			frozen = v.isFrozen
		}
	}
	switch {
	case o.stage == stageGreeting:
		return ErrFull
	case o.stage == stageEnded:
		return ErrClosed
	case o.socket == nil && m.session.absence == absenceRefuses && !frozen:
		return ErrSuspended
	case !o.admitsLocked(m, 0) || !o.reserveLocked(m):
		return ErrFull
	}
	if o.spoken != nil {
		o.secureLocked(m)
		if o.socket == nil && o.buffersLocked(m) && !frozen {
			o.countLocked(m)
			o.addLocked(m.handOver())
			return ErrBuffered
		}
	}
	m.timed, m.began = true, now
	o.addLocked(m)
	if m.confirm && o.socket != nil {
		o.socket.wantPingLocked()
	}
	return nil
}

// mustWaitLocked reports whether what waits cannot be written by the caller.
func (o *Outbox) mustWaitLocked() bool { return o.socket == nil || o.socket.mustWaitLocked() }

// StartAll is Start for several messages, which share writes. The outcome of each goes to its settled, maybe before StartAll
// returns; from then on the message belongs to its owner again.
func (o *Outbox) StartAll(messages []*Message) {
	o.mu.Lock()
	o.compressAllLocked(messages)
	now := o.now()
	var s *Socket // that failed, if there is a failure
	var failure error
	first, queued := false, false
	for _, m := range messages {
		err := o.enqueueLocked(m, now)
		if err == ErrFull && queued && failure == nil && !o.mustWaitLocked() {
			// Maybe only the others leave no room: the client has not had the chance to read them.
			s = o.socket
			failure, first = s.writeQueueLocked()
			err = o.enqueueLocked(m, now)
		}
		switch {
		case err != nil:
			m.settle(err)
		case o.mustWaitLocked():
			queued = true
			o.countLocked(m)
		default:
			queued = true
		}
	}
	switch {
	case !queued || failure != nil || o.socket == nil:
	case o.socket.mustWaitLocked():
		o.socket.flushSoonLocked()
	default:
		s = o.socket
		failure, first = s.writeQueueLocked()
	}
	o.mu.Unlock()
	if failure != nil {
		s.broken(failure, first)
	}
}

// Abandon gives up m, which Start has left pending, because its caller leaves, for the given cause. The outcome is cause if no byte
// of m was written: it is withdrawn. It is ErrLeft if m has begun; the outbox then goes on with a copy of the data. It is
// ErrUnconfirmed if all of m was written. If Abandon has not decided, the outcome goes to m.settled, which has it already or will
// have it in a moment. While a session moves that can take longer: another Outbox may be about to send m.
//
// It takes the same time however many messages wait: thousands of callers may leave at once.
func (o *Outbox) Abandon(m *Message, cause error) (outcome error, decided bool) {
	o.mu.Lock()
	if o.spoken != nil && o.spoken.moving != nil {
		if given := o.spoken.moving.given[m]; given != nil {
			to := o.spoken.moving.to
			o.mu.Unlock()
			to.Withdraw(given, cause)
			return nil, false
		}
	}
	defer o.mu.Unlock()
	switch {
	case m.done:
		return nil, false
	case m.out:
		o.forgetUnconfirmedLocked(m)
		outcome = ErrUnconfirmed
	case m.taken > 0 && o.socket.raw != nil && !m.session.fixed:
		m.left = cause // that write does not wait, and may be reading the data: better to know than to guess
		return nil, false
	case m.begun():
		o.disownLocked(m)
		return ErrLeft, true
	case m.session.copied:
		m.left = cause // the other Outbox may send it
		return nil, false
	default:
		o.removeLocked(m)
		outcome = cause
	}
	m.settled = nil
	m.settle(outcome)
	return outcome, true
}

// Admits reports whether there is room for a message of n bytes now. It can be asked before there is a message; what others send
// meanwhile may change the answer. It says nothing about a connection that is closed.
func (o *Outbox) Admits(n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stage != stageGreeting && o.admitsLocked(&Message{cost: n + messageOverhead}, 0)
}

// Pending is what waits for the client, in bytes, with messageOverhead for each message.
func (o *Outbox) Pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting
}

// What may wait.

// smallCost is the cost up to which a message for a client for which nothing waits is taken, however much waits for others: a client
// that reads should hear of things although others do not. If it does not read either, that is all that it holds beyond MaxPendingAll.
const smallCost = 4<<10 + messageOverhead

// admitsLocked reports whether a message may join behind what waits, and behind ahead more. When nothing waits for the client, only
// what waits for all clients can stand in the way, and not in that of a small message.
func (o *Outbox) admitsLocked(m *Message, ahead int) bool {
	waiting := o.waiting + ahead
	switch {
	case waiting == 0 && m.cost <= smallCost:
		return true
	case waiting > 0 && o.max >= 0 && waiting+m.cost > o.max:
		return false
	}
	return o.shared.pendingAll.admits(ahead + m.costForAll())
}

// reserveLocked counts a message in what waits for all clients, unless it is small, and reports whether there is room for it. Several
// large messages that come at once each find room only if there is room for all of them.
func (o *Outbox) reserveLocked(m *Message) bool {
	if m.cost <= smallCost {
		return true
	}
	m.counted = o.takeLocked(m, false)
	return m.counted
}

func (o *Outbox) takeLocked(m *Message, forced bool) bool {
	all := &o.shared.pendingAll
	for {
		if m.held == nil && all.take(m.cost, forced) || m.held != nil && m.held.take(all, m.cost, forced) {
			return true
		}
		if !all.reclaim() {
			return false
		}
	}
}

// countLocked counts a message that has to wait in what waits for all clients, unless reserveLocked has. A small message that is
// written at once is not counted: it need not touch what all sockets share.
func (o *Outbox) countLocked(m *Message) {
	if m.cost == 0 || m.done || m.out {
		return
	}
	if m.copies {
		m.copies = false
		m.keepData()
	}
	if !m.counted {
		m.counted = o.takeLocked(m, true)
	}
}

// countAllLocked counts all messages. It is for the end of a write before which nothing waited: otherwise those that waited before
// would be visited again and again.
func (o *Outbox) countAllLocked() {
	for m := o.messages.first; m != nil; m = m.next {
		o.countLocked(m)
	}
}

// The order of what waits.

func (o *Outbox) addLocked(m *Message) { o.insertLocked(m, nil) }

func (o *Outbox) insertLocked(m, before *Message) {
	o.messages.insert(m, before)
	o.bufferLocked(m, 1)
	if m.session.number > 0 {
		o.spoken.cost += m.cost
	} else {
		o.waiting += m.cost
	}
	if m.confirm {
		o.toConfirm++
	}
}

// removeLocked takes m, which waits, out.
func (o *Outbox) removeLocked(m *Message) {
	o.unlinkLocked(m)
	o.bufferLocked(m, -1)
	if m.counted {
		m.counted = false
		o.shared.pendingAll.release(m.held, m.cost)
	}
}

// unlinkLocked takes m, which waits, out, and leaves it counted in what waits for all clients, and in what sessions buffer.
func (o *Outbox) unlinkLocked(m *Message) {
	o.messages.remove(m)
	if m.session.number > 0 {
		o.spoken.cost -= m.cost
	} else {
		o.waiting -= m.cost
	}
	if m.confirm {
		o.toConfirm--
	}
}

// disownLocked makes m, which waits, independent of its caller, who leaves without learning the outcome.
func (o *Outbox) disownLocked(m *Message) {
	m.keepData()
	m.settled, m.lender = nil, nil
	if m.confirm {
		m.confirm = false
		o.toConfirm--
	}
}

// addControlLocked puts a control frame behind other control frames, and before every message that has not begun (RFC 6455
// section 5.4 allows that).
func (o *Outbox) addControlLocked(m *Message) {
	before := o.messages.first
	for before != nil && (before.under() || before.control) {
		before = before.next
	}
	o.insertLocked(m, before)
}

// addPingLocked inserts a ping as far ahead as it still confirms a message: behind the messages that have begun, if one of them
// or one that is already written is to be confirmed; otherwise behind the first message that is. It reports whether messages
// that are to be confirmed are left behind the ping.
//
// In a session, whatever has begun is to be confirmed, and what must wait for a pong is left behind the ping.
func (o *Outbox) addPingLocked(m *Message) (more bool) {
	confirms, passed := o.unconfirmed.n > 0, 0
	room := room{max: math.MaxInt}
	if o.keeps() {
		confirms, room = len(o.spoken.kept) > 0, o.roomLocked()
	}
	before := o.messages.first
	for ; before != nil && (before.under() || !confirms && room.takes(before)); before = before.next {
		if before.confirm {
			confirms = true
			passed++
		}
		if before.session.number > 0 {
			confirms = true
		}
	}
	o.insertLocked(m, before)
	return passed < o.toConfirm
}

// wantsAfterLocked reports whether a message waits for a ping after the one with this number, which waits or is out.
func (o *Outbox) wantsAfterLocked(ping uint64) bool {
	if last := o.unconfirmed.last; last != nil && last.ping > ping || o.keptAfterLocked(ping) {
		return true
	}
	behind := o.socket != nil && o.socket.pinged >= ping
	for m := o.messages.first; m != nil; m = m.next {
		switch {
		case m.ping == ping:
			behind = true
		case m.confirm && behind:
			return true
		}
	}
	return false
}

// For the socket: what goes out next, what is out, what is answered, and the end.

// fillLocked fills g with what goes out next, from at most limit messages.
func (o *Outbox) fillLocked(g *gather, limit int) {
	g.reset()
	for m := o.messages.first; m != nil && limit > 0 && g.hasRoom() && o.beginLocked(m); m = m.next {
		m.giveTo(g)
		limit--
	}
}

// pieceLocked returns what goes out next of the first message, and nothing only if none may go out. It may use buf.
func (o *Outbox) pieceLocked(buf *[chunkSize]byte) []byte {
	if m := o.messages.first; m != nil && o.beginLocked(m) {
		return m.piece(buf)
	}
	return nil
}

// attempt is a write that has ended.
type attempt struct {
	n     int           // bytes that went out
	began time.Duration // by the connection's clock; only known while a pong is expected
	ended time.Duration
}

// progress is the result of a write.
type progress struct {
	frames   int  // that are out in full; all were the first of what waited
	messages int  // of the application's among them
	settled  int  // of those, the ones whose senders have heard of it
	chunk    bool // a whole write's worth is out: the end of a frame, or another chunkSize of one
}

// wroteLocked records what the write of the last fill, or piece, has come to. It visits only the messages that the write was given: it
// counts and settles those that are complete, except for those to be confirmed, and decides about those whose callers have left.
func (o *Outbox) wroteLocked(a attempt, t *stripe) progress {
	var p progress
	for m := o.messages.first; m != nil && m.taken > 0; {
		next := m.next // of m, which may be used for another message once it is settled
		k := min(a.n, m.taken)
		a.n -= k
		m.written += k
		m.taken = 0
		switch {
		case m.written == m.size():
			p.frames++
			o.completeLocked(m, a, &p, t)
		case m.written == 0:
			o.withholdLocked(m)
		default:
			if m.written-m.marked >= chunkSize {
				m.marked = m.written
				p.chunk = true
			}
			if m.left != nil {
				settled := m.settled
				m.left = nil
				o.disownLocked(m) // before the caller hears of it: from then on the data is the caller's
				settled(ErrLeft)
			}
		}
		m = next
	}
	p.chunk = p.chunk || p.frames > 0
	return p
}

// completeLocked ends the wait of a message that is out in full.
func (o *Outbox) completeLocked(m *Message, a attempt, p *progress, t *stripe) {
	if m.timed {
		m.timed = false // a session may write it again
		t.latency.Record(a.ended - m.began)
	}
	if !m.control && o.keeps() {
		p.messages++
		if o.keepLocked(m, a) {
			p.settled++
		}
		return
	}
	o.removeLocked(m)
	if m.control {
		if m.ping > 0 {
			t.pings.Add(1)
		}
		o.socket.pinged = max(o.socket.pinged, m.ping)
		m.settle(nil)
		return
	}
	p.messages++
	switch {
	case !m.confirm:
		p.settled++
		m.settle(nil)
	case m.left != nil:
		m.settle(ErrUnconfirmed)
	default:
		m.ping, m.sent = o.socket.pinged+1, a.began
		m.forgetData()
		o.unconfirmed.insert(m, nil)
	}
}

// withholdLocked decides about a message of which the connection has taken nothing. After the end, none begins.
func (o *Outbox) withholdLocked(m *Message) {
	o.unbeginLocked(m)
	err := m.left
	switch {
	case err != nil || o.stage != stageEnded || m.control:
	case m.session.fixed:
		err = ErrBroken
	default:
		err = ErrClosed
	}
	if err != nil {
		o.dropMessageLocked(m, err)
	}
}

// confirmedLocked settles the messages that an answer to this ping confirms.
func (o *Outbox) confirmedLocked(ping uint64, at time.Duration) {
	if o.keeps() {
		o.receivedLocked(ping, at)
		return
	}
	o.settleUnconfirmedLocked(ping, at, nil)
}

// endLocked accepts no message from here on. What waits is left to the socket, which withdraws it, writes it or is lost.
func (o *Outbox) endLocked() {
	o.stage = stageEnded
	if o.keeps() {
		o.shared.pendingAll.retained.drop(&o.shared.pendingAll, o.spoken)
	}
}

// withdrawLocked gives up the messages that have not begun.
func (o *Outbox) withdrawLocked() {
	o.dropLocked(func(m *Message) error {
		switch {
		case m.control || m.under():
			return nil
		case m.session.number > 0:
			return ErrBroken
		}
		return ErrClosed
	})
}

// lostLocked ends the outbox because its socket can write nothing any more: what has begun is broken, and nothing else will begin.
func (o *Outbox) lostLocked() {
	o.endLocked()
	o.dropLocked(func(m *Message) error {
		if m.begun() {
			return ErrBroken
		}
		return ErrClosed
	})
}

// unansweredLocked gives up the messages that wait for an answer to a ping: none will come. In a session one can come from another
// WebSocket, until the session has ended.
func (o *Outbox) unansweredLocked() {
	if o.keeps() {
		o.neverReceivedLocked()
		return
	}
	o.settleUnconfirmedLocked(math.MaxUint64, o.now(), ErrBroken)
}

// settleUnconfirmedLocked settles the unconfirmed messages that wait for a ping with this number or an earlier one.
func (o *Outbox) settleUnconfirmedLocked(ping uint64, at time.Duration, err error) {
	for m := o.unconfirmed.first; m != nil && m.ping <= ping; m = o.unconfirmed.first {
		o.unconfirmed.remove(m)
		m.roundTrip = at - m.sent
		m.settle(err)
	}
}

// dropLocked removes the messages for which outcome returns an error, and settles them with it.
func (o *Outbox) dropLocked(outcome func(*Message) error) {
	for m := o.messages.first; m != nil; {
		next := m.next
		if err := outcome(m); err != nil {
			o.dropMessageLocked(m, err)
		}
		m = next
	}
}

// dropMessageLocked gives m up, which waits. A session that has ended keeps what had been accepted, for Unconfirmed.
func (o *Outbox) dropMessageLocked(m *Message, err error) {
	if o.keeps() {
		o.leaveLocked(m, err)
	}
	o.removeLocked(m)
	m.settle(err)
}
