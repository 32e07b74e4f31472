package publisher

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Keep says how long a push waits for a client that is away, whose connection is a session: see wspush.HandlerOptions.ResumeWindow. Without
// it, the session has the message at once, and State is [Buffered]; a [Confirmed] push waits, and is Buffered only if it has begun when its
// wait ends.
//
// With Keep(0) the push does not wait for a client that is away: it gets ErrSuspended at once, and nothing is written, now or later. With a
// longer time it waits for the client, and gets ErrSuspended if it is not back by then; the whole push then takes no longer than that. More
// than 30 s is cut to 30 s. Only what has not begun is refused: a message that is cut off in the middle is the session's, and State is
// Buffered. A negative time is 0. A worker without sessions, of an earlier version, refuses such a push, and nothing is written.
func Keep(d time.Duration) PushOption { return wire.KeepFor(d) }

// options merges the options of a push, with Keep as workers are told it: in whole milliseconds, of which one means that it waits.
func options(opts []PushOption) wire.PushOptions {
	o := wire.Options(opts)
	if o.Keep.For > 0 {
		o.Keep.For = min(max(o.Keep.For.Truncate(time.Millisecond), time.Millisecond), maxWorkerTimeout)
	}
	return o
}

// statusBuffered is the status of a push to one connection that its session has.
const statusBuffered = http.StatusAccepted

// bufferedIn returns for how long a session waits for its client, as the header of an answer with that status says. An answer that does not
// say so is some proxy's.
func bufferedIn(h http.Header) (d time.Duration, ok bool) {
	seconds, err := strconv.ParseUint(h.Get("Wspush-Buffered"), 10, 31)
	return time.Duration(seconds) * time.Second, err == nil
}

// bufferedFor is bufferedIn for the answer to a line.
func bufferedFor(a bulk.Answer) (d time.Duration, ok bool) {
	if a.BufferedFor == nil || !(*a.BufferedFor >= 0 && *a.BufferedFor <= math.MaxInt32) {
		return 0, false
	}
	return time.Duration(*a.BufferedFor * float64(time.Second)), true
}
