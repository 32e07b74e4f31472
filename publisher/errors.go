package publisher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// What a push can come to, other than nil; match with errors.Is. They are the errors of the same names in package wspush. All
// but ErrUnknown say that nothing was written to the client and nothing will be.
var (
	// ErrGone: there is no such connection; it has ended, or never was. Forget the address.
	ErrGone = wire.ErrGone
	// ErrBusy: too much waits for the client, or the message was withdrawn after its timeout, or the worker has as many
	// publishers as it may. A later try may succeed: see Error.RetryAfter.
	ErrBusy = wire.ErrBusy
	// ErrTooLarge: the message exceeds what the worker, or a proxy before it, takes.
	ErrTooLarge = wire.ErrTooLarge
	// ErrInvalidUTF8: a text message must be valid UTF-8. It was not sent.
	ErrInvalidUTF8 = wire.ErrInvalidUTF8
	// ErrUnavailable: the application cannot decide at the moment whether this publisher may push. A later try may succeed: see
	// Error.RetryAfter.
	ErrUnavailable = wire.ErrUnavailable
	// ErrShutdown: the worker is shutting down.
	ErrShutdown = wire.ErrShutdown
	// ErrUnknown: the message may have been written, or may yet be; or, from Close, the connection may have been closed.
	ErrUnknown = wire.ErrUnknown
	// ErrForbidden: the worker does not take pushes from this publisher (401 or 403), or cannot open the token.
	ErrForbidden = wire.ErrForbidden
	// ErrUnreachable: no connection to the worker came about, at any of its addresses.
	ErrUnreachable = wire.ErrUnreachable
)

// ErrStopped: Client.Stop or Stream.Close has been called. Nothing was sent.
var ErrStopped = errors.New("wspush: the publisher has been stopped")

// Error is what became of a push, a lookup or a close that reached a server, or tried to. Get it with errors.As. It matches
// one of the errors above where there is one that says the same, and a context's error if that cut it short. IDs and tokens
// are in none of its fields: whatever looks like one is left out.
type Error struct {
	Status     int           // of the answer (RFC 9110); 0 if there was none
	Type       string        // the problem's, such as "urn:wspush:gone"; "" if the answer is not a worker's
	Detail     string        // the worker's words, shortened
	RetryAfter time.Duration // how long to wait before another try; 0 if the answer does not say
	Connection string        // with ErrUnknown: "open", "gone", or "" where that is unknown, too

	is    error // one of the errors above, or nil
	where string
	cause error // nil, or made by safe
}

// Error says what happened, where, and in the server's words, quoted.
func (e *Error) Error() string {
	var b strings.Builder
	if e.is != nil {
		b.WriteString(e.is.Error())
	} else {
		b.WriteString("wspush: the request was refused")
	}
	if e.where != "" {
		b.WriteString(": " + e.where)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
		if e.Type == "" {
			b.WriteString(", not of a worker")
		}
	}
	if e.Detail != "" {
		fmt.Fprintf(&b, ": %q", e.Detail)
	}
	if e.cause != nil {
		b.WriteString(": " + e.cause.Error())
	}
	return b.String()
}

// Unwrap returns the error that it matches, and its cause.
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

// errorOf is what an answer other than a success means for a message.
func (c *Client) errorOf(o origin, a bulk.Answer) *Error {
	e := &Error{Status: a.Status, RetryAfter: a.Wait(), is: sentinel(a), where: o.String()}
	if a.OfWorker() {
		e.Type, e.Detail = scrub(a.Type, c.opts.Token), scrub(a.Detail, c.opts.Token)
		if a.Connection == "open" || a.Connection == "gone" {
			e.Connection = a.Connection
		}
	}
	return e
}

// sentinel returns the error for an answer, or nil for a refusal that has none. A proxy's 4xx comes in place of the worker's, but
// its 5xx, or a success that no worker has, may come after the message was passed on.
func sentinel(a bulk.Answer) error {
	err := wire.ErrorOf(a.Status, a.Type)
	switch {
	case a.Status == http.StatusUnauthorized:
		return ErrForbidden
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

// elsewhere reports whether an answer says that nothing was written, and another of the worker's addresses may say something
// else.
func elsewhere(a bulk.Answer) bool {
	if !a.OfWorker() {
		return false
	}
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone,
		http.StatusMisdirectedRequest, http.StatusBadGateway, http.StatusLoopDetected:
		return true
	}
	return false
}

// cause is an error whose text has been scrubbed. Of what it was, only what has no text of its own to show can be matched.
type cause struct {
	text string
	is   error
}

func (e *cause) Error() string { return e.text }
func (e *cause) Unwrap() error { return e.is }

// safe makes the cause of an Error.
func (c *Client) safe(err error) error {
	if err == nil {
		return nil
	}
	safe := &cause{text: scrub(strings.TrimPrefix(err.Error(), "wspush: "), c.opts.Token)}
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

// ended is the error of a call whose context ended before anything was sent.
func ended(ctx context.Context) error {
	return fmt.Errorf("wspush: nothing was sent: %w", ctx.Err())
}
