package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// pushMethods are the methods of the push endpoint.
const pushMethods = "DELETE, GET, HEAD, OPTIONS, POST"

// ServeHTTP is the push endpoint: POST pushes the body to the connection that the request names, GET and HEAD look at the
// connection, DELETE closes it, OPTIONS lists the methods. A POST to the path PATH/@connections, without an ID, is a bulk
// request, which has a push in each line. Paths that end in /@users/NAME or /@groups/NAME are about all connections of a user or in a
// group, and PATH/@connections/ID/@groups/NAME with PUT and DELETE about whether a connection is in one; they are served only if
// AuthorizePush is set. GET of a path that ends in /@ready, without an ID, says whether the Worker takes pushes and
// whether it drains (200, or 503 from Shutdown on and while Failed is not nil); AuthorizePush is not asked. docs/push-api.md says what requests and answers look like. ServeHTTP may be called
// from many goroutines at once. The push listener serves it. To accept pushes on another server as well, mount it there, under
// a prefix with http.StripPrefix if you like. Anyone who can reach it and knows an ID can push, unless AuthorizePush says
// otherwise.
//
// A middleware's ResponseWriter must have an Unwrap method (see http.ResponseController). Without one, only the server's
// ReadTimeout bounds how long a body may take, and every bulk request is answered with 500.
func (w *Worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	res := w.handle(rw, r, w)
	w.reply(rw, r, &res)
	res.finish()
}

// authorizer asks the application whether a request may push. It returns nil if the request may.
type authorizer interface {
	authorize(http.ResponseWriter, *http.Request) *problem
	authorizeLine(*http.Request) *problem // of a bulk request that is under way
}

