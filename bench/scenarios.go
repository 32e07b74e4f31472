package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// scenario is what is done to a server, and what is found out by it.
type scenario struct {
	metrics []string
	servers []string // which servers take part
	run     func(ctx context.Context, r *run, s server) error
}

// group is which metrics are found out by it.
func (sc scenario) group() string {
	m, _ := metricNamed(sc.metrics[0])
	return m.group
}

var (
	everyone     = []string{"wspush", "coder", "gorilla", "nchan"}
	goAll        = append([]string{"wspush"}, goPeers...)
	onlyUs       = []string{"wspush"}
	broadcasters = []string{"wspush", "gorilla", "gws", "melody"}
	goServers    = []string{"wspush", "coder", "gorilla", "gws", "melody"}
)

// scenarios are in the order in which they run.
var scenarios = []scenario{
	{[]string{"memory", "goroutines", "accept-cpu"}, everyone, runMemory},
	{[]string{"post-rate", "post-cpu", "half-p50", "half-p99"}, everyone, runPost},
	{[]string{"hot-1", "hot-8", "hot-64"}, goAll, runHot},
	{[]string{"ping-cpu"}, goAll, runPing},
	{bearerMetrics, onlyUs, runBearer},
	{tlsMetrics, goAll, runTLS},
	{bulkMetrics, everyone, runBulk},
	{forwardedMetrics(), onlyUs, runForwarded},
	{eachMetrics, onlyUs, runEach},
	{besideMetrics, onlyUs, runBeside},
	{broadcastMetrics, broadcasters, runBroadcast},
	{largeMetrics, goAll, runLarge},
	{stalledMetrics, onlyUs, runStalled},
	{stormMetrics, onlyUs, runStorm},
	{userMetrics, onlyUs, runUsers},
	{groupMetrics, onlyUs, runGroups},
	{throughMetrics("redis"), onlyUs, runThrough("redis")},
	{throughMetrics("nats"), onlyUs, runThrough("nats")},
	{throughMetrics("peers"), onlyUs, runThrough("peers")},
	{groupOverMetrics, onlyUs, runGroupOver},
	{returnMetrics("redis"), onlyUs, runReturns("redis")},
	{returnMetrics("peers"), onlyUs, runReturns("peers")},
}

// pingRarely is the interval of pings where they are not what is measured.
const pingRarely = 5 * time.Minute

// under measures a server with a load generator of its own, both fresh.
func (r *run) under(ctx context.Context, s server, ping time.Duration, measure func(*host, *loader) error) error {
	l, err := startLoader(r.program("load"))
	if err != nil {
		return err
	}
	defer l.stop()
	h, err := s.start(ctx, ping)
	if err != nil {
		return err
	}
	defer h.close() // before the clients, whose thousands of ends it need not look at
	if err := measure(h, l); err != nil {
		return err
	}
	_, err = l.count(ctx, false) // which fails if a connection was lost
	return err
}

func runMemory(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error { return r.measureIdle(ctx, h, l, r.plan.idle) })
}

// measureIdle opens n connections to a fresh server, and measures what they cost.
func (r *run) measureIdle(ctx context.Context, h *host, l *loader, n int) error {
	var err error
	isGo := slices.Contains(goServers, h.name)
	var goroutines float64
	if isGo {
		if goroutines, err = h.goroutines(ctx); err != nil {
			return err
		}
	}
	rss, err := h.rss()
	if err != nil {
		return err
	}
	cpu, err := h.cpu()
	if err != nil {
		return err
	}
	if _, err = l.connect(ctx, h, n); err != nil {
		return err
	}
	if err := sleep(ctx, r.plan.settle); err != nil {
		return err
	}
	after, err := h.cpu()
	if err != nil {
		return err
	}
	whole, err := h.rss()
	if err != nil {
		return err
	}
	r.add("memory", h.name, n, (whole-rss)/float64(n))
	r.add("accept-cpu", h.name, n, micro(after-cpu)/float64(n))
	if isGo {
		now, err := h.goroutines(ctx)
		if err != nil {
			return err
		}
		r.add("goroutines", h.name, n, (now-goroutines)/float64(n))
	}
	return nil
}

// micro is a time in µs.
func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func runPost(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		return r.measurePost(ctx, h, l, r.plan.posted)
	})
}

// measurePost pushes by POST at saturation, and then at half of that rate.
func (r *run) measurePost(ctx context.Context, h *host, l *loader, conns int) error {
	p, err := r.post(ctx, h, l, 0, 0, r.plan.push)
	if err != nil {
		return err
	}
	rate := float64(p.Pushes) / p.Elapsed.Seconds()
	r.add("post-rate", h.name, conns, rate)
	r.add("post-cpu", h.name, conns, micro(p.CPU)/float64(p.Pushes))
	if p, err = r.post(ctx, h, l, rate/2, 0, r.plan.push); err != nil {
		return err
	}
	r.add("half-p50", h.name, conns, micro(p.P50))
	r.add("half-p99", h.name, conns, micro(p.P99))
	return nil
}

// post pushes by POST, to the first clients or to all of them (0), and checks that every message comes to whom it was
// meant for, once.
func (r *run) post(ctx context.Context, h *host, l *loader, rate float64, clients int, d time.Duration) (order.Report, error) {
	return r.watch(ctx, h, l, order.Order{
		Do: order.Push, Publishers: publishers, Rate: rate, Clients: clients, Warm: r.plan.warm, For: d, PIDs: h.pids(),
	})
}

