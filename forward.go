package wspush

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// forward has the worker that holds the connection carry out a request.
func (w *Worker) forward(rw http.ResponseWriter, r *http.Request, t address.Target, to *seal.Place) response {
	if r.Method == http.MethodPost {
		return w.forwardPush(rw, r, t, to)
	}
	if len(r.URL.RawQuery) > maxQuery {
		return newProblem(http.StatusBadRequest, errLongQuery.Error()).response()
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // the answer's body is dropped here
	}
	return w.forwardRequest(r, to, &link.Request{Method: method, Path: t.Path, Query: r.URL.RawQuery})
}

// forwardRequest has the worker that holds a connection carry out a request that is no push.
func (w *Worker) forwardRequest(r *http.Request, to *seal.Place, q *link.Request) response {
	q.Peer, q.ID = link.Peer{Address: to.Address, Instance: to.Instance}, uuid.MustParse(to.ID)
	// The answer comes soon, or askTimeout ends the wait. That the publisher has closed its side is no reason not to wait for it.
	reply, err := w.ask(context.WithoutCancel(r.Context()), q)
	if err != nil {
		p := problemOf(err)
		if p.Status == http.StatusGatewayTimeout {
			p.Detail = "the worker that holds the connection was reached but did not answer"
		}
		return p.response()
	}
	return response{status: reply.Status, header: reply.Header, body: reply.Body}
}

// forwardPush pushes the body as one message to a connection of another worker. What is wrong with the request is found here, but
// it is the other worker that refuses it, in its turn.
func (w *Worker) forwardPush(rw http.ResponseWriter, r *http.Request, t address.Target, to *seal.Place) response {
	body := w.bodies.get(rw)
	defer w.bodies.put(body)
	isRead, isTooLarge := false, false
	q, wrong := readPush(r)
	if wrong == nil {
		_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
		err := w.readWhole(r, body)
		isRead, isTooLarge = err == nil, errors.Is(err, ErrTooLarge)
		switch {
		case err == errIntakeFull:
			return w.refuse(err).response()
		case !isRead && !isTooLarge:
			return bodyProblem(err).response()
		}
	}
	p := w.newRemotePush(to)
	p.Path = t.Path
	w.setWait(&p.Push, q)
	switch {
	case isTooLarge:
		p.Refusal = outcomeTooLarge
	case wrong != nil:
		p.Refusal = outcomeRefused
	default:
		p.Binary, p.Data = messageType(r, q.typ, body.data) == Binary, body.data
	}
	w.shared.count.forwarded.Add(1)
	w.pushLink(&p.Push)
	out, isAbandoned := w.awaitForwarded(rw, r, p)
	defer w.releaseRemote(p)
	if out.err == nil && out.answer.Code == outcomeRefused {
		return wrong.response()
	}
	err := w.remoteError(out)
	if isTooLarge && errors.Is(err, ErrTooLarge) { // for this worker, which knows its limit
		err = wire.TooLarge(w.opts.MaxPushBytes)
	}
	if d, ok := bufferedIn(err); ok {
		return bufferedResponse(d)
	}
	if err != nil {
		if isAbandoned {
			err = abandoned(err)
		}
		res := problemOfPush(err, q.confirm).response()
		res.bodyRead = isRead
		return res
	}
	if q.confirm {
		rw.Header().Set("Wspush-Rtt", strconv.FormatFloat(milliseconds(out.answer.RoundTrip), 'f', 3, 64))
	}
	return noContent()
}

// usualAnswer is how long nearly every answer takes at most. Until then nothing is set up to notice a publisher that leaves.
const usualAnswer = 20 * time.Millisecond

// awaitForwarded returns the outcome of a push. If the publisher leaves, the push is withdrawn, and isAbandoned set.
func (w *Worker) awaitForwarded(rw http.ResponseWriter, r *http.Request, p *remotePush) (_ remoteOutcome, isAbandoned bool) {
	select {
	case out := <-p.outcome:
		return out, false
	case <-p.timer.after(usualAnswer):
	}
	_ = http.NewResponseController(rw).SetReadDeadline(time.Time{}) // which would end the request's context
	defer lane.Probing(rw, r)()
	select {
	case out := <-p.outcome:
		return out, false
	case <-r.Context().Done():
	}
	w.abandonLink(&p.Push)
	return <-p.outcome, true // Patience bounds this
}

// abandoned returns the error of a push that has been abandoned, which its worker takes for one whose time is over.
func abandoned(err error) error {
	switch err {
	case context.DeadlineExceeded:
		return context.Canceled
	case errUnconfirmed:
		return errUnconfirmedLeft
	}
	return err
}

// readWhole reads the whole body. The error is ErrTooLarge if it exceeds MaxPushBytes.
func (w *Worker) readWhole(r *http.Request, into *body) error {
	limit := w.opts.MaxPushBytes
	if limit < 0 || limit == math.MaxInt64 {
		limit = math.MaxInt64 - 1
	}
	if r.ContentLength > limit {
		return wire.TooLarge(limit)
	}
	err := into.readFrom(r.Body, r.ContentLength, limit)
	if err == nil && int64(len(into.data)) > limit {
		return wire.TooLarge(limit)
	}
	return err
}

// bodyProblem is the answer when a body could not be read to its end.
func bodyProblem(err error) *problem {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newProblem(http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive in %v", bodyTimeout))
	}
	return newProblem(http.StatusBadRequest, "the body could not be read to its end")
}
