package wspush

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/socket"
)

// postMembers pushes the body to each member as one message.
func (w *Worker) postMembers(rw http.ResponseWriter, r *http.Request, to *Recipients) response {
	values, err := readQueryWith("except", r.URL.RawQuery, "type", "confirm", "timeout", "keep", "except", address.NameParam)
	if err != nil {
		return badQuery(err)
	}
	q, err := pushQueryOf(values)
	if err != nil {
		return badQuery(err)
	}
	if p := to.exceptIDs(values["except"]); p != nil {
		return p.response()
	}
	if p := checkContent(r, q.typ); p != nil {
		return p.response()
	}
	body := w.bodies.get(rw)
	_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
	if err := w.readWhole(r, body); err != nil {
		defer w.bodies.put(body)
		if errors.Is(err, ErrTooLarge) || err == errIntakeFull {
			return w.refuse(err).response()
		}
		return bodyProblem(err).response()
	}
	body.release()
	p := &publisherPush{worker: w, rw: rw, r: r, q: q, body: body, lender: body.lender()}
	p.push = memberPush{to: *to, typ: messageType(r, q.typ, body.data), data: body.data, confirm: q.confirm, keep: q.keep, by: p}
	res, out := p.answer()
	if out.Unknown+out.Buffered > 0 {
		w.bodies.forget(body) // the connection may still be writing it
	} else {
		w.bodies.put(body)
	}
	res.bodyRead = true
	return res
}

// publisherPush is a request to push to a user or a group. It sets up what a wait needs only when there is a wait, as pushBody does.
type publisherPush struct {
	worker *Worker
	rw     http.ResponseWriter
	r      *http.Request
	q      pushQuery
	push   memberPush
	body   *body
	lender socket.Lender // wants the data back; nil: nobody does

	hasLeft bool         // the publisher has closed its side, to a server that is not this worker's own
	lines   *memberLines // nil unless the publisher wants them
	end     func()       // ends the wait; nil: there is none
}

// answer pushes, and returns the answer.
func (p *publisherPush) answer() (response, Outcomes) {
	if wantsLines(p.r.Header) {
		p.lines = newMemberLines(p.rw, p.q.confirm)
	}
	ctx := context.Background()
	if err := p.r.Context().Err(); err != nil {
		if p.hasLeft = err == context.Canceled; !p.hasLeft {
			ctx = p.r.Context()
		}
	}
	defer p.endWait() // also when the application's Logger panics
	out, err := p.worker.pushMembers(ctx, &p.push)
	p.endWait()
	switch {
	case out.Workers == 0: // nothing has been tried
		return problemOf(err).response(), out
	case p.lines != nil:
		p.lines.end(&out, err)
		return response{status: http.StatusOK, streamed: true}, out
	}
	return outcomesResponse(&out, err, p.q.confirm), out
}

// one pushes to the only member.
func (p *publisherPush) one(c *Conn, mark uint64) (roundTrip time.Duration, err error) {
	q := p.q
	q.mark = mark
	return p.worker.pushBody(p.rw, p.r, c, q, p.push.typ, p.push.data, p.lender)
}

// told gets each outcome as it comes. False means that nobody wants to know of more, and withdraws what has not begun.
func (p *publisherPush) told(c *Conn, roundTrip time.Duration, err error) bool {
	return p.lines == nil || err == errRepeated || p.lines.told((&member{conn: c}).public().ID, roundTrip, err)
}

// wait is called before the first wait for several members. It returns what ends it.
func (p *publisherPush) wait() (ctx context.Context) {
	if p.lines == nil {
		ctx, p.end = p.worker.waitContext(p.rw, p.r, p.q, p.hasLeft, lane.Probing)
		return ctx
	}
	ctx, p.end = p.worker.waitContext(p.rw, p.r, p.q, p.hasLeft, p.lines.probing)
	p.lines.wait()
	return ctx
}

