package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Outcomes is what a push to a user or a group came to. The first five count connections. A worker that has not said what became of its
// part counts there like one connection, or like as many as it is known to have.
type Outcomes struct {
	// Written and Received count those that have the message: every byte is written to the client's socket, or, for a push that was
	// to be confirmed, the client has read it. A confirmed push counts in Received, any other in Written.
	Written, Received int

	// Buffered counts those whose session has the message, and whose client gets it first thing when it is back.
	Buffered int

	// Unknown counts those of which the message may have been written, in part or in full: ErrUnknown.
	Unknown int

	// Excepted counts those that were left out because the push was to be without them.
	Excepted int

	// Refused counts those to which nothing was written, and nothing will be, by the reason: ErrGone for one that has just ended,
	// ErrBusy, ErrShutdown and so on; in the process of the worker also context.Canceled or context.DeadlineExceeded, where the end of
	// the context has withdrawn the message. It is nil if there are none.
	Refused map[error]int

	// Workers is how many workers may have members, the one that was asked included, and Answered how many of them have said what
	// they have.
	Workers, Answered int

	// Complete says that all of them have, and that there can be no others, so that there is no member that is not counted.
	Complete bool
}

// Err returns everything that went wrong, joined, or nil if every member that was not excepted has the message, or its session, and every
// worker has answered. Unlike the error of the push, it is not nil if only some of the members have the message. errors.Is matches each of the
// reasons in Refused, ErrUnknown and ErrDirectory.
func (o Outcomes) Err() error {
	var all []error
	if o.Unknown > 0 {
		all = append(all, fmt.Errorf("%w: %d", ErrUnknown, o.Unknown))
	}
	for _, reason := range reasons(&o) {
		all = append(all, fmt.Errorf("%w: %d", reason, o.Refused[reason]))
	}
	if !o.Complete {
		all = append(all, fmt.Errorf("%w: %d of %d workers have answered", ErrDirectory, o.Answered, o.Workers))
	}
	if len(all) == 0 && CountMembers(&o) == 0 {
		return ErrNobody
	}
	return errors.Join(all...)
}

// ErrNobody is the ErrGone of a push to a user or a group.
var ErrNobody = fmt.Errorf("%w: nobody is there", ErrGone)

// ErrInternal is the reason of a refusal that has no better one.
var ErrInternal = errors.New("wspush: the worker that holds the connection has failed; nothing was written")

// hopeful are reasons to refuse a message, the one for which another attempt is most likely to succeed first.
var hopeful = [...]error{
	ErrBusy, context.DeadlineExceeded, context.Canceled, ErrSuspended, ErrShutdown, ErrUnreachable, ErrTooLarge, ErrInvalidUTF8, ErrForbidden, ErrInternal, ErrGone,
}

// ReasonOf returns the reason as which Outcomes counts a connection that was refused with err.
func ReasonOf(err error) error {
	for _, known := range hopeful {
		if errors.Is(err, known) {
			return known
		}
	}
	return ErrInternal
}

// reasons returns the reasons in Refused, in the order of hopeful.
func reasons(o *Outcomes) (all []error) {
	for _, reason := range hopeful {
		if o.Refused[reason] > 0 {
			all = append(all, reason)
		}
	}
	for reason, n := range o.Refused { // an application may have made it
		if n > 0 && !slices.Contains(hopeful[:], reason) {
			all = append(all, reason)
		}
	}
	return all
}

// The following are functions since Outcomes is public, and they are not.

// CountMembers returns how many members have been found.
func CountMembers(o *Outcomes) int {
	n := o.Written + o.Received + o.Buffered + o.Unknown + o.Excepted
	for _, refused := range o.Refused {
		n += refused
	}
	return n
}

// OneError returns the one error that outcomes come to. The order is part of the contract.
func OneError(o *Outcomes) error {
	if o.Written+o.Received+o.Buffered > 0 {
		return nil
	}
	if o.Unknown > 0 {
		return fmt.Errorf("%w to %d connections", ErrUnknown, o.Unknown)
	}
	for _, reason := range reasons(o) {
		if reason != ErrGone {
			return reason
		}
	}
	switch {
	case !o.Complete:
		return fmt.Errorf("%w: %d of %d workers have answered", ErrDirectory, o.Answered, o.Workers)
	case o.Excepted > 0:
		return nil
	}
	return ErrNobody
}

// Member is a connection of a user or in a group.
type Member struct {
	ID    string    // of the connection; with a Cluster it is sealed, so that any worker takes it
	User  string    // whose connection it is, or ""
	Since time.Time // when it became a member: a user's with its greeting, a group's perhaps later
}
