package bulk

import (
	"errors"
	"fmt"
	"net/url"
)

// What can become of a target that gets no answer of its own. The errors wrap their cause where there is one.
var (
	// ErrNotSent: nothing of the line was sent, or the worker has not read it.
	ErrNotSent = errors.New("wspush: the push was not sent")
	// ErrConnect is an ErrNotSent for lack of a connection.
	ErrConnect = fmt.Errorf("%w: no connection", ErrNotSent)
	// ErrHole is an ErrNotSent because parts of the request were lost on the way. The worker has read nothing after the first
	// of them.
	ErrHole = fmt.Errorf("%w: parts of the request were lost on the way", ErrNotSent)
	// ErrLost: the line was sent, at least in part, and its answer did not come, so its outcome is unknown.
	ErrLost = errors.New("wspush: the answer to the push was lost")
)

// What Send and TrySend fail with: nothing of the line will be sent.
var (
	// ErrFull: too much is unanswered.
	ErrFull = errors.New("wspush: too much is unanswered")
	// ErrEnded: the request takes no more lines.
	ErrEnded = errors.New("wspush: the bulk request has ended")
)

var (
	errLate      = errors.New("the header of the answer did not come in time")
	errClosed    = errors.New("the request was closed")
	errEnd       = errors.New("the worker ended the request before it had read it")
	errCutOff    = errors.New("the answer was cut off")
	errMalformed = errors.New("the answer is malformed")
	errNoWorker  = errors.New("the answer is not a worker's")
)

// withoutURL leaves out what http.Client says of the URL.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
