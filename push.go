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
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/wire"
)

// pushMethods are the methods of the push endpoint.
const pushMethods = "DELETE, GET, HEAD, OPTIONS, POST"

// ServeHTTP is the push endpoint: POST pushes the body to the connection that the request names, GET and HEAD look at the
// connection, DELETE closes it, OPTIONS lists the methods. A POST to the path PATH/@connections, without an ID, is a bulk
// request, which has a push in each line. GET of a path that ends in /@ready, without an ID, says whether the Worker takes pushes and
// whether it drains (200, or 503 from Shutdown on); AuthorizePush is not asked. docs/push-api.md says what requests and answers look like. ServeHTTP may be called
// from many goroutines at once. The push listener serves it. To accept pushes on another server as well, mount it there, under
// a prefix with http.StripPrefix if you like. Anyone who can reach it and knows an ID can push, unless AuthorizePush says
// otherwise.
//
// A middleware's ResponseWriter must have an Unwrap method (see http.ResponseController). Without one, only the server's
// ReadTimeout bounds how long a body may take, and every bulk request is answered with 500.
func (w *Worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	res := w.answer(rw, r, w.authorize)
	res.finish()
}

// authorizer asks the application whether a request may push. It returns nil if the request may.
type authorizer func(http.ResponseWriter, *http.Request) *problem

