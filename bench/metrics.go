package main

// metric is a row of the table.
type metric struct {
	name      string
	says      string
	unit      string // empty for a plain count
	more      bool   // more is better; of the other metrics less is
	reference string // the series of no peer that the row is held against, if there is one
	spread    bool   // the lowest and the highest round are shown too: a p99 differs much between rounds
	signed    bool   // it is a difference between two figures, and may be negative
	group     string // is measured and shown with these alone; empty: with the comparison
}

// bulk is the group of what is measured of many messages in one request.
const bulk = "bulk"

// heavy is the group of what is measured of large messages, of a message to everybody, and of what clients do to others.
const heavy = "heavy"

// groups are those that -group takes.
var groups = []string{bulk, forwarded, heavy, sessions, users}

var (
	goPeers = []string{"coder", "gorilla"}
	peers   = append(goPeers[:len(goPeers):len(goPeers)], "gws", "melody", "nchan")
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
	{name: "ping-cpu", says: "server CPU of a ping and its pong", unit: "µs", signed: true},

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
	{name: "forwarded-rate", group: forwarded, says: "forwarded POST pushes, 16 publishers", unit: "1/s", more: true,
		reference: "wspush direct"},
	{name: "forwarded-cpu", group: forwarded, says: "CPU of one, of both workers", unit: "µs", reference: "wspush direct"},
	{name: "forwarded-first", group: forwarded, says: "of the worker that was asked", unit: "µs"},
	{name: "forwarded-second", group: forwarded, says: "of the worker that holds the connection", unit: "µs", reference: "wspush direct"},
	{name: "forwarded-64-rate", group: forwarded, says: "forwarded POST pushes, 64 publishers", unit: "1/s", more: true,
		reference: "wspush direct"},
	{name: "forwarded-64-cpu", group: forwarded, says: "CPU of one of those, of both workers", unit: "µs", reference: "wspush direct"},
	{name: "forwarded-bulk-rate", group: forwarded, says: "forwarded pushes among many", unit: "1/s", more: true,
		reference: "wspush direct"},
	{name: "forwarded-bulk-cpu", group: forwarded, says: "CPU of one among many, of both workers", unit: "µs", reference: "wspush direct"},
	{name: "inside-16-cpu", group: forwarded, says: "CPU of a Worker.Push to another worker's connection, 16 callers, of both", unit: "µs",
		reference: "wspush direct"},
	{name: "inside-64-cpu", group: forwarded, says: "the same with 64 callers", unit: "µs", reference: "wspush direct"},
	{name: "paced-p50", group: forwarded, says: "publisher to client at 2000 pushes a second, p50", unit: "µs", reference: "wspush direct"},
	{name: "paced-p50-added", group: forwarded, says: "of which the other worker adds", unit: "µs", signed: true},
	{name: "paced-p99", group: forwarded, says: "publisher to client at 2000 pushes a second, p99", unit: "µs", reference: "wspush direct",
		spread: true},
	{name: "paced-p99-added", group: forwarded, says: "of which the other worker adds", unit: "µs", signed: true},
	{name: "beside-p99", group: forwarded, says: "the same beside bodies of 1 MiB, p99", unit: "µs", reference: "wspush direct", spread: true},
	{name: "beside-bodies", group: forwarded, says: "such bodies that arrive meanwhile, of 43 a second", unit: "1/s", more: true,
		reference: "wspush direct"},

	{name: "user-cpu", group: users, says: "server CPU of a POST push to a user with one connection", unit: "µs", reference: "wspush address"},
	{name: "user-p50", group: users, says: "publisher to client at 2000 pushes a second, p50", unit: "µs", reference: "wspush address"},
	{name: "user-p50-added", group: users, says: "of which the user adds", unit: "µs", signed: true},
	{name: "group-cpu", group: users, says: "server CPU of a message to a group of 1000, for each", unit: "µs", reference: "wspush PushEach"},
	{name: "group-over-cpu", group: users, says: "the same group over three workers, CPU of all, for each", unit: "µs",
		reference: "wspush one worker"},
	{name: "group-over-links", group: users, says: "messages over links for such a push"},
	{name: "redis-here-cpu", group: users, says: "Redis, three workers: a push to a user at the worker that was asked, CPU of all workers", unit: "µs",
		reference: "wspush address"},
	{name: "redis-here-p50", group: users, says: "p50 at 2000 pushes a second", unit: "µs", reference: "wspush address"},
	{name: "redis-here-p50-added", group: users, says: "of which the user adds", unit: "µs", signed: true},
	{name: "redis-there-cpu", group: users, says: "Redis: to a user at another worker, CPU of all workers", unit: "µs",
		reference: "wspush address"},
	{name: "redis-there-p50", group: users, says: "p50 at 2000 pushes a second", unit: "µs", reference: "wspush address"},
	{name: "redis-there-p50-added", group: users, says: "of which the user adds", unit: "µs", signed: true},
	{name: "redis-lookups", group: users, says: "Redis: keys looked up for a push to a user"},
	{name: "nats-here-cpu", group: users, says: "NATS, three workers: a push to a user at the worker that was asked, CPU of all workers", unit: "µs",
		reference: "wspush address"},
	{name: "nats-here-p50", group: users, says: "p50 at 2000 pushes a second", unit: "µs", reference: "wspush address"},
	{name: "nats-here-p50-added", group: users, says: "of which the user adds", unit: "µs", signed: true},
	{name: "nats-there-cpu", group: users, says: "NATS: to a user at another worker, CPU of all workers", unit: "µs", reference: "wspush address"},
	{name: "nats-there-p50", group: users, says: "p50 at 2000 pushes a second", unit: "µs", reference: "wspush address"},
	{name: "nats-there-p50-added", group: users, says: "of which the user adds", unit: "µs", signed: true},
	{name: "peers-here-cpu", group: users, says: "Peers, three workers: a push to a user at the worker that was asked, CPU of all workers", unit: "µs",
		reference: "wspush address"},
	{name: "peers-here-p50", group: users, says: "p50 at 2000 pushes a second", unit: "µs", reference: "wspush address"},
	{name: "peers-here-p50-added", group: users, says: "of which the user adds", unit: "µs", signed: true},
	{name: "peers-there-cpu", group: users, says: "Peers: to a user at another worker, CPU of all workers", unit: "µs", reference: "wspush address"},
	{name: "peers-there-p50", group: users, says: "p50 at 2000 pushes a second", unit: "µs", reference: "wspush address"},
	{name: "peers-there-p50-added", group: users, says: "of which the user adds", unit: "µs", signed: true},

	{name: "broadcast-100", group: heavy, says: "server CPU of a message of 100 B to everybody, for each", unit: "µs"},
	{name: "broadcast-4k", group: heavy, says: "of 4 KiB", unit: "µs"},
	{name: "broadcast-16k", group: heavy, says: "of 16 KiB", unit: "µs"},
	{name: "broadcast-64k", group: heavy, says: "of 64 KiB", unit: "µs"},
	{name: "broadcast-256k", group: heavy, says: "of 256 KiB", unit: "µs"},
	{name: "post-64k", group: heavy, says: "server CPU of a POST push of 64 KiB", unit: "µs"},
	{name: "post-1m", group: heavy, says: "of 1 MiB", unit: "µs"},
	{name: "alone-p99", group: heavy, says: "publisher to client at an even rate, p99", unit: "µs", spread: true},
	{name: "reading-p99", group: heavy, says: "beside 100 others that read, p99", unit: "µs", reference: "wspush alone", spread: true},
	{name: "stalled-p99", group: heavy, says: "beside 100 others that never read, p99", unit: "µs", reference: "wspush alone", spread: true},
	{name: "storm", group: heavy, says: "memory of a connection after a storm", unit: "KB", reference: "wspush before"},
	{name: "storm-again", group: heavy, says: "after another storm", unit: "KB", reference: "wspush before"},
	{name: "each-one", group: heavy, says: "a message to 10,000 that do not read: until all of it is written, one processor", unit: "ms"},
	{name: "each-all", group: heavy, says: "the same, all processors", unit: "ms"},
	{name: "each-cpu", group: heavy, says: "server CPU of one of them, all processors", unit: "µs"},
	{name: "each-quiet-p50", group: heavy, says: "1000 POST pushes a second, publisher to client, p50", unit: "µs"},
	{name: "each-quiet-p99", group: heavy, says: "the same, p99", unit: "µs", spread: true},
	{name: "each-beside-p50", group: heavy, says: "the same beside messages to 15,000 others, four a second, p50", unit: "µs"},
	{name: "each-beside-p99", group: heavy, says: "the same, p99", unit: "µs", spread: true},
	{name: "each-beside", group: heavy, says: "a message to those 15,000", unit: "ms"},
	{name: "each-other-p50", group: heavy, says: "the same pushes beside the same messages by another process, p50", unit: "µs"},
	{name: "each-other-p99", group: heavy, says: "the same, p99", unit: "µs", spread: true},

	{name: "redis-return-p50", group: sessions, says: "Redis: clients come back to another worker, 1000 a second: handshake until hello, p50", unit: "µs", reference: "wspush here"},
	{name: "redis-return-p50-added", group: sessions, says: "of which the take-over is", unit: "µs", signed: true},
	{name: "redis-return-p99", group: sessions, says: "p99", unit: "µs", reference: "wspush here", spread: true},
	{name: "redis-return-p99-added", group: sessions, says: "of which the take-over is", unit: "µs", signed: true},
	{name: "redis-return-cpu", group: sessions, says: "CPU of both workers for a client that comes back and gets three messages", unit: "µs", reference: "wspush here"},
	{name: "redis-return-former", group: sessions, says: "of the worker that has had its session", unit: "µs"},
	{name: "redis-return-later", group: sessions, says: "of the worker that it comes to", unit: "µs"},
	{name: "redis-return-engine", group: sessions, says: "of Redis", unit: "µs"},
	{name: "redis-return-link", group: sessions, says: "bytes over the link for it", unit: "B"},
	{name: "redis-return-retries", group: sessions, says: "clients told to come back later", signed: true},
	{name: "peers-return-p50", group: sessions, says: "No directory: clients come back to another worker, 1000 a second: handshake until hello, p50", unit: "µs", reference: "wspush here"},
	{name: "peers-return-p50-added", group: sessions, says: "of which the take-over is", unit: "µs", signed: true},
	{name: "peers-return-p99", group: sessions, says: "p99", unit: "µs", reference: "wspush here", spread: true},
	{name: "peers-return-p99-added", group: sessions, says: "of which the take-over is", unit: "µs", signed: true},
	{name: "peers-return-cpu", group: sessions, says: "CPU of both workers for a client that comes back and gets three messages", unit: "µs", reference: "wspush here"},
	{name: "peers-return-former", group: sessions, says: "of the worker that has had its session", unit: "µs"},
	{name: "peers-return-later", group: sessions, says: "of the worker that it comes to", unit: "µs"},
	{name: "peers-return-link", group: sessions, says: "bytes over the link for it", unit: "B"},
	{name: "peers-return-retries", group: sessions, says: "clients told to come back later", signed: true},
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
