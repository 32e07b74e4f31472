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
	many    *bulkMembers // in whose line this is one of several; nil: it is answered by itself
	confirm bool
	timeout time.Duration
	cost    int // in held

	// Guarded by request.mu.
	isDone    bool
	err       error
	isPending bool        // it was not settled when flush returned, so it never goes back to the pool
	timer     *time.Timer // nil if there is none

	next, previous *bulkPush // in the list of pending ones
}

// pendingPushes are the pushes of a request that are pending: a list, since a map would stay as large as it once was. request.mu
// guards it.
type pendingPushes struct{ first *bulkPush }

func (l *pendingPushes) addLocked(p *bulkPush) {
	if p.next = l.first; p.next != nil {
		p.next.previous = p
	}
	l.first = p
}

func (l *pendingPushes) removeLocked(p *bulkPush) {
	if p.previous == nil {
		l.first = p.next
	} else {
		p.previous.next = p.next
	}
	if p.next != nil {
		p.next.previous = p.previous
	}
	p.next, p.previous = nil, nil
}

func (l *pendingPushes) allLocked() (all []*bulkPush) {
	for p := l.first; p != nil; p = p.next {
		all = append(all, p)
	}
	return all
}

// pushTo gathers a push, which may be one of many.
func (b *bulkRequest) pushTo(c *Conn, key bulk.Key, many *bulkMembers, p *linePush) {
	w, data := b.worker, p.kept()
	push, _ := w.bulkPushes.Get().(*bulkPush)
	if push == nil {
		push = new(bulkPush)
		push.settle = push.done
	}
	push.request, push.conn, push.key, push.many, push.cost = b, c, key, many, len(data)+len(key.Ref)+pushCost
	push.confirm, push.timeout = p.confirm, w.pushTimeout(p.query())
	if p.to.IsList || p.isShared {
		push.message.PrepareShared(p.shared(w), push.settle)
	} else {
		push.message.Prepare(p.typ == Binary, data, push.settle)
		push.message.Keep()
	}
	if p.confirm {
		push.message.Confirm()
	}
	keepMessage(&push.message, p.keep)
	push.message.SetMark(p.mark)
	b.gather(push, len(data))
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
		b.pending.removeLocked(p)
		if b.waiting[p.conn] -= p.cost; b.waiting[p.conn] == 0 {
			delete(b.waiting, p.conn)
		}
		if len(b.waiting) == 0 {
			b.waiting = nil // it would stay as large as it once was
		}
	}
	b.output.settledLocked(p)
	b.settledOneLocked()
}

// settledOneLocked takes note that another push has been settled.
func (b *bulkRequest) settledOneLocked() {
	if b.unsettled--; b.unsettled == 0 {
		b.tell()
	}
}

// abandon gives up a pending push.
func (p *bulkPush) abandon(cause error) {
	if err, decided := p.conn.outbox.Abandon(&p.message, cause); decided {
		p.done(err)
	}
}
