package wspush

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
)

// awaitRetries waits until the pushes that are being sent again have been, so that what comes later does not overtake them.
func (w *Worker) awaitRetries(ctx context.Context) {
	if !w.retries.isBusy() {
		return
	}
	sent := make(chan struct{})
	w.retry(func() { close(sent) })
	select {
	case <-sent:
	case <-ctx.Done():
	}
}

// retryTime bounds how long it may take to find out where a session is.
const retryTime = 2 * time.Second

// pushLink pushes to connections of another worker. Those that the register of owners knows to be elsewhere get the message there, if the worker
// cannot be reached or says that it is shutting down, or cannot say where they are: nothing has been written then. abandonLink gives the push up.
func (w *Worker) pushLink(p *link.Push) {
	w.prepareLink(p)
	w.links.Push(p)
}

// prepareLink is the part of pushLink before the push is asked. It is for pushes that others may abandon at any time, and comes before they know of
// it.
func (w *Worker) prepareLink(p *link.Push) {
	if w.hasOwners() && p.To == "" { // what To names is at that worker alone
		r := &resending{worker: w, first: *p, done: p.Done}
		p.Sender, p.Done = r, r.answered
	}
}

// abandonLink gives up a push of pushLink, as link.Links.Abandon does.
func (w *Worker) abandonLink(p *link.Push) {
	r, _ := p.Sender.(*resending)
	w.links.Abandon(p, errAbandoned)
	if r != nil {
		r.abandon()
	}
}

// resending is a push that is sent again where its targets turn out to be elsewhere.
type resending struct {
	worker *Worker
	first  link.Push // as it was asked
	done   func(target int, a link.Answer, err error)

	// mu guards what follows. It is held while the link gets what is sent again: afterwards, abandon has the link let go of the data.
	mu          sync.Mutex
	isAbandoned bool
	waiting     map[int]struct{} // targets for which it has to be found out where they are
	again       []*link.Push     // to those that have been found
}

// answered takes what the first worker says of a target.
func (r *resending) answered(target int, a link.Answer, err error) {
	if err == nil && a.Code != outcomeShutdown && a.Code != outcomeUnreachable || err != nil && !isUnreachable(err) {
		r.done(target, a, err)
		return
	}
	r.mu.Lock()
	isAbandoned := r.isAbandoned
	if !isAbandoned {
		if r.waiting == nil {
			r.waiting = make(map[int]struct{})
		}
		r.waiting[target] = struct{}{}
	}
	r.mu.Unlock()
	if isAbandoned {
		r.done(target, link.Answer{}, errResendingAbandoned)
		return
	}
	r.worker.retry(func() { r.push(target, a, err) })
}

// errResendingAbandoned is the outcome for a target that nobody was asked about once more.
var errResendingAbandoned = fmt.Errorf("%w: %w", link.ErrNotSent, errAbandoned)

// isUnreachable reports whether a question has not been asked because its worker could not be reached.
func isUnreachable(err error) bool {
	return errors.Is(err, link.ErrNotSent) && !errors.Is(err, link.ErrFull) && !errors.Is(err, errAbandoned)
}

// abandon gives up what has been sent again, and what has not been yet.
func (r *resending) abandon() {
	r.mu.Lock()
	r.isAbandoned = true
	waiting, again := r.waiting, r.again
	r.waiting, r.again = nil, nil
	r.mu.Unlock()
	for target := range waiting {
		r.done(target, link.Answer{}, errResendingAbandoned)
	}
	for _, p := range again {
		r.worker.links.Abandon(p, errAbandoned)
	}
}

// retry has f called when it is its turn: pushes are sent again in the order in which it was found out that their workers cannot be reached.
func (w *Worker) retry(f func()) { w.retries.add(&w.takeovers.running, f) }

// push pushes to a target where it is now. a or err is what became of the push, if it is not elsewhere.
func (r *resending) push(target int, a link.Answer, err error) {
	w, first := r.worker, &r.first
	if !r.isAwaited(target) {
		return
	}
	id := first.ID
	if target > 0 {
		id = first.More[target-1]
	}
	d := w.movedFrom(w.cut, uuid.UUID(id).String(), first.Peer.Address)
	var again *link.Push
	if d != nil {
		again = &link.Push{
			Peer: d.peer(), ID: id, Path: first.Path, AnyPath: first.AnyPath, Binary: first.Binary, Confirm: first.Confirm, Hasty: first.Hasty,
			Patient: first.Patient, Timeout: first.Timeout, Patience: first.Patience, Refusal: first.Refusal, Data: first.Data,
			Sequence: &d.sequence, Mark: first.Mark,
			Done: func(_ int, a link.Answer, err error) { r.done(target, a, err) },
		}
	}
	r.mu.Lock()
	if _, ok := r.waiting[target]; !ok { // it has been abandoned meanwhile
		r.mu.Unlock()
		return
	}
	delete(r.waiting, target)
	if again != nil {
		r.again = append(r.again, again)
		w.links.Push(again)
	}
	r.mu.Unlock()
	if again == nil {
		r.done(target, a, err)
	}
}

// isAwaited reports whether a target is still to be found.
func (r *resending) isAwaited(target int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.waiting[target]
	return ok
}

// movedFrom returns where a session is that a worker had which cannot be reached; nil: it is not known to be anywhere else.
func (w *Worker) movedFrom(ctx context.Context, id, address string) *departure {
	if d, ok := w.departures.find(id); ok && d.to.Address != address {
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, retryTime)
	defer cancel()
	d, err := w.whereIs(ctx, id)
	if err != nil || d.to.Address == address {
		return nil
	}
	return d
}
