package wspushprom

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wspush/wspush/stats"
)

// snapshot is what one scrape reads.
type snapshot struct {
	stats.Snapshot
	draining bool
	failed   bool // Worker.Failed
}

// family is a metric with all its series: either samples or a histogram.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	samples    func(*snapshot) []sample
	histogram  func(*snapshot) stats.Histogram
}

// sample is the value of one series; labels are the values of its family's labels.
type sample struct {
	value  float64
	labels []string
}

// families returns all of them, grouped by subject, in the order of docs/observability.md.
func families() []family {
	return []family{
		gauge("connections", "Clients that can currently be pushed to.",
			func(s *snapshot) int64 { return int64(s.Connections) }),
		gauge("draining", "1 once Shutdown has begun, 0 before.",
			func(s *snapshot) int64 { return number(s.draining) }),
		counter("connections_accepted_total", "Clients that have connected.",
			func(s *snapshot) uint64 { return s.Accepted }),
		counters("handshakes_refused_total", "Clients that were refused, by reason.", handshakes, "reason"),
		counters("connections_ended_total", "Connections that have ended, by cause.", ended, "cause"),

		gauge("sessions", "Sessions: connections that outlive their WebSocket.",
			func(s *snapshot) int64 { return s.Sessions.Live }),
		gauge("sessions_suspended", "Sessions that wait for their client.",
			func(s *snapshot) int64 { return s.Sessions.Suspended }),
		gauge("session_buffered_messages", "Messages accepted for sessions and not known to have been received.",
			func(s *snapshot) int64 { return s.Sessions.Buffered }),
		gauge("session_buffered_bytes", "Bytes of messages accepted for sessions and not known to have been received.",
			func(s *snapshot) int64 { return s.Sessions.BufferedBytes }),
		counters("session_resumes_total", "Clients that wanted their session back, by what they got.", resumes, "result"),
		counter("session_loaded_total", "Sessions found in the session file at the start.",
			func(s *snapshot) uint64 { return s.Sessions.Loaded }),
		counter("session_taken_total", "Sessions taken from other workers.",
			func(s *snapshot) uint64 { return s.Sessions.Taken }),
		counter("session_takes_failed_total", "Attempts to take a session from another worker that came to nothing.",
			func(s *snapshot) uint64 { return s.Sessions.TakesFailed }),
		counter("session_moved_total", "Sessions that other workers have taken.",
			func(s *snapshot) uint64 { return s.Sessions.Moved }),
		counter("session_replaced_total", "WebSockets replaced by newer ones of their sessions.",
			func(s *snapshot) uint64 { return s.Sessions.Replaced }),
		counter("session_unconfirmed_total", "Messages that a client was not known to have received when its session ended.",
			func(s *snapshot) uint64 { return s.Sessions.Unconfirmed }),

		gauge("users", "Names of users with connections.",
			func(s *snapshot) int64 { return s.Users }),
		gauge("groups", "Names of groups with connections.",
			func(s *snapshot) int64 { return s.Groups }),
		gauge("memberships", "Connections in groups, each counted once for each of its groups.",
			func(s *snapshot) int64 { return s.Memberships }),
		gauge("directory_failing", "1 while calls of the directory, or of Peers, fail, 0 otherwise.",
			func(s *snapshot) int64 { return number(s.Directory.Failing) }),
		gauge("directory_pending", "Users and groups of which the directory has yet to be told.",
			func(s *snapshot) int64 { return int64(s.Directory.Pending) }),
		gauges("directory_workers", "Other workers, as the directory shows them: those that have a lease, and those that have vanished.",
			func(s *snapshot) []sample {
				d := s.Directory
				return []sample{value(d.Workers, "present"), value(d.Vanished, "vanished")}
			}, "state"),

		counters("pushes_total", "Pushes by outcome, and refused ones by reason. A push that is forwarded is counted by the worker that answers it.",
			pushes, "outcome", "reason"),
		counters("recipient_pushes_total", "Messages to a user or a group, each counted once, however many connections it was for.",
			func(s *snapshot) []sample {
				return []sample{count(s.UserPushes, "user"), count(s.GroupPushes, "group")}
			}, "to"),
		counter("pushes_confirmed_total", "Written pushes whose receipt the client confirmed.",
			func(s *snapshot) uint64 { return s.Confirmed }),
		histogram("push_duration_seconds", "Time from handing a message to its connection until its last byte is written.",
			func(s *snapshot) stats.Histogram { return s.PushLatency }),
		gauge("pending_bytes", "Bytes waiting for clients that do not read fast enough, counting 512 extra bytes for each message.",
			func(s *snapshot) int64 { return s.PendingBytes }),

		counter("messages_received_total", "Messages received from clients.",
			func(s *snapshot) uint64 { return s.Received }),
		counter("received_bytes_total", "Bytes received from clients after the handshake, excluding TLS overhead.",
			func(s *snapshot) uint64 { return s.BytesReceived }),
		counter("written_bytes_total", "Bytes written to clients after the handshake, excluding TLS overhead.",
			func(s *snapshot) uint64 { return s.BytesWritten }),

		counter("pings_sent_total", "Pings written to clients.",
			func(s *snapshot) uint64 { return s.Pings }),
		counter("pongs_received_total", "Pongs that answered a ping.",
			func(s *snapshot) uint64 { return s.Pongs }),
		histogram("round_trip_seconds", "Time from writing a ping until its pong arrives.",
			func(s *snapshot) stats.Histogram { return s.RoundTrip }),

		gauge("push_listener_failed", "1 while the push listener accepts no connections, 0 otherwise.",
			func(s *snapshot) int64 { return number(s.failed) }),
		gauge("push_connections", "Current connections from publishers to the push listener.",
			func(s *snapshot) int64 { return s.PushConns }),
		counter("push_connections_refused_total", "Connections from publishers refused because of MaxPushConns.",
			func(s *snapshot) uint64 { return s.PushConnsRefused }),
		counter("push_connections_displaced_total", "Resting connections from publishers closed to make room for others.",
			func(s *snapshot) uint64 { return s.PushConnsDisplaced }),
		counters("push_problems_total", "Requests that the push endpoint answered with an error, by HTTP status.", problems, "status"),
		counter("forwarded_total", "Requests and pushes forwarded to other workers.",
			func(s *snapshot) uint64 { return s.Forwarded }),
		counters("forwards_failed_total", "Requests and pushes for other workers' connections that got no answer, by reason.", forwards, "reason"),
		gauges("links", "Links between this worker and others, by who has opened them.",
			func(s *snapshot) []sample {
				return []sample{value(s.Links.Opened, "self"), value(s.Links.Accepted, "other")}
			}, "opened_by"),
		gauges("link_questions", "Requests and pushes on links that have no answer yet, by who has asked.",
			func(s *snapshot) []sample {
				return []sample{value(s.Links.Asked, "self"), value(s.Links.Taken, "other")}
			}, "asked_by"),

		limit("max_connections", "What connections may come to: MaxConns.",
			func(s *snapshot) int64 { return s.Limits.MaxConns }),
		limit("max_push_connections", "What push_connections may come to: MaxPushConns.",
			func(s *snapshot) int64 { return s.Limits.MaxPushConns }),
		limit("max_pending_bytes", "What pending_bytes may come to: MaxPendingAll.",
			func(s *snapshot) int64 { return s.Limits.MaxPendingAll }),
		limit("max_client_pending_bytes", "Bytes that may wait for one client: MaxPending.",
			func(s *snapshot) int64 { return s.Limits.MaxPending }),
		limit("max_push_bytes", "Bytes of one message: MaxPushBytes.",
			func(s *snapshot) int64 { return s.Limits.MaxPushBytes }),
		limit("max_incoming_push_bytes", "Bytes of pushes by HTTP that may be held while they come in: MaxPushBytesAll.",
			func(s *snapshot) int64 { return s.Limits.MaxPushBytesAll }),
		limit("max_connection_groups", "Groups that one connection may be in: MaxGroups.",
			func(s *snapshot) int64 { return s.Limits.MaxGroups }),
		limit("max_worker_questions", "Requests and pushes without an answer that this worker may have at each other one.",
			func(s *snapshot) int64 { return s.Limits.MaxAsked }),
	}
}

