package wspush

import (
	"errors"
	"sync/atomic"
)

// Stats is what a worker has done so far.
type Stats struct {
	Connections int    // that can be pushed to now
	Accepted    uint64 // connections, ever
	Received    uint64 // messages from clients

	// Pushes by outcome, whichever way they came.
	Written   uint64 // every byte written to the socket
	Confirmed uint64 // of those, how many the client has been asked to confirm, and has
	Refused   uint64 // nothing written: gone, busy, too large, not UTF-8, shutting down, or withdrawn
	Unknown   uint64 // perhaps written, in part or in full

	Forwarded uint64 // requests and pushes sent on to other workers, where pushes are counted; see WorkerOptions.Cluster
}

// counters are the counting side of Stats.
type counters struct {
	accepted, received, written, confirmed, refused, unknown, forwarded atomic.Uint64
}

// pushConfirmed counts a push that was to be confirmed by its outcome.
func (c *counters) pushConfirmed(err error) {
	if err == nil {
		c.confirmed.Add(1)
	}
	c.push(err)
}

// push counts a push by its outcome.
func (c *counters) push(err error) {
	switch {
	case err == nil:
		c.written.Add(1)
	case errors.Is(err, ErrUnknown):
		c.unknown.Add(1)
	default:
		c.refused.Add(1)
	}
}
