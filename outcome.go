package wspush

import (
	"context"
	"errors"
	"time"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// An outcome is a code for what became of a push, in the answer of the worker that holds the connection to the worker that was asked.
const (
	outcomeDone        uint8  = iota // written; or received, if that was asked for
	outcomeGone                      // ErrGone
	outcomeShutdown                  // ErrShutdown
	outcomeBusy                      // ErrBusy
	outcomeWithdrawn                 // the client did not take the message in time, or the publisher has left
	outcomeTooLarge                  // ErrTooLarge
	outcomeInvalidUTF8               // ErrInvalidUTF8
	outcomeOtherPath                 // errOtherPath
	outcomeRefused                   // the push was refused for what the worker that was asked had found wrong with it
	outcomeUnknownOpen               // errUnknownOpen
	outcomeUnknownGone               // errUnknownGone
	outcomeUnconfirmed               // errUnconfirmed
	outcomeLoop                      // errLoop
	outcomeUnreachable               // ErrUnreachable: an earlier start made the sealed ID, and the worker cannot find out whose it is
	outcomeInternal                  // errInternal
	outcomeFull                      // errIntakeFull
	outcomeLost                      // errUnanswered: what became of it cannot be told
	outcomeBuffered                  // bufferedFor: so long as the answer has in place of a round trip
	outcomeSuspended                 // ErrSuspended
	outcomeRepeated                  // errRepeated
	outcomeCount       = iota        // how many there are
)

// errRepeated is the outcome of a push to a user or a group for a session that has got it by another way, while it moved from one worker to
// another. It is not counted.
var errRepeated = socket.ErrRepeated

// outcomeErrors has the error for each code but outcomeDone, outcomeRefused and outcomeBuffered.
var outcomeErrors = [...]error{
	outcomeGone:        ErrGone,
	outcomeShutdown:    ErrShutdown,
	outcomeBusy:        ErrBusy,
	outcomeWithdrawn:   context.DeadlineExceeded,
	outcomeTooLarge:    ErrTooLarge,
	outcomeInvalidUTF8: ErrInvalidUTF8,
	outcomeOtherPath:   errOtherPath,
	outcomeUnknownOpen: errUnknownOpen,
	outcomeUnknownGone: errUnknownGone,
	outcomeUnconfirmed: errUnconfirmed,
	outcomeLoop:        errLoop,
	outcomeUnreachable: ErrUnreachable,
	outcomeInternal:    errInternal,
	outcomeFull:        errIntakeFull,
	outcomeLost:        errUnanswered,
	outcomeSuspended:   ErrSuspended,
	outcomeRepeated:    errRepeated,
}

// outcomeOf returns the code for the outcome of a push.
func outcomeOf(err error) uint8 {
	switch {
	case err == nil:
		return outcomeDone
	case errors.Is(err, context.Canceled):
		return outcomeWithdrawn
	case errors.Is(err, ErrTooLarge): // whose text has this worker's limit
		return outcomeTooLarge
	}
	if _, ok := bufferedIn(err); ok {
		return outcomeBuffered
	}
	for code, known := range outcomeErrors {
		if known != nil && err == known {
			return uint8(code)
		}
	}
	return outcomeInternal
}

// answerOf returns what another worker is told of a push that has failed. In place of a duration it has the limit of an ErrTooLarge.
func answerOf(err error) link.Answer {
	a := link.Answer{Code: outcomeOf(err)}
	var limit wire.TooLarge
	if errors.As(err, &limit) {
		a.RoundTrip = time.Duration(limit)
	}
	return a
}

// errorOf returns the outcome for a code, with the duration that came with it. A code that is unknown says nothing.
func errorOf(code uint8, d time.Duration) error {
	switch {
	case code == outcomeDone:
		return nil
	case code == outcomeBuffered:
		return bufferedFor(d)
	case code == outcomeTooLarge && d > 0:
		return wire.TooLarge(d)
	case int(code) < len(outcomeErrors) && outcomeErrors[code] != nil:
		return outcomeErrors[code]
	}
	return errUnanswered
}
