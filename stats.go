package wspush

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/stats"
)

// counters count everything in a stats.Snapshot except what the sockets count.
type counters struct {
	accepted, received, written, buffered, confirmed, unknown, forwarded atomic.Uint64
	userPushes, groupPushes                                              atomic.Uint64

	handshakes     handshakeCounters
	resumes        resumeCounters
	loaded         atomic.Uint64 // sessions, from the session file
	takeovers      takeoverCounters
	departed       atomic.Uint64 // sessions that other workers have taken
	replaced       atomic.Uint64 // WebSockets, by newer ones of their sessions
	unconfirmed    atomic.Uint64 // messages, when their sessions ended
	sessions       atomic.Int64  // now
	suspended      atomic.Int64  // of these
	refused        refusalCounters
	ended          [len(causes)]atomic.Uint64
	problems       [600 - firstProblem]atomic.Uint64 // by status
	forwardsFailed forwardCounters
}

type (
	handshakeCounters struct{ full, shutdown, accept, origin, malformed, failed atomic.Uint64 }
	refusalCounters   struct{ gone, busy, withdrawn, suspended, tooLarge, invalidUTF8, shutdown, directory, other atomic.Uint64 }
	takeoverCounters  struct{ done, failed atomic.Uint64 }
	forwardCounters   struct{ full, unreachable, lost atomic.Uint64 }
)

// causes lists every Cause; counters.ended has the same order.
var causes = [...]Cause{
	CauseClient, CauseLost, CauseClosed, CauseShutdown, CauseIdle, CauseNoAnswer, CauseExpired, CauseWriteTimeout, CauseProtocol, CauseAway,
	CauseMoved, CauseCallback,
}

const firstProblem = 400

// takeover counts an attempt to take a session from another worker. Whoever has none is counted as one who comes back.
func (c *counters) takeover(outcome arrivalOutcome) {
	switch outcome {
	case takeDone:
		c.takeovers.done.Add(1)
	case takeLater, takeUnreachable:
		c.takeovers.failed.Add(1)
	}
}

// pushAs counts a push, which may have asked for a confirmation, by its outcome.
func (c *counters) pushAs(confirm bool, err error) {
	if confirm && err == nil {
		c.confirmed.Add(1)
	}
	c.push(err)
}

// push counts a push by its outcome.
func (c *counters) push(err error) {
	_, isBuffered := bufferedIn(err)
	switch {
	case err == nil:
		c.written.Add(1)
	case err == errRepeated:
	case isBuffered:
		c.buffered.Add(1)
	case errors.Is(err, ErrUnknown):
		c.unknown.Add(1)
	default:
		c.refused.of(err).Add(1)
	}
}

// pushTo counts a push to a user or a group.
func (c *counters) pushTo(isGroup bool) {
	if isGroup {
		c.groupPushes.Add(1)
	} else {
		c.userPushes.Add(1)
	}
}

