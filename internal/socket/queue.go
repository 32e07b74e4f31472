package socket

import (
	"slices"
	"sync/atomic"
	"time"
)

// pending is what waits for all clients of a worker together.
type pending struct {
	cost atomic.Int64
	max  int64 // MaxPendingAll; 0 or less: no limit
}

// queue is what waits to be written to one client, in order. It knows no connection: Socket writes the chunks it makes,
// and tells it how much of each went out. Socket.mu guards it.
type queue struct {
	messages []*Message
	waiting  int // the cost of all messages in it
	max      int // MaxPending; negative: no limit
	all      *pending

	unconfirmed []*Message // that are written in full, and are to be confirmed
	pinged      uint64     // the last ping that is written in full
}

// keptQueue is how long a list of messages an idle connection may keep: what many publishers at once have made longer goes.
const keptQueue = 16

// admits reports whether a message may join: whatever its size when nothing waits, else only within the limits.
func (q *queue) admits(m *Message) bool {
	if q.waiting == 0 {
		return true
	}
	return (q.max < 0 || q.waiting+m.cost <= q.max) && (q.all.max <= 0 || q.all.cost.Load()+int64(m.cost) <= q.all.max)
}

// count counts a message that has to wait. What is written at once does not, and need not touch what all sockets share.
func (q *queue) count(m *Message) {
	if m.cost > 0 && !m.counted && !m.done && m.written < m.size() {
		m.counted = true
		q.all.cost.Add(int64(m.cost))
	}
}

// countAll counts all that have to wait.
func (q *queue) countAll() {
	for _, m := range q.messages {
		q.count(m)
	}
}

// uncount takes note that a message waits no more.
func (q *queue) uncount(m *Message) {
	q.waiting -= m.cost
	if m.counted {
		m.counted = false
		q.all.cost.Add(-int64(m.cost))
	}
}

func (q *queue) add(m *Message) {
	q.messages = append(q.messages, m)
	q.waiting += m.cost
}

// addControl puts a control frame before every message that has not begun (RFC 6455 section 5.4 lets them pass).
func (q *queue) addControl(m *Message) {
	i := 0
	for i < len(q.messages) && (q.messages[i].started() || q.messages[i].control) {
		i++
	}
	q.messages = slices.Insert(q.messages, i, m)
}

// addPing puts a ping behind what has begun, or if nothing of that waits for it, behind the first message that is to be
// confirmed. Those behind it are for the next one; it returns whether there are any.
func (q *queue) addPing(m *Message) (more bool) {
	waits, i := len(q.unconfirmed) > 0, 0
	for ; i < len(q.messages) && (q.messages[i].started() || !waits); i++ {
		waits = waits || q.messages[i].confirm
	}
	for _, behind := range q.messages[i:] {
		if behind.confirm {
			behind.ping = m.ping + 1
			more = true
		}
	}
	q.messages = slices.Insert(q.messages, i, m)
	return more
}

// wants reports whether a message is to be confirmed by a ping after this one.
func (q *queue) wants(ping uint64) bool {
	after := func(m *Message) bool { return m.confirm && m.ping > ping }
	return slices.ContainsFunc(q.unconfirmed, after) || slices.ContainsFunc(q.messages, after)
}

// takeUnconfirmed takes out of those that are unconfirmed what settle has settled.
func (q *queue) takeUnconfirmed(settle func(*Message) bool) {
	if len(q.unconfirmed) == 0 {
		return
	}
	q.unconfirmed = slices.DeleteFunc(q.unconfirmed, settle)
	if len(q.unconfirmed) == 0 && cap(q.unconfirmed) > keptQueue {
		q.unconfirmed = nil
	}
}

// fill copies what goes out next into buf, of at most limit messages, and returns that part of buf.
func (q *queue) fill(buf []byte, limit int) []byte {
	n := 0
	for i := 0; i < len(q.messages) && i < limit && n < len(buf); i++ {
		n += q.messages[i].take(buf[n:])
	}
	return buf[:n]
}

// progress is what a write has come to.
type progress struct {
	frames   int  // that are out in full; all were at the head of the queue
	messages int  // of the application's among them
	settled  int  // of those, the ones whose senders have heard of it
	chunk    bool // a whole write's worth is out: the end of a frame, or another chunkSize of one
}

// wrote takes note that n bytes of the last fill went out, now by the socket's clock, counts what is complete, and settles it
// but for what is to be confirmed.
func (q *queue) wrote(n int, now time.Duration, t *stripe) progress {
	var p progress
	for _, m := range q.messages {
		if m.taken == 0 {
			break
		}
		k := min(n, m.taken)
		n -= k
		m.written += k
		m.taken = 0
		switch {
		case m.written == m.size():
			p.frames++
			q.uncount(m)
			if m.timed {
				t.latency.Record(now - m.began)
			}
			switch {
			case m.control:
				if m.ping > 0 {
					t.pings.Add(1)
				}
				q.pinged = max(q.pinged, m.ping)
				m.settle(nil)
			case m.confirm:
				p.messages++
				q.unconfirmed = append(q.unconfirmed, m)
			default:
				p.messages++
				p.settled++
				m.settle(nil) // and it is no longer ours
			}
		case m.written-m.marked >= chunkSize:
			m.marked = m.written
			p.chunk = true
		}
	}
	q.messages = slices.Delete(q.messages, 0, p.frames)
	if len(q.messages) == 0 && cap(q.messages) > keptQueue {
		q.messages = nil
	}
	p.chunk = p.chunk || p.frames > 0
	return p
}

// drop takes the messages for which gone gives an error out of the queue and settles them with it.
func (q *queue) drop(gone func(*Message) error) {
	q.messages = slices.DeleteFunc(q.messages, func(m *Message) bool {
		err := gone(m)
		if err == nil {
			return false
		}
		q.uncount(m)
		m.settle(err)
		return true
	})
}
