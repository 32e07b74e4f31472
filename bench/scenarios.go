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
	every   int      // takes part in every so many rounds, beginning with the first
	run     func(ctx context.Context, r *run, s server) error
}

// group is which metrics are found out by it.
func (sc scenario) group() string {
	m, _ := metricNamed(sc.metrics[0])
	return m.group
}

var (
	everyone = append([]string{"wspush"}, peers...)
	bulkAll  = append([]string{"wspush"}, bulkPeers...)
	goAll    = append([]string{"wspush"}, goPeers...)
	onlyUs   = []string{"wspush"}
	bottom   = "net/http"
)

// scenarios are in the order in which they run: even needs what post has found out about all of them.
var scenarios = []scenario{
	{[]string{"memory", "memory-whole", "goroutines", "accept-cpu", "idle-cpu"}, everyone, 1, runMemory},
	{[]string{"post-rate", "post-cpu", "post-p50", "post-p99", "half-p50", "half-p99"}, everyone, 1, runPost},
	{[]string{"even-p50", "even-p99"}, everyone, 1, runEven},
	{[]string{"floor"}, []string{bottom}, 1, runFloor},
	{[]string{"inprocess", "inprocess-allocs"}, onlyUs, 1, runInProcess},
	{[]string{"hot-1", "hot-8", "hot-64"}, goAll, 1, runHot},
	{[]string{"ping-cpu", "ping-p99", "quiet-p99"}, []string{"wspush", "coder"}, 1, runPing},
	{[]string{"ping-cpu", "ping-p99", "quiet-p99"}, []string{"gorilla", "gws", "melody"}, 5, runPing}, // nobody's target
	{[]string{"storm", "storm-again"}, onlyUs, 1, runStorm},
	{[]string{"memory", "accept-cpu", "post-cpu", "half-p99", "inprocess", "hot-8", "ping-cpu"}, onlyUs, 5, runScale},
	{stalledMetrics, []string{"wspush", "coder"}, 1, runStalled},
	{confirmMetrics, onlyUs, 1, runConfirm},
	{bulkMetrics, bulkAll, 1, runBulk},
	{forwardedMetrics, onlyUs, 1, runForwarded},
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
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		_, err := r.measureIdle(ctx, h, l, r.plan.idle)
		if err != nil {
			return err
		}
		before, err := h.cpu()
		if err != nil {
			return err
		}
		if err := sleep(ctx, r.plan.rest); err != nil {
			return err
		}
		after, err := h.cpu()
		r.add("idle-cpu", h.name, r.plan.idle, (after-before).Seconds()*1000*10/r.plan.rest.Seconds())
		return err
	})
}

// measureIdle opens n connections to a fresh server, and measures what they cost.
func (r *run) measureIdle(ctx context.Context, h *host, l *loader, n int) (first string, err error) {
	isGo := slices.Contains(goAll, h.name)
	var goroutines float64
	if isGo {
		if goroutines, err = h.goroutines(ctx); err != nil {
			return "", err
		}
	}
	rss, err := h.rss()
	if err != nil {
		return "", err
	}
	cpu, err := h.cpu()
	if err != nil {
		return "", err
	}
	if first, err = l.connect(ctx, h, n); err != nil {
		return "", err
	}
	if err := sleep(ctx, r.plan.settle); err != nil {
		return "", err
	}
	after, err := h.cpu()
	if err != nil {
		return "", err
	}
	whole, err := h.rss()
	if err != nil {
		return "", err
	}
	r.add("memory", h.name, n, (whole-rss)/float64(n))
	r.add("memory-whole", h.name, n, whole/float64(n))
	r.add("accept-cpu", h.name, n, micro(after-cpu)/float64(n))
	if isGo {
		now, err := h.goroutines(ctx)
		if err != nil {
			return "", err
		}
		r.add("goroutines", h.name, n, (now-goroutines)/float64(n))
	}
	return first, nil
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
	r.add("post-p50", h.name, conns, micro(p.P50))
	r.add("post-p99", h.name, conns, micro(p.P99))
	if r.round == 0 && r.rates[h.name] == 0 {
		r.rates[h.name] = rate
	}
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
	return r.postQuery(ctx, h, l, "", rate, clients, d)
}

// postQuery is post with a query in every push.
func (r *run) postQuery(ctx context.Context, h *host, l *loader, query string, rate float64, clients int, d time.Duration) (
	order.Report, error) {
	return r.watch(ctx, h, l, order.Order{
		Do: order.Push, Publishers: publishers, Rate: rate, Query: query, Clients: clients, Warm: r.plan.warm, For: d, PIDs: h.pids(),
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
	case lost > 0 && h.name == "melody": // whose queue of messages drops what does not fit
		r.note("melody lost %d of %d messages that it had accepted", lost, p.Accepted)
	case lost > 0 && h.name == "pushpin": // which drops what it cannot pass on
		r.note("pushpin lost messages that it had accepted, when many came for a client: those that came are counted")
	case lost > 0:
		err = fmt.Errorf("of %d messages that were accepted, %d never came", p.Accepted, lost)
	}
	return p, err
}

func runEven(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		p, err := r.post(ctx, h, l, r.evenRate(), 0, r.plan.push)
		if err != nil {
			return err
		}
		r.add("even-p50", h.name, r.plan.posted, micro(p.P50))
		r.add("even-p99", h.name, r.plan.posted, micro(p.P99))
		return nil
	})
}

