package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Errors of a push; match them with errors.Is. They are the errors of the same names in package wspush. Any of them except
// ErrUnknown means that nothing was written to the client, and nothing will be.
var (
	// ErrGone means that there is no such connection: it has ended, or never existed. Forget the address.
	ErrGone = wire.ErrGone
	// ErrBusy means that too much is waiting for the client already, the message was withdrawn after its timeout, the worker
	// has as many publishers, or forwards as many requests, as it may, or a Stream has requests for too many paths of a host. A
	// later attempt may succeed: see Error.RetryAfter.
	ErrBusy = wire.ErrBusy
	// ErrSuspended means that the client is away, and the push was not to wait for it any longer: see [Keep]; or that a [Confirmed] push had not
	// begun when its wait ended, and the client was away.
	ErrSuspended = wire.ErrSuspended
	// ErrTooLarge means that the message exceeds the limit of the worker, or of a proxy in front of it.
	ErrTooLarge = wire.ErrTooLarge
	// ErrInvalidUTF8 means that a text message is not valid UTF-8. It was not sent.
	ErrInvalidUTF8 = wire.ErrInvalidUTF8
	// ErrUnavailable means that the application cannot decide at the moment whether this publisher may push. A later try may succeed: see
	// Error.RetryAfter.
	ErrUnavailable = wire.ErrUnavailable
	// ErrShutdown means that the worker is shutting down.
	ErrShutdown = wire.ErrShutdown
	// ErrUnknown means that the message may have been written, or may yet be; or, from Disconnect, the connection may have been closed.
	ErrUnknown = wire.ErrUnknown
	// ErrUnauthorized means that the worker wants a credential, or a better one than Options.Credential (401).
	ErrUnauthorized = wire.ErrUnauthorized
	// ErrForbidden means that the worker takes no pushes from this publisher (403), or cannot open the sealed ID.
	ErrForbidden = wire.ErrForbidden
	// ErrDirectory means that it cannot be known who a user or a group is: not all workers that may have members have answered. As the
	// error of a push, it says that nothing was written.
	ErrDirectory = wire.ErrDirectory
	// ErrUnreachable means that the worker could not be connected to at any of its addresses, or that it was, but cannot reach
	// the worker that holds the connection (502; 508 if the workers' settings are wrong). From Lookup, it also means that no
	// answer made sense.
	ErrUnreachable = wire.ErrUnreachable
)

// ErrClosed means that Client.Close or Stream.Close has been called. Nothing was sent.
var ErrClosed = errors.New("wspush: the publisher is closed")

// Error is the error of a call that reached a server, or tried to. Get it with errors.As. With errors.Is it matches one of the
// errors above, if one applies, and the error of a context that cut the call short. No field contains an ID or a credential:
// anything that looks like one is left out.
type Error struct {
	Status     int           // of the answer (RFC 9110); 0 if there was none
	Type       string        // of the problem, such as "urn:wspush:gone"; "" if the answer is not from a worker
	Detail     string        // the worker's words, shortened
	RetryAfter time.Duration // how long to wait before another attempt; 0 if the answer does not say
	Connection string        // with ErrUnknown: "open", "gone", or "" if that is unknown as well

	is    error // one of the errors above, or nil
	where string
	cause error // nil, or made by safe
}

// Error says what happened, where, and what the server said, quoted. Where a worker has said what happened, nothing says it again.
func (e *Error) Error() string {
	parts := []string{"the request was refused"}
	switch {
	case e.Detail != "":
		parts = nil
	case e.is != nil:
		parts[0] = wire.WithoutPackage(e.is)
	}
	switch {
	case e.Status == 0 && e.where != "":
		parts = append(parts, e.where)
	case e.Status != 0:
		answer := fmt.Sprintf("%s answered %d", cmp.Or(e.where, "the server"), e.Status)
		if e.Type == "" {
			answer += ", and is no worker, or something in between is none"
		}
		parts = append(parts, answer)
	}
	if e.Detail != "" {
		parts = append(parts, strconv.Quote(e.Detail))
	}
	if e.cause != nil {
		parts = append(parts, e.cause.Error())
	}
	text := "wspush: " + strings.Join(parts, ": ")
	if e.RetryAfter > 0 {
		text += fmt.Sprintf("; try again after %v", e.RetryAfter)
	}
	return text
}

// Unwrap returns the errors that e matches.
func (e *Error) Unwrap() []error {
	var all []error
	if e.is != nil {
		all = append(all, e.is)
	}
	if e.cause != nil {
		all = append(all, e.cause)
	}
	return all
}

// errorOf returns the Error for an answer that is not a success.
func errorOf(o origin, a bulk.Answer, credential string) *Error {
	e := &Error{Status: a.Status, RetryAfter: a.Wait(), is: sentinel(a), where: o.String()}
	if a.OfWorker() {
		e.Type, e.Detail = scrub(a.Type, credential), scrub(a.Detail, credential)
		if a.Connection == "open" || a.Connection == "gone" {
			e.Connection = a.Connection
		}
	}
	return e
}

// sentinel returns the error that an answer matches, or nil for a refusal that matches none. A 4xx of a proxy means that the
// worker got nothing, but a proxy may have passed the message on before its 5xx, or before a success that no worker sends.
func sentinel(a bulk.Answer) error {
	err := wire.ErrorOf(a.Status, a.Type)
	switch {
	case a.Status >= 300 && a.Status < 500:
		if err == ErrGone && !a.OfWorker() {
			return nil
		}
		return err
	case err != nil && a.OfWorker():
		return err
	}
	return ErrUnknown
}

// mayTryNext reports whether an answer means that nothing was written, and another address of the worker may do better; or, if any worker may
// know the answer, another worker.
func mayTryNext(a bulk.Answer, anyWorker bool) bool {
	if !a.OfWorker() {
		return false
	}
	switch a.Status {
	case http.StatusGone: // from a worker that knows where all members are, it is so
		return !anyWorker
	case http.StatusServiceUnavailable: // it shuts down, or the directory is out of its reach
		return anyWorker
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusMisdirectedRequest, http.StatusBadGateway, http.StatusLoopDetected:
		return true
	}
	return false
}

// cause is an error with a scrubbed text. It matches only errors whose own text is harmless.
type cause struct {
	text string
	is   error
}

func (e *cause) Error() string { return e.text }
func (e *cause) Unwrap() error { return e.is }

// safe makes the cause of an Error out of err, whose text may contain secrets.
func safe(err error, credential string) error {
	if err == nil {
		return nil
	}
	safe := &cause{text: scrub(wire.WithoutPackage(err), credential)}
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.Canceled):
		safe.is = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		safe.is = context.DeadlineExceeded
	case errors.As(err, &errno):
		safe.is = errno
	}
	return safe
}

// ended returns the error of a call whose context ended before anything was sent.
func ended(ctx context.Context) error {
	return fmt.Errorf("wspush: nothing was sent: %w", ctx.Err())
}
