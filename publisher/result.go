package publisher

import (
	"context"
	"errors"
	"time"
)

// PushResult is what a push has come to: what Options.OnPush is called with. Nothing in it is secret: it has neither the address nor the
// data of the push, nor the name of a user or a group.
type PushResult struct {
	To       string        // what was pushed to: "connection", "user" or "group"
	Began    time.Time     // when the push was asked for; in a Stream, also when PushEach took its address
	Took     time.Duration // from then until its outcome was known
	Attempts int           // how often it was sent, or there was a try to: 0 if it was refused before that, and seldom more than 1

	// Outcome is one word of a fixed set, fit for a label. "written", "received" and "buffered" are successes: to a user or a group, the best
	// that a connection has got, and "excepted" if Except has left nobody. "unknown" is ErrUnknown. All others mean that nothing was written:
	// "gone", "busy", "suspended", "unavailable", "shutdown", "unreachable", "directory", "unauthorized", "forbidden", "too-large",
	// "invalid-utf8", "address" and "closed" are the errors of those names; "credential" is an error of CredentialFunc, "canceled" a context
	// that had ended before anything was sent, "refused" any other answer, and "invalid" any other mistake of the call, such as a wrong name.
	Outcome string

	Outcomes Outcomes // as Push to a user or a group has returned them; zero for a connection
	Err      error    // as the push has returned it
}

// What is pushed to.
const (
	toConnection = "connection"
	toUser       = "user"
	toGroup      = "group"
)

// now is when a push begins, for those who want to know.
func (c *Client) now() (began time.Time) {
	if c.opts.OnPush != nil {
		began = time.Now()
	}
	return began
}

// tell calls OnPush about a push to a connection. ctx is the caller's.
func (c *Client) tell(ctx context.Context, began time.Time, attempts int, state State, err error) {
	if c.opts.OnPush == nil {
		return
	}
	outcome := string(state)
	if err != nil {
		outcome = outcomeOf(err)
	}
	c.opts.OnPush(ctx, PushResult{To: toConnection, Began: began, Took: time.Since(began), Attempts: attempts, Outcome: outcome, Err: err})
}

// tellMembers calls OnPush about a push to a user or a group.
func (c *Client) tellMembers(ctx context.Context, isGroup bool, began time.Time, attempts int, out Outcomes, err error) {
	if c.opts.OnPush == nil {
		return
	}
	r := PushResult{To: toUser, Began: began, Took: time.Since(began), Attempts: attempts, Outcomes: out, Err: err}
	if isGroup {
		r.To = toGroup
	}
	switch {
	case err != nil:
		r.Outcome = outcomeOf(err)
	case out.Received > 0:
		r.Outcome = string(Received)
	case out.Written > 0:
		r.Outcome = string(Written)
	case out.Buffered > 0:
		r.Outcome = string(Buffered)
	default:
		r.Outcome = "excepted"
	}
	c.opts.OnPush(ctx, r)
}

// words are the outcomes of errors. ErrUnknown comes first: it may match the error of a context, too.
var words = []struct {
	err  error
	word string
}{
	{ErrUnknown, "unknown"},
	{ErrGone, "gone"},
	{ErrBusy, "busy"},
	{ErrSuspended, "suspended"},
	{ErrUnavailable, "unavailable"},
	{ErrShutdown, "shutdown"},
	{ErrUnreachable, "unreachable"},
	{ErrDirectory, "directory"},
	{ErrUnauthorized, "unauthorized"},
	{ErrForbidden, "forbidden"},
	{ErrTooLarge, "too-large"},
	{ErrInvalidUTF8, "invalid-utf8"},
	{ErrAddress, "address"},
	{ErrClosed, "closed"},
}

// outcomeOf is the outcome of a push that has failed.
func outcomeOf(err error) string {
	if e := (*credentialError)(nil); errors.As(err, &e) { // whatever the application's error matches
		return "credential"
	}
	for _, w := range words {
		if errors.Is(err, w.err) {
			return w.word
		}
	}
	e := (*Error)(nil)
	switch {
	case errors.As(err, &e):
		return "refused"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "invalid"
}
