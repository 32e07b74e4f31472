package wspush

import (
	"context"
	"errors"
	"sync/atomic"
)

// Stats is what a worker has done so far: everything but Connections, PendingBytes and PushConns only ever grows. Module
// wspush/prometheus makes metrics of it.
type Stats struct {
	// Connections of clients.
	Connections int              // that can be pushed to now
	Accepted    uint64           // ever; those that are not among Connections are in Ended, or are just being greeted or closed
	Handshakes  HandshakeStats   // those that were refused
	Ended       map[Cause]uint64 // by what ended them; every Cause is in it

	// Messages and bytes.
	Received      uint64 // messages from clients
	BytesReceived uint64 // from clients, after the handshake: frames of every kind, before TLS
	BytesWritten  uint64 // to clients
	PendingBytes  int64  // of messages that wait for clients that do not read: what MaxPendingAll bounds

	// Pushes by outcome, whichever way they came. A push that is sent on to another worker is counted there.
	Written   uint64       // every byte written to the socket
	Confirmed uint64       // of those, how many the client has been asked to confirm, and has
	Refused   uint64       // nothing written
	RefusedBy RefusalStats // Refused, by reason
	Unknown   uint64       // perhaps written, in part or in full

	// PushLatency is of messages: from the moment at which one is handed to its connection until its last byte is written to
	// the socket. RoundTrip is of pings: from the writing to the pong.
	PushLatency Histogram
	RoundTrip   Histogram
	Pings       uint64 // written
	Pongs       uint64 // that answered one

	// The push endpoint.
	PushConns        int64          // connections of publishers to the push listener
	PushConnsRefused uint64         // beyond MaxPushConns
	Problems         map[int]uint64 // requests answered with an error, by status; only statuses that there have been are in it

	// Requests and pushes for connections of other workers; see WorkerOptions.Cluster.
	Forwarded      uint64       // all of them
	ForwardsFailed ForwardStats // those that had no answer
}

// ForwardStats is requests and pushes for connections of other workers that had no answer, by reason.
type ForwardStats struct {
	Full        uint64 // too many were being forwarded
	Unreachable uint64 // the other worker could not be reached: nothing was written
	Lost        uint64 // it could, and has not answered: what it has done with a push, only it knows, and counts
}

// HandshakeStats is handshakes that were refused, by reason.
type HandshakeStats struct {
	Full      uint64 // WorkerOptions.MaxConns is reached
	Shutdown  uint64 // Shutdown has begun
	Accept    uint64 // Options.Accept returned an error, or panicked
	Origin    uint64 // a page of a foreign origin
	Malformed uint64 // a GET request that is no handshake, or a broken one
	Failed    uint64 // the server could not hand the connection over, often because of a middleware
}

// RefusalStats is pushes that were refused, by reason: nothing was written.
type RefusalStats struct {
	Gone        uint64 // ErrGone
	Busy        uint64 // ErrBusy
	Withdrawn   uint64 // the publisher left, or its time was over, before the message had begun
	TooLarge    uint64 // ErrTooLarge
	InvalidUTF8 uint64 // ErrInvalidUTF8
	Shutdown    uint64 // ErrShutdown
	Other       uint64 // such as a token that no key opens
}

// counters are the counting side of Stats, but for what the sockets count.
type counters struct {
	accepted, received                     atomic.Uint64
	handshakes                             [handshakeReasons]atomic.Uint64
	ended                                  [len(causes)]atomic.Uint64
	written, confirmed, unknown, forwarded atomic.Uint64
	refused                                [refusalReasons]atomic.Uint64
	forwardsFailed                         [forwardReasons]atomic.Uint64
	problems                               [600 - firstProblem]atomic.Uint64 // by status
}

// causes are all there are, in the order in which they are counted.
var causes = [...]Cause{
	CauseClient, CauseLost, CauseClosed, CauseShutdown, CauseIdle, CauseNoAnswer, CauseWriteTimeout, CauseProtocol, CauseCallback,
}

const firstProblem = 400

// The reasons of HandshakeStats.
const (
	handshakeFull = iota
	handshakeShutdown
	handshakeAccept
	handshakeOrigin
	handshakeMalformed
	handshakeFailed
	handshakeReasons
)

