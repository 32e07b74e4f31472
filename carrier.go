package wspush

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/socket"
)

// add puts something at the end of what is carried to where the session is.
func (d *departure) add(begin func()) { d.queue.add(&d.worker.takeovers.running, begin) }

// carrier carries the messages of a connection that has moved to where it is: it is the Mover of its outbox. Whoever still has the
// connection, or waits for a message that it had not written, gets the answer of the new worker.
type carrier struct {
	departure *departure
	outbox    *socket.Outbox

	mu    sync.Mutex // guards what follows; it may be locked while the outbox's lock is held
	under map[*socket.Message]*carried
}

// carried is a message on its way.
type carried struct {
	push     *link.Push
	awaits   bool // its message has moved with the session
	hasBegun bool
	isOver   bool
	timer    *time.Timer // until it is unknown what became of a withdrawn one; nil: it is not withdrawn
}

// carriedWait is how long the sender of a message that is on its way with its session waits for what became of it, after having given it up. It is
// longer than withdrawWait, since nobody can say while the session is about to move.
const carriedWait = time.Second

// noWait is the timeout of a push whose sender has given it up. The new worker has the message and decides what becomes of that.
const noWait = time.Millisecond

// awaitPrefix begins the To of a push that has no message: its sender waits for one that has come with the session.
const awaitPrefix = "a:"

// Carry pushes a message to where the session is. The outbox's lock is held.
func (r *carrier) Carry(m *socket.Message) { r.add(m, "") }

// Await waits for a message that has moved with the session, and has this place in it. The outbox's lock is held.
func (r *carrier) Await(m *socket.Message, place uint64) {
	r.add(m, awaitPrefix+strconv.FormatUint(place, 10))
}

func (r *carrier) add(m *socket.Message, to string) {
	p := &carried{awaits: to != ""}
	r.mu.Lock()
	if r.under == nil {
		r.under = make(map[*socket.Message]*carried)
	}
	r.under[m] = p
	r.mu.Unlock()
	r.departure.add(func() { r.begin(m, p, to) })
}

// begin sends what has been added, unless it has been withdrawn.
func (r *carrier) begin(m *socket.Message, p *carried, to string) {
	d := r.departure
	w := d.worker
	r.mu.Lock()
	if p.isOver {
		r.mu.Unlock()
		return
	}
	p.hasBegun = true
	timeout := maxTimeout
	if p.timer != nil {
		timeout = noWait
	}
	push := &link.Push{
		Peer: d.peer(), ID: uuid.MustParse(d.id), To: to, AnyPath: true, Binary: m.Binary(), Confirm: m.Confirms(), Hasty: m.Hasty(), Patient: m.Patient(),
		Timeout: timeout, Sequence: &d.sequence, Mark: m.Mark(),
		Done: func(_ int, a link.Answer, err error) { r.done(m, p, to, a, err) },
	}
	if to == "" {
		push.Data = m.Data()
	}
	w.prepareLink(push)
	p.push = push
	r.mu.Unlock()
	w.shared.count.forwarded.Add(1)
	w.links.Push(push)
}

// done takes the outcome. Of a message that has moved with the session, only its new worker knows that.
func (r *carrier) done(m *socket.Message, p *carried, to string, a link.Answer, failure error) {
	if p.awaits && errors.Is(failure, errAbandoned) { // the new worker has not heard of it
		r.departure.add(func() { r.begin(m, p, to) })
		return
	}
	err := r.departure.worker.remoteError(remoteOutcome{a, failure})
	if p.awaits && failure != nil {
		err = errUnanswered
	}
	if r.finish(m, p) {
		r.outbox.Settle(m, a.RoundTrip, err)
	}
}

// finish reports whether the outcome of a message is still to be told.
func (r *carrier) finish(m *socket.Message, p *carried) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.isOver {
		return false
	}
	p.isOver = true
	if p.timer != nil {
		p.timer.Stop()
	}
	delete(r.under, m)
	return true
}

// Withdraw gives up a message, since its sender does. If the new worker does not say soon what became of it, that is unknown.
func (r *carrier) Withdraw(m *socket.Message, cause error) {
	r.mu.Lock()
	p := r.under[m]
	if p == nil || p.timer != nil {
		r.mu.Unlock()
		return // it is settled, or withdrawn already
	}
	hasBegun, push := p.hasBegun, p.push
	if hasBegun || p.awaits {
		p.timer = time.AfterFunc(carriedWait, func() {
			if r.finish(m, p) {
				r.outbox.Settle(m, 0, errUnanswered)
			}
		})
	}
	r.mu.Unlock()
	switch {
	case hasBegun:
		r.departure.worker.abandonLink(push)
	case !p.awaits && r.finish(m, p):
		r.outbox.Settle(m, 0, cause)
	}
}

// forwarding is a push that another worker has sent here, to a session that is elsewhere.
type forwarding struct {
	worker *Worker
	in     *link.Incoming
	target int
	push   link.Push

	departure *departure // set by to, before the push can be answered

	mu       sync.Mutex // guards what follows
	hasBegun bool
	isLeft   bool // the other worker has given the push up
}

// newForwarding prepares a push for forwarding.
func (w *Worker) newForwarding(in *link.Incoming, target int, data []byte) *forwarding {
	f := &forwarding{worker: w, in: in, target: target}
	f.push = link.Push{
		ID: in.Target(target), Path: in.Path, AnyPath: in.AnyPath, Binary: in.Binary, Confirm: in.Confirm, Hasty: in.Hasty, Patient: in.Patient,
		Timeout: in.Timeout, Refusal: in.Refusal, Data: data, Mark: in.Mark, Done: f.done,
	}
	return f
}

// to has the push answered where the session is.
func (f *forwarding) to(d *departure) {
	d.tell(f.in.From())
	f.departure = d
	d.worker.departures.forwards(d, 1)
	f.push.Peer, f.push.Sequence = d.peer(), &d.sequence
	d.worker.prepareLink(&f.push)
	d.add(func() {
		f.mu.Lock()
		isLeft := f.isLeft
		f.hasBegun = !isLeft
		f.mu.Unlock()
		if isLeft {
			f.answer(link.Answer{Code: outcomeWithdrawn})
			return
		}
		f.worker.shared.count.forwarded.Add(1)
		f.worker.links.Push(&f.push)
	})
}

func (f *forwarding) done(_ int, a link.Answer, err error) {
	if err != nil {
		failure := f.worker.remoteError(remoteOutcome{err: err})
		switch failure {
		case context.Canceled:
			failure = context.DeadlineExceeded
		case errNotWorker, errLinkFull:
			failure = ErrUnreachable
		}
		a = link.Answer{Code: outcomeOf(failure)}
	}
	f.answer(a)
}

func (f *forwarding) answer(a link.Answer) {
	f.worker.departures.forwards(f.departure, -1)
	f.in.Answer(f.target, a)
}

func (f *forwarding) leave() {
	f.mu.Lock()
	f.isLeft = true
	hasBegun := f.hasBegun
	f.mu.Unlock()
	if hasBegun {
		f.worker.abandonLink(&f.push)
	}
}
