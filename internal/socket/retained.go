package socket

import (
	"sync"
	"sync/atomic"
	"time"
)

// retainFor is for how long a message stays after the client's endpoint has confirmed it. A page that reloads, or gives its WebSocket up, may
// not have read all that its endpoint had.
const retainFor = 10 * time.Second

// retainTimes is how many times MaxUnconfirmed one session retains at most: a stream to one client should not fill the memory of all with what
// that client has had.
const retainTimes = 4

// retained is what the sessions of a worker keep although it is confirmed, oldest first: for retainFor, or until there is need of its room.
type retained struct {
	mu          sync.Mutex // guards what follows, and what every session has retained; it may be taken while an Outbox's lock is held
	first, last *batch
	timer       *time.Timer // calls expire; nil before the first batch

	cost atomic.Int64 // of all of it, in what waits for all clients; data that others have, too, is among it if all of them only retain it
}

// A batch is what one pong has confirmed of one session.
type batch struct {
	session    *session
	kept       []kept
	upTo       uint64 // the number of the last
	cost       int64  // in retained.cost, without data that others have, too
	size       int64  // the same, with it: what counts for the session
	until      time.Time
	next, prev *batch // of all sessions
	nextOwn    *batch // of the same session
}

// add retains b from now on.
func (r *retained) add(all *pendingAll, b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.until = time.Now().Add(retainFor)
	for i := range b.kept {
		e := &b.kept[i]
		b.size += int64(e.cost)
		if e.held != nil {
			b.cost += messageOverhead
			e.held.retain(all, e.cost, 1)
		} else {
			b.cost += int64(e.cost)
		}
	}
	r.cost.Add(b.cost)
	s := b.session
	if s.retained == nil {
		s.retained = b
	} else {
		s.last.nextOwn = b
	}
	s.last = b
	s.retainedSize += b.size
	b.prev = r.last
	if r.last == nil {
		r.first = b
		r.wakeLocked(all)
	} else {
		r.last.next = b
	}
	r.last = b
	for s.retained != b && s.retainedSize/retainTimes > int64(s.max) {
		r.dropLocked(all, s.retained)
	}
}

// wakeLocked has expire called when the oldest batch is to go.
func (r *retained) wakeLocked(all *pendingAll) {
	wait := time.Until(r.first.until)
	if r.timer == nil {
		r.timer = time.AfterFunc(wait, func() { r.expire(all) })
		return
	}
	r.timer.Reset(wait)
}

// expire lets go of what has been retained for long enough.
func (r *retained) expire(all *pendingAll) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for now := time.Now(); r.first != nil && !r.first.until.After(now); {
		r.dropLocked(all, r.first)
	}
	if r.first != nil {
		r.wakeLocked(all)
	}
}

// reclaim lets go of the oldest batch, and reports false if there is none.
func (r *retained) reclaim(all *pendingAll) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil {
		return false
	}
	r.dropLocked(all, r.first)
	return true
}

// dropLocked lets go of the oldest batch of a session, as the oldest of all is.
func (r *retained) dropLocked(all *pendingAll, b *batch) {
	r.unlinkLocked(all, b)
	b.session.retained, b.session.released = b.nextOwn, b.upTo
	all.releaseAll(b.kept)
}

func (r *retained) unlinkLocked(all *pendingAll, b *batch) {
	r.cost.Add(-b.cost)
	for i := range b.kept {
		if e := &b.kept[i]; e.held != nil {
			e.held.retain(all, e.cost, -1)
		}
	}
	b.session.retainedSize -= b.size
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		r.first = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	} else {
		r.last = b.prev
	}
	if r.first == nil {
		r.timer.Stop()
	}
}

// takeOut takes what is retained of a session out, in order, and returns the number of the last message before it.
func (r *retained) takeOut(all *pendingAll, s *session) (released uint64, messages []kept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := s.retained; b != nil; b = b.nextOwn {
		r.unlinkLocked(all, b)
		messages = append(messages, b.kept...)
	}
	s.retained, s.last = nil, nil
	return s.released, messages
}

// list returns what is retained of a session, in order, and the number of the last message before it.
func (r *retained) list(s *session) (released uint64, messages []kept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := s.retained; b != nil; b = b.nextOwn {
		messages = append(messages, b.kept...)
	}
	return s.released, messages
}

// dropTo lets go of what is retained of a session up to a number, and returns it.
func (r *retained) dropTo(all *pendingAll, s *session, number uint64) (dropped []kept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := s.retained; b != nil && s.released < number; b = s.retained {
		n := min(number-s.released, uint64(len(b.kept)))
		dropped = append(dropped, b.kept[:n]...)
		if n == uint64(len(b.kept)) {
			r.dropLocked(all, b)
			continue
		}
		r.shortenLocked(all, b, int(n))
		s.released = number
	}
	return dropped
}

// shortenLocked lets go of the first n messages of a batch, which has more.
func (r *retained) shortenLocked(all *pendingAll, b *batch, n int) {
	for i := range b.kept[:n] {
		e := &b.kept[i]
		cost := int64(e.cost)
		b.size -= cost
		b.session.retainedSize -= cost
		if e.held != nil {
			cost = messageOverhead
			e.held.retain(all, e.cost, -1)
		}
		b.cost -= cost
		r.cost.Add(-cost)
	}
	all.releaseAll(b.kept[:n])
	clear(b.kept[:n]) // so that their data goes
	b.kept = b.kept[n:]
}

// drop lets go of what is retained of a session that has ended.
func (r *retained) drop(all *pendingAll, s *spoken) {
	_, messages := r.takeOut(all, &s.session)
	all.releaseAll(messages)
}

// setReleased notes up to which number nothing is left of a session of which nothing is retained.
func (r *retained) setReleased(s *session, released uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.released = released
}

// releaseAll takes back what messages that were kept count.
func (p *pendingAll) releaseAll(messages []kept) {
	for i := range messages {
		p.release(messages[i].held, messages[i].cost)
	}
}
