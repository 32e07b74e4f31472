package publisher

import (
	"errors"
	"math"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Outcomes is what a push to a user or a group came to. It is a struct, the same as in package wspush. Its fields Written, Received,
// Buffered, Unknown and Excepted, of type int, and Refused, a map[error]int, count connections, each of them once:
//
//   - Written and Received: those that have the message. A push with [Confirmed] counts in Received, any other in Written.
//   - Buffered: those whose session has it, and whose client gets it first thing when it is back ([Buffered]).
//   - Unknown: those of which the message may have been written, in part or in full.
//   - Excepted: those that were left out because of [Recipients.Except].
//   - Refused: those to which nothing was written, and nothing will be, by the reason: ErrGone, ErrBusy, ErrShutdown and so on. It is nil
//     if there are none. A message that was withdrawn after its timeout is counted as ErrBusy.
//
// Workers, an int, is how many workers may have members, and Answered how many of them have said what they have. Complete, a bool, says that
// all of them have, so that there is no member that is not counted.
//
// Its method Err returns everything that went wrong, joined, or nil if every member that was not excepted has the message, or its session
// does, and every worker has answered. Unlike the error of [Recipients.Push], it is not nil if only some of the members have the message.
//
// All is zero where the answer did not say: if none came, for example, or if the request as a whole was refused.
type Outcomes = wire.Outcomes

var (
	errOutcomes = errors.New("the answer does not say in a way that makes sense what the push has come to")
	errReason   = errors.New("wspush: refused for a reason of which this version knows nothing")
)

// outcomesOf returns what an answer to a push to a user or a group says that it has come to. An error means that the answer makes no sense,
// or contradicts itself: then the outcome is unknown, whatever its status.
func outcomesOf(a bulk.Answer, confirmed bool) (Outcomes, error) {
	c := a.Counts
	switch {
	case c == nil && a.Status == statusDone:
		return Outcomes{}, errOutcomes
	case c == nil:
		return Outcomes{}, nil
	case c.Refused == nil || c.Complete == nil:
		return Outcomes{}, errOutcomes
	}
	o := Outcomes{Complete: *c.Complete}
	all := int64(0)
	buffered := c.Buffered
	if buffered == nil { // the worker has no sessions, or none of them has the message
		buffered = new(int)
	}
	for _, field := range []struct {
		from   *int
		to     *int
		counts bool // connections
	}{
		{c.Written, &o.Written, true}, {c.Received, &o.Received, true}, {buffered, &o.Buffered, true}, {c.Unknown, &o.Unknown, true}, {c.Excepted, &o.Excepted, true},
		{c.Workers, &o.Workers, false}, {c.Answered, &o.Answered, false},
	} {
		if field.from == nil || !isCount(*field.from) {
			return Outcomes{}, errOutcomes
		}
		*field.to = *field.from
		if field.counts {
			all += int64(*field.from)
		}
	}
	for kind, n := range c.Refused {
		if all += int64(n); !isCount(n) || all > math.MaxInt32 {
			return Outcomes{}, errOutcomes
		}
		if n == 0 {
			continue
		}
		if o.Refused == nil {
			o.Refused = make(map[error]int)
		}
		o.Refused[reasonOf(kind)] += n
	}
	if all > math.MaxInt32 || !agrees(&o, a.Status, confirmed) {
		return Outcomes{}, errOutcomes
	}
	return o, nil
}

// statusDone is the status of a push to a user or a group that has not failed.
const statusDone = 200

// isCount reports whether n can be a number of connections, or a part of one.
func isCount(n int) bool { return n >= 0 && n <= math.MaxInt32 }

// agrees reports whether outcomes agree with each other and with the status that a worker has made of them.
func agrees(o *Outcomes, status int, confirmed bool) bool {
	switch {
	case o.Answered > o.Workers, o.Complete && o.Answered < o.Workers:
		return false
	case confirmed && o.Written > 0, !confirmed && o.Received > 0:
		return false
	}
	switch err := wire.OneError(o); status {
	case statusDone:
		return err == nil
	case wire.StatusOf(ErrUnknown): // perhaps because of connections that nobody could count
		return o.Written+o.Received+o.Buffered == 0
	case wire.StatusOf(ErrGone): // and not if some worker has not answered
		return errors.Is(err, ErrGone)
	default:
		return err != nil && !errors.Is(err, ErrUnknown)
	}
}

// reasonOf returns the reason for a refusal by the end of a problem's type.
func reasonOf(kind string) error {
	switch typ := wire.TypePrefix + kind; typ {
	case wire.TypeShutdown:
		return ErrShutdown
	case wire.TypeFull:
		return ErrBusy
	case wire.TypeUnavailable:
		return ErrUnavailable
	case wire.TypeDirectory:
		return ErrDirectory
	case wire.TypeSuspended:
		return ErrSuspended
	}
	switch kind {
	case "gone":
		return ErrGone
	case "busy":
		return ErrBusy
	case "too-large":
		return ErrTooLarge
	case "forbidden":
		return ErrForbidden
	case "unreachable", "loop":
		return ErrUnreachable
	case "internal":
		return wire.ErrInternal
	}
	return errReason
}
