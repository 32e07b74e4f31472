package socket

import (
	"sync"
	"sync/atomic"
	"time"
)

// pendingAll is what waits for all clients of a worker together. Data that several messages share counts once.
type pendingAll struct {
	cost atomic.Int64
	max  int64 // MaxPendingAll; 0 or less: no limit
}

// admits reports whether so much more may wait. While nothing waits, it may be any amount.
func (p *pendingAll) admits(cost int) bool {
	waiting := p.cost.Load()
	return p.max <= 0 || waiting == 0 || waiting+int64(cost) <= p.max
}

// take counts cost, unless that is more than admits would let in. If forced is set, it counts it in any case.
func (p *pendingAll) take(cost int, forced bool) bool {
	waiting := p.cost.Add(int64(cost))
	if forced || p.max <= 0 || waiting == int64(cost) || waiting <= p.max {
		return true
	}
	p.cost.Add(-int64(cost))
	return false
}

// A holding counts how many messages that wait have the same data, in all their queues.
type holding struct {
	mu sync.Mutex // guards n; it may be taken while a Socket's lock is held
	n  int
}

// cost is what m adds to what waits for all clients.
func (h *holding) cost(m *Message) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.costLocked(m)
}

func (h *holding) costLocked(m *Message) int {
	if h.n > 0 {
		return messageOverhead
	}
	return m.cost
}

// take is pendingAll.take for m.
func (h *holding) take(all *pendingAll, m *Message, forced bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !all.take(h.costLocked(m), forced) {
		return false
	}
	h.n++
	return true
}

// release takes back what take has counted.
func (h *holding) release(all *pendingAll, m *Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n--
	all.cost.Add(-int64(h.costLocked(m)))
}

// queue is what waits to be written to one client, in order. It knows no connection: the Socket writes what the
// queue says, and reports how much of it went out. Socket.mu guards it.
type queue struct {
	messages  list
	waiting   int // the cost of all of them
	toConfirm int // how many of them are to be confirmed
	max       int // MaxPending; negative: no limit
	all       *pendingAll

	unconfirmed list   // written in full and to be confirmed, in the order of writing
	pinged      uint64 // the last ping that was written in full
}

// smallCost is the cost up to which a message for a client for which nothing waits is taken, however much waits for others: a client
// that reads should hear of things although others do not. If it does not read either, that is all that it holds beyond MaxPendingAll.
const smallCost = 4<<10 + messageOverhead

// admitsLocked reports whether a message may join behind what waits, and behind ahead more. When nothing waits for the client, only
// what waits for all clients can stand in the way, and not in that of a small message.
func (q *queue) admitsLocked(m *Message, ahead int) bool {
	waiting := q.waiting + ahead
	switch {
	case waiting == 0 && m.cost <= smallCost:
		return true
	case waiting > 0 && q.max >= 0 && waiting+m.cost > q.max:
		return false
	}
	return q.all.admits(ahead + m.costForAll())
}

// reserveLocked counts a message in what waits for all clients, unless it is small, and reports whether there is room for it. Several
// large messages that come at once each find room only if there is room for all of them.
func (q *queue) reserveLocked(m *Message) bool {
	if m.cost <= smallCost {
		return true
	}
	m.counted = q.takeLocked(m, false)
	return m.counted
}

func (q *queue) takeLocked(m *Message, forced bool) bool {
	if m.held != nil {
		return m.held.take(q.all, m, forced)
	}
	return q.all.take(m.cost, forced)
}

// countLocked counts a message that has to wait in what waits for all clients, unless reserveLocked has. A small message that is
// written at once is not counted: it need not touch what all sockets share.
func (q *queue) countLocked(m *Message) {
	if m.cost == 0 || m.done || m.out {
		return
	}
	if m.copies {
		m.copies = false
		m.keepData()
	}
	if !m.counted {
		m.counted = q.takeLocked(m, true)
	}
}

// countAllLocked counts all messages. It is for the end of a write that found the queue empty: otherwise those that waited before
// would be visited again and again.
func (q *queue) countAllLocked() {
	for m := q.messages.first; m != nil; m = m.next {
		q.countLocked(m)
	}
}

func (q *queue) addLocked(m *Message) { q.insertLocked(m, nil) }

func (q *queue) insertLocked(m, before *Message) {
	q.messages.insert(m, before)
	q.waiting += m.cost
	if m.confirm {
		q.toConfirm++
	}
}

// removeLocked takes m out of the queue.
func (q *queue) removeLocked(m *Message) {
	q.messages.remove(m)
	q.waiting -= m.cost
	if m.counted {
		m.counted = false
		if m.held != nil {
			m.held.release(q.all, m)
		} else {
			q.all.cost.Add(-int64(m.cost))
		}
	}
	if m.confirm {
		q.toConfirm--
	}
}

// detachLocked makes m, which is in the queue, independent of its caller, who leaves without learning the outcome.
func (q *queue) detachLocked(m *Message) {
	m.keepData()
	m.settled, m.lender = nil, nil
	if m.confirm {
		m.confirm = false
		q.toConfirm--
	}
}

