package wspush

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// errArriving means that a session is just being taken from another worker.
var errArriving = errors.New("wspush: the session is just coming")

// elsewhere has a push answered to a session that is not here, if it is known where it is, or will be. The push keeps its place among
// those to the session.
func (h *holder) elsewhere(in *link.Incoming, target int) bool {
	w := h.worker
	d, ok := w.departures.find(uuid.UUID(in.Target(target)).String())
	if !ok {
		return false
	}
	f := w.newForwarding(in, target, in.Data)
	onCancel(in, f.leave)
	f.to(d)
	return true
}

// awaitArrival has a push wait for its session, which is just being taken. It reports false if it is not, or not any more.
func (h *holder) awaitArrival(in *link.Incoming, target int) bool {
	late := h.newLatePush(in, target)
	if !h.worker.takeovers.await(late.id, late.arrived) {
		return false
	}
	onCancel(in, late.abandon)
	return true
}

// onCancel has f called, too, when nobody waits for the answer any more. It is for Handler.Push.
func onCancel(in *link.Incoming, f func()) {
	chain := in.Cancel
	in.Cancel = func() {
		if chain != nil {
			chain()
		}
		f()
	}
}

// latePush is a push for which it has to be found out where its session is.
type latePush struct {
	holder *holder
	in     *link.Incoming
	target int
	id     string
	data   []byte

	mu          sync.Mutex // guards what follows
	isAbandoned bool
	leave       func() // gives up what has been begun; nil: nothing has
}

func (h *holder) newLatePush(in *link.Incoming, target int) *latePush {
	return &latePush{holder: h, in: in, target: target, id: uuid.UUID(in.Target(target)).String(), data: in.Data}
}

// arrived starts the push. c is nil if the session has not come.
func (l *latePush) arrived(c *Conn) {
	var err error
	switch {
	case c == nil: // it has stayed where it was, or is elsewhere
		l.search()
		return
	case l.hasLeft():
		err = context.Canceled
	case !l.in.AnyPath && !address.At(l.in.Path).Lives(c.path):
		l.in.Answer(l.target, link.Answer{Code: outcomeOtherPath})
		return
	case l.in.Refusal != 0:
		l.in.Answer(l.target, link.Answer{Code: l.in.Refusal})
		return
	default:
		typ := Text
		if l.in.Binary {
			typ = Binary
		}
		err = wire.CheckMessage(typ, l.data, l.holder.worker.shared.maxPushBytes)
	}
	if err != nil {
		l.refuse(err)
		return
	}
	p := l.holder.newPush(l.in, l.target, c, nil, l.data)
	c.outbox.StartAll([]*socket.Message{&p.message})
	if p.makePending() {
		l.begun(func() { p.abandon(context.Canceled) })
	}
}

func (l *latePush) refuse(err error) {
	l.holder.worker.shared.count.push(err)
	l.in.Answer(l.target, answerOf(err))
}

func (l *latePush) hasLeft() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isAbandoned
}

// begun notes how to give up what has been begun, which is done if nobody waits for it any more.
func (l *latePush) begun(leave func()) {
	l.mu.Lock()
	l.leave = leave
	isAbandoned := l.isAbandoned
	l.mu.Unlock()
	if isAbandoned {
		leave()
	}
}

func (l *latePush) abandon() {
	l.mu.Lock()
	l.isAbandoned = true
	leave := l.leave
	l.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// search finds out where the connection is: it was that of an earlier instance, or a session that has moved.
func (l *latePush) search() {
	h := l.holder
	h.telling.add(1)
	go func() {
		defer h.telling.add(-1)
		w := h.worker
		if c, ok := w.Conn(l.id); ok {
			l.arrived(c)
			return
		}
		d, ok := w.departures.find(l.id)
		var err error
		if !ok {
			d, err = w.whereIs(w.cut, l.id)
		}
		if err == nil {
			f := w.newForwarding(l.in, l.target, l.data)
			f.to(d)
			l.begun(f.leave)
			return
		}
		if err == ErrGone {
			if c := w.arrived(w.cut, l.id); c != nil {
				l.arrived(c)
				return
			}
			if l.in.Instance == w.cluster.instance {
				err = w.gone()
			} else if err = w.checkAlone(context.Background()); err == nil { // which the end of a Shutdown ends
				err = ErrGone
			}
		}
		l.refuse(err)
	}()
}
