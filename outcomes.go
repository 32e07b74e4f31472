package wspush

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Outcomes is what a push to a user or a group came to: [Recipients.Push] returns it. The first five count connections.
type Outcomes struct {
	// Written and Received count those that have the message: every byte is written to the client's socket, or, for a push that was
	// to be [Confirmed], the client has read it. A confirmed push counts in Received, any other in Written.
	Written, Received int

	// Unknown counts those of which the message may have been written, in part or in full: ErrUnknown.
	Unknown int

	// Excepted counts those that were left out because of [Recipients.Except].
	Excepted int

	// Refused counts those to which nothing was written, and nothing will be, by the reason: ErrGone for one that has just ended,
	// ErrBusy, ErrShutdown and so on, or context.Canceled or context.DeadlineExceeded where the end of ctx has withdrawn the message.
	// It is nil if there are none.
	Refused map[error]int

	// Workers is how many workers may have members, this one included, and Answered how many of them have said what they have.
	Workers, Answered int

	// Complete says that all of them have, so that there is no member that is not counted.
	Complete bool
}

// Err returns everything that went wrong, joined, or nil if every member that was not excepted has the message, and every worker has
// answered. Unlike the error of [Recipients.Push], it is not nil if only some of the members have the message. errors.Is matches each of
// the reasons in Refused, ErrUnknown and ErrDirectory.
func (o Outcomes) Err() error {
	var all []error
	if o.Unknown > 0 {
		all = append(all, fmt.Errorf("%w: %d", ErrUnknown, o.Unknown))
	}
	for _, reason := range o.reasons() {
		all = append(all, fmt.Errorf("%w: %d", reason, o.Refused[reason]))
	}
	if !o.Complete {
		all = append(all, fmt.Errorf("%w: %d of %d workers have answered", ErrDirectory, o.Answered, o.Workers))
	}
	if len(all) == 0 && o.members() == 0 {
		return errNobody
	}
	return errors.Join(all...)
}

// errNobody is the ErrGone of a push to a user or a group.
var errNobody = fmt.Errorf("%w: nobody is there", ErrGone)

// hopeful are reasons to refuse a message, the one for which another attempt is most likely to succeed first.
var hopeful = []error{
	ErrBusy, context.DeadlineExceeded, context.Canceled, ErrShutdown, ErrUnreachable, ErrTooLarge, ErrInvalidUTF8, ErrForbidden, errInternal, ErrGone,
}

// reasons returns the reasons in Refused, in the order of hopeful.
func (o *Outcomes) reasons() (reasons []error) {
	for _, reason := range hopeful {
		if o.Refused[reason] > 0 {
			reasons = append(reasons, reason)
		}
	}
	for reason, n := range o.Refused { // an application may have made it
		if n > 0 && !slices.Contains(hopeful, reason) {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// members returns how many members have been found.
func (o *Outcomes) members() int {
	n := o.Written + o.Received + o.Unknown + o.Excepted
	for _, refused := range o.Refused {
		n += refused
	}
	return n
}

// err returns the one error that the outcomes come to. The order is part of the contract.
func (o *Outcomes) err() error {
	if o.Written+o.Received > 0 {
		return nil
	}
	if o.Unknown > 0 {
		return fmt.Errorf("%w to %d connections", ErrUnknown, o.Unknown)
	}
	for _, reason := range o.reasons() {
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
	return errNobody
}

// count counts the outcome of one connection.
func (o *Outcomes) count(confirm bool, err error) { o.add(confirm, err, 1) }

// add counts the outcome that n connections have.
func (o *Outcomes) add(confirm bool, err error, n int) {
	switch {
	case err == nil && confirm:
		o.Received += n
	case err == nil:
		o.Written += n
	case errors.Is(err, ErrUnknown):
		o.Unknown += n
	default:
		o.refuse(err, n)
	}
}

// join adds the connections that another push has counted.
func (o *Outcomes) join(of Outcomes) {
	o.Written += of.Written
	o.Received += of.Received
	o.Unknown += of.Unknown
	o.Excepted += of.Excepted
	for reason, n := range of.Refused {
		o.refuse(reason, n)
	}
}

// refuse counts connections that were refused with err.
func (o *Outcomes) refuse(err error, n int) {
	reason := errInternal
	if i := slices.IndexFunc(hopeful, func(known error) bool { return errors.Is(err, known) }); i >= 0 {
		reason = hopeful[i]
	}
	if o.Refused == nil {
		o.Refused = make(map[error]int)
	}
	o.Refused[reason] += n
}
