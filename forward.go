package wspush

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// forward sends a request on to the worker that holds the connection, and gives back its answer.
func (w *Worker) forward(rw http.ResponseWriter, r *http.Request, t address.Target, to *seal.Place) response {
	c := w.cluster
	w.shared.count.forwarded.Add(1)
	if !c.enter() {
		w.shared.count.forwardsFailed.full.Add(1)
		return c.full().response()
	}
	defer c.leave()
	out := &outgoing{
		kind: hopHTTP, method: r.Method, place: to, path: t.Path, name: t.ID, query: r.URL.RawQuery, header: forwardedHeader(r),
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(w.cut, cancel)()
	if r.Method == http.MethodPost {
		// A deadline that stayed set would end the request's context while the other worker is waited for.
		var mu sync.Mutex // guards over: the transport may read the body for longer than this request lasts, and rw be no more
		over := false
		out.ended = func() {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				_ = http.NewResponseController(rw).SetReadDeadline(time.Time{})
			}
		}
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			over = true
		}()
		if p := out.take(rw, r); p != nil {
			return p.response()
		}
		var stop func()
		ctx, stop = lane.Watch(ctx, rw)
		defer stop()
	}
	answer, err := c.send(ctx, out)
	if err != nil {
		w.logForward(to, err)
		if !out.givenUp(r.Context()) {
			w.shared.count.forward(out.outcome(err))
		}
		res := out.problem(err).response()
		res.bodyRead = out.bodyEnded()
		return res
	}
	return response{status: answer.status, header: answer.header, body: answer.body, bodyRead: out.bodyEnded()}
}

// logForward records that a request could not be forwarded. Workers come and go; one that is not what it should be is a
// mistake.
func (w *Worker) logForward(to *seal.Place, err error) {
	level := slog.LevelInfo
	if errors.Is(err, errNotWorker) {
		level = slog.LevelWarn
	}
	w.shared.log.Log(context.Background(), level, "wspush: a request could not be forwarded", "to", to.Address, "error", err)
}

// maxForwardBuffer is the largest body that is read before it is sent on: then it can be sent on another connection, where the
// first turns out to have been closed meanwhile.
const maxForwardBuffer = 16 << 10

// take makes the body of a push that of out: a small one now, another while it comes in.
func (out *outgoing) take(rw http.ResponseWriter, r *http.Request) *problem {
	_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
	if r.ContentLength < 0 || r.ContentLength > maxForwardBuffer {
		out.body, out.length = r.Body, r.ContentLength
		return nil
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		return bodyProblem(err)
	}
	out.ended()
	out.body = &body
	return nil
}

// bodyProblem is for a body that could not be read to its end.
func bodyProblem(err error) *problem {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newProblem(http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive in %v", bodyTimeout))
	}
	return newProblem(http.StatusBadRequest, "the body could not be read to its end")
}

// forwardedHeader is what of a request's header matters to the worker that serves it.
func forwardedHeader(r *http.Request) http.Header {
	h := http.Header{}
	if kind := r.Header.Values("Content-Type"); len(kind) > 0 {
		h["Content-Type"] = kind
	}
	if isAmazon(r) { // the rest of it is a secret, or worth nothing
		h.Set("Authorization", amazonScheme)
	}
	return h
}

// problem is outcome as an answer.
func (out *outgoing) problem(err error) *problem {
	if failed := out.bodyErr.Load(); failed != nil && *failed != io.EOF { // then it has not got all of the message
		return bodyProblem(*failed)
	}
	query, _ := url.ParseQuery(out.query)
	p := problemOfPush(out.outcome(err), query.Get("confirm") != "")
	switch {
	case p.Status == http.StatusGatewayTimeout && out.method != http.MethodPost:
		p.Detail = "the worker that holds the connection was reached, and has not answered"
	case errors.Is(err, errRefused):
		p.Detail = "what listens at the address of the connection's worker is no worker with the same keys and the right time, and refuses the request; nothing was written"
	case errors.Is(err, errNotWorker):
		p.Detail = "what listens at the address of the connection's worker does not prove to be a worker with the same keys and the right time: it may be a proxy that has passed the message on"
	}
	return p
}

// enter takes one of the slots for requests to other workers.
func (c *cluster) enter() bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *cluster) leave() { <-c.slots }

func (c *cluster) full() *problem {
	p := newProblem(http.StatusServiceUnavailable, "too many requests are being forwarded; nothing was written")
	p.Type = wire.TypeFull
	return p
}

// pushElsewhere is Push or PushConfirmed to a connection of another worker.
func (w *Worker) pushElsewhere(ctx context.Context, to *seal.Place, token string, typ MessageType, data []byte, confirm bool) (roundTrip time.Duration, err error) {
	err = checkMessage(typ, data, w.shared.maxPushBytes)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		w.shared.count.push(err)
		return 0, err
	}
	c := w.cluster
	w.shared.count.forwarded.Add(1)
	if !c.enter() {
		w.shared.count.forwardsFailed.full.Add(1)
		return 0, fmt.Errorf("%w, or for others: too many requests are being forwarded", ErrBusy)
	}
	defer c.leave()
	query := "type=" + typ.String()
	if confirm {
		query += "&confirm=" + confirmReceived
	}
	if deadline, ok := ctx.Deadline(); ok { // so that it is answered, rather than given up
		query += "&timeout=" + max(time.Until(deadline)-forwardReserve, time.Millisecond).String()
	}
	out := &outgoing{
		kind: hopInProcess, method: http.MethodPost, place: to, path: "/", name: token, query: query,
		header: http.Header{}, body: bytes.NewBuffer(bytes.Clone(data)), // which is read for longer than the caller waits
	}
	answer, err := c.send(ctx, out)
	if err != nil {
		w.logForward(to, err)
		if err := ctx.Err(); err != nil && !out.isSent {
			w.shared.count.push(err)
			return 0, err
		}
		err = out.outcome(err)
		w.shared.count.forward(err)
		return 0, err
	}
	err = answer.err()
	if deadline, ok := ctx.Deadline(); ok && errors.Is(err, ErrBusy) && time.Until(deadline) < 2*forwardReserve {
		<-ctx.Done() // it was withdrawn for that
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	milliseconds, _ := strconv.ParseFloat(answer.header.Get("Wspush-Rtt"), 64)
	return time.Duration(milliseconds * float64(time.Millisecond)), nil
}

// forwardReserve is how much of the caller's time is left for the answer to come back.
const forwardReserve = 20 * time.Millisecond