func gauge(name, help string, value func(*snapshot) int64) family {
	return gauges(name, help, func(s *snapshot) []sample { return []sample{{value: float64(value(s))}} })
}

func gauges(name, help string, samples func(*snapshot) []sample, labels ...string) family {
	return family{name: name, help: help, kind: prometheus.GaugeValue, samples: samples, labels: labels}
}

// limit is a gauge of what is negative where there is no limit. To Prometheus that is +Inf, which nothing comes near.
func limit(name, help string, value func(*snapshot) int64) family {
	return gauges(name, help, func(s *snapshot) []sample {
		if n := value(s); n >= 0 {
			return []sample{{value: float64(n)}}
		}
		return []sample{{value: math.Inf(1)}}
	})
}

func counter(name, help string, value func(*snapshot) uint64) family {
	return counters(name, help, func(s *snapshot) []sample { return []sample{count(value(s))} })
}

func counters(name, help string, samples func(*snapshot) []sample, labels ...string) family {
	return family{name: name, help: help, kind: prometheus.CounterValue, samples: samples, labels: labels}
}

func histogram(name, help string, value func(*snapshot) stats.Histogram) family {
	return family{name: name, help: help, histogram: value}
}

func count(n uint64, labels ...string) sample { return sample{float64(n), labels} }

