package socket

import "slices"

// queue is what waits to be written to one client, in order. It knows no connection: Socket writes the chunks it makes,
// and tells it how much of each went out. Socket.mu guards it.
type queue struct {
	messages []*Message
	waiting  int // the cost of all messages in it
	max      int // MaxPending; negative: no limit
}

// keptQueue is how long a list of messages an idle connection may keep: what many publishers at once have made longer goes.
const keptQueue = 16

// admits reports whether a message may join: whatever its size when nothing waits, else only within the limit.
func (q *queue) admits(m *Message) bool {
	return q.waiting == 0 || q.max < 0 || q.waiting+m.cost <= q.max
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

// fill copies what goes out next into buf, of at most limit messages, and returns that part of buf.
func (q *queue) fill(buf []byte, limit int) []byte {
	n := 0
	for i := 0; i < len(q.messages) && i < limit && n < len(buf); i++ {
		n += q.messages[i].take(buf[n:])
	}
	return buf[:n]
}

// wrote takes note that n bytes of the last fill went out, and settles what is complete. It returns how many messages of
// the application's that are, and whether a whole write's worth is out: the end of a message, or another chunkSize of one.
func (q *queue) wrote(n int) (completed int, progress bool) {
	out := 0 // messages that are complete, all at the head of the queue
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
			out++
			if !m.control {
				completed++
			}
			q.waiting -= m.cost
			m.settle(nil) // and it is no longer ours
		case m.written-m.marked >= chunkSize:
			m.marked = m.written
			progress = true
		}
	}
	q.messages = slices.Delete(q.messages, 0, out)
	if len(q.messages) == 0 && cap(q.messages) > keptQueue {
		q.messages = nil
	}
	return completed, progress || out > 0
}

// drop takes the messages for which gone gives an error out of the queue and settles them with it.
func (q *queue) drop(gone func(*Message) error) {
	q.messages = slices.DeleteFunc(q.messages, func(m *Message) bool {
		err := gone(m)
		if err == nil {
			return false
		}
		q.waiting -= m.cost
		m.settle(err)
		return true
	})
}
