package wspush

import (
	"errors"

	"github.com/wspush/wspush/internal/wire"
)

// Outcomes is what a push to a user or a group came to: [Recipients.Push] returns it. It is a struct, the same as in package publisher.
// Its fields Written, Received, Buffered, Unknown and Excepted, of type int, and Refused, a map[error]int, count connections; each member is
// counted once. A worker that has not said what became of its part counts there like one connection, or like as many as it is known to have.
//
//   - Written and Received: those that have the message. Every byte is written to the client's socket, or, for a push that was to be
//     [Confirmed], the client has read it. A confirmed push counts in Received, any other in Written.
//   - Buffered: those whose session has it, and whose client gets it first thing when it is back ([Buffered]).
//   - Unknown: those of which the message may have been written, in part or in full: ErrUnknown.
//   - Excepted: those that were left out because of [Recipients.Except].
//   - Refused: those to which nothing was written, and nothing will be, by the reason: ErrGone for one that has just ended, ErrBusy,
//     ErrShutdown and so on, or context.Canceled or context.DeadlineExceeded where the end of ctx has withdrawn the message. It is nil if
//     there are none.
//
// Workers, an int, is how many workers may have members, this one included, and Answered how many of them have said what they have.
// Complete, a bool, says that all of them have, and that there can be no others, so that there is no member that is not counted.
//
// Its method Err returns everything that went wrong, joined, or nil if every member that was not excepted has the message, or its session
// does, and every worker has answered. Unlike the error of [Recipients.Push], it is not nil if only some of the members have the message. errors.Is matches
// each of the reasons in Refused, ErrUnknown and ErrDirectory.
type Outcomes = wire.Outcomes

// count counts the outcome of one connection.
func count(o *Outcomes, confirm bool, err error) { countAll(o, confirm, err, 1) }

// countAll counts the outcome that n connections have.
func countAll(o *Outcomes, confirm bool, err error, n int) {
	_, isBuffered := bufferedIn(err)
	switch {
	case err == errRepeated: // it is counted where it has got the message
	case isBuffered:
		o.Buffered += n
	case err == nil && confirm:
		o.Received += n
	case err == nil:
		o.Written += n
	case errors.Is(err, ErrUnknown):
		o.Unknown += n
	default:
		refuse(o, err, n)
	}
}

// join adds the connections that another push has counted.
func join(o *Outcomes, of Outcomes) {
	o.Written += of.Written
	o.Received += of.Received
	o.Buffered += of.Buffered
	o.Unknown += of.Unknown
	o.Excepted += of.Excepted
	for reason, n := range of.Refused {
		refuse(o, reason, n)
	}
}

// isNobody reports whether nobody is there as far as these tell. Those that ended before the message came to them may have moved meanwhile:
// their user is gone only if nobody is found after that.
func isNobody(o *Outcomes) bool { return wire.CountMembers(o) == o.Refused[ErrGone] }

// refuse counts connections that were refused with err.
func refuse(o *Outcomes, err error, n int) {
	if o.Refused == nil {
		o.Refused = make(map[error]int)
	}
	o.Refused[wire.ReasonOf(err)] += n
}
