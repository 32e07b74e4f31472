package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// remotePush is a push to a connection of another worker, whose sender waits for the outcome.
type remotePush struct {
	link.Push
	outcome chan remoteOutcome // gets one element
	tell    func(int, link.Answer, error)
	timer   spareTimer // stopped by releaseRemote
}

// remoteOutcome is what Done of a link.Push is called with.
type remoteOutcome struct {
	answer link.Answer
	err    error
}

const (
	answerMargin   = 5 * time.Second        // for the other worker's answer, beyond what the push may wait there
	askTimeout     = 10 * time.Second       // for the answer to anything but a push
	forwardReserve = 20 * time.Millisecond  // the part of the caller's time that is left for the answer to come back
	withdrawWait   = 100 * time.Millisecond // for the answer once the caller's context has ended
)

// newRemotePush makes a push to a place.
func (w *Worker) newRemotePush(to *seal.Place) *remotePush {
	p, _ := w.remotePushes.Get().(*remotePush)
	if p == nil {
		p = &remotePush{outcome: make(chan remoteOutcome, 1)}
		p.tell = func(_ int, a link.Answer, err error) { p.outcome <- remoteOutcome{a, err} }
	}
	p.Push = link.Push{Peer: link.Peer{Address: to.Address, Instance: to.Instance}, ID: uuid.MustParse(to.ID), Done: p.tell}
	return p
}

// setWait says for what the push waits at the other worker, and bounds that, and the wait for its answer.
func (w *Worker) setWait(p *link.Push, q pushQuery) {
	p.Hasty, p.Patient = q.keep.Asked && q.keep.For == 0, q.keep.For > 0
	p.Confirm, p.Timeout = q.confirm, max(w.pushTimeout(q), 0)
	if p.Timeout > 0 {
		p.Patience = p.Timeout + answerMargin
	}
}

// releaseRemote puts p, whose outcome has been received, back into the pool.
func (w *Worker) releaseRemote(p *remotePush) {
	p.timer.stop()
	p.Push = link.Push{}
	w.remotePushes.Put(p)
}

// errAbandoned is why a push is given up here: its publisher has left, or its caller.
var errAbandoned = errors.New("wspush: nobody waits for the push any more")

// remoteError returns the outcome of a push to another worker's connection, and counts what got no answer.
func (w *Worker) remoteError(o remoteOutcome) error {
	if o.err == nil {
		return errorOf(o.answer.Code, o.answer.RoundTrip)
	}
	failed := &w.shared.count.forwardsFailed
	switch {
	case errors.Is(o.err, errAbandoned): // before it was sent, so only this worker knows of it
		w.shared.count.push(context.Canceled)
		return context.Canceled
	case errors.Is(o.err, link.ErrFull):
		failed.full.Add(1)
		return errLinkFull
	case errors.Is(o.err, link.ErrWrongWorker):
		failed.unreachable.Add(1)
		return errLoop
	case errors.Is(o.err, link.ErrNotWorker):
		failed.unreachable.Add(1)
		return errNotWorker
	case errors.Is(o.err, link.ErrNotSent):
		failed.unreachable.Add(1)
		return ErrUnreachable
	}
	failed.lost.Add(1)
	return errUnanswered
}

// pushElsewhere is Push to a connection of another worker.
func (w *Worker) pushElsewhere(ctx context.Context, to *seal.Place, typ MessageType, data []byte, o wire.PushOptions) (Receipt, error) {
	err := wire.CheckMessage(typ, data, w.shared.maxPushBytes)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		w.shared.count.push(err)
		return Receipt{}, err
	}
	w.shared.count.forwarded.Add(1)
	p := w.newRemotePush(to)
	w.setWait(&p.Push, pushQuery{confirm: o.Confirmed, timeout: timeoutOf(ctx), keep: o.Keep})
	p.AnyPath, p.Binary, p.Data = true, typ == Binary, data
	w.pushLink(&p.Push)
	out, ok := w.awaitRemote(ctx, p)
	if !ok {
		w.shared.count.forwardsFailed.lost.Add(1)
		return Receipt{}, errUnanswered
	}
	err = withdrawn(ctx, w.remoteError(out))
	w.releaseRemote(p)
	return receiptOf(o, out.answer.RoundTrip, err)
}

// timeoutOf returns how long another worker may let a push wait: so long that its answer comes before ctx ends. 0: the default.
func timeoutOf(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return min(max(time.Until(deadline)-forwardReserve, time.Millisecond), maxTimeout)
}

// withdrawn returns err, or, if another worker has withdrawn the push because ctx has ended or is about to, ctx's error.
func withdrawn(ctx context.Context, err error) error {
	if err != context.DeadlineExceeded && err != context.Canceled {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < 2*forwardReserve {
		return context.DeadlineExceeded
	}
	return fmt.Errorf("%w: the client did not take the message in time", ErrBusy)
}

// awaitRemote returns the outcome of a push. If it returns false, there is none yet although ctx has ended, and p stays the link's.
func (w *Worker) awaitRemote(ctx context.Context, p *remotePush) (remoteOutcome, bool) {
	select {
	case out := <-p.outcome:
		return out, true
	case <-ctx.Done():
	}
	w.abandonLink(&p.Push)
	select {
	case out := <-p.outcome:
		return out, true
	case <-p.timer.after(withdrawWait):
		return remoteOutcome{}, false
	}
}

// disconnectElsewhere is Disconnect for a connection of another worker.
func (w *Worker) disconnectElsewhere(ctx context.Context, to *seal.Place, code int, reason string) error {
	query := url.Values{"code": {strconv.Itoa(code)}, "reason": {reason}}
	reply, err := w.ask(ctx, &link.Request{
		Peer: link.Peer{Address: to.Address, Instance: to.Instance}, ID: uuid.MustParse(to.ID),
		Method: http.MethodDelete, AnyPath: true, Query: query.Encode(),
	})
	switch {
	case err == errUnanswered:
		return errUnknownClose
	case err != nil:
		return err
	}
	return replyError(reply)
}

// ask asks another worker about a connection. The error is that of a push, or ctx's if nothing was sent before it ended.
func (w *Worker) ask(ctx context.Context, r *link.Request) (*link.Reply, error) {
	w.shared.count.forwarded.Add(1)
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	reply, err := w.links.Ask(limited, r)
	if isUnreachable(err) && isAboutConnection(r) && w.hasOwners() {
		if d := w.movedFrom(limited, uuid.UUID(r.ID).String(), r.Peer.Address); d != nil {
			again := *r
			again.Peer = d.peer()
			reply, err = w.links.Ask(limited, &again)
		}
	}
	if err == nil {
		return reply, nil
	}
	if ctx.Err() != nil && errors.Is(err, link.ErrNotSent) {
		return nil, ctx.Err()
	}
	return nil, w.remoteError(remoteOutcome{err: err})
}

// isAboutConnection reports whether a request is about a connection, wherever it is.
func isAboutConnection(r *link.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodDelete, askJoin, askLeave:
		return true
	}
	return false
}

// replyError returns the error that Disconnect returns for another worker's reply.
func replyError(r *link.Reply) error {
	if r.Status == http.StatusNoContent {
		return nil
	}
	var p problem
	_ = json.Unmarshal(r.Body, &p) // missing members are not needed
	if err := wire.ErrorOf(r.Status, p.Type); err != nil {
		return err
	}
	return fmt.Errorf("wspush: the connection's worker refused the request with %d: %.200q", r.Status, p.Detail)
}
