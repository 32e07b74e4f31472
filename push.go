package wspush

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// pushMethods are the methods of the push endpoint.
const pushMethods = "DELETE, GET, HEAD, OPTIONS, POST"

// ServeHTTP is the push endpoint: POST pushes the body to the connection that the request names, GET and HEAD look at it,
// DELETE closes it. The push listener serves it; mount it on another server, also under a prefix with http.StripPrefix,
// to have pushes there as well. Whoever can reach it and knows an ID can push, unless AuthorizePush says otherwise.
//
// A middleware in between that wraps the ResponseWriter must have an Unwrap method (see http.ResponseController): otherwise
// only the server's ReadTimeout bounds how long a body may take.
func (w *Worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if linger := w.answer(rw, r, w.authorize); linger != nil {
		linger()
	}
}

// answer answers the request; linger, if it is not nil, reads what a publisher that has its answer still sends.
func (w *Worker) answer(rw http.ResponseWriter, r *http.Request, authorize func(http.ResponseWriter, *http.Request) *problem) (linger func()) {
	p, linger := w.handle(rw, r, authorize)
	if r.ContentLength != 0 && (p != nil || r.Method != http.MethodPost) {
		// For net/http, which reads what nobody else has read before it goes on.
		_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	if p == nil {
		return linger
	}
	w.shared.count.problem(p.Status)
	w.shared.log.Debug("wspush: push request refused", "method", r.Method, "status", p.Status, "detail", p.Detail)
	return p.answer(rw, r)
}

// handle answers the request, or returns the error to answer with; linger is that of answer. The order of its checks, and of
// those of handleOne, is part of the contract.
func (w *Worker) handle(rw http.ResponseWriter, r *http.Request, authorize func(http.ResponseWriter, *http.Request) *problem) (_ *problem, linger func()) {
	if r.Method != http.MethodPost && r.ContentLength != 0 && r.ProtoMajor == 1 {
		rw.Header().Set("Connection", "close") // or net/http would wait for a body that nobody wants
	}
	foreign := w.origins.check(rw.Header(), r)
	mount, isBulk := bulkMount(r)
	methods := pushMethods
	if isBulk {
		methods = bulkMethods
	}
	switch {
	case r.Method == http.MethodOptions:
		rw.Header().Set("Allow", methods)
		rw.WriteHeader(http.StatusNoContent)
		return nil, nil
	case !allows(methods, r.Method):
		return methodNotAllowed(methods), nil
	case foreign != nil:
		return foreign, nil
	}
	from, err := w.readHop(rw.Header(), r)
	switch {
	case errors.Is(err, errLoop):
		return problemOf(err), nil
	case err != nil:
		return newProblem(http.StatusForbidden, err.Error()), nil
	case from == hopProbe:
		rw.WriteHeader(http.StatusNoContent)
		return nil, nil
	}
	if w.opts.AuthorizePush != nil && from == noHop {
		if p := authorize(rw, r); p != nil {
			return p, nil
		}
	}
	if isBulk {
		return w.postBulk(rw, r, mount, from)
	}
	return w.handleOne(rw, r, from), nil
}

// handleOne is handle for a request that names one connection, once it may.
func (w *Worker) handleOne(rw http.ResponseWriter, r *http.Request, from hop) *problem {
	t, err := readTarget(r)
	switch {
	case errors.Is(err, errNoID):
		return newProblem(http.StatusUnauthorized, err.Error())
	case errors.Is(err, errNoForm):
		return newProblem(http.StatusNotFound, err.Error())
	case err != nil:
		return newProblem(http.StatusBadRequest, err.Error())
	case from != noHop && t.form != formPath: // the proof is of the path
		return newProblem(http.StatusForbidden, errHop.Error())
	}
	c, elsewhere, err := w.locate(r.Context(), t.id)
	if elsewhere != nil {
		if from == noHop {
			return w.forward(rw, r, t, elsewhere)
		}
		err = errLoop
	}
	switch {
	case err != nil && r.Method == http.MethodPost:
		return w.refuse(err)
	case err != nil:
		return problemOf(err)
	case from != hopInProcess && !t.lives(c.path):
		return newProblem(http.StatusNotFound, "the connection lives at another path")
	}
	switch r.Method {
	case http.MethodPost:
		return w.post(rw, r, c)
	case http.MethodDelete:
		return w.delete(rw, r, c)
	}
	return w.get(rw, r, c)
}

// authorize asks the application, whose panic is an answer, too.
func (w *Worker) authorize(_ http.ResponseWriter, r *http.Request) (p *problem) {
	defer func() {
		if e := recover(); e != nil {
			logPanic(w.shared.log, "AuthorizePush", e)
			p = newProblem(http.StatusInternalServerError, "the request could not be authorized")
		}
	}()
	err := w.opts.AuthorizePush(r)
	if err == nil {
		return nil
	}
	w.shared.log.Debug("wspush: refused by AuthorizePush", "remote", r.RemoteAddr, "error", err)
	if errors.Is(err, ErrForbidden) {
		return newProblem(http.StatusForbidden, "pushing is forbidden")
	}
	return newProblem(http.StatusUnauthorized, "pushing needs authorization")
}

// authorizeCounted is authorize on the push listener. Shutdown waits for a request there, but not while the application holds
// it up; and the application's time is not the publisher's, who is to get an answer after it, too.
func (w *Worker) authorizeCounted(rw http.ResponseWriter, r *http.Request) *problem {
	_ = http.NewResponseController(rw).SetReadDeadline(time.Time{}) // which would end the request's context
	w.handlers.add(-1)
	w.requests.add(-1)
	defer w.handlers.add(1)
	defer w.requests.add(1)
	p := w.authorize(rw, r)
	if t := w.server.WriteTimeout; t > 0 {
		_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(t))
	}
	return p
}

