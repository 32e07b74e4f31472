package wspushprom

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wspush/wspush/stats"
)

// snapshot is what one scrape sees.
type snapshot struct {
	stats.Snapshot
	draining bool
}

// family is a metric with all its series. It has either samples or a histogram.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	samples    func(*snapshot) []sample
	histogram  func(*snapshot) stats.Histogram
}

// sample is the value of a series; labels are the values of its family's labels.
type sample struct {
	value  float64
	labels []string
}

// families are all there are, by subject: that is their order in docs/observability.md, too.
func families() []family {
	return []family{
		gauge("connections", "Clients that can be pushed to now.",
			func(s *snapshot) int64 { return int64(s.Connections) }),
		gauge("draining", "1 from the beginning of Shutdown on, 0 before.",
			func(s *snapshot) int64 { return number(s.draining) }),
		counter("connections_accepted_total", "Clients that have connected.",
			func(s *snapshot) uint64 { return s.Accepted }),
		counters("handshakes_refused_total", "Clients that were not let in, by reason.", handshakes, "reason"),
		counters("connections_ended_total", "Connections that have ended, by cause.", ended, "cause"),

		counters("pushes_total", "Pushes by outcome, and the refused ones by reason. One that is sent on is counted by the worker that answers it.",
			pushes, "outcome", "reason"),
		counter("pushes_confirmed_total", "Written pushes that the client has confirmed, having been asked to.",
			func(s *snapshot) uint64 { return s.Confirmed }),
		histogram("push_duration_seconds", "From the moment at which a message is handed to its connection until its last byte is written.",
			func(s *snapshot) stats.Histogram { return s.PushLatency }),
		gauge("pending_bytes", "What waits for clients that do not read fast enough, with 256 bytes more for each message.",
			func(s *snapshot) int64 { return s.PendingBytes }),

		counter("messages_received_total", "Messages from clients.",
			func(s *snapshot) uint64 { return s.Received }),
		counter("received_bytes_total", "Bytes from clients, after the handshake and before TLS.",
			func(s *snapshot) uint64 { return s.BytesReceived }),
		counter("written_bytes_total", "Bytes written to clients, after the handshake and before TLS.",
			func(s *snapshot) uint64 { return s.BytesWritten }),

		counter("pings_sent_total", "Pings written to clients.",
			func(s *snapshot) uint64 { return s.Pings }),
		counter("pongs_received_total", "Pongs that answered one.",
			func(s *snapshot) uint64 { return s.Pongs }),
		histogram("round_trip_seconds", "From the writing of a ping to its pong.",
			func(s *snapshot) stats.Histogram { return s.RoundTrip }),

		gauge("push_connections", "Connections of publishers to the push listener now.",
			func(s *snapshot) int64 { return s.PushConns }),
		counter("push_connections_refused_total", "Connections of publishers beyond MaxPushConns.",
			func(s *snapshot) uint64 { return s.PushConnsRefused }),
		counters("push_problems_total", "Requests to the push endpoint that were answered with an error, by HTTP status.", problems, "status"),
		counter("forwarded_total", "Requests and pushes for connections of other workers.",
			func(s *snapshot) uint64 { return s.Forwarded }),
		counters("forwards_failed_total", "Requests and pushes for connections of other workers that had no answer, by reason.", forwards, "reason"),
	}
}

func gauge(name, help string, value func(*snapshot) int64) family {
	return family{name: name, help: help, kind: prometheus.GaugeValue, samples: func(s *snapshot) []sample {
		return []sample{{value: float64(value(s))}}
	}}
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

// pushes has each push that a worker has answered once, so that any sum of it means something. That is why the refused are not a metric of their own.
// Only they have a reason; to Prometheus, an empty label is none.
func pushes(s *snapshot) []sample {
	r := s.RefusedBy
	return []sample{
		count(s.Written, "written", ""),
		count(s.Unknown, "unknown", ""),
		count(r.Gone, "refused", "gone"),
		count(r.Busy, "refused", "busy"),
		count(r.Withdrawn, "refused", "withdrawn"),
		count(r.TooLarge, "refused", "too-large"),
		count(r.InvalidUTF8, "refused", "invalid-utf8"),
		count(r.Shutdown, "refused", "shutdown"),
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

// constHistogram is h for Prometheus, which adds the bucket without a bound by itself.
func constHistogram(desc *prometheus.Desc, h stats.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64)
	for bound, n := range h.Buckets() {
		if bound != math.MaxInt64 {
			buckets[bound.Seconds()] = n
		}
	}
	return prometheus.MustNewConstHistogram(desc, h.Count(), h.Sum().Seconds(), buckets)
}
