package wspush

import (
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/socket"
)

// bulkPush is one push of a bulk request, to a connection of this worker.
//
// It is gathered in the bundle of its connection; then started, when flush hands it to the socket, and from then on it counts
// in held and unsettled; then settled, when done has its outcome, perhaps before flush has returned; then answered, when output
// has written its line. A push that is not settled when flush returns is pending: it may be abandoned, for a timeout or because
// the publisher is gone, which settles it, too.
type bulkPush struct {
	request *bulkRequest
	conn    *Conn
	message socket.Message
	settle  func(error) // done
	key     bulk.Key
	confirm bool
	timeout time.Duration
	cost    int // in held

	// Guarded by request.mu.
	isDone    bool
	err       error
	isPending bool        // it was not settled when flush returned, so it never goes back to the pool
	timer     *time.Timer // nil if there is none
}

// pushTo gathers a push. Its message is payload, unless that is nil: then it is for this connection only.
func (b *bulkRequest) pushTo(c *Conn, key bulk.Key, p linePush, payload *socket.Payload) {
	w := b.worker
	push, _ := w.bulkPushes.Get().(*bulkPush)
	if push == nil {
		push = new(bulkPush)
		push.settle = push.done
	}
	push.request, push.conn, push.key, push.cost = b, c, key, len(p.data)+pushCost
	push.confirm, push.timeout = p.confirm, w.pushTimeout(pushQuery{confirm: p.confirm, timeout: p.timeout})
	if payload != nil {
		c.socket.PrepareShared(&push.message, payload, push.settle)
	} else {
		c.socket.Prepare(&push.message, p.typ == Binary, p.data, push.settle)
		push.message.Keep() // the parser has made the data for this line
	}
	if p.confirm {
		push.message.Confirm()
	}
	b.gather(push)
}

// done takes note of the outcome. It may be called while the socket's lock is held.
func (p *bulkPush) done(err error) {
	b := p.request
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.isDone { // it was abandoned for two reasons
		return
	}
	p.isDone, p.err = true, err
	if p.isPending {
		if p.timer != nil {
			p.timer.Stop()
		}
		delete(b.pending, p)
		if b.waiting[p.conn] -= p.cost; b.waiting[p.conn] == 0 {
			delete(b.waiting, p.conn)
		}
	}
	b.output.settledLocked(p)
	b.settledOneLocked()
}

// settledOneLocked takes note that another push has been settled.
func (b *bulkRequest) settledOneLocked() {
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
