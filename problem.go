package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// problem is an answer that is an error, in the form of RFC 9457.
type problem struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail,omitempty"`
	Connection string `json:"connection,omitempty"` // "open" or "gone", where the outcome of a push is unknown
	Message    string `json:"message,omitempty"`    // Detail, where API Gateway has the error too: its SDKs show this one

	header   http.Header
	relayed  []byte // the body, if it is another worker's
	bodyRead bool   // nothing of the request's body is left
}

// typeUnconfirmed is the type of an unknown outcome of a push that was to be confirmed.
const typeUnconfirmed = wire.TypePrefix + "unconfirmed"

// amazonError is the header in which SDKs of API Gateway look for the name of an error.
const amazonError = "X-Amzn-Errortype"

// retryAfter is what publishers and clients that may come again are told to wait, in seconds.
const retryAfter = 1

func newProblem(status int, detail string) *problem {
	kind, amazon := kindOf(status)
	p := &problem{Type: wire.TypePrefix + kind, Title: http.StatusText(status), Status: status, Detail: detail, header: http.Header{}}
	if amazon != "" {
		p.header.Set(amazonError, amazon)
	}
	switch status {
	case http.StatusUnauthorized: // required by RFC 9110 section 11.6.1
		p.header.Set("WWW-Authenticate", `Basic realm="wspush"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		p.header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	return p
}

// kindOf names an error: for the type of the problem, and as API Gateway calls it, so that its SDKs raise what their users
// catch.
func kindOf(status int) (kind, amazon string) {
	switch status {
	case http.StatusBadRequest:
		return "bad-request", ""
	case http.StatusUnauthorized:
		return "unauthorized", ""
	case http.StatusForbidden:
		return "forbidden", "ForbiddenException"
	case http.StatusNotFound:
		return "not-found", ""
	case http.StatusMethodNotAllowed:
		return "method-not-allowed", ""
	case http.StatusRequestTimeout:
		return "timeout", ""
	case http.StatusGone:
		return "gone", "GoneException"
	case http.StatusRequestEntityTooLarge:
		return "too-large", "PayloadTooLargeException"
	case http.StatusUnsupportedMediaType:
		return "unsupported-media-type", ""
	case http.StatusMisdirectedRequest:
		return "misdirected", ""
	case http.StatusUpgradeRequired:
		return "upgrade-required", ""
	case http.StatusTooManyRequests:
		return "busy", "LimitExceededException"
	case http.StatusBadGateway:
		return "unreachable", ""
	case http.StatusServiceUnavailable:
		return "shutdown", ""
	case http.StatusGatewayTimeout:
		return "unknown", ""
	case http.StatusLoopDetected:
		return "loop", ""
	}
	return "internal", ""
}

// problemOf maps the error of a push to its answer.
func problemOf(err error) *problem {
	status := http.StatusInternalServerError
	detail := err.Error()
	switch {
	case errors.Is(err, errNoKeys):
		status = http.StatusMisdirectedRequest
	case errors.Is(err, errLoop):
		status = http.StatusLoopDetected
		detail = "the request has been forwarded, and this is not the worker that it is for: Cluster.Address of the connection's worker does not lead there; nothing was written"
	case errors.Is(err, ErrUnreachable):
		status = http.StatusBadGateway
		detail = "the worker that holds the connection cannot be reached from here; nothing was written"
	case errors.Is(err, errForeign):
		status = http.StatusForbidden
		detail = "none of this worker's keys opens the sealed ID"
	case errors.Is(err, ErrUnknown):
		status = http.StatusGatewayTimeout
	case errors.Is(err, ErrGone):
		status = http.StatusGone
		detail = "there is no such connection: it has closed, or never was"
	case errors.Is(err, ErrBusy):
		status = http.StatusTooManyRequests
	case errors.Is(err, ErrTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrInvalidUTF8):
		status = http.StatusBadRequest
		detail = "a text message must be valid UTF-8; send other bytes with ?type=binary or a binary content type"
	case errors.Is(err, ErrShutdown):
		status = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		status = http.StatusTooManyRequests
		detail = "the client did not take the message in time; it was withdrawn"
	}
	p := newProblem(status, detail)
	switch {
	case errors.Is(err, errUnknownGone):
		p.Connection = "gone"
	case errors.Is(err, errUnknownOpen), errors.Is(err, errUnconfirmed):
		p.Connection = "open"
	}
	return p
}

// problemOfPush is problemOf for a push that may have been one to be confirmed.
func problemOfPush(err error, confirm bool) *problem {
	p := problemOf(err)
	if confirm && p.Status == http.StatusGatewayTimeout {
		p.Type = typeUnconfirmed
		if errors.Is(err, errUnknownHop) {
			return p
		}
		p.Detail = "the client has not confirmed the message in time: it may have been received, and may still be"
		if errors.Is(err, errUnknownGone) {
			p.Detail = "the connection ended before the client confirmed the message: it may have been received"
		}
	}
	return p
}

// retryAfter is how many seconds to wait before trying again; 0: that would not help.
func (p *problem) retryAfter() int {
	if p.header.Get("Retry-After") == "" {
		return 0
	}
	return retryAfter
}

// allows reports whether a method is in a list as the Allow header has it.
func allows(methods, method string) bool {
	for m := range strings.SplitSeq(methods, ", ") {
		if m == method {
			return true
		}
	}
	return false
}

func methodNotAllowed(allow string) *problem {
	p := newProblem(http.StatusMethodNotAllowed, "the methods here are "+allow)
	p.header.Set("Allow", allow)
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	body := p.relayed
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	if body == nil {
		if p.header.Get(amazonError) != "" {
			p.Message = p.Detail
		}
		var err error
		if body, err = json.Marshal(p); err != nil {
			panic(err) // strings and an int
		}
		h.Set("Content-Type", "application/problem+json")
	}
	if len(body) > 0 {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a publisher that has gone does not want it
}

// Limits of what is still read of a request that has been refused.
const (
	briefly     = 50 * time.Millisecond // for a body that is there already, as most are
	lingerTime  = 5 * time.Second       // for one that is still on its way
	lingerBytes = 8 << 20
)

// answer writes the problem to a publisher that may not have sent its body yet. Over HTTP/1, net/http would read a short one
// before it lets the answer out, however long that takes, and close the connection on a long one, so that the
// publisher finds it reset and never sees the answer. So, what is not there at once is read after the answer: that is what
// linger does, if it is not nil.
func (p *problem) answer(w http.ResponseWriter, r *http.Request) (linger func()) {
	if r.ProtoMajor != 1 || r.ContentLength == 0 || p.bodyRead {
		p.write(w)
		return nil
	}
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(lingerTime)) != nil { // a middleware hides it: there is no bound to reading
		p.header.Set("Connection", "close")
		p.write(w)
		return nil
	}
	// To ask for the body would have the server send "100 Continue"; and a chunked one cannot be read on after a timeout.
	if r.ContentLength > 0 && r.Header.Get("Expect") == "" {
		_ = control.SetReadDeadline(time.Now().Add(briefly))
		if _, err := io.CopyN(io.Discard, r.Body, lingerBytes); err == io.EOF {
			_ = control.SetReadDeadline(time.Time{})
			p.write(w)
			return nil
		}
	}
	p.header.Set("Connection", "close") // what is left of the body must not be taken for the next request
	_ = control.EnableFullDuplex()
	p.write(w)
	_ = control.Flush()
	if p.Status == http.StatusRequestTimeout { // it has been waited for; net/http is not to wait again
		_ = control.SetReadDeadline(time.Now().Add(briefly))
		return nil
	}
	return func() {
		_ = control.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, r.Body, lingerBytes)
	}
}

// answerAndLinger is answer and what follows it.
func (p *problem) answerAndLinger(w http.ResponseWriter, r *http.Request) {
	if linger := p.answer(w, r); linger != nil {
		linger()
	}
}
