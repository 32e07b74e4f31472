package wspush

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// memberPush is a message to the members of a user or a group.
type memberPush struct {
	to      Recipients
	typ     MessageType
	data    []byte
	confirm bool
	keep    wire.Keep
	mark    uint64         // see newMark; 0: nobody else may get the push
	by      *publisherPush // the request by which it comes; nil: none
}

func (p *memberPush) options() wire.PushOptions {
	return wire.PushOptions{Confirmed: p.confirm, Keep: p.keep, Mark: p.mark}
}

// newMark makes a mark for one push to a user or a group, if members may move between workers meanwhile: one that does may get it from both, and takes
// it once.
func (w *Worker) newMark() uint64 {
	if w.membership == nil {
		return 0
	}
	return max(rand.Uint64(), 1)
}

// pushMembers pushes to all members, wherever they are, and returns what it has come to.
func (w *Worker) pushMembers(ctx context.Context, p *memberPush) (Outcomes, error) {
	err := p.to.check(ctx)
	if err == nil {
		err = wire.CheckMessage(p.typ, p.data, w.shared.maxPushBytes)
	}
	if err != nil {
		w.shared.count.push(err)
		return Outcomes{}, err
	}
	p.mark = w.newMark()
	out, err := w.pushMoving(ctx, p)
	if err != nil {
		w.shared.count.push(err)
		return Outcomes{}, err
	}
	if out.Written+out.Received > 0 { // the usual case, at little cost
		return out, nil
	}
	err = wire.OneError(&out)
	if wire.CountMembers(&out) == 0 {
		w.shared.count.push(err) // nobody else does
	}
	return out, err
}

// maxMoves is how often somebody may move while a message is pushed to her, and is followed.
const maxMoves = 10

// pushMoving pushes to the members, here or everywhere. If all that were found have ended before the message came to them, it looks again: they
// may have moved on to where nobody looked any more.
func (w *Worker) pushMoving(ctx context.Context, p *memberPush) (Outcomes, error) {
	ended := 0
	for moves := 0; ; moves++ {
		var out Outcomes
		if w.membership == nil {
			out = w.pushOwnMembers(ctx, p)
		} else {
			var err error
			if out, err = w.pushEverywhere(ctx, p); err != nil {
				return Outcomes{}, err // nothing has been written before, either
			}
		}
		if moves == 0 {
			w.shared.count.pushTo(p.to.isGroup)
		}
		haveEnded := isNobody(&out) && wire.CountMembers(&out) > 0
		if ended > 0 {
			countAll(&out, p.confirm, ErrGone, ended)
		}
		switch {
		case !haveEnded || moves == maxMoves || ctx.Err() != nil:
			return out, nil
		case !p.hasData():
			out.Complete = false
			return out, nil
		}
		ended = out.Refused[ErrGone]
	}
}

// hasData reports whether the message is still there. The body of a request may have been lent again once it was compressed for somebody, who
// then ended before it was written: nobody else can get it.
func (p *memberPush) hasData() bool { return p.by == nil || p.by.body.data != nil }

// pushOwnMembers pushes to the members that are connections of this worker. The message has been found to be right.
func (w *Worker) pushOwnMembers(ctx context.Context, p *memberPush) Outcomes {
	own := p.to.ownMembers()
	if own.only == nil && len(own.several) > 0 {
		return w.pushSeveral(ctx, *p, own)
	}
	out := Outcomes{Excepted: own.excepted, Workers: 1, Answered: 1, Complete: true}
	if own.only != nil {
		p.pushOne(ctx, own.only.conn, &out)
	}
	return out
}

// pushOne pushes to the only member, at the cost of a push to a connection.
func (p *memberPush) pushOne(ctx context.Context, c *Conn, out *Outcomes) {
	var roundTrip time.Duration
	var err error
	if p.by != nil {
		roundTrip, err = p.by.one(c, p.mark)
	} else {
		roundTrip, err = c.send(ctx, p.typ, p.data, p.options())
	}
	c.shared.count.pushAs(p.confirm, err)
	count(out, p.confirm, err)
	if p.by != nil {
		p.by.told(c, roundTrip, err)
	}
}

// pushSeveral pushes to several members, as PushEach does.
func (w *Worker) pushSeveral(ctx context.Context, p memberPush, own ownMembers) Outcomes {
	out := Outcomes{Excepted: own.excepted, Workers: 1, Answered: 1, Complete: true}
	e := newEach(ctx, w, p.typ, p.data, func(d *delivery[*Conn], err error) bool {
		count(&out, p.confirm, err)
		return p.by == nil || p.by.told(d.target, d.message.RoundTrip(), err)
	})
	e.o = p.options()
	if p.by != nil {
		e.onWait = p.by.wait
	}
	e.start = func(d *delivery[*Conn]) (pending bool, err error) { return e.startConn(d, d.target) }
	e.push(own.conns)
	return out
}