// addControlLocked puts a control frame behind other control frames, and before every message that has not begun (RFC 6455
// section 5.4 allows that).
func (q *queue) addControlLocked(m *Message) {
	before := q.messages.first
	for before != nil && (before.begun() || before.control) {
		before = before.next
	}
	q.insertLocked(m, before)
}

// addPingLocked inserts a ping as far ahead as it still confirms a message: behind the messages that have begun, if one of them
// or one that is already written is to be confirmed; otherwise behind the first message that is. It reports whether messages
// that are to be confirmed are left behind the ping.
func (q *queue) addPingLocked(m *Message) (more bool) {
	confirms, passed := q.unconfirmed.n > 0, 0
	before := q.messages.first
	for ; before != nil && (before.begun() || !confirms); before = before.next {
		if before.confirm {
			confirms = true
			passed++
		}
	}
	q.insertLocked(m, before)
	return passed < q.toConfirm
}

// wantsAfterLocked reports whether a message waits for a ping after the one with this number, which is in the queue or out.
func (q *queue) wantsAfterLocked(ping uint64) bool {
	if last := q.unconfirmed.last; last != nil && last.ping > ping {
		return true
	}
	behind := q.pinged >= ping
	for m := q.messages.first; m != nil; m = m.next {
		switch {
		case m.ping == ping:
			behind = true
		case m.confirm && behind:
			return true
		}
	}
	return false
}

// settleUnconfirmedLocked settles the unconfirmed messages that wait for a ping with this number or an earlier one.
func (q *queue) settleUnconfirmedLocked(ping uint64, at time.Duration, err error) {
	for m := q.unconfirmed.first; m != nil && m.ping <= ping; m = q.unconfirmed.first {
		q.unconfirmed.remove(m)
		m.roundTrip = at - m.sent
		m.settle(err)
	}
}

// fillLocked fills g with what goes out next, from at most limit messages.
func (q *queue) fillLocked(g *gather, limit int) {
	g.reset()
	for m := q.messages.first; m != nil && limit > 0 && g.hasRoom(); m = m.next {
		m.giveTo(g)
		limit--
	}
}

// pieceLocked returns what goes out next of the first message, and nothing only if there is none. It may use buf.
func (q *queue) pieceLocked(buf *[chunkSize]byte) []byte {
	if m := q.messages.first; m != nil {
		return m.piece(buf)
	}
	return nil
}

// attempt is a write that has ended.
type attempt struct {
	n       int           // bytes that went out
	began   time.Duration // by the socket's clock; only known while a pong is expected
	ended   time.Duration
	closing bool // what has not begun never will
}

// progress is the result of a write.
type progress struct {
	frames   int  // that are out in full; all were at the head of the queue
	messages int  // of the application's among them
	settled  int  // of those, the ones whose senders have heard of it
	chunk    bool // a whole write's worth is out: the end of a frame, or another chunkSize of one
}

// wroteLocked records what the write of the last fill, or piece, has come to. It visits only the messages that the write was given: it
// counts and settles those that are complete, except for those to be confirmed, and decides about those whose callers have left.
func (q *queue) wroteLocked(a attempt, t *stripe) progress {
	var p progress
	for m := q.messages.first; m != nil && m.taken > 0; {
		next := m.next // of m, which may be used for another message once it is settled
		k := min(a.n, m.taken)
		a.n -= k
		m.written += k
		m.taken = 0
		switch {
		case m.written == m.size():
			p.frames++
			q.completeLocked(m, a, &p, t)
		case m.written == 0:
			q.withholdLocked(m, a)
		default:
			if m.written-m.marked >= chunkSize {
				m.marked = m.written
				p.chunk = true
			}
			if m.left != nil {
				settled := m.settled
				m.left = nil
				q.detachLocked(m) // before the caller hears of it: from then on the data is the caller's
				settled(ErrLeft)
			}
		}
		m = next
	}
	p.chunk = p.chunk || p.frames > 0
	return p
}

// completeLocked ends the wait of a message that is out in full.
func (q *queue) completeLocked(m *Message, a attempt, p *progress, t *stripe) {
	q.removeLocked(m)
	if m.timed {
		t.latency.Record(a.ended - m.began)
	}
	if m.control {
		if m.ping > 0 {
			t.pings.Add(1)
		}
		q.pinged = max(q.pinged, m.ping)
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
		m.ping, m.sent = q.pinged+1, a.began
		m.forgetData()
		q.unconfirmed.insert(m, nil)
	}
}

// withholdLocked decides about a message of which the connection has taken nothing.
func (q *queue) withholdLocked(m *Message, a attempt) {
	err := m.left
	if err == nil && a.closing && !m.control {
		err = ErrClosed
	}
	if err != nil {
		q.removeLocked(m)
		m.settle(err)
	}
}

// dropLocked removes the messages for which outcome returns an error, and settles them with it.
func (q *queue) dropLocked(outcome func(*Message) error) {
	for m := q.messages.first; m != nil; {
		next := m.next
		if err := outcome(m); err != nil {
			q.removeLocked(m)
			m.settle(err)
		}
		m = next
	}
}
