package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

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

	header http.Header
}

// typeUnconfirmed is the type of the problem for a push with an unknown outcome that was to be confirmed.
const typeUnconfirmed = wire.TypePrefix + "unconfirmed"

// kindSuspended is the end of the type of the problem for ErrSuspended, which shares its status with others.
const kindSuspended = "suspended"

// amazonError is the header in which SDKs of API Gateway look for the name of an error.
const amazonError = "X-Amzn-Errortype"

// retryAfter is how many seconds publishers and clients are told to wait before another try.
const retryAfter = 1

func newProblem(status int, detail string) *problem {
	kind, amazon := kindOf(status)
	p := &problem{Type: wire.TypePrefix + kind, Title: http.StatusText(status), Status: status, Detail: detail, header: http.Header{}}
	if amazon != "" {
		p.header.Set(amazonError, amazon)
	}
	switch status {
	case http.StatusUnauthorized: // required by RFC 9110 section 11.6.1
		p.header.Set("WWW-Authenticate", basicChallenge)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		p.header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	return p
}

// kindOf returns the name of a status in the type of its problem, and API Gateway's name for it, by which API Gateway's SDKs
// choose the exception that they raise.
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
	case http.StatusConflict:
		return "conflict", ""
	case http.StatusGone:
		return "gone", "GoneException"
	case http.StatusRequestEntityTooLarge:
		return "too-large", "PayloadTooLargeException"
	case http.StatusRequestURITooLong:
		return "path-too-long", ""
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

// problemOf returns the answer to a push that failed with err.
func problemOf(err error) *problem {
	p := newProblem(statusOf(err), detailOf(err))
	switch {
	case errors.Is(err, errLinkFull), errors.Is(err, errIntakeFull):
		p.Type = wire.TypeFull
	case errors.Is(err, ErrDirectory):
		p.Type = wire.TypeDirectory
	case errors.Is(err, ErrTooManyGroups):
		p.Type = wire.TypeTooManyGroups
	case errors.Is(err, ErrSuspended):
		p.Type = wire.TypeSuspended
	case errors.Is(err, errUnknownGone):
		p.Connection = "gone"
	case errors.Is(err, errUnknownOpen), errors.Is(err, errUnconfirmed):
		p.Connection = "open"
	}
	return p
}

// statusOf maps the error of a push to a status. wire has the statuses of the errors that publishers match.
func statusOf(err error) int {
	switch {
	case errors.Is(err, errNoKeys):
		return http.StatusMisdirectedRequest
	case errors.Is(err, errLoop):
		return http.StatusLoopDetected
	case errors.Is(err, errLinkFull), errors.Is(err, errIntakeFull):
		return http.StatusServiceUnavailable
	case errors.Is(err, errOtherPath):
		return http.StatusNotFound
	}
	if status := wire.StatusOf(err); status != 0 {
		return status
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// detailOf puts the error of a push into words for a publisher.
func detailOf(err error) string {
	var limit wire.TooLarge
	switch {
	case errors.Is(err, errLoop):
		return "Cluster.Address of the connection's worker leads to another worker; nothing was written"
	case errors.Is(err, errNotWorker):
		return "the process at the address of the connection's worker did not prove to be a worker with the same keys, or something in between lets no WebSockets through; nothing was written"
	case errors.Is(err, errIntakeFull):
		return "too many messages are coming in at a time (MaxPushBytesAll); nothing was written"
	case errors.Is(err, errLinkFull):
		return "too many pushes are on their way to the worker that holds the connection, or it has too many links; nothing was written"
	case errors.Is(err, ErrUnreachable):
		return "the worker that holds the connection cannot be reached from here; nothing was written"
	case errors.Is(err, errForeign):
		return "none of this worker's keys opens the sealed ID"
	case errors.Is(err, errNoKeys):
		return "the worker has no keys to open a sealed ID with: see WorkerOptions.Cluster"
	case errors.Is(err, errUnanswered):
		return "the worker that holds the connection was reached but did not answer: the message may have been written"
	case errors.Is(err, errUnknownGone):
		return "the connection ended when part or all of the message may have been written"
	case errors.Is(err, ErrUnknown):
		return "the wait ended when part of the message may have been written; the connection is open and will write the rest"
	case errors.Is(err, ErrGone):
		return "there is no such connection: it has closed, or never was"
	case errors.Is(err, ErrBusy):
		return "the client cannot take the message now: too much is waiting for it, or its greeting is not ready"
	case errors.As(err, &limit):
		return fmt.Sprintf("the message exceeds the %d bytes that the worker takes (MaxPushBytes)", int64(limit))
	case errors.Is(err, ErrTooLarge):
		return "the message exceeds MaxPushBytes of the worker that holds the connection"
	case errors.Is(err, ErrInvalidUTF8):
		return "a text message must be valid UTF-8; send other bytes with ?type=binary or a binary content type"
	case errors.Is(err, ErrShutdown):
		return "the worker is shutting down"
	case errors.Is(err, ErrDirectory):
		return "it cannot be known who is there, since the directory or another worker does not answer; nothing was written"
	case errors.Is(err, ErrSuspended):
		return "the client is away, and the push was not to wait for it any longer; nothing was written"
	case errors.Is(err, ErrTooManyGroups):
		return "the connection is in as many groups as MaxGroups of the worker allows"
	case errors.Is(err, context.DeadlineExceeded):
		return "the client did not take the message in time; it was withdrawn"
	case errors.Is(err, context.Canceled):
		return "the publisher left, or closed its side of the connection, before the client took the message; it was withdrawn"
	}
	return wire.WithoutPackage(err)
}

// problemOfPush is problemOf for a push that may have asked to be confirmed.
func problemOfPush(err error, confirm bool) *problem {
	p := problemOf(err)
	if confirm && p.Status == http.StatusGatewayTimeout {
		p.Type = typeUnconfirmed
		if errors.Is(err, errUnanswered) {
			return p
		}
		switch {
		case errors.Is(err, errUnknownGone):
			p.Detail = "the connection ended before the client confirmed the message: it may have been received"
		case errors.Is(err, errUnconfirmedLeft):
			p.Detail = "the publisher left, or closed its side of the connection, before the client confirmed the message: it may have been received, and may still be"
		default:
			p.Detail = "the client has not confirmed the message in time: it may have been received, and may still be"
		}
	}
	return p
}

// retryAfter returns how many seconds to wait before another try, or 0 if another try would not help.
func (p *problem) retryAfter() int {
	if p.header.Get("Retry-After") == "" {
		return 0
	}
	return retryAfter
}

// allows reports whether a method is in a list in the form of the Allow header.
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

// tooMany returns the answer to a request beyond MaxPushConns.
func tooMany() response {
	p := newProblem(http.StatusServiceUnavailable, "too many publishers are connected (MaxPushConns); nothing was written")
	p.Type = wire.TypeFull
	return p.response()
}

// writeTooMany answers a request on a connection beyond MaxPushConns.
func writeTooMany(w http.ResponseWriter) {
	res := tooMany()
	res.write(w)
}

// answerAndLinger answers a request with the problem, and reads what the client is still sending.
func (p *problem) answerAndLinger(w http.ResponseWriter, r *http.Request) {
	res := p.response()
	res.send(w, r)
	res.finish()
}

// response returns the response that says the problem.
func (p *problem) response() response {
	if p.header.Get(amazonError) != "" {
		p.Message = p.Detail
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and an int
	}
	p.header.Set("Content-Type", "application/problem+json")
	return response{status: p.Status, header: p.header, body: body, detail: p.Detail}
}
