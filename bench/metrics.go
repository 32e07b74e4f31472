package main

// metric is a row of the table.
type metric struct {
	name      string
	says      string
	unit      string // empty for a plain count
	more      bool   // more is better; of the other metrics less is
	reference string // the series of no peer that the row is held against, if there is one
	spread    bool   // the lowest and the highest round are shown too: a p99 differs much between rounds
	group     string // is measured and shown with these alone; empty: with the comparison
}

// bulk is the group of what is measured of many messages in one request, and of pushes that are forwarded.
const bulk = "bulk"

var (
	goPeers = []string{"coder", "gorilla"}
	peers   = append(goPeers[:len(goPeers):len(goPeers)], "nchan")
)

var metrics = []metric{
	{name: "memory", says: "memory of an idle connection", unit: "KB"},
	{name: "goroutines", says: "goroutines of an idle connection"},
	{name: "hot-1", says: "messages to one connection, 1 publisher", unit: "1/s", more: true},
	{name: "hot-8", says: "messages to one connection, 8 publishers", unit: "1/s", more: true},
	{name: "hot-64", says: "messages to one connection, 64 publishers", unit: "1/s", more: true},
	{name: "post-cpu", says: "server CPU of a POST push", unit: "µs"},
	{name: "post-rate", says: "POST pushes at saturation", unit: "1/s", more: true},
	{name: "half-p50", says: "publisher to client at half saturation, p50", unit: "µs"},
	{name: "half-p99", says: "publisher to client at half saturation, p99", unit: "µs", spread: true},
	{name: "accept-cpu", says: "server CPU of an accepted connection", unit: "µs"},
	{name: "ping-cpu", says: "server CPU of a ping and its pong", unit: "µs"},

	{name: "bearer-cpu", says: "server CPU of a POST push with BearerTokens", unit: "µs", reference: "wspush open"},
	{name: "bearer-rate", says: "POST pushes with BearerTokens, at saturation", unit: "1/s", more: true, reference: "wspush open"},
	{name: "tls-cpu", says: "server CPU of a POST push over TLS", unit: "µs"},
	{name: "tls-rate", says: "POST pushes over TLS, at saturation", unit: "1/s", more: true},

	{name: "single-rate", group: bulk, says: "one message in a request, 16 publishers", unit: "1/s", more: true},
	{name: "single-cpu", group: bulk, says: "server CPU of a push", unit: "µs"},
	{name: "bulk-rate", group: bulk, says: "many messages in a request", unit: "1/s", more: true, reference: "wspush single"},
	{name: "bulk-cpu", group: bulk, says: "server CPU of a push among many", unit: "µs", reference: "wspush single"},
	{name: "many-rate", group: bulk, says: "messages to 100 clients each: pushes", unit: "1/s", more: true, reference: "wspush single"},
	{name: "many-cpu", group: bulk, says: "server CPU of a push of a message to 100", unit: "µs", reference: "wspush single"},
	{name: "forwarded-rate", group: bulk, says: "forwarded POST pushes, 16 publishers", unit: "1/s", more: true,
		reference: "wspush direct"},
	{name: "forwarded-cpu", group: bulk, says: "CPU of one, of both workers", unit: "µs", reference: "wspush direct"},
	{name: "forwarded-first", group: bulk, says: "of the worker that was asked", unit: "µs"},
	{name: "forwarded-second", group: bulk, says: "of the worker that holds the connection", unit: "µs", reference: "wspush direct"},
	{name: "forwarded-bulk-rate", group: bulk, says: "forwarded pushes among many", unit: "1/s", more: true,
		reference: "wspush direct"},
	{name: "forwarded-bulk-cpu", group: bulk, says: "CPU of one among many, of both workers", unit: "µs", reference: "wspush direct"},
}

// group is which metrics these results are of.
func (r *Results) group() (all []metric) {
	for _, m := range metrics {
		if m.group == r.Group {
			all = append(all, m)
		}
	}
	return all
}

// metricNamed returns the metric of that name.
func metricNamed(name string) (metric, bool) {
	for _, m := range metrics {
		if m.name == name {
			return m, true
		}
	}
	return metric{}, false
}

// figures returns the series of a metric and a server, "wspush" meaning wspush's in this row, if it has samples.
func (r *Results) figures(m metric, server string) (Series, bool) {
	s, ok := r.Find(m.name, server, 0)
	return s, ok && len(s.Samples) > 0
}

// ahead is how many times better than the other figure wspush's is: above 1, wspush is ahead, whether less or more is better.
// Of a figure that is not positive there is no telling.
func (m metric) ahead(wspush, other float64) (times float64, ok bool) {
	if !(wspush > 0 && other > 0) {
		return 0, false
	}
	if m.more {
		return wspush / other, true
	}
	return other / wspush, true
}