// The reasons of RefusalStats.
const (
	refusedGone = iota
	refusedBusy
	refusedWithdrawn
	refusedTooLarge
	refusedInvalidUTF8
	refusedShutdown
	refusedOther
	refusalReasons
)

// The reasons of ForwardStats.
const (
	forwardFull = iota
	forwardUnreachable
	forwardLost
	forwardReasons
)

// forward counts what has been sent on, and not been answered.
func (c *counters) forward(err error) {
	if errors.Is(err, ErrUnreachable) {
		c.forwardsFailed[forwardUnreachable].Add(1)
	} else {
		c.forwardsFailed[forwardLost].Add(1)
	}
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
		c.refused[refusalOf(err)].Add(1)
	}
}

func refusalOf(err error) int {
	switch {
	case errors.Is(err, ErrGone):
		return refusedGone
	case errors.Is(err, ErrBusy):
		return refusedBusy
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return refusedWithdrawn
	case errors.Is(err, ErrTooLarge):
		return refusedTooLarge
	case errors.Is(err, ErrInvalidUTF8):
		return refusedInvalidUTF8
	case errors.Is(err, ErrShutdown):
		return refusedShutdown
	}
	return refusedOther
}

// end counts the end of a connection.
func (c *counters) end(cause Cause) {
	for i, known := range causes {
		if known == cause {
			c.ended[i].Add(1)
		}
	}
}

// problem counts a request to the push endpoint that is answered with an error.
func (c *counters) problem(status int) {
	if i := status - firstProblem; i >= 0 && i < len(c.problems) {
		c.problems[i].Add(1)
	}
}

// stats is what has been counted.
func (c *counters) stats() Stats {
	s := Stats{
		Accepted: c.accepted.Load(),
		Handshakes: HandshakeStats{
			Full:      c.handshakes[handshakeFull].Load(),
			Shutdown:  c.handshakes[handshakeShutdown].Load(),
			Accept:    c.handshakes[handshakeAccept].Load(),
			Origin:    c.handshakes[handshakeOrigin].Load(),
			Malformed: c.handshakes[handshakeMalformed].Load(),
			Failed:    c.handshakes[handshakeFailed].Load(),
		},
		Ended:     make(map[Cause]uint64, len(causes)),
		Received:  c.received.Load(),
		Written:   c.written.Load(),
		Confirmed: c.confirmed.Load(),
		RefusedBy: RefusalStats{
			Gone:        c.refused[refusedGone].Load(),
			Busy:        c.refused[refusedBusy].Load(),
			Withdrawn:   c.refused[refusedWithdrawn].Load(),
			TooLarge:    c.refused[refusedTooLarge].Load(),
			InvalidUTF8: c.refused[refusedInvalidUTF8].Load(),
			Shutdown:    c.refused[refusedShutdown].Load(),
			Other:       c.refused[refusedOther].Load(),
		},
		Unknown:   c.unknown.Load(),
		Problems:  make(map[int]uint64),
		Forwarded: c.forwarded.Load(),
		ForwardsFailed: ForwardStats{
			Full:        c.forwardsFailed[forwardFull].Load(),
			Unreachable: c.forwardsFailed[forwardUnreachable].Load(),
			Lost:        c.forwardsFailed[forwardLost].Load(),
		},
	}
	for i, cause := range causes {
		s.Ended[cause] = c.ended[i].Load()
	}
	r := s.RefusedBy
	s.Refused = r.Gone + r.Busy + r.Withdrawn + r.TooLarge + r.InvalidUTF8 + r.Shutdown + r.Other
	for i := range c.problems {
		if n := c.problems[i].Load(); n > 0 {
			s.Problems[firstProblem+i] = n
		}
	}
	return s
}

// Stats returns what the worker has done so far. The numbers are not all of the same instant.
func (w *Worker) Stats() Stats {
	s := w.shared.count.stats()
	s.Connections = w.Len()
	t := w.sockets.Traffic()
	s.BytesReceived, s.BytesWritten, s.PendingBytes = t.BytesIn, t.BytesOut, w.sockets.Pending()
	s.PushLatency, s.RoundTrip = Histogram{t.Latency}, Histogram{t.RoundTrip}
	s.Pings, s.Pongs = t.Pings, t.Pongs
	if w.pushers != nil {
		s.PushConns, s.PushConnsRefused = w.pushers.n.Load(), w.pushers.refused.Load()
	}
	return s
}
