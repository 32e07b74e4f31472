package socket

import (
	"sync"
	"sync/atomic"
)

// pendingAll is what waits for all clients of a worker together. Data that several messages share counts once.
//
// What sessions keep counts, too, once it has begun.
type pendingAll struct {
	cost     atomic.Int64
	max      int64 // MaxPendingAll; 0 or less: no limit
	retained retained
	buffered buffered
}

// buffered is what all sessions have accepted and do not know to have been received. What is only retained is not among it.
type buffered struct{ messages, bytes atomic.Int64 }

func (b *buffered) add(messages, bytes int) {
	b.messages.Add(int64(messages))
	b.bytes.Add(int64(bytes))
}

// admits reports whether so much more may wait. While nothing waits, it may be any amount.
func (p *pendingAll) admits(cost int) bool {
	for {
		waiting := p.cost.Load()
		if p.max <= 0 || waiting == 0 || waiting+int64(cost) <= p.max {
			return true
		}
		if !p.reclaim() {
			return false
		}
	}
}

// isHalfFull reports whether so much waits that clients should confirm what they have at once. What is only retained makes room by itself.
func (p *pendingAll) isHalfFull() bool { return p.max > 0 && p.waiting() > p.max/2 }

// waiting is what waits, but for what is only retained.
func (p *pendingAll) waiting() int64 { return p.cost.Load() - p.retained.cost.Load() }

// reclaim lets go of what has been received and was retained for longest, to make room. It reports false if there is nothing.
func (p *pendingAll) reclaim() bool { return p.retained.reclaim(p) }

// take counts cost, unless that is more than admits would let in. If forced is set, it counts it in any case.
func (p *pendingAll) take(cost int, forced bool) bool {
	waiting := p.cost.Add(int64(cost))
	if forced || p.max <= 0 || waiting == int64(cost) || waiting <= p.max {
		return true
	}
	p.cost.Add(-int64(cost))
	return false
}

// release takes back what take has counted for a message with this cost, whose data held counts, or nil.
func (p *pendingAll) release(held *Holding, cost int) {
	if held != nil {
		held.release(p, cost)
		return
	}
	p.cost.Add(-int64(cost))
}

// hold counts a message that is there anyway, whose data held counts, or nil.
func (p *pendingAll) hold(held *Holding, cost int) {
	if held != nil {
		held.take(p, cost, true)
		return
	}
	p.cost.Add(int64(cost))
}

// A Holding counts how many messages that wait have the same data, in all outboxes.
type Holding struct {
	mu       sync.Mutex // guards what follows; it may be taken while an Outbox's lock is held, or that of retained
	n        int32
	retained int32 // of them, those that are only retained
}

// cost is what a message with this cost adds to what waits for all clients.
func (h *Holding) cost(cost int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.costLocked(cost)
}

func (h *Holding) costLocked(cost int) int {
	if h.n > 0 {
		return messageOverhead
	}
	return cost
}

// take is pendingAll.take for a message with this cost.
func (h *Holding) take(all *pendingAll, cost int, forced bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !all.take(h.costLocked(cost), forced) {
		return false
	}
	h.changeLocked(all, cost, 1, 0)
	return true
}

// release takes back what take has counted.
func (h *Holding) release(all *pendingAll, cost int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(all, cost, -1, 0)
	all.cost.Add(-int64(h.costLocked(cost)))
}

// retain notes that a message that take has counted is only retained from now on, or with -1 that it no longer is.
func (h *Holding) retain(all *pendingAll, cost int, n int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(all, cost, 0, n)
}

// changeLocked changes how many messages there are, and how many of them are only retained. The data is among what is retained as long as
// nobody has another use for it.
func (h *Holding) changeLocked(all *pendingAll, cost int, n, retained int32) {
	data := int64(cost - messageOverhead)
	if h.n > 0 && h.retained == h.n {
		all.retained.cost.Add(-data)
	}
	h.n += n
	h.retained += retained
	if h.n > 0 && h.retained == h.n {
		all.retained.cost.Add(data)
	}
}

// SetMaxPending bounds what may wait for all sockets together, in bytes; 0 or less is no limit. It must be called before any
// socket exists.
func (s *Shared) SetMaxPending(max int64) { s.pendingAll.max = max }

// HasRoom reports whether more may wait for all sockets together: whether a new session should be begun.
func (s *Shared) HasRoom() bool { return s.pendingAll.admits(suspendedCost) }

// Pending is what waits for all clients together, in bytes, with messageOverhead for each message.
func (s *Shared) Pending() int64 { return s.pendingAll.waiting() }

// Buffered is Outbox.Buffered for all sessions together. What one has left when it ends is among it until Forget.
func (s *Shared) Buffered() (messages, bytes int64) {
	b := &s.pendingAll.buffered
	return b.messages.Load(), b.bytes.Load()
}
