package wspush

import (
	"context"
	"errors"
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
	outcomeCount       = iota        // how many there are
)

// outcomeErrors has the error for each code but outcomeDone and outcomeRefused.
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
}

// outcomeOf returns the code for the outcome of a push.
func outcomeOf(err error) uint8 {
	switch {
	case err == nil:
		return outcomeDone
	case errors.Is(err, context.Canceled):
		return outcomeWithdrawn
	}
	for code, known := range outcomeErrors {
		if known != nil && err == known {
			return uint8(code)
		}
	}
	return outcomeInternal
}

// errorOf returns the outcome for a code. One that is unknown says nothing.
func errorOf(code uint8) error {
	switch {
	case code == outcomeDone:
		return nil
	case int(code) < len(outcomeErrors) && outcomeErrors[code] != nil:
		return outcomeErrors[code]
	}
	return errUnanswered
}
