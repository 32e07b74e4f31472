package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

const (
	// membershipMethods are the methods for whether a connection is in a group.
	membershipMethods = "DELETE, OPTIONS, PUT"
	// maxMembers is how many members one answer tells of.
	maxMembers = 1000
)

// notAuthorized is the answer to whatever names a user or a group at a worker without AuthorizePush.
func notAuthorized() *problem {
	return newProblem(http.StatusForbidden, "users and groups are served only by a worker with WorkerOptions.AuthorizePush: a name can be guessed")
}

// handleMembers is handle for an authorized request that names a user or a group. err is that of address.ReadMembers.
func (w *Worker) handleMembers(rw http.ResponseWriter, r *http.Request, m address.Members, err error) response {
	switch {
	case errors.Is(err, address.ErrNoMembers), errors.Is(err, address.ErrLongPath):
		return newProblem(http.StatusNotFound, err.Error()).response()
	case err != nil:
		return newProblem(http.StatusBadRequest, withoutPackage(err)).response()
	case m.IsMembership:
		return w.changeMembership(r, m)
	case w.roster.isEmpty():
		return problemOf(ErrShutdown).response()
	}
	to := &Recipients{worker: w, isGroup: m.IsGroup, name: m.Name}
	switch r.Method {
	case http.MethodPost:
		return w.postMembers(rw, r, to)
	case http.MethodDelete:
		return deleteMembers(r, to)
	}
	return getMembers(r, to)
}

// badQuery is the answer to a request with a wrong query.
func badQuery(err error) response {
	return newProblem(http.StatusBadRequest, withoutPackage(err)).response()
}

// exceptIDs leaves out the connections of these IDs and sealed IDs.
func (r *Recipients) exceptIDs(ids []string) *problem {
	for _, id := range ids {
		if p := r.exceptID(id); p != nil {
			return p
		}
	}
	return nil
}

// exceptID leaves out a connection. One that has ended is nobody's any more.
func (r *Recipients) exceptID(id string) *problem {
	if !address.IsName(id) {
		return newProblem(http.StatusBadRequest, "except: "+address.ErrMalformedID.Error())
	}
	c, elsewhere, err := r.worker.find(id)
	switch {
	case errors.Is(err, errForeign), errors.Is(err, errNoKeys):
		return problemOf(err)
	case elsewhere != nil:
		r.exceptElsewhere = append(r.exceptElsewhere, *elsewhere)
	case c != nil:
		r.except = append(r.except, c)
	case r.worker.membership != nil && wire.IsID(id): // it does not say which worker's it is
		r.exceptElsewhere = append(r.exceptElsewhere, seal.Place{ID: id})
	}
	if len(r.exceptElsewhere) > maxExceptElsewhere {
		return newProblem(http.StatusBadRequest, withoutPackage(errExceptElsewhere))
	}
	return nil
}

