package console

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wspush/wspush/stats"
)

// sample is a worker's numbers at one moment, for the charts. Counts are totals since the worker's start: two samples make a
// rate.
type sample struct {
	At          int64  `json:"at"`            // milliseconds since 1970
	Gap         bool   `json:"gap,omitempty"` // no page was open for more than two seconds before this sample
	Connections int    `json:"conns"`
	Accepted    uint64 `json:"accepted"`
	Ended       uint64 `json:"ended"`
	Written     uint64 `json:"written"`
	Refused     uint64 `json:"refused"`
	Unknown     uint64 `json:"unknown"`
	Buffered    uint64 `json:"buffered"`
	BytesIn     uint64 `json:"in"`
	BytesOut    uint64 `json:"out"`
	Pending     int64  `json:"pending"` // bytes, now

	// In microseconds, for the messages since the previous sample; 0: there were none, or this is the first sample.
	Latency50 int64 `json:"p50"`
	Latency99 int64 `json:"p99"`
}

func newSample(at time.Time, s, before *stats.Snapshot) sample {
	latency := s.PushLatency.Since(before.PushLatency)
	return sample{
		At: at.UnixMilli(), Connections: s.Connections, Accepted: s.Accepted, Ended: ended(s),
		Written: s.Written, Refused: s.Refused, Unknown: s.Unknown, Buffered: s.Buffered,
		BytesIn: s.BytesReceived, BytesOut: s.BytesWritten, Pending: s.PendingBytes,
		Latency50: latency.Quantile(0.5).Microseconds(), Latency99: latency.Quantile(0.99).Microseconds(),
	}
}

func ended(s *stats.Snapshot) (n uint64) {
	for _, of := range s.Ended {
		n += of
	}
	return n
}

// section is a set of related totals, without those that are 0.
type section struct {
	Title string  `json:"title"`
	Of    []total `json:"of"`
}

type total struct {
	Name string `json:"name"`
	N    uint64 `json:"n"`
}

// totals are the worker's counts that the charts do not show, since its start.
func totals(s *stats.Snapshot) []section {
	ends := section{Title: "Connections ended, by cause"}
	for _, cause := range slices.Sorted(maps.Keys(s.Ended)) {
		ends.add(cause, s.Ended[cause])
	}
	problems := section{Title: "Push requests answered with an error"}
	for _, status := range slices.Sorted(maps.Keys(s.Problems)) {
		problems.add(fmt.Sprint(status), s.Problems[status])
	}
	return []section{
		newSection("Connections", "accepted", s.Accepted, "ended", ended(s)),
		ends,
		newSection("Handshakes refused", "MaxConns", s.Handshakes.Full, "shutdown", s.Handshakes.Shutdown, "Accept", s.Handshakes.Accept,
			"origin", s.Handshakes.Origin, "malformed", s.Handshakes.Malformed, "failed", s.Handshakes.Failed),
		newSection("Users and groups", "users now", now(s.Users), "groups now", now(s.Groups),
			"memberships now", now(s.Memberships), "pushes to users", s.UserPushes, "pushes to groups", s.GroupPushes),
		newSection("Sessions", "now", now(s.Sessions.Live), "suspended now", now(s.Sessions.Suspended), "messages buffered now", now(s.Sessions.Buffered),
			"bytes buffered now", now(s.Sessions.BufferedBytes), "replaced by a newer one", s.Sessions.Replaced,
			"taken from other workers", s.Sessions.Taken, "attempts at that which failed", s.Sessions.TakesFailed, "taken by other workers", s.Sessions.Moved,
			"messages unconfirmed at the end", s.Sessions.Unconfirmed),
		newSection("Clients that came back, by what they got", "resumed", s.Sessions.Resumes.Resumed, "incomplete", s.Sessions.Resumes.Incomplete,
			"expired", s.Sessions.Resumes.Expired, "unknown", s.Sessions.Resumes.Unknown, "unreachable", s.Sessions.Resumes.Unreachable, "ended", s.Sessions.Resumes.Ended,
			"refused", s.Sessions.Resumes.Refused, "ahead", s.Sessions.Resumes.Ahead),
		newSection("Pushes", "written", s.Written, "of them confirmed", s.Confirmed, "buffered", s.Buffered, "refused", s.Refused,
			"unknown", s.Unknown, "forwarded", s.Forwarded),
		newSection("Pushes refused, by reason", "gone", s.RefusedBy.Gone, "busy", s.RefusedBy.Busy, "withdrawn", s.RefusedBy.Withdrawn,
			"suspended", s.RefusedBy.Suspended,
			"too large", s.RefusedBy.TooLarge, "invalid UTF-8", s.RefusedBy.InvalidUTF8, "shutdown", s.RefusedBy.Shutdown,
			"directory", s.RefusedBy.Directory, "other", s.RefusedBy.Other),
		problems,
		newSection("Directory", "failing now", one(s.Directory.Failing), "changes it does not know of", count(s.Directory.Pending),
			"other workers", count(s.Directory.Workers), "vanished workers", count(s.Directory.Vanished)),
		newSection("From clients", "messages", s.Received, "pings sent", s.Pings, "pongs", s.Pongs),
		newSection("Publishers", "connected", now(s.PushConns), "refused", s.PushConnsRefused, "displaced", s.PushConnsDisplaced),
	}
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

func count(n int) uint64 { return uint64(max(n, 0)) }

// now is for what is counted in several places, so that it can seem to be less than nothing for a moment.
func now(n int64) uint64 { return uint64(max(n, 0)) }

// newSection takes names and numbers alternately.
func newSection(title string, namesAndNumbers ...any) section {
	s := section{Title: title}
	for i := 0; i < len(namesAndNumbers); i += 2 {
		s.add(namesAndNumbers[i].(string), namesAndNumbers[i+1].(uint64))
	}
	return s
}

func (s *section) add(name string, n uint64) {
	if n > 0 {
		s.Of = append(s.Of, total{name, n})
	}
}
