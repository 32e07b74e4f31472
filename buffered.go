package wspush

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// Keep says how long a push waits for a client that is away, whose connection is a session: see HandlerOptions.ResumeWindow. Without
// it, the session has the message at once, and State is [Buffered]; a [Confirmed] push waits, and is Buffered only if it has begun when its
// wait ends.
//
// With Keep(0) the push does not wait for a client that is away: it gets ErrSuspended at once, and nothing is written, now or later. With a
// longer time it waits for the client, and gets ErrSuspended if it is not back by then; the whole push then takes no longer than that, as if its
// context had a deadline that far away. Only what has not begun is refused: a message that is cut off in the middle is the session's, and
// State is Buffered. A negative time is 0.
func Keep(d time.Duration) PushOption { return wire.KeepFor(d) }

// bufferedFor is the outcome of a message that a session has, and how long that waits for its client. It is an error only until
// it leaves the package: everything that settles messages knows nil as written, and this is not.
type bufferedFor time.Duration

func (b bufferedFor) Error() string {
	return "wspush: the client is away; its session has the message, and waits for " + time.Duration(b).String()
}

// bufferedIn returns how long the session waits for its client that has the message with this outcome, and whether there is one.
func bufferedIn(err error) (d time.Duration, ok bool) {
	b, ok := err.(bufferedFor)
	return time.Duration(b), ok
}

// accepted returns an outcome for those who only ask whether anything went wrong.
func accepted(err error) error {
	if _, ok := bufferedIn(err); ok {
		return nil
	}
	return err
}

// inSeconds returns a duration as publishers and clients are told it: rounded up, so that nobody comes too late who believes it.
func inSeconds(d time.Duration) int { return int(math.Ceil(max(d, 0).Seconds())) }

// bufferedHeader says for how many seconds a session still waits for its client.
const bufferedHeader = "Wspush-Buffered"

// bufferedResponse is the answer to a push that a session has.
func bufferedResponse(d time.Duration) response {
	return response{status: http.StatusAccepted, header: http.Header{bufferedHeader: {strconv.Itoa(inSeconds(d))}}}
}

// keepMessage tells a message, which has just been prepared, what to do while its connection is suspended.
func keepMessage(m *socket.Message, k wire.Keep) {
	if k.Asked {
		m.IfAway(k.For > 0)
	}
}

// options returns what the query asks for as options of a push.
func (q pushQuery) options() wire.PushOptions {
	return wire.PushOptions{Confirmed: q.confirm, Keep: q.keep, Mark: q.mark}
}