func value(n int, labels ...string) sample { return sample{float64(n), labels} }

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func handshakes(s *snapshot) []sample {
	h := s.Handshakes
	return []sample{
		count(h.Full, "full"),
		count(h.Shutdown, "shutdown"),
		count(h.Accept, "accept"),
		count(h.Origin, "origin"),
		count(h.Malformed, "malformed"),
		count(h.Failed, "failed"),
	}
}

func ended(s *snapshot) []sample {
	var all []sample
	for cause, n := range s.Ended {
		all = append(all, count(n, string(cause)))
	}
	return all
}

func resumes(s *snapshot) []sample {
	r := s.Sessions.Resumes
	return []sample{
		count(r.Resumed, "resumed"),
		count(r.Incomplete, "incomplete"),
		count(r.Expired, "expired"),
		count(r.Unknown, "unknown"),
		count(r.Unreachable, "unreachable"),
		count(r.Ended, "ended"),
		count(r.Refused, "refused"),
		count(r.Ahead, "ahead"),
	}
}

// pushes counts each push that the worker answered exactly once, so that any sum of its series makes sense. That is why refused
// pushes are not a metric of their own. Only they have a reason; to Prometheus, an empty label is no label.
func pushes(s *snapshot) []sample {
	r := s.RefusedBy
	return []sample{
		count(s.Written, "written", ""),
		count(s.Buffered, "buffered", ""),
		count(s.Unknown, "unknown", ""),
		count(r.Gone, "refused", "gone"),
		count(r.Busy, "refused", "busy"),
		count(r.Withdrawn, "refused", "withdrawn"),
		count(r.Suspended, "refused", "suspended"),
		count(r.TooLarge, "refused", "too-large"),
		count(r.InvalidUTF8, "refused", "invalid-utf8"),
		count(r.Shutdown, "refused", "shutdown"),
		count(r.Directory, "refused", "directory"),
		count(r.Other, "refused", "other"),
	}
}

func problems(s *snapshot) []sample {
	var all []sample
	for status, n := range s.Problems {
		all = append(all, count(n, strconv.Itoa(status)))
	}
	return all
}

func forwards(s *snapshot) []sample {
	f := s.ForwardsFailed
	return []sample{
		count(f.Full, "full"),
		count(f.Unreachable, "unreachable"),
		count(f.Lost, "lost"),
	}
}

// constHistogram converts h for Prometheus, which adds the unbounded bucket itself.
func constHistogram(desc *prometheus.Desc, h stats.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64)
	for bound, n := range h.Buckets() {
		if bound != math.MaxInt64 {
			buckets[bound.Seconds()] = n
		}
	}
	return prometheus.MustNewConstHistogram(desc, h.Count(), h.Sum().Seconds(), buckets)
}
