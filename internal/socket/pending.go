package socket

import (
	"sync"
	"sync/atomic"
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

// A holding counts how many messages that wait have the same data, in all outboxes.
type holding struct {
	mu sync.Mutex // guards n; it may be taken while an Outbox's lock is held
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

// SetMaxPending bounds what may wait for all sockets together, in bytes; 0 or less is no limit. It must be called before any
// socket exists.
func (s *Shared) SetMaxPending(max int64) { s.pendingAll.max = max }

// Pending is what waits for all clients together, in bytes, with messageOverhead for each message.
func (s *Shared) Pending() int64 { return s.pendingAll.cost.Load() }