// post pushes the body as one message.
func (w *Worker) post(rw http.ResponseWriter, r *http.Request, c *Conn) *problem {
	q, p := readPushQuery(r.URL.RawQuery)
	if p != nil {
		return p
	}
	if limit := w.opts.MaxPushBytes; limit >= 0 && r.ContentLength > limit {
		return w.refuse(ErrTooLarge)
	}
	if !c.socket.Admits(int(min(max(r.ContentLength, 0), math.MaxInt32/2))) {
		return w.refuse(ErrBusy)
	}
	body, _ := w.bodies.Get().(*bytes.Buffer)
	if body == nil {
		body = new(bytes.Buffer)
	}
	defer func() {
		if body.Cap() <= maxPooledBody {
			body.Reset()
			w.bodies.Put(body)
		}
	}()
	_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
	if p := w.readBody(r, c, body); p != nil {
		return p
	}
	roundTrip, err := w.pushBody(rw, r, c, q, messageType(r, q.typ, body.Bytes()), body.Bytes())
	if q.confirm {
		w.shared.count.pushConfirmed(err)
	} else {
		w.shared.count.push(err)
	}
	if err != nil {
		p := problemOfPush(err, q.confirm)
		p.bodyRead = true
		return p
	}
	if q.confirm {
		rw.Header().Set("Wspush-Rtt", strconv.FormatFloat(milliseconds(roundTrip), 'f', 3, 64))
	}
	rw.WriteHeader(http.StatusNoContent)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// pushBody is Conn.Push or Conn.PushConfirmed, within its timeout. What it takes to wait is made ready only when there is a
// wait: timers and deadlines are a good part of what a push that is written at once would cost.
func (w *Worker) pushBody(rw http.ResponseWriter, r *http.Request, c *Conn, q pushQuery, typ MessageType, data []byte) (roundTrip time.Duration, err error) {
	if err := checkMessage(typ, data, w.shared.maxPushBytes); err != nil {
		return 0, err
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	pending, err := c.begin(typ, data, q.confirm)
	if pending == nil {
		return 0, err
	}
	if plain, ok := rw.(*response); ok {
		var stop func()
		ctx, stop = plain.watch(ctx)
		defer stop()
	} else {
		// A deadline that stayed set, also one of the server's own, would end the request's context while the push waits:
		// net/http goes on reading, to notice a publisher that leaves.
		_ = http.NewResponseController(rw).SetReadDeadline(time.Time{})
	}
	if timeout := w.pushTimeout(q); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return c.await(ctx, pending)
}

// pushTimeout is how long a push may wait; 0 or less is for ever.
func (w *Worker) pushTimeout(q pushQuery) time.Duration {
	switch limit := w.opts.PushTimeout; {
	case q.confirm && q.timeout == 0:
		return defaultConfirmTimeout
	case q.confirm || q.timeout > 0 && limit <= 0:
		return q.timeout
	case q.timeout > 0:
		return min(q.timeout, limit)
	default:
		return limit
	}
}

// maxPooledBody is the largest buffer that is kept for the next request.
const maxPooledBody = 64 << 10

// refuse counts a push that does not come to Conn.Push.
func (w *Worker) refuse(err error) *problem {
	w.shared.count.push(err)
	return problemOf(err)
}

// readBody reads the whole body, within the limits of size and time.
func (w *Worker) readBody(r *http.Request, c *Conn, into *bytes.Buffer) *problem {
	if r.ContentLength > 0 {
		into.Grow(int(min(r.ContentLength, maxPooledBody-bytes.MinRead)) + bytes.MinRead)
	}
	limit := w.opts.MaxPushBytes
	if limit < 0 || limit == math.MaxInt64 {
		limit = math.MaxInt64 - 1
	}
	n, err := into.ReadFrom(io.LimitReader(r.Body, limit+1))
	switch {
	case err == nil && n > limit:
		return w.refuse(ErrTooLarge)
	case err == nil:
		return nil
	case c.endReason() != nil:
		return w.refuse(w.gone())
	}
	return bodyProblem(err)
}

// info is what GET tells of a connection: API Gateway's fields, and three more.
type info struct {
	ConnectionID string   `json:"connectionId"`
	ConnectedAt  string   `json:"connectedAt"`
	LastActiveAt string   `json:"lastActiveAt"`
	Identity     identity `json:"identity"`
	Path         string   `json:"path"`
	Subprotocol  string   `json:"subprotocol"`
	RttMs        float64  `json:"rttMs,omitempty"` // once a ping has been answered
}

type identity struct {
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

func (w *Worker) get(rw http.ResponseWriter, _ *http.Request, c *Conn) *problem {
	ip, _, err := net.SplitHostPort(c.RemoteAddr())
	if err != nil {
		ip = c.RemoteAddr()
	}
	body, err := json.Marshal(info{
		ConnectionID: c.ID(),
		ConnectedAt:  c.ConnectedAt().UTC().Format(time.RFC3339Nano),
		LastActiveAt: c.LastActive().UTC().Format(time.RFC3339Nano),
		Identity:     identity{ip, c.UserAgent()},
		Path:         c.Path(),
		Subprotocol:  c.Subprotocol(),
		RttMs:        math.Round(1000*milliseconds(c.RoundTrip())) / 1000,
	})
	if err != nil {
		panic(err) // strings
	}
	h := rw.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	_, _ = rw.Write(body)
	return nil
}

// delete closes the connection, with the code and the reason of the query.
func (w *Worker) delete(rw http.ResponseWriter, r *http.Request, c *Conn) *problem {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return newProblem(http.StatusBadRequest, "the query is malformed")
	}
	code := codeNormal
	if q.Has("code") {
		code, err = strconv.Atoi(q.Get("code"))
		if err != nil || !publisherMay(code) {
			return newProblem(http.StatusBadRequest, "code must be 1000, 1001, 1008, 1011 to 1013, or 3000 to 4999")
		}
	}
	reason := q.Get("reason")
	if err := wire.CheckClose(code, reason); err != nil {
		return newProblem(http.StatusBadRequest, err.Error())
	}
	if err := c.Close(code, reason); err != nil {
		return problemOf(err)
	}
	rw.WriteHeader(http.StatusNoContent)
	return nil
}

// publisherMay reports whether a publisher may close a connection with this code: not with those that say what the
// WebSocket itself has found wrong.
func publisherMay(code int) bool {
	switch {
	case code == 1000, code == 1001, code == 1008, code >= 1011 && code <= 1013, code >= 3000 && code <= 4999:
		return true
	}
	return false
}
