package link

import (
	"errors"
	"fmt"
	"time"
)

// watch is the goroutine that looks at the clock.
func (k *asking) watch() {
	timer := time.NewTicker(k.out.links.bounds.tick)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			k.tick()
		case <-k.over:
			return
		}
	}
}

var (
	errStuck  = errors.New("a batch could not be written in time")
	errSilent = errors.New("nothing came from the worker in time, not even the answer to a ping")
	errLate   = fmt.Errorf("%w: no answer in time", ErrLost)
)

func (k *asking) tick() {
	o, b := k.out, &k.out.links.bounds
	now := o.links.now()
	o.mu.Lock()
	if now-k.ticked >= int64(b.live)/2 {
		k.heard = now // this process has stood still: what has come meanwhile is yet to be read
	}
	k.ticked = now
	if len(k.flying) == 0 && k.peak > maxKept && k.lost == nil {
		k.flying, k.peak = make(map[uint64]*Push), 0
	}
	over := k.expireLocked(now)
	since := max(k.heard, k.due) // with answers due, nothing has come since
	var reason error
	switch {
	case k.lost != nil:
	case k.began != 0 && now-k.began >= int64(b.live):
		reason = errStuck
	case k.due != 0 && now-since >= int64(b.live), k.pinged > k.heard && now-k.pinged >= int64(b.live):
		reason = errSilent
	case k.pinged > k.heard: // its answer is due
	case k.due != 0 && now-since >= int64(b.ask), now-k.heard >= int64(b.silence):
		k.pinged = now
		k.control = appendHead(k.control, kindPing, 0, 0)
		k.wakeLocked()
	case k == o.link && o.queue.head == nil && len(k.flying) == 0 && len(k.large.active)+len(k.large.waiting) == 0 && now-k.asked >= int64(b.idle):
		k.retireLocked()
	}
	o.mu.Unlock()
	o.tell(over)
	if reason != nil {
		k.lose(reason)
	}
}

// expireLocked gives up questions whose answer is overdue. They may be answered later, which nobody hears.
func (k *asking) expireLocked(now int64) (over []outcome) {
	if k.earliest == 0 || now < k.earliest {
		return nil
	}
	k.earliest = 0
	for number, p := range k.flying {
		switch {
		case p.deadline == 0:
		case now >= p.deadline:
			delete(k.flying, number)
			k.bytes -= p.size
			k.control = appendHead(k.control, kindCancel, number, 0)
			k.out.overLocked(p)
			over = append(over, outcome{push: p, err: errLate, last: p.Sequence})
		case k.earliest == 0 || p.deadline < k.earliest:
			k.earliest = p.deadline
		}
	}
	if len(over) > 0 {
		k.answeredLocked()
		k.wakeLocked()
		over = append(over, k.settleLocked()...)
	}
	return over
}