// evenRate is half of what the slowest Go server could do in the first round, or the slowest of all where there is no other.
func (r *run) evenRate() float64 {
	slowest, slowestGo := 0.0, 0.0
	for name, rate := range r.rates {
		if slowest == 0 || rate < slowest {
			slowest = rate
		}
		if slices.Contains(goAll, name) && (slowestGo == 0 || rate < slowestGo) {
			slowestGo = rate
		}
	}
	if slowestGo == 0 {
		slowestGo = slowest
	}
	return slowestGo / 2
}

func runFloor(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		p, err := l.do(ctx, order.Order{
			Do: order.Push, Publishers: publishers, Warm: r.plan.warm, For: r.plan.push, PIDs: h.pids(), Target: "http://" + h.addr + "/",
		}, r.plan.warm+r.plan.push)
		if err != nil {
			return err
		}
		r.add("floor", h.name, 0, micro(p.CPU)/float64(p.Pushes))
		return nil
	})
}

func runInProcess(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		return r.measureInProcess(ctx, h, r.plan.posted)
	})
}

// measureInProcess has the server compare its pushes with bare system calls.
func (r *run) measureInProcess(ctx context.Context, h *host, conns int) error {
	body, err := h.ask(ctx, time.Minute, http.MethodPost, fmt.Sprint("/bench/inprocess?n=", r.plan.inProcess))
	if err != nil {
		return err
	}
	var result struct{ Push, Write, Allocs float64 }
	if err := json.Unmarshal(body, &result); err != nil {
		return err
	}
	r.add("inprocess", h.name, conns, result.Push/1000)
	r.add("inprocess", "write(2)", conns, result.Write/1000)
	r.add("inprocess-allocs", h.name, conns, result.Allocs)
	return nil
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
	received := c.First
	switch {
	case received == sent.Pushes:
	case h.name == "melody" && received < sent.Pushes:
		r.note("melody answers a push before it is written, and drops it when its queue is full: of the messages to one connection, those that came are counted")
	default:
		return fmt.Errorf("of %d messages to one connection, %d came", sent.Pushes, received)
	}
	r.add(fmt.Sprint("hot-", publishers), h.name, conns, float64(received)/sent.Elapsed.Seconds())
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
	return r.measurePing(ctx, s, r.plan.pinged, r.round%2 == 0)
}

// measurePing measures one round of pings, and what it does to pushes.
//
// The connections are opened in a short time, and each is pinged an interval later, and so on. So there are pings in a
// window as long as the opening took, once in every interval, and none before and after it.
func (r *run) measurePing(ctx context.Context, s server, conns int, pushes bool) error {
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
		if !pushes {
			return nil
		}

		if err := sleep(ctx, time.Until(begin.Add(2*interval-margin-r.plan.warm))); err != nil {
			return err
		}
		p, err := r.post(ctx, h, l, r.plan.rate, r.plan.targets, window)
		if err != nil {
			return err
		}
		r.add("ping-p99", h.name, conns, micro(p.P99))
		if p, err = r.post(ctx, h, l, r.plan.rate, r.plan.targets, window); err != nil {
			return err
		}
		r.add("quiet-p99", h.name, conns, micro(p.P99))
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

func runStorm(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		begin, err := h.rss()
		if err != nil {
			return err
		}
		measure := func(series ...[2]string) error { // metric, when
			if err := sleep(ctx, r.plan.settle); err != nil {
				return err
			}
			rss, err := h.rss()
			for _, s := range series {
				r.add(s[0], h.name+" "+s[1], r.plan.stay, (rss-begin)/float64(r.plan.stay))
			}
			return err
		}
		if _, err := l.connect(ctx, h, r.plan.stay); err != nil {
			return err
		}
		if err := measure([2]string{"storm", "before"}); err != nil {
			return err
		}
		// The second storm tells a leak, which would grow again, from the room that the garbage collector leaves itself, and
		// that the first one may fill.
		if err := l.storm(ctx, h, r.plan.storm); err != nil {
			return err
		}
		if err := measure([2]string{"storm", "after"}, [2]string{"storm-again", "before"}); err != nil {
			return err
		}
		if err := l.storm(ctx, h, r.plan.storm); err != nil {
			return err
		}
		return measure([2]string{"storm-again", "after"})
	})
}

// runScale measures the same with other numbers of connections.
func runScale(ctx context.Context, r *run, s server) error {
	post := []string{"post-cpu", "half-p99"}
	inProcess := []string{"inprocess"}
	hot := []string{"hot-8"}
	serial := slices.Concat([]string{"memory", "accept-cpu"}, post, inProcess, hot)
	for _, conns := range r.plan.scale {
		if r.wants("ping-cpu") {
			if err := r.measurePing(ctx, s, conns, false); err != nil {
				return err
			}
		}
		if !r.wants(serial...) {
			continue
		}
		err := r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
			address, err := r.measureIdle(ctx, h, l, conns)
			if err != nil {
				return err
			}
			isNew := conns != r.plan.posted // which is measured in every round
			if isNew && r.wants(post...) {
				if err := r.measurePost(ctx, h, l, conns); err != nil {
					return err
				}
			}
			if isNew && r.wants(inProcess...) {
				if err := r.measureInProcess(ctx, h, conns); err != nil {
					return err
				}
			}
			if !r.wants(hot...) {
				return nil
			}
			return r.measureHot(ctx, h, l, address, 8, conns)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
