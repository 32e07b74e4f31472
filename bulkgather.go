package wspush

import (
	"context"
	"time"

	"github.com/wspush/wspush/internal/socket"
)

// group is what has been gathered for one connection.
type group struct {
	conn     *Conn
	pushes   []*bulkPush
	messages []*socket.Message
	bytes    int
}

func (b *bulk) gather(p *bulkPush) {
	g := b.groups[p.conn]
	if g == nil {
		if n := len(b.spare); n > 0 {
			g, b.spare = b.spare[n-1], b.spare[:n-1]
		} else {
			g = new(group)
		}
		g.conn = p.conn
		b.groups[p.conn] = g
		b.order = append(b.order, g)
	}
	g.pushes = append(g.pushes, p)
	g.messages = append(g.messages, &p.message)
	g.bytes += p.cost - pushCost
	b.gathered++
	b.cost += p.cost
	if g.bytes >= groupBytes || b.gathered >= gatherMax || b.cost >= gatherCost {
		b.flush()
	}
}

// flush starts what has been gathered.
func (b *bulk) flush() {
	if b.gathered == 0 {
		return
	}
	b.hold(b.cost, b.gathered)
	b.output.cork()
	for _, g := range b.order {
		if b.gone.Load() {
			g.withdraw()
			continue
		}
		b.refuseExcess(g)
		g.conn.socket.StartAll(g.messages)
	}
	for _, g := range b.order {
		b.sortOut(g)
		delete(b.groups, g.conn)
		clear(g.pushes)
		clear(g.messages)
		*g = group{pushes: g.pushes[:0], messages: g.messages[:0]}
		b.spare = append(b.spare, g)
	}
	clear(b.order)
	b.order, b.gathered, b.cost = b.order[:0], 0, 0
	b.output.uncork()
	if b.gone.Load() { // maybe before these were pending
		b.leave()
	}
}

// withdraw settles what will not be started.
func (g *group) withdraw() {
	for _, p := range g.pushes {
		p.done(context.Canceled)
	}
}

// refuseExcess settles what the connection must not hold of the request's room. What it gets then waits for nobody.
func (b *bulk) refuseExcess(g *group) {
	b.mu.Lock()
	held := b.waiting[g.conn]
	b.mu.Unlock()
	if held == 0 || held+g.bytes+pushCost*len(g.pushes) <= connHeld {
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

// sortOut takes back what has been settled, and waits for the rest.
func (b *bulk) sortOut(g *group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range g.pushes {
		switch {
		case p.isDone && p.err == nil:
			*p = bulkPush{settle: p.settle}
			b.worker.bulkPushes.Put(p)
		case !p.isDone:
			p.pending = true
			b.pending[p] = struct{}{}
			b.waiting[p.conn] += p.cost
			if p.timeout > 0 {
				p.timer = time.AfterFunc(p.timeout, func() { p.abandon(context.DeadlineExceeded) })
			}
		}
	}
}
