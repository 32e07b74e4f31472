package main

// metric is a row of the table.
type metric struct {
	name      string
	says      string
	unit      string // empty for a plain count
	more      bool   // more is better; of the other metrics less is
	ours      string // the series that is wspush's in this row; empty: "wspush"
	reference string // the series of no peer that the row is held against, if there is one
	spread    bool   // the lowest and the highest round are shown too: a p99 differs much between rounds
	scale     bool   // is also measured with other numbers of connections
	neither   bool   // neither more nor less is better
	group     string // is measured and shown with these alone; empty: with the comparison
}

// delivery is the group of what is measured of clients that do not read, and of confirmed pushes. Its runs, tables and
// results are its own, so that the comparison need not be run again for it.
const delivery = "delivery"

// bulk is the group of what is measured of many messages in one request, and of pushes that are forwarded.
const bulk = "bulk"

// target is what a figure of wspush is to reach.
type target struct {
	metric string
	limit  float64
	of     []string // limit is a multiple of the best of these; none: limit is in the unit of the metric
	allow  float64  // what still meets the target, if that is not the limit itself
}

var (
	goPeers = []string{"coder", "gorilla", "gws", "melody"}
	peers   = append(goPeers[:len(goPeers):len(goPeers)], "nchan")

	bulkPeers = []string{"coder", "gorilla", "gws", "nchan", "centrifugo", "pushpin"}
	allPeers  = append(peers[:len(peers):len(peers)], "centrifugo", "pushpin")
)

