package link

import (
	"errors"
	"fmt"
	"slices"
)

// lostLocked ends the link. settleLocked must follow, as soon as nobody writes.
func (k *asking) lostLocked(reason error) {
	k.lost = reason
	close(k.over)
	_ = k.ch.carrier.Close()
}

// lose ends the link.
func (k *asking) lose(reason error) {
	o := k.out
	o.mu.Lock()
	if k.lost == nil {
		k.lostLocked(reason)
	}
	over := k.settleLocked()
	o.mu.Unlock()
	o.tell(over)
}

// settleLocked deals with the questions of a link that is lost: what has not been sent goes by another link, and what has been sent
// is unknown. If the link is only retiring, it ends it when nothing is left to do.
func (k *asking) settleLocked() (over []outcome) {
	if k.lost == nil && k.retiring && k.saidBye && len(k.flying) == 0 && len(k.control) == 0 && !k.writing {
		k.lostLocked(errRetired)
	}
	if k.lost == nil || k.writing || k.settled {
		return nil
	}
	k.settled = true
	o := k.out
	if o.link == k {
		o.link = nil
	}
	delete(o.asking, k)
	full := errors.Is(k.lost, ErrFull) // the other side has taken nothing
	var back []*Push
	for _, p := range k.flying {
		if p.stage == stageSent && !full && (k.first == 0 || p.number < k.first) {
			o.overLocked(p)
			over = append(over, outcome{push: p, err: fmt.Errorf("%w: %w", ErrLost, k.lost), last: p.Sequence})
			continue
		}
		back = append(back, p)
	}
	k.flying = nil
	back = k.unbegunLocked(back)
	if full {
		for _, p := range back {
			o.queue.pushBack(p)
		}
		o.refuseLocked(k.lost, o.links.now()+int64(o.links.bounds.refuse))
	} else {
		o.requeueLocked(back)
	}
	if len(o.asking) == 0 {
		o.wasLast.happenedLocked()
	}
	if !errors.Is(k.lost, errRetired) && !errors.Is(k.lost, errClosing) {
		o.links.log.Info("wspush: a link to another worker is lost", "to", o.address, "error", k.lost)
	}
	return over
}

var errRetired = errors.New("the link has ended in order")

// unbegunLocked appends the questions that wait on this link behind or with a large body.
func (k *asking) unbegunLocked(back []*Push) []*Push {
	for _, b := range slices.Concat(k.large.active, k.large.waiting) {
		if !b.begun { // those that have begun are flying
			back = append(back, b.push)
		}
	}
	k.large = bodies{}
	for _, behind := range k.held {
		for p := behind.head; p != nil; p = behind.head {
			p.remove()
			back = append(back, p)
		}
	}
	clear(k.held)
	return back
}

// retireLocked lets the link take no more questions, and tells the other side. It ends when all are answered.
func (k *asking) retireLocked() {
	if k.retiring || k.lost != nil {
		return
	}
	k.retiring, k.saidBye = true, true
	k.control = appendHead(k.control, kindBye, k.last, 1)
	k.control = append(k.control, byeGoing)
	if k.out.link == k {
		k.out.link = nil
	}
	k.wakeLocked()
}

// byeLocked takes note that the other side answers no questions after a number. The others go by a new link.
func (k *asking) byeLocked(last uint64) (over []outcome) {
	o := k.out
	if k.retiring {
		return nil
	}
	k.retiring, k.saidBye = true, true
	if o.link == k {
		o.link = nil
	}
	var back []*Push
	for number, p := range k.flying {
		if p.stage == stageSent && number <= last {
			continue
		}
		delete(k.flying, number)
		if number <= last { // an unfinished body
			k.control = appendHead(k.control, kindCancel, number, 0)
		}
		back = append(back, p)
	}
	back = k.unbegunLocked(back)
	k.answeredLocked()
	k.wakeLocked()
	o.requeueLocked(back)
	return k.settleLocked()
}
