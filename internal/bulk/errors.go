package bulk

import (
	"errors"
	"fmt"
	"net/url"
)

// What can become of a target that gets no answer of its own. The errors wrap their cause where there is one.
var (
	// ErrNotSent: nothing of the line was sent, or nothing of it was read.
	ErrNotSent = errors.New("wspush: the push was not sent")
	// ErrConnect is an ErrNotSent, for the reason that there was no connection.
	ErrConnect = fmt.Errorf("%w: no connection", ErrNotSent)
	// ErrLost: the line was sent, at least in part, and its answer did not come: nobody knows what became of it.
	ErrLost = errors.New("wspush: the answer to the push was lost")
)

// What Send and TrySend refuse a line with: nothing of it will be sent.
var (
	// ErrFull: too much is unanswered.
	ErrFull = errors.New("wspush: too much is unanswered")
	// ErrEnded: the request takes no more lines.
	ErrEnded = errors.New("wspush: the bulk request has ended")
)

var (
	errClosed    = errors.New("the request was closed")
	errEnd       = errors.New("the worker ended the request before it had read it")
	errCutOff    = errors.New("the answer was cut off")
	errMalformed = errors.New("the answer is malformed")
	errNoWorker  = errors.New("what answered is no worker")
)

// withoutURL leaves out what http.Client says about the URL.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