// postMembers pushes the body to each member as one message.
func (w *Worker) postMembers(rw http.ResponseWriter, r *http.Request, to *Recipients) response {
	values, err := readQueryWith("except", r.URL.RawQuery, "type", "confirm", "timeout", "except", address.NameParam)
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
		if err == ErrTooLarge || err == errIntakeFull {
			return w.refuse(err).response()
		}
		return bodyProblem(err).response()
	}
	body.release()
	p := &publisherPush{worker: w, rw: rw, r: r, q: q, body: body, lender: body.lender()}
	p.push = memberPush{to: *to, typ: messageType(r, q.typ, body.data), data: body.data, confirm: q.confirm, by: p}
	res, out := p.answer()
	if out.Unknown > 0 {
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
func (p *publisherPush) one(c *Conn) (roundTrip time.Duration, err error) {
	return p.worker.pushBody(p.rw, p.r, c, p.q, p.push.typ, p.push.data, p.lender)
}

// told gets each outcome as it comes. False means that nobody wants to know of more, and withdraws what has not begun.
func (p *publisherPush) told(c *Conn, roundTrip time.Duration, err error) bool {
	return p.lines == nil || p.lines.told((&member{conn: c}).public().ID, roundTrip, err)
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

// coverage is how much of all workers an answer is about.
type coverage struct {
	Workers  int  `json:"workers"`
	Answered int  `json:"answered"`
	Complete bool `json:"complete"`
}

// ownCoverage is that of one worker, without others.
var ownCoverage = coverage{Workers: 1, Answered: 1, Complete: true}

// err returns an ErrDirectory if not all have answered.
func (c coverage) err() error {
	if c.Complete {
		return nil
	}
	return fmt.Errorf("%w: %d of %d workers have answered", ErrDirectory, c.Answered, c.Workers)
}

// problemOfOutcomes is the problem for what a push to a user or a group came to.
func problemOfOutcomes(o *Outcomes, err error, confirm bool) *problem {
	p := problemOfPush(err, confirm)
	switch {
	case errors.Is(err, ErrUnknown):
		p.Detail = fmt.Sprintf("no member has the message for certain, and %d may have it, or get it still", o.Unknown)
	case errors.Is(err, ErrBusy):
		p.Detail = "no member can take the message now: too much is waiting for each; nothing was written"
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

// jsonResponse is a success with a body.
func jsonResponse(v any) response {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of strings and numbers
	}
	return jsonBody(body)
}

func jsonBody(body []byte) response {
	return response{status: http.StatusOK, isJSON: true, body: body}
}

// deleteMembers closes each member's connection. It asks for more than DELETE, since what is missing in somebody's template must not
// close a room.
func deleteMembers(r *http.Request, to *Recipients) response {
	values, err := readQueryWith("except", r.URL.RawQuery, "close", "code", "reason", "except", address.NameParam)
	if err != nil {
		return badQuery(err)
	}
	if values.Get("close") != "all" {
		return newProblem(http.StatusBadRequest, "to close the connections of all members, say close=all in the query").response()
	}
	code, reason, err := closeQueryOf(values)
	if err != nil {
		return badQuery(err)
	}
	if p := to.exceptIDs(values["except"]); p != nil {
		return p.response()
	}
	closed, cover, err := to.disconnect(context.WithoutCancel(r.Context()), code, reason)
	if err == nil && closed == 0 {
		err = cover.err()
	}
	if err != nil {
		return problemOf(err).response()
	}
	return jsonResponse(struct {
		Closed int `json:"closed"`
		coverage
	}{closed, cover})
}

// memberAnswer is what an answer says of a member.
type memberAnswer struct {
	ID    string `json:"id"`
	User  string `json:"user,omitempty"`
	Since string `json:"since"`
}

// getMembers tells who is there.
func getMembers(r *http.Request, to *Recipients) response {
	values, err := readQuery(r.URL.RawQuery, "limit", address.NameParam)
	if err != nil {
		return badQuery(err)
	}
	limit := maxMembers
	if values.Has("limit") {
		if limit, err = strconv.Atoi(values.Get("limit")); err != nil || limit < 0 || limit > maxMembers {
			return newProblem(http.StatusBadRequest, fmt.Sprintf("limit must be a number from 0 to %d", maxMembers)).response()
		}
	}
	if r.Method == http.MethodHead {
		limit = 0
	}
	members, total, cover, err := to.list(context.WithoutCancel(r.Context()), limit)
	if err == nil && total == 0 {
		err = cover.err()
	}
	switch {
	case err != nil:
		return problemOf(err).response()
	case r.Method != http.MethodHead:
	case total == 0:
		return problemOfOutcomes(&Outcomes{}, wire.ErrNobody, false).response()
	default:
		return response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}}
	}
	answers := make([]memberAnswer, len(members))
	for i, m := range members {
		answers[i] = memberAnswer{m.ID, m.User, m.Since.UTC().Format(time.RFC3339Nano)}
	}
	return jsonResponse(struct {
		Members []memberAnswer `json:"members"`
		Total   int            `json:"total"`
		coverage
	}{answers, total, cover})
}

// What a worker asks of another about a connection there, in place of an HTTP method. The name is in the query.
const (
	askJoin  = "JOIN"
	askLeave = "LEAVE"
)

// changeMembership makes a connection join or leave a group.
func (w *Worker) changeMembership(r *http.Request, m address.Members) response {
	ask := askJoin
	if r.Method == http.MethodDelete {
		ask = askLeave
	}
	c, elsewhere, err := w.locate(context.WithoutCancel(r.Context()), m.Connection.ID)
	if elsewhere == nil && err == nil && !m.Connection.Lives(c.path) {
		err = errOtherPath
	}
	if err != nil {
		return problemOf(err).response()
	}
	if _, err := readQuery(r.URL.RawQuery, address.NameParam); err != nil {
		return badQuery(err)
	}
	if elsewhere != nil {
		return w.forwardRequest(r, elsewhere, &link.Request{Method: ask, Path: m.Connection.Path, Query: url.Values{address.NameParam: {m.Name}}.Encode()})
	}
	return c.change(r.Context(), ask, m.Name)
}

// change makes the connection join or leave a group.
func (c *Conn) change(ctx context.Context, ask, group string) response {
	change := c.Join
	if ask == askLeave {
		change = c.Leave
	}
	err := change(ctx, group)
	if err == nil {
		return noContent()
	}
	p := problemOf(err)
	if errors.Is(err, ErrDirectory) {
		p.Detail = "it has been done, but the directory does not answer: other workers will know of it when it does"
	}
	return p.response()
}

// changeFor is change for another worker, whose request has the name in its query.
func (c *Conn) changeFor(ctx context.Context, ask, query string) response {
	values, err := readQuery(query, address.NameParam)
	if err != nil {
		return badQuery(err)
	}
	return c.change(ctx, ask, values.Get(address.NameParam))
}
