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

// forward sends a request on to the worker that holds the connection, and relays its answer.
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
		// Reset the read deadline once the body is read: it would end the request's context while the other worker is being
		// waited for.
		var mu sync.Mutex // guards over: the transport may still read the body after this request has ended, when rw must not be used
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

// logForward logs that a request could not be forwarded. Workers come and go, but something else at a worker's address is a
// mistake.
func (w *Worker) logForward(to *seal.Place, err error) {
	level := slog.LevelInfo
	if errors.Is(err, errNotWorker) {
		level = slog.LevelWarn
	}
	w.shared.log.Log(context.Background(), level, "wspush: a request could not be forwarded", "to", to.Address, "error", err)
}

// maxForwardBuffer is the largest body that is read before it is sent on, so that it can be sent again if the connection
// turns out to be closed.
const maxForwardBuffer = 16 << 10

// take makes the body of a push the body of out: a small one is read now, a larger one is passed on as it arrives.
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

// bodyProblem is the answer when a body could not be read to its end.
func bodyProblem(err error) *problem {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newProblem(http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive in %v", bodyTimeout))
	}
	return newProblem(http.StatusBadRequest, "the body could not be read to its end")
}

// forwardedHeader returns the part of a request's header that matters to the worker that serves it.
func forwardedHeader(r *http.Request) http.Header {
	h := http.Header{}
	if kind := r.Header.Values("Content-Type"); len(kind) > 0 {
		h["Content-Type"] = kind
	}
	if isAmazon(r) { // the rest of the header is secret or useless
		h.Set("Authorization", amazonScheme)
	}
	return h
}

// problem returns outcome as an answer.
func (out *outgoing) problem(err error) *problem {
	if failed := out.bodyErr.Load(); failed != nil && *failed != io.EOF { // the worker did not get the whole message
		return bodyProblem(*failed)
	}
	query, _ := url.ParseQuery(out.query)
	p := problemOfPush(out.outcome(err), query.Get("confirm") != "")
	switch {
	case p.Status == http.StatusGatewayTimeout && out.method != http.MethodPost:
		p.Detail = "the worker that holds the connection was reached but did not answer"
	case errors.Is(err, errRefused):
		p.Detail = "the process at the address of the connection's worker refused the request, and is not a worker with the same keys and the right time; nothing was written"
	case errors.Is(err, errNotWorker):
		p.Detail = "the process at the address of the connection's worker did not prove that it is a worker with the same keys and the right time: it may be a proxy that passed the message on"
	}
	return p
}

// enter takes one of the slots for requests to other workers, and reports whether there was one.
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

// pushElsewhere is Push to a connection of another worker.
func (w *Worker) pushElsewhere(ctx context.Context, to *seal.Place, sealedID string, typ MessageType, data []byte, o wire.PushOptions) (Receipt, error) {
	err := wire.CheckMessage(typ, data, w.shared.maxPushBytes)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		w.shared.count.push(err)
		return Receipt{}, err
	}
	query := "type=" + typ.String()
	if o.Confirmed {
		query += "&confirm=" + confirmReceived
	}
	if deadline, ok := ctx.Deadline(); ok { // so that the other worker answers before the caller gives up
		query += "&timeout=" + max(time.Until(deadline)-forwardReserve, time.Millisecond).String()
	}
	out := &outgoing{
		kind: hopInProcess, method: http.MethodPost, place: to, path: "/", name: sealedID, query: query,
		header: http.Header{}, body: bytes.NewBuffer(bytes.Clone(data)), // a copy: it may be read after the caller has gone
	}
	answer, err := w.sendInProcess(ctx, out)
	if err != nil {
		if err == ctx.Err() {
			w.shared.count.push(err)
		}
		return Receipt{}, err
	}
	err = answer.err()
	if deadline, ok := ctx.Deadline(); ok && errors.Is(err, ErrBusy) && time.Until(deadline) < 2*forwardReserve {
		<-ctx.Done() // it was withdrawn because of the deadline
		return Receipt{}, ctx.Err()
	}
	milliseconds, _ := strconv.ParseFloat(answer.header.Get("Wspush-Rtt"), 64)
	return receiptOf(o, time.Duration(milliseconds*float64(time.Millisecond)), err)
}

// disconnectElsewhere is Disconnect for a connection of another worker.
func (w *Worker) disconnectElsewhere(ctx context.Context, to *seal.Place, sealedID string, code int, reason string) error {
	query := url.Values{"code": {strconv.Itoa(code)}, "reason": {reason}}
	out := &outgoing{
		kind: hopInProcess, method: http.MethodDelete, place: to, path: "/", name: sealedID, query: query.Encode(), header: http.Header{},
	}
	answer, err := w.sendInProcess(ctx, out)
	switch {
	case err == errUnknownHop:
		return errUnknownClose
	case err != nil:
		return err
	}
	return answer.err()
}

// sendInProcess sends a request of this process to another worker. Its error is that of the call which asked for it: ErrBusy,
// ErrUnreachable, errUnknownHop, or that of ctx if nothing was sent before it ended.
func (w *Worker) sendInProcess(ctx context.Context, out *outgoing) (*answer, error) {
	c := w.cluster
	w.shared.count.forwarded.Add(1)
	if !c.enter() {
		w.shared.count.forwardsFailed.full.Add(1)
		return nil, fmt.Errorf("%w: too many requests are being forwarded", ErrBusy)
	}
	defer c.leave()
	answer, err := c.send(ctx, out)
	if err == nil {
		return answer, nil
	}
	w.logForward(out.place, err)
	if err := ctx.Err(); err != nil && !out.isSent {
		return nil, err
	}
	err = out.outcome(err)
	w.shared.count.forward(err)
	return nil, err
}

// forwardReserve is the part of the caller's time that is left for the answer to come back.
const forwardReserve = 20 * time.Millisecond
