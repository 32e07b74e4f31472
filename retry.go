package wspush

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
)

// retries are pushes to connections of workers that could not be reached, in the order in which that was found out: a session may have moved from there.
type retries struct {
	isBusy atomic.Bool // there are some

	mu        sync.Mutex // guards what follows
	waiting   []func()
	isRunning bool
}

// wait waits until all that there are now have been sent again, and reports false if there are none.
func (r *retries) wait(ctx context.Context, w *Worker) bool {
	if !r.isBusy.Load() {
		return false
	}
	sent := make(chan struct{})
	w.retry(func() { close(sent) })
	select {
	case <-sent:
	case <-ctx.Done():
	}
	return true
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

// retry has f called when it is its turn.
func (w *Worker) retry(f func()) {
	r := &w.retries
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, f)
	r.isBusy.Store(true)
	if !r.isRunning {
		r.isRunning = true
		w.takeovers.running.add(1)
		go w.runRetries()
	}
}

func (w *Worker) runRetries() {
	defer w.takeovers.running.add(-1)
	r := &w.retries
	for {
		r.mu.Lock()
		waiting := r.waiting
		r.waiting = nil
		r.isRunning = len(waiting) > 0
		r.isBusy.Store(r.isRunning)
		r.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		for _, f := range waiting {
			f()
		}
	}
}

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
		Timeout: first.Timeout, Patience: first.Patience, Refusal: first.Refusal, Data: first.Data, Sequence: &d.line.sequence, Mark: first.Mark,
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
