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
	accepted, received, written, confirmed, unknown, forwarded atomic.Uint64

	handshakes     handshakeCounters
	refused        refusalCounters
	ended          [len(causes)]atomic.Uint64
	problems       [600 - firstProblem]atomic.Uint64 // by status
	forwardsFailed forwardCounters
}

type (
	handshakeCounters struct{ full, shutdown, accept, origin, malformed, failed atomic.Uint64 }
	refusalCounters   struct{ gone, busy, withdrawn, tooLarge, invalidUTF8, shutdown, other atomic.Uint64 }
	forwardCounters   struct{ full, unreachable, lost atomic.Uint64 }
)

// causes are all there are, in the order in which they are counted.
var causes = [...]Cause{
	CauseClient, CauseLost, CauseClosed, CauseShutdown, CauseIdle, CauseNoAnswer, CauseWriteTimeout, CauseProtocol, CauseCallback,
}

const firstProblem = 400

// forward counts what has been sent on, and not been answered.
func (c *counters) forward(err error) {
	if errors.Is(err, ErrUnreachable) {
		c.forwardsFailed.unreachable.Add(1)
	} else {
		c.forwardsFailed.lost.Add(1)
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
		c.refused.of(err).Add(1)
	}
}

// of is the counter of a push that was refused with err.
func (c *refusalCounters) of(err error) *atomic.Uint64 {
	switch {
	case errors.Is(err, ErrGone):
		return &c.gone
	case errors.Is(err, ErrBusy):
		return &c.busy
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &c.withdrawn
	case errors.Is(err, ErrTooLarge):
		return &c.tooLarge
	case errors.Is(err, ErrInvalidUTF8):
		return &c.invalidUTF8
	case errors.Is(err, ErrShutdown):
		return &c.shutdown
	}
	return &c.other
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
			Full:      c.handshakes.full.Load(),
			Shutdown:  c.handshakes.shutdown.Load(),
			Accept:    c.handshakes.accept.Load(),
			Origin:    c.handshakes.origin.Load(),
			Malformed: c.handshakes.malformed.Load(),
			Failed:    c.handshakes.failed.Load(),
		},
		Ended:     make(map[Cause]uint64, len(causes)),
		Received:  c.received.Load(),
		Written:   c.written.Load(),
		Confirmed: c.confirmed.Load(),
		RefusedBy: RefusalStats{
			Gone:        c.refused.gone.Load(),
			Busy:        c.refused.busy.Load(),
			Withdrawn:   c.refused.withdrawn.Load(),
			TooLarge:    c.refused.tooLarge.Load(),
			InvalidUTF8: c.refused.invalidUTF8.Load(),
			Shutdown:    c.refused.shutdown.Load(),
			Other:       c.refused.other.Load(),
		},
		Unknown:   c.unknown.Load(),
		Problems:  make(map[int]uint64),
		Forwarded: c.forwarded.Load(),
		ForwardsFailed: ForwardStats{
			Full:        c.forwardsFailed.full.Load(),
			Unreachable: c.forwardsFailed.unreachable.Load(),
			Lost:        c.forwardsFailed.lost.Load(),
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
	if w.server != nil {
		s.PushConns, s.PushConnsRefused = w.server.listener.Conns(), w.server.listener.Refused()
	}
	return s
}
