package wspush

import (
	"context"
	"time"

	"github.com/wspush/wspush/internal/socket"
)

// bundle is what has been gathered for one connection.
type bundle struct {
	conn     *Conn
	pushes   []*bulkPush
	messages []*socket.Message
	bytes    int // of the messages
	cost     int
}

// maxSpare is for how many pushes, or connections, room is kept for another time.
const maxSpare = 1024

// gather gathers a push with a message of so many bytes.
func (b *bulkRequest) gather(p *bulkPush, size int) {
	if b.cost+p.cost > gatherCost {
		b.flush()
	}
	b.reserve(p.cost)
	g := b.bundles[p.conn]
	if g == nil {
		if g, _ = b.worker.bulkBundles.Get().(*bundle); g == nil {
			g = new(bundle)
		}
		g.conn = p.conn
		b.bundles[p.conn] = g
		b.order = append(b.order, g)
	}
	g.pushes = append(g.pushes, p)
	g.messages = append(g.messages, &p.message)
	g.bytes += size
	g.cost += p.cost
	b.gathered++
	b.cost += p.cost
	if g.bytes >= bundleBytes || b.gathered >= gatherMax || b.cost >= gatherCost {
		b.flush()
	}
}

// flush starts what has been gathered.
func (b *bulkRequest) flush() {
	if b.gathered == 0 {
		return
	}
	b.holdGathered()
	b.output.cork()
	for _, g := range b.order {
		if b.gone.Load() {
			g.withdraw()
			continue
		}
		b.refuseExcess(g)
		g.conn.outbox.StartAll(g.messages)
	}
	for _, g := range b.order {
		b.reclaim(g)
		delete(b.bundles, g.conn)
		if cap(g.pushes) > maxSpare {
			continue
		}
		clear(g.pushes)
		clear(g.messages[:cap(g.messages)]) // refuseExcess may have made them fewer
		*g = bundle{pushes: g.pushes[:0], messages: g.messages[:0]}
		b.worker.bulkBundles.Put(g)
	}
	clear(b.order)
	b.order, b.gathered, b.cost = b.order[:0], 0, 0
	if cap(b.order) > maxSpare { // the map has grown with it, and never shrinks
		b.order, b.bundles = nil, make(map[*Conn]*bundle)
	}
	b.output.uncork()
	if b.gone.Load() { // leave may have come before these were pending
		b.leave()
	}
}

// withdraw settles what will not be started.
func (g *bundle) withdraw() {
	for _, p := range g.pushes {
		p.done(context.Canceled)
	}
}

// refuseExcess refuses what exceeds connHeld, the most that one connection may hold of the request's room, so that a slow client
// never delays the pushes to others.
func (b *bulkRequest) refuseExcess(g *bundle) {
	b.mu.Lock()
	held := b.waiting[g.conn]
	b.mu.Unlock()
	if held == 0 || held+g.cost <= connHeld {
		return
	}
	kept := g.messages[:0]
	for _, p := range g.pushes {
		if held += p.cost; held > connHeld {
			p.done(socket.ErrFull)
			continue
		}
		kept = append(kept, &p.message)
	}
	g.messages = kept
}

// reclaim keeps written pushes for later use, and makes those without an outcome pending.
func (b *bulkRequest) reclaim(g *bundle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range g.pushes {
		switch {
		case p.isDone && p.err == nil:
			*p = bulkPush{settle: p.settle}
			b.worker.bulkPushes.Put(p)
		case !p.isDone:
			p.isPending = true
			b.pending.addLocked(p)
			if b.waiting == nil {
				b.waiting = make(map[*Conn]int)
			}
			b.waiting[p.conn] += p.cost
			if p.timeout > 0 {
				p.timer = time.AfterFunc(p.timeout, func() { p.abandon(context.DeadlineExceeded) })
			}
		}
	}
}