// watch is for a wait that something else bounds. It returns a context that ends when the publisher leaves, and what ends the watch.
func (p *publisherPush) watch() (ctx context.Context, end func()) {
	_ = http.NewResponseController(p.rw).SetReadDeadline(time.Time{}) // which would end the request's context
	probing := lane.Probing
	if p.lines != nil {
		p.lines.wait()
		probing = p.lines.probing
	}
	ctx = p.r.Context()
	if p.hasLeft {
		ctx = context.WithoutCancel(ctx)
	}
	return ctx, probing(p.rw, p.r)
}

func (p *publisherPush) endWait() {
	if p.end != nil {
		p.end()
		p.end = nil
	}
}

// appendOutcomes appends what an answer says of a push to a user or a group, as the last members of a JSON object. Package json would
// take a good part of the time of a push.
func appendOutcomes(dst []byte, o *Outcomes) []byte {
	dst = strconv.AppendInt(append(dst, `"written":`...), int64(o.Written), 10)
	dst = strconv.AppendInt(append(dst, `,"received":`...), int64(o.Received), 10)
	if o.Buffered > 0 { // where there are no sessions, an answer is what it was before there were any
		dst = strconv.AppendInt(append(dst, `,"buffered":`...), int64(o.Buffered), 10)
	}
	dst = append(dst, `,"refused":{`...)
	if len(o.Refused) > 0 {
		dst = appendRefused(dst, o)
	}
	dst = strconv.AppendInt(append(dst, `},"unknown":`...), int64(o.Unknown), 10)
	dst = strconv.AppendInt(append(dst, `,"excepted":`...), int64(o.Excepted), 10)
	dst = strconv.AppendInt(append(dst, `,"workers":`...), int64(o.Workers), 10)
	dst = strconv.AppendInt(append(dst, `,"answered":`...), int64(o.Answered), 10)
	dst = strconv.AppendBool(append(dst, `,"complete":`...), o.Complete)
	return append(dst, '}')
}

// appendRefused appends how many connections have refused the message, by the kind of the problem, which several reasons may share.
func appendRefused(dst []byte, o *Outcomes) []byte {
	kinds := make(map[string]int)
	for reason, n := range o.Refused {
		kind, _ := kindOf(statusOf(reason))
		if reason == ErrSuspended {
			kind = kindSuspended
		}
		kinds[kind] += n
	}
	for i, kind := range slices.Sorted(maps.Keys(kinds)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), kind...), `":`...)
		dst = strconv.AppendInt(dst, int64(kinds[kind]), 10)
	}
	return dst
}

// problemOfOutcomes is the problem for what a push to a user or a group came to.
func problemOfOutcomes(o *Outcomes, err error, confirm bool) *problem {
	p := problemOfPush(err, confirm)
	switch {
	case errors.Is(err, ErrUnknown):
		p.Detail = fmt.Sprintf("no member has the message for certain, and %d may have it, or get it still", o.Unknown)
	case errors.Is(err, ErrBusy):
		p.Detail = "no member can take the message now: too much is waiting for each; nothing was written"
	case errors.Is(err, ErrSuspended):
		p.Detail = "no member is there at the moment, and the push was not to wait any longer; nothing was written"
	case errors.Is(err, context.DeadlineExceeded):
		p.Detail = "no member took the message in time; it was withdrawn"
	case errors.Is(err, context.Canceled):
		p.Detail = "the publisher left, or closed its side of the connection, before any member took the message; it was withdrawn"
	case errors.Is(err, ErrGone):
		p.Detail = "nobody is there: the user or group has no connections"
	case errors.Is(err, ErrDirectory):
		p.Detail = fmt.Sprintf("it cannot be known who is there: %d of %d workers have answered; nothing was written", o.Answered, o.Workers)
	}
	return p
}

// outcomesResponse is the answer to a push to a user or a group.
func outcomesResponse(o *Outcomes, err error, confirm bool) response {
	if err == nil {
		return jsonBody(appendOutcomes(append(make([]byte, 0, 160), '{'), o))
	}
	res := problemOfOutcomes(o, err, confirm).response()
	res.body = appendOutcomes(append(res.body[:len(res.body)-1], ','), o)
	return res
}