var metrics = []metric{
	{name: "memory", says: "memory of an idle connection", unit: "KB", scale: true},
	{name: "memory-whole", says: "RSS of the process / connections", unit: "KB"},
	{name: "goroutines", says: "goroutines of an idle connection"},
	{name: "inprocess", says: "push in process", unit: "µs", reference: "write(2)", scale: true},
	{name: "inprocess-allocs", says: "allocations of a push in process"},
	{name: "hot-1", says: "messages to one connection, 1 publisher", unit: "1/s", more: true},
	{name: "hot-8", says: "messages to one connection, 8 publishers", unit: "1/s", more: true, scale: true},
	{name: "hot-64", says: "messages to one connection, 64 publishers", unit: "1/s", more: true},
	{name: "post-cpu", says: "server CPU of a POST push", unit: "µs", scale: true},
	{name: "floor", says: "server CPU of a POST, doing nothing", unit: "µs", reference: "net/http"},
	{name: "post-rate", says: "POST pushes at saturation", unit: "1/s", more: true},
	{name: "post-p50", says: "publisher to client at saturation, p50", unit: "µs"},
	{name: "post-p99", says: "publisher to client at saturation, p99", unit: "µs", spread: true},
	{name: "half-p50", says: "publisher to client at half saturation, p50", unit: "µs"},
	{name: "half-p99", says: "publisher to client at half saturation, p99", unit: "µs", spread: true, scale: true},
	{name: "even-p50", says: "publisher to client at an even rate, p50", unit: "µs"},
	{name: "even-p99", says: "publisher to client at an even rate, p99", unit: "µs", spread: true},
	{name: "accept-cpu", says: "server CPU of an accepted connection", unit: "µs", scale: true},
	{name: "ping-cpu", says: "server CPU of a ping and its pong", unit: "µs", scale: true},
	{name: "quiet-p99", says: "publisher to client without pings, p99", unit: "µs", spread: true},
	{name: "ping-p99", says: "publisher to client amid pings, p99", unit: "µs", spread: true},
	{name: "idle-cpu", says: "server CPU of 10 idle seconds", unit: "ms"},
	{name: "storm", says: "memory after a storm", unit: "KB", ours: "wspush after", reference: "wspush before"},
	{name: "storm-again", says: "memory after another storm", unit: "KB", ours: "wspush after", reference: "wspush before"},

	{name: "alone-p50", group: delivery, says: "publisher to client, p50", unit: "µs"},
	{name: "alone-p99", group: delivery, says: "publisher to client, p99", unit: "µs", spread: true},
	{name: "reading-p50", group: delivery, says: "beside 100 others that read, p50", unit: "µs", reference: "wspush alone"},
	{name: "reading-p99", group: delivery, says: "beside 100 others that read, p99", unit: "µs", spread: true,
		reference: "wspush alone"},
	{name: "stalled-p50", group: delivery, says: "beside 100 stalled ones, p50", unit: "µs", reference: "wspush alone"},
	{name: "stalled-p99", group: delivery, says: "beside 100 stalled ones, p99", unit: "µs", spread: true,
		reference: "wspush alone"},
	{name: "stalled-memory", group: delivery, says: "memory of a stalled client", unit: "KB", spread: true},
	{name: "stalled-left", group: delivery, says: "of that left after their end", unit: "KB", spread: true},
	{name: "stalled-204", group: delivery, says: "pushes to stalled clients: written (204)", unit: "1/s", neither: true},
	{name: "stalled-429", group: delivery, says: "refused or withdrawn (429)", unit: "1/s", neither: true},
	{name: "stalled-410", group: delivery, says: "not written, client cut off (410)", unit: "1/s", neither: true},
	{name: "stalled-504", group: delivery, says: "unknown (504)", unit: "1/s", neither: true},
	{name: "stalled-500", group: delivery, says: "failed (500)", unit: "1/s", neither: true},
	{name: "stalled-late", group: delivery, says: "not sent, since every publisher waited", unit: "1/s", neither: true},
	{name: "stalled-cut", group: delivery, says: "stalled clients cut off", unit: "1/s", neither: true},

	{name: "confirm-rate", group: delivery, says: "confirmed pushes in process, 16 publishers", unit: "1/s", more: true,
		reference: "wspush unconfirmed"},
	{name: "confirm-cpu", group: delivery, says: "server CPU of one", unit: "µs", reference: "wspush unconfirmed"},
	{name: "confirm-post-rate", group: delivery, says: "confirmed POST pushes, 16 publishers", unit: "1/s", more: true,
		reference: "wspush unconfirmed"},
	{name: "confirm-post-cpu", group: delivery, says: "server CPU of one", unit: "µs", reference: "wspush unconfirmed"},
	{name: "confirm-hot", group: delivery, says: "confirmed pushes to one connection, 512 publishers", unit: "1/s", more: true,
		reference: "wspush unconfirmed"},
	{name: "confirm-pings", group: delivery, says: "pings for each of them"},

	{name: "single-rate", group: bulk, says: "one message in a request, 16 publishers", unit: "1/s", more: true},
	{name: "single-cpu", group: bulk, says: "server CPU of a push", unit: "µs"},
	{name: "bulk-rate", group: bulk, says: "many messages in a request", unit: "1/s", more: true, reference: "wspush single"},
	{name: "bulk-cpu", group: bulk, says: "server CPU of a push among many", unit: "µs", reference: "wspush single"},
	{name: "bulk-own", group: bulk, says: "processors that the load generator takes", neither: true},
	{name: "few-rate", group: bulk, says: "many messages to 16 clients", unit: "1/s", more: true},
	{name: "few-cpu", group: bulk, says: "server CPU of a push among many to 16 clients", unit: "µs"},
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

var targets = []target{
	{metric: "memory", limit: 8},
	{metric: "memory", limit: 0.33, of: []string{"coder"}},
	{metric: "memory", limit: 0.33, of: []string{"melody"}},
	{metric: "memory", limit: 1, of: []string{"gws"}},
	{metric: "goroutines", limit: 1, allow: 1.01}, // a few goroutines belong to no connection
	{metric: "inprocess", limit: 1.1, of: []string{"write(2)"}},
	{metric: "inprocess-allocs", limit: 0, allow: 0.01}, // the runtime allocates a little at the same time
	{metric: "hot-1", limit: 1, of: peers},
	{metric: "hot-8", limit: 5, of: []string{"gorilla"}},
	{metric: "hot-8", limit: 8, of: []string{"coder"}},
	{metric: "post-cpu", limit: 0.85, of: []string{"coder"}},
	{metric: "post-cpu", limit: 1, of: []string{"gorilla"}},
	{metric: "post-cpu", limit: 1.35, of: []string{"nchan"}},
	{metric: "half-p99", limit: 1.1, of: goPeers},
	{metric: "even-p99", limit: 1.1, of: goPeers},
	{metric: "accept-cpu", limit: 1, of: []string{"coder"}},
	{metric: "ping-cpu", limit: 0.5, of: []string{"coder"}},
	{metric: "storm", limit: 1.1, of: []string{"wspush before"}},
	{metric: "storm-again", limit: 1.1, of: []string{"wspush before"}},

	{metric: "stalled-p99", limit: 1.1, of: []string{"wspush alone"}},
	{metric: "stalled-p99", limit: 1.1, of: []string{"wspush beside readers"}},
	// MaxPending, the message under way, what is being written of it, and the five publishers there are for each client, at
	// 8 KB; and as much again for the garbage collector.
	{metric: "stalled-memory", limit: 2 * (stalledPending + 2*stalledSize + 5*8<<10) / 1024},

	{metric: "bulk-cpu", limit: 0.2, of: []string{"wspush single"}},
	{metric: "bulk-cpu", limit: 1, of: bulkPeers},
	{metric: "bulk-rate", limit: 1, of: bulkPeers},
	{metric: "many-cpu", limit: 1, of: bulkPeers},
	{metric: "many-rate", limit: 1, of: bulkPeers},
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
	if server == "wspush" && m.ours != "" {
		server = m.ours
	}
	s, ok := r.Find(m.name, server, 0)
	return s, ok && len(s.Samples) > 0
}

// best returns which of the servers has the best figure of a metric.
func (r *Results) best(m metric, servers []string) (best Series, ok bool) {
	for _, server := range servers {
		s, found := r.figures(m, server)
		if found && (!ok || m.better(s.Median(), best.Median())) {
			best, ok = s, true
		}
	}
	return best, ok
}

// better reports whether the figure a is better than the figure b.
func (m metric) better(a, b float64) bool {
	if m.more {
		return a > b
	}
	return a < b
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

// measure returns the figure that the target limits, and whose figure it is a multiple of, if it is one.
func (t target) measure(r *Results) (measured float64, of string, ok bool) {
	m, known := metricNamed(t.metric)
	ours, found := r.figures(m, "wspush")
	if !known || !found {
		return 0, "", false
	}
	if len(t.of) == 0 {
		return ours.Median(), "", true
	}
	other, found := r.best(m, t.of)
	if !found || !(other.Median() > 0) {
		return 0, "", false
	}
	return ours.Median() / other.Median(), other.Server, true
}

// met reports whether what was measured meets the target.
func (t target) met(measured float64) bool {
	limit := t.limit
	if t.allow != 0 {
		limit = t.allow
	}
	if m, _ := metricNamed(t.metric); m.more {
		return measured >= limit
	}
	return measured <= limit
}