// of returns the counter for a push that was refused with err.
func (c *refusalCounters) of(err error) *atomic.Uint64 {
	switch {
	case errors.Is(err, ErrGone):
		return &c.gone
	case errors.Is(err, ErrBusy):
		return &c.busy
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &c.withdrawn
	case errors.Is(err, ErrSuspended):
		return &c.suspended
	case errors.Is(err, ErrTooLarge):
		return &c.tooLarge
	case errors.Is(err, ErrInvalidUTF8):
		return &c.invalidUTF8
	case errors.Is(err, ErrShutdown):
		return &c.shutdown
	case errors.Is(err, ErrDirectory):
		return &c.directory
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

// problem counts a request to the push endpoint that was answered with an error.
func (c *counters) problem(status int) {
	if i := status - firstProblem; i >= 0 && i < len(c.problems) {
		c.problems[i].Add(1)
	}
}

// snapshot returns what has been counted.
func (c *counters) snapshot() stats.Snapshot {
	s := stats.Snapshot{
		Accepted: c.accepted.Load(),
		Handshakes: stats.Handshakes{
			Full:      c.handshakes.full.Load(),
			Shutdown:  c.handshakes.shutdown.Load(),
			Accept:    c.handshakes.accept.Load(),
			Origin:    c.handshakes.origin.Load(),
			Malformed: c.handshakes.malformed.Load(),
			Failed:    c.handshakes.failed.Load(),
		},
		Ended:     make(map[string]uint64, len(causes)),
		Received:  c.received.Load(),
		Written:   c.written.Load(),
		Confirmed: c.confirmed.Load(),
		RefusedBy: stats.Refusals{
			Gone:        c.refused.gone.Load(),
			Busy:        c.refused.busy.Load(),
			Withdrawn:   c.refused.withdrawn.Load(),
			Suspended:   c.refused.suspended.Load(),
			TooLarge:    c.refused.tooLarge.Load(),
			InvalidUTF8: c.refused.invalidUTF8.Load(),
			Shutdown:    c.refused.shutdown.Load(),
			Directory:   c.refused.directory.Load(),
			Other:       c.refused.other.Load(),
		},
		Buffered: c.buffered.Load(),
		Unknown:  c.unknown.Load(),

		Sessions: stats.Sessions{
			Live:        c.sessions.Load(),
			Suspended:   c.suspended.Load(),
			Loaded:      c.loaded.Load(),
			Taken:       c.takeovers.done.Load(),
			TakesFailed: c.takeovers.failed.Load(),
			Moved:       c.departed.Load(),
			Replaced:    c.replaced.Load(),
			Unconfirmed: c.unconfirmed.Load(),
			Resumes: stats.Resumes{
				Resumed:     c.resumes.resumed.Load(),
				Incomplete:  c.resumes.incomplete.Load(),
				Expired:     c.resumes.expired.Load(),
				Unknown:     c.resumes.unknown.Load(),
				Unreachable: c.resumes.unreachable.Load(),
				Ended:       c.resumes.ended.Load(),
				Refused:     c.resumes.refused.Load(),
				Ahead:       c.resumes.ahead.Load(),
			},
		},

		UserPushes:  c.userPushes.Load(),
		GroupPushes: c.groupPushes.Load(),

		Problems:  make(map[int]uint64),
		Forwarded: c.forwarded.Load(),
		ForwardsFailed: stats.Forwards{
			Full:        c.forwardsFailed.full.Load(),
			Unreachable: c.forwardsFailed.unreachable.Load(),
			Lost:        c.forwardsFailed.lost.Load(),
		},
	}
	for i, cause := range causes {
		s.Ended[string(cause)] = c.ended[i].Load()
	}
	r := s.RefusedBy
	s.Refused = r.Gone + r.Busy + r.Withdrawn + r.Suspended + r.TooLarge + r.InvalidUTF8 + r.Shutdown + r.Directory + r.Other
	for i := range c.problems {
		if n := c.problems[i].Load(); n > 0 {
			s.Problems[firstProblem+i] = n
		}
	}
	return s
}

// Stats returns what the worker has done until now. The figures are not all taken at the same instant.
func (w *Worker) Stats() stats.Snapshot {
	s := w.shared.count.snapshot()
	s.Connections = w.Len()
	m := w.shared.members
	s.Users, s.Groups, s.Memberships = m.users.names.Load(), m.groups.names.Load(), m.groups.size.Load()
	if w.membership != nil {
		d := w.membership.Stats()
		s.Directory = stats.Directory{Failing: d.Failing, Pending: d.Pending, Workers: d.Workers, Vanished: d.Vanished}
	}
	if w.links != nil {
		s.Links = stats.Links(w.links.Stats())
	}
	t := w.sockets.Traffic()
	s.BytesReceived, s.BytesWritten, s.PendingBytes = t.BytesIn, t.BytesOut, w.sockets.Pending()
	s.Sessions.Buffered, s.Sessions.BufferedBytes = w.sockets.Buffered()
	s.PushLatency = stats.NewHistogram(t.Latency.In[:], t.Latency.Sum)
	s.RoundTrip = stats.NewHistogram(t.RoundTrip.In[:], t.RoundTrip.Sum)
	s.Pings, s.Pongs = t.Pings, t.Pongs
	if w.server != nil {
		listener := w.server.listener
		s.PushConns, s.PushConnsRefused, s.PushConnsDisplaced = listener.Conns(), listener.Refused(), listener.Displaced()
	}
	s.Limits = w.limits()
	return s
}

func (w *Worker) limits() stats.Limits {
	o := &w.opts
	l := stats.Limits{
		MaxConns:        cmp.Or(limit(o.MaxConns), -1), // which has no default
		MaxPushConns:    -1,
		MaxPending:      limit(o.MaxPending),
		MaxPendingAll:   limit(o.MaxPendingAll),
		MaxPushBytes:    limit(o.MaxPushBytes),
		MaxPushBytesAll: limit(o.MaxPushBytesAll),
		MaxGroups:       limit(o.MaxGroups),
		MaxAsked:        link.MaxAsked,
	}
	if w.server != nil {
		l.MaxPushConns = limit(o.MaxPushConns)
	}
	return l
}

// limit is an option of which anything negative means no limit.
func limit[T int | int64](n T) int64 { return max(int64(n), -1) }
