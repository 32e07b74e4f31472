package wspush

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/sent"
	"github.com/wspush/wspush/internal/wire"
)

// forward sends a request on to the worker that holds the connection, and gives back its answer.
func (w *Worker) forward(rw http.ResponseWriter, r *http.Request, t target, to *seal.Place) *problem {
	c := w.cluster
	if !c.enter() {
		return c.full()
	}
	defer c.leave()
	w.shared.count.forwarded.Add(1)
	out := &outgoing{
		kind: hopHTTP, method: r.Method, place: to, path: t.path, name: t.id, query: r.URL.RawQuery, header: forwardedHeader(r),
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
			return p
		}
		if plain, ok := rw.(*response); ok { // which nobody watches while this waits
			var stop func()
			ctx, stop = plain.watch(ctx)
			defer stop()
		}
	}
	answer, err := c.send(ctx, out)
	if err != nil {
		w.logForward(to, err)
		return out.problem(err)
	}
	p := &problem{Status: answer.status, header: answer.header, relayed: answer.body, bodyRead: out.bodyEnded()}
	if p.Status/100 == 2 {
		p.write(rw)
		return nil
	}
	return p
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

// outgoing is a request to another worker.
type outgoing struct {
	kind   hop
	method string
	place  *seal.Place
	path   string // at which the connection must live
	name   string // a token, or the marker of a bulk request
	query  string
	header http.Header
	body   io.Reader // nil if there is none
	length int64     // of it; negative: unknown

	isSent  bool                  // something of it may have been
	begun   atomic.Bool           // the body has, if it is one that is sent while it comes in
	bodyErr atomic.Pointer[error] // how that ended
	ended   func()                // called when it has come in to its end
}

// answer is another worker's, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// errNotWorker is for an answer without a proof. errRefused is one by which something has refused the request, rather than
// passed it on: a proxy in front of the worker may have, and then given up.
var (
	errNotWorker = errors.New("what listens there does not prove to be a worker with the same keys, whose clock is right")
	errRefused   = fmt.Errorf("%w, and refuses", errNotWorker)
)

// notWorker is the error for an answer without a proof.
func notWorker(status int) error {
	if status >= 300 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusRequestEntityTooLarge {
		return errRefused
	}
	return errNotWorker
}

