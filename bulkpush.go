package wspush

import (
	"time"

	"github.com/wspush/wspush/internal/socket"
)

// bulkPush is one push of a bulk request, to a connection of this worker.
//
// It is gathered, in the group of its connection; then started, when flush hands it to the socket, and from then on it counts
// in held and unsettled; then settled, when done has its outcome, maybe before flush has returned; then answered, when output
// has written its line. One that is not settled when flush returns is pending: it may be abandoned, for a timeout or because
// the publisher is gone, which settles it, too.
type bulkPush struct {
	bulk    *bulk
	conn    *Conn
	message socket.Message
	settle  func(error) // done
	answer  answerTo
	confirm bool
	timeout time.Duration
	cost    int // in held

	// Guarded by bulk.mu.
	isDone  bool
	err     error
	pending bool        // it is or was: it is not used again
	timer   *time.Timer // nil if there is none
}

// pushTo gathers a push.
func (b *bulk) pushTo(c *Conn, answer answerTo, p linePush) {
	w := b.worker
	push, _ := w.bulkPushes.Get().(*bulkPush)
	if push == nil {
		push = new(bulkPush)
		push.settle = push.done
	}
	push.bulk, push.conn, push.answer, push.cost = b, c, answer, len(p.data)+pushCost
	push.confirm, push.timeout = p.confirm, w.pushTimeout(pushQuery{confirm: p.confirm, timeout: p.timeout})
	if err := c.socket.Prepare(&push.message, p.typ == Binary, p.data, push.settle); err != nil {
		b.refusePush(answer, err)
		return
	}
	if p.confirm {
		push.message.Confirm()
	}
	b.gather(push)
}

// done takes note of the outcome. It may be called under a lock of the socket.
func (p *bulkPush) done(err error) {
	b := p.bulk
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.isDone { // it was abandoned for two reasons
		return
	}
	p.isDone, p.err = true, err
	if p.pending {
		if p.timer != nil {
			p.timer.Stop()
		}
		delete(b.pending, p)
		if b.waiting[p.conn] -= p.cost; b.waiting[p.conn] == 0 {
			delete(b.waiting, p.conn)
		}
	}
	b.output.settled(p)
	b.settledOne()
}

// settledOne takes note that one push more has been settled; mu is held.
func (b *bulk) settledOne() {
	if b.unsettled--; b.unsettled == 0 {
		b.changed.Broadcast()
	}
}

// abandon gives up a pending push.
func (p *bulkPush) abandon(cause error) {
	if err, decided := p.conn.socket.Abandon(&p.message, cause); decided {
		p.done(err)
	}
}