// watch has an order to push carried out, and checks that every message comes to whom it was meant for, once.
func (r *run) watch(ctx context.Context, h *host, l *loader, o order.Order) (order.Report, error) {
	p, err := l.do(ctx, o, o.Warm+o.For)
	lost := p.Accepted - p.Received
	switch {
	case err != nil:
	case len(p.Refused) > 0:
		err = fmt.Errorf("pushes were refused (status:number): %v %s", p.Refused, p.Refusal)
	case p.Twice > 0 || p.Stray > 0:
		err = fmt.Errorf("of %d messages, %d came twice, and %d to somebody else", p.Accepted, p.Twice, p.Stray)
	case p.Pushes == 0 || p.Samples == 0:
		err = fmt.Errorf("no message arrived within the %v", o.For)
	case lost > 0:
		err = fmt.Errorf("of %d messages that were accepted, %d never came", p.Accepted, lost)
	}
	return p, err
}

func runHot(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		address, err := l.connect(ctx, h, 1)
		if err != nil {
			return err
		}
		for _, n := range []int{1, 8, 64} {
			if err := r.measureHot(ctx, h, l, address, n, 1); err != nil {
				return err
			}
		}
		return nil
	})
}

// measureHot has the server push to one connection, and counts what arrives.
func (r *run) measureHot(ctx context.Context, h *host, l *loader, address string, publishers, conns int) error {
	if _, err := l.count(ctx, true); err != nil {
		return err
	}
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	query := url.Values{
		"id":         {path.Base(u.Path)},
		"publishers": {fmt.Sprint(publishers)},
		"ms":         {fmt.Sprint(r.plan.hot.Milliseconds())},
	}
	body, err := h.ask(ctx, r.plan.hot+30*time.Second, http.MethodPost, "/bench/hot?"+query.Encode())
	if err != nil {
		return err
	}
	var sent struct {
		Pushes  int
		Elapsed time.Duration
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return err
	}
	c, err := l.arrived(ctx, sent.Pushes)
	if err != nil {
		return err
	}
	if c.First != sent.Pushes {
		return fmt.Errorf("of %d messages to one connection, %d came", sent.Pushes, c.First)
	}
	r.add(fmt.Sprint("hot-", publishers), h.name, conns, float64(sent.Pushes)/sent.Elapsed.Seconds())
	return nil
}

// arrived waits until n messages have come to the clients, or no more come, and returns what has.
func (l *loader) arrived(ctx context.Context, n int) (order.Report, error) {
	for last, since := -1, time.Now(); ; {
		c, err := l.count(ctx, false)
		if err != nil {
			return c, err
		}
		if c.Messages != last {
			last, since = c.Messages, time.Now()
		}
		if c.Messages >= n || time.Since(since) > 300*time.Millisecond {
			return c, nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return c, err
		}
	}
}

func runPing(ctx context.Context, r *run, s server) error {
	return r.measurePing(ctx, s, r.plan.pinged)
}

// measurePing measures what one round of pings costs.
//
// The connections are opened in a short time, and each is pinged an interval later, and so on. So there are pings in a
// window as long as the opening took, once in every interval, and none before and after it.
func (r *run) measurePing(ctx context.Context, s server, conns int) error {
	interval := r.plan.interval(conns)
	return r.under(ctx, s, interval, func(h *host, l *loader) error {
		begin := time.Now()
		if _, err := l.connect(ctx, h, conns); err != nil {
			return err
		}
		margin := max(interval/20, 40*time.Millisecond)
		window := time.Since(begin) + 2*margin
		if 2*window > interval {
			return fmt.Errorf("it took %v to open %d connections: too long for pings every %v", time.Since(begin), conns, interval)
		}
		pinged, pings, err := r.cpuWithin(ctx, h, l, begin.Add(interval-margin), window)
		if err != nil {
			return err
		}
		idle, none, err := r.cpuWithin(ctx, h, l, time.Now(), window)
		if err != nil {
			return err
		}
		if pings.Pings == 0 || none.Pings > conns/100 {
			return fmt.Errorf("%d pings, and %d between two rounds of them", pings.Pings, none.Pings)
		}
		if pings.MinPings != 1 || pings.MaxPings != 1 {
			r.note("%s did not ping each connection once in a round, but %d to %d times", h.name, pings.MinPings, pings.MaxPings)
		}
		r.add("ping-cpu", h.name, conns, micro(pinged-idle)/float64(pings.Pings))
		return nil
	})
}

// cpuWithin measures a server for a while, and counts the pings.
func (r *run) cpuWithin(ctx context.Context, h *host, l *loader, begin time.Time, d time.Duration) (cpu time.Duration, pings order.Report, err error) {
	if err := sleep(ctx, time.Until(begin)); err != nil {
		return 0, pings, err
	}
	if _, err := l.count(ctx, true); err != nil {
		return 0, pings, err
	}
	before, err := h.cpu()
	if err != nil {
		return 0, pings, err
	}
	if err := sleep(ctx, d); err != nil {
		return 0, pings, err
	}
	after, err := h.cpu()
	if err != nil {
		return 0, pings, err
	}
	pings, err = l.count(ctx, false)
	return after - before, pings, err
}