// answer answers the request. The caller must finish the response.
func (w *Worker) answer(rw http.ResponseWriter, r *http.Request, authorize authorizer) response {
	res := w.handle(rw, r, authorize)
	if r.ContentLength != 0 && (res.isProblem() || r.Method != http.MethodPost) {
		// This is for net/http, which reads the rest of the body before it goes on.
		_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	switch {
	case res.streamed:
	case res.isProblem():
		w.shared.count.problem(res.status)
		w.shared.log.Debug("wspush: push request refused", "method", r.Method, "status", res.status, "detail", res.detail)
		res.send(rw, r)
	default:
		res.write(rw)
	}
	return res
}

// noContent is the response to a request that has been carried out.
func noContent() response { return response{status: http.StatusNoContent} }

// handle carries out the request. The order of its checks, and of those of handleOne, is part of the contract.
func (w *Worker) handle(rw http.ResponseWriter, r *http.Request, authorize authorizer) response {
	if r.Method != http.MethodPost && r.ContentLength != 0 && r.ProtoMajor == 1 {
		rw.Header().Set("Connection", "close") // or net/http would wait for a body that nobody wants
	}
	foreign := w.origins.check(rw.Header(), r)
	mount, isBulk := address.ReadBulk(r)
	methods := pushMethods
	if isBulk {
		methods = bulkMethods
	}
	switch {
	case r.Method == http.MethodOptions:
		rw.Header().Set("Allow", methods)
		return noContent()
	case !allows(methods, r.Method):
		return methodNotAllowed(methods).response()
	case foreign != nil:
		return foreign.response()
	case address.IsProbe(r):
		return w.probe(rw, r)
	}
	from, err := w.readHop(rw.Header(), r)
	switch {
	case errors.Is(err, errLoop):
		return problemOf(err).response()
	case err != nil:
		return newProblem(http.StatusForbidden, err.Error()).response()
	case from == hopProbe:
		return noContent()
	}
	if w.opts.AuthorizePush != nil && from == noHop {
		if p := authorize(rw, r); p != nil {
			return p.response()
		}
	}
	if isBulk {
		return w.postBulk(rw, r, mount, from)
	}
	return w.handleOne(rw, r, from)
}

// handleOne is handle for an authorized request that names one connection.
func (w *Worker) handleOne(rw http.ResponseWriter, r *http.Request, from hop) response {
	t, err := address.Read(r)
	switch {
	case errors.Is(err, address.ErrNoID):
		return newProblem(http.StatusUnauthorized, err.Error()).response()
	case errors.Is(err, address.ErrNoForm):
		return newProblem(http.StatusNotFound, err.Error()).response()
	case err != nil:
		return newProblem(http.StatusBadRequest, err.Error()).response()
	case from != noHop && t.Form != address.PathForm: // the proof is of the path
		return newProblem(http.StatusForbidden, errHop.Error()).response()
	}
	c, elsewhere, err := w.locate(r.Context(), t.ID)
	if elsewhere != nil {
		if from == noHop {
			return w.forward(rw, r, t, elsewhere)
		}
		err = errLoop
	}
	switch {
	case err != nil && r.Method == http.MethodPost:
		return w.refuse(err).response()
	case err != nil:
		return problemOf(err).response()
	case from != hopInProcess && !t.Lives(c.path):
		return newProblem(http.StatusNotFound, "the connection lives at another path").response()
	}
	switch r.Method {
	case http.MethodPost:
		return w.post(rw, r, c)
	case http.MethodDelete:
		return w.delete(r, c)
	}
	return w.get(r, c)
}

// authorize asks the application. A panic in the callback becomes a 500.
func (w *Worker) authorize(_ http.ResponseWriter, r *http.Request) (p *problem) {
	defer func() {
		if e := recover(); e != nil {
			logPanic(w.shared.log, "AuthorizePush", e)
			p = newProblem(http.StatusInternalServerError, "the request could not be authorized")
		}
	}()
	if err := w.opts.AuthorizePush(r); err != nil {
		return w.shared.callbackProblem(r, "AuthorizePush", "pushing", err)
	}
	return nil
}

// post pushes the body as one message.
func (w *Worker) post(rw http.ResponseWriter, r *http.Request, c *Conn) response {
	q, err := readPushQuery(r.URL.RawQuery)
	if err != nil {
		return newProblem(http.StatusBadRequest, err.Error()).response()
	}
	if limit := w.opts.MaxPushBytes; limit >= 0 && r.ContentLength > limit {
		return w.refuse(ErrTooLarge).response()
	}
	if !c.socket.Admits(int(min(max(r.ContentLength, 0), math.MaxInt32/2))) {
		return w.refuse(ErrBusy).response()
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
		return p.response()
	}
	roundTrip, err := w.pushBody(rw, r, c, q, messageType(r, q.typ, body.Bytes()), body.Bytes())
	if q.confirm {
		w.shared.count.pushConfirmed(err)
	} else {
		w.shared.count.push(err)
	}
	if err != nil {
		res := problemOfPush(err, q.confirm).response()
		res.bodyRead = true
		return res
	}
	if q.confirm {
		rw.Header().Set("Wspush-Rtt", strconv.FormatFloat(milliseconds(roundTrip), 'f', 3, 64))
	}
	return noContent()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// pushBody is Conn.Push within the request's timeout. It sets up what a wait needs only when there is a wait: timers and
// deadlines are a good part of the cost of a push that is written at once.
func (w *Worker) pushBody(rw http.ResponseWriter, r *http.Request, c *Conn, q pushQuery, typ MessageType, data []byte) (roundTrip time.Duration, err error) {
	if err := wire.CheckMessage(typ, data, w.shared.maxPushBytes); err != nil {
		return 0, err
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	pending, err := c.startSending(typ, data, q.confirm)
	if pending == nil {
		return 0, err
	}
	// net/http goes on reading, to notice a publisher that leaves. A read deadline that stayed set, even one of the server's
	// own, would end the request's context while the push waits.
	_ = http.NewResponseController(rw).SetReadDeadline(time.Time{})
	ctx, stop := lane.Watch(ctx, rw)
	defer stop()
	if timeout := w.pushTimeout(q); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return c.awaitSending(ctx, pending, 0)
}

// pushTimeout returns how long a push may wait. 0 or less means for ever.
func (w *Worker) pushTimeout(q pushQuery) time.Duration {
	switch limit := w.opts.PushTimeout; {
	case q.confirm && q.timeout == 0:
		return wire.ConfirmWait
	case q.confirm || q.timeout > 0 && limit <= 0:
		return q.timeout
	case q.timeout > 0:
		return min(q.timeout, limit)
	default:
		return limit
	}
}

// maxPooledBody is the size of the largest buffer that is kept for another request.
const maxPooledBody = 64 << 10

// refuse counts a push that is refused before it reaches its connection, and returns the answer to it.
func (w *Worker) refuse(err error) *problem {
	w.shared.count.push(err)
	return problemOf(err)
}

// readBody reads the whole body within the limits of size and time.
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

// info is the answer to GET: API Gateway's fields, and three more.
type info struct {
	ConnectionID string   `json:"connectionId"`
	ConnectedAt  string   `json:"connectedAt"`
	LastActiveAt string   `json:"lastActiveAt"`
	Identity     identity `json:"identity"`
	Path         string   `json:"path"`
	Subprotocol  string   `json:"subprotocol"`
	RttMs        float64  `json:"rttMs,omitempty"` // set once a ping has been answered
}

type identity struct {
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

// get describes the connection.
func (w *Worker) get(r *http.Request, c *Conn) response {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return newProblem(http.StatusBadRequest, err.Error()).response()
	}
	i := c.Info()
	ip, _, err := net.SplitHostPort(i.RemoteAddr)
	if err != nil {
		ip = i.RemoteAddr
	}
	body, err := json.Marshal(info{
		ConnectionID: c.ID(),
		ConnectedAt:  i.ConnectedAt.UTC().Format(time.RFC3339Nano),
		LastActiveAt: i.LastActive.UTC().Format(time.RFC3339Nano),
		Identity:     identity{ip, i.UserAgent},
		Path:         i.Path,
		Subprotocol:  i.Subprotocol,
		RttMs:        math.Round(1000*milliseconds(i.RoundTrip)) / 1000,
	})
	if err != nil {
		panic(err) // strings
	}
	header := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
	return response{status: http.StatusOK, header: header, body: body}
}

// delete closes the connection with the code and the reason in the query.
func (w *Worker) delete(r *http.Request, c *Conn) response {
	code, reason, err := readCloseQuery(r.URL.RawQuery)
	if err != nil {
		return newProblem(http.StatusBadRequest, withoutPackage(err)).response()
	}
	if err := c.Close(code, reason); err != nil {
		return problemOf(err).response()
	}
	return noContent()
}