// send sends a request to another worker and reads the answer. If that fails, problem or outcome tells what it means.
func (c *cluster) send(ctx context.Context, out *outgoing) (*answer, error) {
	resp, instance, err := c.do(ctx, c.transport, out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 300 && instance != out.place.Instance { // no other can have done it
		return nil, errNotWorker
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return nil, errors.Join(err, errors.New("its answer could not be read to the end"))
	}
	header := http.Header{}
	for name, values := range resp.Header {
		if !slices.Contains(notRelayed, name) {
			header[name] = values
		}
	}
	if out.method == http.MethodHead && resp.ContentLength >= 0 {
		header.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	return &answer{resp.StatusCode, header, body}, nil
}

// notRelayed are headers of an answer that concern only the connection on which it came (RFC 9110 section 7.6.1).
var notRelayed = []string{"Connection", "Content-Length", "Date", "Keep-Alive", "Transfer-Encoding", "Upgrade", hopHeader}

// maxStale is how many connections may turn out to have been closed by the other worker before anything was sent.
const maxStale = 8

// do sends a request, and returns the answer and which worker has proved to have given it.
func (c *cluster) do(ctx context.Context, transport *http.Transport, out *outgoing) (_ *http.Response, instance uint64, err error) {
	for range maxStale {
		r, proof, err := c.request(out)
		if err != nil {
			return nil, 0, err
		}
		out.setBody(r)
		var trace sent.Trace
		resp, err := transport.RoundTrip(r.WithContext(trace.Attach(ctx)))
		if err != nil {
			isSent, stale := trace.Sent()
			if stale && !out.begun.Load() && ctx.Err() == nil {
				continue
			}
			out.isSent = isSent
			return nil, 0, err
		}
		out.isSent = true
		instance, ok := c.verifyAnswer(resp.Header, proof)
		if !ok {
			resp.Body.Close()
			return nil, 0, notWorker(resp.StatusCode)
		}
		return resp, instance, nil
	}
	return nil, 0, errStale
}

var errStale = errors.New("it closes every connection")

// request makes the request, without its body, and the proof that an answer must refer to.
func (c *cluster) request(out *outgoing) (r *http.Request, proof string, err error) {
	scheme, rest, _ := strings.Cut(out.place.Address, "://")
	at := base{scheme + "://", rest}
	address := at.url(out.path, out.name)
	if out.name == marker {
		address = at.bulkURL(out.path)
	}
	if r, err = http.NewRequest(out.method, address, nil); err != nil {
		return nil, "", err
	}
	r.URL.RawQuery = out.query
	r.Header = out.header.Clone()
	r.Header.Set("User-Agent", "wspush")
	header, proof := c.proveHop(out.kind, out.place.Address, out.method, out.name, out.query)
	r.Header.Set(hopHeader, header)
	return r, proof, nil
}

// setBody gives r the body. There is no GetBody: with it, the transport may send it again after an HTTP/2 reset.
func (out *outgoing) setBody(r *http.Request) {
	whole, ok := out.body.(*bytes.Buffer)
	switch {
	case ok && whole.Len() > 0:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(whole.Bytes())), int64(whole.Len())
	case !ok && out.body != nil:
		r.Body, r.ContentLength = sentBody{out}, out.length
	}
}

// sentBody is a body on its way through. Closing it leaves what it is read from to net/http.
type sentBody struct{ out *outgoing }

func (b sentBody) Read(p []byte) (int, error) {
	b.out.begun.Store(true)
	n, err := b.out.body.Read(p)
	if err != nil {
		b.out.bodyErr.Store(&err)
		if err == io.EOF {
			b.out.ended()
		}
	}
	return n, err
}

func (b sentBody) Close() error { return nil }

// bodyEnded reports whether the body has been read to its end.
func (out *outgoing) bodyEnded() bool {
	if _, whole := out.body.(*bytes.Buffer); whole || out.body == nil {
		return true
	}
	err := out.bodyErr.Load()
	return err != nil && *err == io.EOF
}

// outcome is what the failure to send a request to another worker means to its publisher.
func (out *outgoing) outcome(err error) error {
	switch {
	case errors.Is(err, errRefused), !out.isSent:
		return ErrUnreachable
	default:
		return errUnknownHop
	}
}

// problem is outcome as an answer.
func (out *outgoing) problem(err error) *problem {
	if failed := out.bodyErr.Load(); failed != nil && *failed != io.EOF { // then it has not got all of the message
		return bodyProblem(*failed)
	}
	query, _ := url.ParseQuery(out.query)
	p := problemOfPush(out.outcome(err), query.Get("confirm") != "")
	p.bodyRead = out.bodyEnded()
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
	if err := checkMessage(typ, data, w.shared.maxPushBytes); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c := w.cluster
	if !c.enter() {
		return 0, fmt.Errorf("%w, or for others: too many requests are being forwarded", ErrBusy)
	}
	defer c.leave()
	w.shared.count.forwarded.Add(1)
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
			return 0, err
		}
		return 0, out.outcome(err)
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

// err is what Push returns for an answer.
func (a *answer) err() error {
	if a.status == http.StatusNoContent {
		return nil
	}
	var p problem
	_ = json.Unmarshal(a.body, &p) // what it lacks is not needed
	switch {
	case a.status == http.StatusGatewayTimeout && p.Connection == "gone":
		return errUnknownGone
	case a.status == http.StatusGatewayTimeout && p.Type == typeUnconfirmed:
		return errUnconfirmed
	case a.status == http.StatusGatewayTimeout:
		return errUnknownOpen
	}
	if err := wire.ErrorOf(a.status, p.Type); err != nil {
		return err
	}
	return fmt.Errorf("wspush: the connection's worker refused the push with %d: %.200q", a.status, p.Detail)
}

// forwardReserve is how much of the caller's time is left for the answer to come back.
const forwardReserve = 20 * time.Millisecond