// reply writes the response, unless the handler has. The caller must finish the response.
func (w *Worker) reply(rw http.ResponseWriter, r *http.Request, res *response) {
	if r.ContentLength != 0 && (res.isProblem() || r.Method != http.MethodPost) {
		// This is for net/http, which reads the rest of the body before it goes on.
		_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	if res.isProblem() && !res.streamed && !res.isProbe {
		w.shared.count.problem(res.status)
		w.logRefusal(r, res)
	}
	switch {
	case res.streamed:
	case res.isProblem(), r.Method != http.MethodPost && r.ProtoMajor > 1: // nobody has read the body, if there is one
		res.send(rw, r)
	default:
		res.write(rw)
	}
	if linger := res.linger; linger != nil && r.ProtoMajor > 1 {
		res.linger = func() { w.lingerHTTP2(linger) }
	}
}

// logRefusal logs a request that was refused: whose it was, and about what.
func (w *Worker) logRefusal(r *http.Request, res *response) {
	log := w.shared.log
	if !log.Enabled(r.Context(), slog.LevelDebug) {
		return
	}
	attrs := []any{"remote", remoteOf(r), "method", r.Method}
	if to, ok, err := address.ReadMembers(r); ok && err == nil {
		kind := "user"
		if to.IsGroup {
			kind = "group"
		}
		attrs = append(attrs, kind, to.Name)
	}
	if id := w.idOf(r); id != "" {
		attrs = append(attrs, "conn", id[:8])
	}
	detail := res.detail
	if detail == "" { // another worker's answer
		var p problem
		_ = json.Unmarshal(res.body, &p)
		detail = p.Detail
	}
	log.Debug("wspush: push request refused", append(attrs, "status", res.status, "detail", detail)...)
}

// idOf returns the ID of the connection that a request names, or "" if it names none that this worker can know.
func (w *Worker) idOf(r *http.Request) string {
	t, err := address.Read(r)
	switch {
	case err != nil:
		return ""
	case wire.IsID(t.ID):
		return strings.ToLower(t.ID)
	case w.cluster == nil:
		return ""
	}
	place, err := w.cluster.keys.Open(t.ID)
	if err != nil {
		return ""
	}
	return place.ID
}

// lingerHTTP2 calls linger, unless too many streams linger already.
func (w *Worker) lingerHTTP2(linger func()) {
	defer w.lingering.Add(-1)
	if w.lingering.Add(1) <= maxLinger {
		linger()
	}
}

// noContent is the response to a request that has been carried out.
func noContent() response { return response{status: http.StatusNoContent} }

// handle carries out the request. The order of its checks, and of those of handleOne, is part of the contract.
func (w *Worker) handle(rw http.ResponseWriter, r *http.Request, by authorizer) response {
	if r.Method != http.MethodPost && r.ContentLength != 0 && r.ProtoMajor == 1 {
		rw.Header().Set("Connection", "close") // or net/http would wait for a body that nobody wants
	}
	if nonce, ok := address.ReadLink(r); ok && w.links != nil {
		w.links.ServeHTTP(rw, r, nonce)
		return response{status: http.StatusSwitchingProtocols, streamed: true}
	}
	named, isNamed, badName := address.ReadMembers(r)
	mount, isBulk := address.ReadBulk(r)
	methods := pushMethods
	switch {
	case named.IsMembership:
		methods = membershipMethods
	case isNamed:
	case isBulk:
		methods = bulkMethods
	}
	foreign := w.origins.check(rw.Header(), r, methods)
	switch {
	case r.Method == http.MethodOptions:
		rw.Header().Set("Allow", methods)
		return noContent()
	case !allows(methods, r.Method):
		return methodNotAllowed(methods).response()
	case foreign != nil:
		return foreign.response()
	case isNamed && w.opts.AuthorizePush == nil:
		return notAuthorized().response()
	case address.IsProbe(r) && !isNamed:
		return w.probe()
	}
	if w.opts.AuthorizePush != nil {
		if p := by.authorize(rw, r); p != nil {
			return p.response()
		}
		lane.MarkKnown(rw, r)
	}
	switch {
	case isNamed:
		return w.handleMembers(rw, r, named, badName)
	case isBulk:
		return w.postBulk(rw, r, mount, by)
	}
	return w.handleOne(rw, r)
}

// handleOne is handle for an authorized request that names one connection.
func (w *Worker) handleOne(rw http.ResponseWriter, r *http.Request) response {
	t, err := address.Read(r)
	switch {
	case err != nil && address.IsSeveral(r):
		return newProblem(http.StatusBadRequest, address.ErrSeveral.Error()).response()
	case errors.Is(err, address.ErrNoID):
		return newProblem(http.StatusUnauthorized, err.Error()).response()
	case errors.Is(err, address.ErrNoForm), errors.Is(err, address.ErrLongPath):
		return newProblem(http.StatusNotFound, err.Error()).response()
	case err != nil:
		return newProblem(http.StatusBadRequest, err.Error()).response()
	}
	c, elsewhere, err := w.find(t.ID)
	if err == errEarlierInstance { // a question that costs little, and matters to more than this publisher
		c, elsewhere, err = w.locate(context.WithoutCancel(r.Context()), t.ID)
	}
	if err == nil {
		lane.MarkKnown(rw, r)
	}
	if c != nil && elsewhere == nil && wire.IsSealedID(t.ID) && t.ID != c.SealedID() { // it names the worker that had the session once
		tellAddress(rw.Header(), c.SealedAddress())
	}
	if d, ok := w.departureOf(c, elsewhere); ok {
		d.tellAddress(rw.Header(), wire.IsSealedID(t.ID))
		if r.Method != http.MethodPost {
			elsewhere = d.place()
		}
	}
	switch {
	case elsewhere != nil:
		return w.forward(rw, r, t, elsewhere)
	case err != nil && r.Method == http.MethodPost:
		return w.refuse(err).response()
	case err != nil:
		return problemOf(err).response()
	case !t.Lives(c.path) && address.IsSeveral(r):
		return newProblem(http.StatusBadRequest, address.ErrSeveral.Error()).response()
	case !t.Lives(c.path):
		return problemOf(errOtherPath).response()
	}
	switch r.Method {
	case http.MethodPost:
		return w.post(rw, r, c)
	case http.MethodDelete:
		return w.delete(r.URL.RawQuery, c)
	}
	return w.get(r.URL.RawQuery, c)
}

// authorize asks the application. A panic in the callback becomes a 500.
func (w *Worker) authorize(_ http.ResponseWriter, r *http.Request) *problem {
	return w.authorizeLine(r)
}

// authorizeLine is authorize for what has no answer of its own.
func (w *Worker) authorizeLine(r *http.Request) (p *problem) {
	defer func() {
		if e := recover(); e != nil {
			logPanic(w.shared.log, "AuthorizePush", e, "remote", remoteOf(r))
			p = newProblem(http.StatusInternalServerError, "AuthorizePush has panicked: the worker's log says where; nothing was written")
		}
	}()
	if err := w.opts.AuthorizePush(r); err != nil {
		return w.shared.callbackProblem(r, "AuthorizePush", "pushing", err)
	}
	return nil
}

// readPush finds out what a push asks for, and refuses it if its query or what it says of its body is wrong.
func readPush(r *http.Request) (pushQuery, *problem) {
	q, err := readPushQuery(r.URL.RawQuery)
	if err != nil {
		return q, newProblem(http.StatusBadRequest, err.Error())
	}
	return q, checkContent(r, q.typ)
}

// post pushes the body as one message.
func (w *Worker) post(rw http.ResponseWriter, r *http.Request, c *Conn) response {
	q, p := readPush(r)
	if p != nil {
		return p.response()
	}
	if limit := w.opts.MaxPushBytes; limit >= 0 && r.ContentLength > limit {
		return w.refuse(wire.TooLarge(limit)).response()
	}
	if !c.outbox.Admits(int(min(max(r.ContentLength, 0), math.MaxInt32/2))) {
		return w.refuse(ErrBusy).response()
	}
	body := w.bodies.get(rw)
	_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
	if p := w.readBody(r, c, body); p != nil {
		w.bodies.put(body)
		return p.response()
	}
	body.release()
	roundTrip, err := w.pushBody(rw, r, c, q, messageType(r, q.typ, body.data), body.data, body.lender())
	wait, isBuffered := bufferedIn(err)
	if isBuffered || errors.Is(err, ErrUnknown) {
		w.bodies.forget(body) // the connection may still be writing it
	} else {
		w.bodies.put(body)
	}
	w.shared.count.pushAs(q.confirm, err)
	if isBuffered {
		return bufferedResponse(wait)
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

// pushBody is Conn.Push within the request's timeout. If it returns ErrUnknown, what body then has must not change even afterwards. It
// sets up what a wait needs only when there is a wait: timers and deadlines are a good part of the cost of a push that is written at
// once.
func (w *Worker) pushBody(rw http.ResponseWriter, r *http.Request, c *Conn, q pushQuery, typ MessageType, data []byte, lender socket.Lender) (roundTrip time.Duration, err error) {
	if err := wire.CheckMessage(typ, data, w.shared.maxPushBytes); err != nil {
		return 0, err
	}
	ctx := r.Context()
	// A publisher that has closed its side behind its request has left, to a server that is not this worker's own, but may still read its
	// answer. What can be written at once is written.
	hasLeft := ctx.Err() == context.Canceled
	if err := ctx.Err(); err != nil && !hasLeft {
		return 0, err
	}
	pending, err := c.startSending(typ, data, q.options(), true, lender)
	if pending == nil {
		return 0, err
	}
	ctx, end := w.waitContext(rw, r, q, hasLeft, lane.Probing)
	defer end()
	roundTrip, err = c.awaitSending(ctx, pending, 0)
	if err == errUnconfirmed && ctx.Err() == context.Canceled {
		err = errUnconfirmedLeft
	}
	return roundTrip, err
}

// waitContext returns what ends the wait of a push by HTTP: its time, or that its publisher leaves, which probing finds out. end must be
// called when the wait is over.
func (w *Worker) waitContext(rw http.ResponseWriter, r *http.Request, q pushQuery, hasLeft bool, probing func(http.ResponseWriter, *http.Request) (stop func())) (_ context.Context, end func()) {
	// net/http goes on reading, to notice a publisher that leaves. A read deadline that stayed set, even one of the server's
	// own, would end the request's context while the push waits.
	_ = http.NewResponseController(rw).SetReadDeadline(time.Time{})
	stopProbing := probing(rw, r)
	ctx, stop := r.Context(), context.CancelFunc(func() {})
	if hasLeft { // a client that reads takes its turn soon
		ctx, stop = context.WithCancel(context.WithoutCancel(ctx))
		timer, cancel := time.AfterFunc(usualAnswer, stop), stop
		stop = func() {
			timer.Stop()
			cancel()
		}
	}
	cancel := context.CancelFunc(func() {})
	if timeout := w.pushTimeout(q); timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	}
	return ctx, func() {
		cancel()
		stop()
		stopProbing()
	}
}

// pushTimeout returns how long a push may wait. 0 or less means for ever.
func (w *Worker) pushTimeout(q pushQuery) time.Duration {
	timeout := q.timeout
	if k := q.keep.For; k > 0 && (timeout == 0 || timeout > k) {
		timeout = k
	}
	switch limit := w.opts.PushTimeout; {
	case q.confirm && timeout == 0:
		return wire.ConfirmWait
	case q.confirm || timeout > 0 && limit <= 0:
		return timeout
	case timeout > 0:
		return min(timeout, limit)
	default:
		return limit
	}
}

// refuse counts a push that is refused before it reaches its connection, and returns the answer to it.
func (w *Worker) refuse(err error) *problem {
	w.shared.count.push(err)
	return problemOf(err)
}

// readBody reads the whole body within the limits of size and time.
func (w *Worker) readBody(r *http.Request, c *Conn, into *body) *problem {
	switch err := w.readWhole(r, into); {
	case err == nil:
		return nil
	case errors.Is(err, ErrTooLarge), err == errIntakeFull:
		return w.refuse(err)
	case c.endReason() != nil:
		return w.refuse(w.gone())
	default:
		return bodyProblem(err)
	}
}

// info is the answer to GET: API Gateway's fields, and some more.
type info struct {
	ConnectionID string   `json:"connectionId"`
	ConnectedAt  string   `json:"connectedAt"`
	LastActiveAt string   `json:"lastActiveAt"`
	Identity     identity `json:"identity"`
	Path         string   `json:"path"`
	Subprotocol  string   `json:"subprotocol"`
	RttMs        float64  `json:"rttMs,omitempty"` // set once a ping has been answered
	State        string   `json:"state"`

	// Of sessions.
	Since    string        `json:"since,omitempty"`
	Buffered *bufferedInfo `json:"buffered,omitempty"`
}

// bufferedInfo is what a session has that its client is not known to have received.
type bufferedInfo struct {
	Messages int `json:"messages"`
	Bytes    int `json:"bytes"`
	Seconds  int `json:"seconds,omitempty"` // for which it still waits, if it is suspended
}

// stateHeader says whether the client of a session is there, for those who ask with HEAD.
const stateHeader = "Wspush-State"

type identity struct {
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

// get describes the connection.
func (w *Worker) get(query string, c *Conn) response {
	if _, err := readQuery(query); err != nil {
		return newProblem(http.StatusBadRequest, err.Error()).response()
	}
	i := c.Info()
	ip, _, err := net.SplitHostPort(i.RemoteAddr)
	if err != nil {
		ip = i.RemoteAddr
	}
	header := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
	about := info{
		ConnectionID: c.ID(),
		ConnectedAt:  i.ConnectedAt.UTC().Format(time.RFC3339Nano),
		LastActiveAt: i.LastActive.UTC().Format(time.RFC3339Nano),
		Identity:     identity{ip, i.UserAgent},
		Path:         i.Path,
		Subprotocol:  i.Subprotocol,
		RttMs:        math.Round(1000*milliseconds(i.RoundTrip)) / 1000,
		State:        "connected",
	}
	if i.Session {
		about.Since = i.Since.UTC().Format(time.RFC3339Nano)
		about.Buffered = &bufferedInfo{Messages: i.Buffered, Bytes: i.BufferedBytes}
		if i.Suspended {
			about.State, about.Buffered.Seconds = "suspended", inSeconds(i.ResumableFor)
			header.Set(bufferedHeader, strconv.Itoa(about.Buffered.Seconds))
		}
		header.Set(stateHeader, about.State)
	}
	body, err := json.Marshal(about)
	if err != nil {
		panic(err) // strings and numbers
	}
	return response{status: http.StatusOK, header: header, body: body}
}

// delete closes the connection with the code and the reason in the query.
func (w *Worker) delete(query string, c *Conn) response {
	code, reason, err := readCloseQuery(query)
	if err != nil {
		return newProblem(http.StatusBadRequest, wire.WithoutPackage(err)).response()
	}
	if err := c.Close(code, reason); err != nil {
		return problemOf(err).response()
	}
	return noContent()
}
