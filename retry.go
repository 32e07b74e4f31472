package wspush

import (
	"context"
	"errors"
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
// cannot be reached or says that it is shutting down, or cannot say where they are: nothing has been written then.
func (w *Worker) pushLink(p *link.Push) {
	if w.hasOwners() && p.To == "" { // what To names is at that worker alone
		first, done := *p, p.Done
		p.Done = func(target int, a link.Answer, err error) {
			if err == nil && a.Code != outcomeShutdown && a.Code != outcomeUnreachable || err != nil && !isUnreachable(err) {
				done(target, a, err)
				return
			}
			w.retry(func() { w.pushAgain(&first, target, done, a, err) })
		}
	}
	w.links.Push(p)
}

// isUnreachable reports whether a question has not been asked because its worker could not be reached.
func isUnreachable(err error) bool {
	return errors.Is(err, link.ErrNotSent) && !errors.Is(err, link.ErrFull) && !errors.Is(err, errAbandoned)
}

// retry has f called when it is its turn: pushes are sent again in the order in which it was found out that their workers cannot be reached.
func (w *Worker) retry(f func()) { w.retries.add(&w.takeovers.running, f) }

// pushAgain pushes to one of the targets of a push where it is now. a or err is what became of the push, if it is not elsewhere.
func (w *Worker) pushAgain(first *link.Push, target int, done func(int, link.Answer, error), a link.Answer, err error) {
	id := first.ID
	if target > 0 {
		id = first.More[target-1]
	}
	d := w.movedFrom(w.cut, uuid.UUID(id).String(), first.Peer.Address)
	if d == nil {
		done(target, a, err)
		return
	}
	again := &link.Push{
		Peer: d.peer(), ID: id, Path: first.Path, AnyPath: first.AnyPath, Binary: first.Binary, Confirm: first.Confirm, Hasty: first.Hasty, Patient: first.Patient,
		Timeout: first.Timeout, Patience: first.Patience, Refusal: first.Refusal, Data: first.Data, Sequence: &d.sequence, Mark: first.Mark,
		Done: func(_ int, a link.Answer, err error) { done(target, a, err) },
	}
	w.links.Push(again)
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
