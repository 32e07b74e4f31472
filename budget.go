package wspush

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// budget bounds how many bytes of requests are held at a time while they are being read: WorkerOptions.MaxPushBytesAll. The zero
// value has no bound.
//
// Who needs more room than there is waits in line. Two rules keep the line moving. The first in line may exceed the bound if it
// holds something already, one at a time: otherwise many bodies, each of them half read, could wait for each other. And a reading
// that has lasted for budgetGrace gives way if somebody waits, the oldest one first: otherwise a few bodies that never end could
// keep all others out.
type budget struct {
	limit int64        // 0 or less: none
	held  atomic.Int64 // bytes

	mu          sync.Mutex // guards what follows. With it held, deadlines of reads are set, which does not take time
	first, last *share     // the readings that hold something, in the order in which they began
	line        []*waiter
	express     *share // the one that may exceed the bound; nil: none
	isPressed   atomic.Bool
	timer       *time.Timer // looks again once the oldest has had its time; nil: none
}

const (
	budgetWait  = 5 * time.Second // for room
	budgetGrace = time.Second     // for a reading to end although somebody waits for its room
)

// share is what one reading holds of a budget. It belongs to the goroutine that reads, and only that one changes it, or others while
// it waits.
type share struct {
	budget *budget
	held   int64
	reader interrupter

	// The budget's lock guards what follows.
	began      time.Time
	isReading  bool // it is among the budget's readings
	isOut      bool // it has had to give way
	prev, next *share
}

// interrupter ends a reading, which then fails. It must neither block nor use the share.
type interrupter interface{ interrupt() }

// waiter is a share that waits for room.
type waiter struct {
	share *share
	bytes int64
	ready chan bool // gets one element: whether there is room
}

// tryTake takes room if there is some, and nobody waits for it. Whoever takes it without a share gives it back with give.
func (b *budget) tryTake(n int64) bool {
	if b.limit <= 0 {
		return true
	}
	if b.isPressed.Load() {
		return false
	}
	if b.held.Add(n) > b.limit {
		b.give(n)
		return false
	}
	return true
}

// takeBelowHalf takes room if no more than half of it is then taken.
func (b *budget) takeBelowHalf(n int64) bool {
	if b.limit > 0 && b.held.Load()+n > b.limit/2 {
		return false
	}
	return b.tryTake(n)
}

// Take takes room for a body of another worker's, which cannot wait. One that is larger than the bound is taken when there is nothing
// else.
func (b *budget) Take(n int64) bool {
	return b.tryTake(n) || !b.isPressed.Load() && b.held.CompareAndSwap(0, n)
}

// Give gives back room that Take has taken.
func (b *budget) Give(n int64) { b.give(n) }

// give gives room back.
func (b *budget) give(n int64) {
	if b.limit <= 0 {
		return
	}
	b.held.Add(-n)
	if b.isPressed.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.serveLocked()
	}
}

// tryTake takes room for the share, if there is some.
func (s *share) tryTake(n int64) bool {
	b := s.budget
	if b.limit <= 0 || n == 0 {
		return true
	}
	if !b.tryTake(n) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.isOut {
		b.held.Add(-n)
		b.serveLocked()
		return false
	}
	b.addLocked(s, n)
	return true
}

// take takes room for the share, and waits for it. It fails with errIntakeFull.
func (s *share) take(n int64) error {
	if s.tryTake(n) {
		return nil
	}
	b := s.budget
	w := &waiter{share: s, bytes: n, ready: make(chan bool, 1)}
	b.mu.Lock()
	if s.isOut {
		b.mu.Unlock()
		return errIntakeFull
	}
	at := len(b.line)
	if s.held > 0 { // it will make room once it has what it needs
		if at = slices.IndexFunc(b.line, func(w *waiter) bool { return w.share.held == 0 }); at < 0 {
			at = len(b.line)
		}
	}
	b.line = slices.Insert(b.line, at, w)
	b.isPressed.Store(true)
	b.serveLocked() // there may be room again
	b.mu.Unlock()
	timer := time.NewTimer(budgetWait)
	defer timer.Stop()
	select {
	case ok := <-w.ready:
		if !ok {
			return errIntakeFull
		}
		return nil
	case <-timer.C: // it may have been served just now

	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leaveLocked(s) != nil {
		b.serveLocked()
		return errIntakeFull
	}
	if !<-w.ready {
		return errIntakeFull
	}
	return nil
}

// give gives back a part of what the share holds.
func (s *share) give(n int64) {
	if n == 0 || s.held == 0 {
		return
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.held -= n
	b.held.Add(-n)
	b.serveLocked()
}

// stop says that the reading is over. It reports whether it had to give way. The share keeps what it holds.
func (s *share) stop() (gaveWay bool) {
	if s.held == 0 {
		return false
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopLocked(s)
}

// end gives back all that the share holds, which may then be used for another reading.
func (s *share) end() {
	if s.held == 0 {
		return
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopLocked(s)
	s.isOut = false
	b.held.Add(-s.held)
	s.held = 0
	b.serveLocked()
}

// addLocked counts room that has been taken as the share's.
func (b *budget) addLocked(s *share, n int64) {
	s.held += n
	if s.isReading {
		return
	}
	s.isReading, s.began = true, time.Now()
	s.prev = b.last
	if b.last != nil {
		b.last.next = s
	} else {
		b.first = s
	}
	b.last = s
}

func (b *budget) stopLocked(s *share) (gaveWay bool) {
	if s.isReading {
		b.removeLocked(s)
	}
	return s.isOut
}

func (b *budget) removeLocked(s *share) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		b.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		b.last = s.prev
	}
	s.prev, s.next, s.isReading = nil, nil, false
	if b.express == s {
		b.express = nil
	}
}

// leaveLocked takes a share out of the line. It returns nil if it is not in there.
func (b *budget) leaveLocked(s *share) *waiter {
	i := slices.IndexFunc(b.line, func(w *waiter) bool { return w.share == s })
	if i < 0 {
		return nil
	}
	w := b.line[i]
	b.line = slices.Delete(b.line, i, i+1)
	return w
}

// serveLocked lets those in line have what there is, and sees to it that there will be more.
func (b *budget) serveLocked() {
	for len(b.line) > 0 {
		w := b.line[0]
		switch {
		case b.held.Add(w.bytes) <= b.limit:
		case w.share.held > 0 && b.express == nil, w.share.held > 0 && b.express == w.share, b.first == nil && b.held.Load() == w.bytes:
			b.express = w.share
		default:
			b.held.Add(-w.bytes)
			b.pressLocked(w)
			return
		}
		b.line = b.line[1:]
		b.addLocked(w.share, w.bytes)
		w.ready <- true
	}
	b.line = nil
	b.isPressed.Store(false)
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
}

// pressLocked has the oldest readings give way to a waiter, or comes back when the first of them has had its time.
func (b *budget) pressLocked(w *waiter) {
	need := b.held.Load() + w.bytes - b.limit
	for s := b.first; s != nil && need > 0; s = s.next {
		if !s.isOut {
			if left := budgetGrace - time.Since(s.began); left > 0 {
				if b.timer != nil {
					b.timer.Stop()
				}
				b.timer = time.AfterFunc(left, b.press)
				return
			}
			s.isOut = true
			if waiting := b.leaveLocked(s); waiting != nil {
				waiting.ready <- false
			} else {
				s.reader.interrupt()
			}
		}
		need -= s.held
	}
}

// press is called when the oldest reading has had its time.
func (b *budget) press() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serveLocked()
}
