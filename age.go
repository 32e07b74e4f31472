package wspush

import (
	"math"
	"strconv"
	"time"
)

// The greatest age of a connection: HandlerOptions.MaxAge goes by how long it has lasted, HandlerOptions.Expires by the system's clock.

const (
	// forever is a time that is left and does not end.
	forever = time.Duration(math.MaxInt64)
	// ageSpread is which part of MaxAge the ages of connections are spread over.
	ageSpread = 5
	// clockInterval is how long the system's clock may go unread while it decides how long a connection may last. It can be set, and it goes on
	// while the machine sleeps, which timers do not.
	clockInterval = 5 * time.Minute
)

// ageOf returns the age that the connection with this ID may reach. It comes from the ID because that is random, and because a draw would have
// to be kept for each connection.
func ageOf(maxAge time.Duration, id string) time.Duration {
	const digits = 8 // the last ones: in a version 4 UUID all of these are random
	draw, _ := strconv.ParseUint(id[len(id)-digits:], 16, 4*digits)
	return maxAge - time.Duration(float64(maxAge/ageSpread)*float64(draw)/(1<<(4*digits)))
}

// expiry is when a login expires, by the system's clock, in nanoseconds since 1970; 0 is never. A time.Time would take 24 bytes of each connection.
type expiry int64

// expiryOf returns the expiry at t. What is later than an expiry can say, in the year 2262, is never.
func expiryOf(t time.Time) expiry {
	if t.IsZero() || t.After(time.Unix(0, math.MaxInt64)) {
		return 0
	}
	return expiry(t.UnixNano())
}

// left returns how long it is until then, at a time now. It is not for never.
func (e expiry) left(now time.Time) time.Duration {
	return time.Duration(int64(e) - now.UnixNano()) // and not Time.Sub, which goes by another clock where it can
}
