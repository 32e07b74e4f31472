package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// forwarded is the group of what is measured of pushes that come to another worker than the one that holds the connection.
const forwarded = "forwarded"

// forwardedPhase is one way to push, measured on both routes.
type forwardedPhase struct {
	// metrics are what it finds out. One named X-added is by how much more X is on the route through the other worker.
	metrics []string
	measure func(ctx context.Context, r *run, p *pair, l *loader, way route) (figures, error)
}

// figures are what a phase has found out on one route, by metric.
type figures map[string]float64

// added ends the name of a metric that is a difference between the routes.
const added = "-added"

// pace is how many messages a second the publishers push that do not push as much as they can.
const pace = 2000

var forwardedPhases = []forwardedPhase{
	{[]string{"forwarded-rate", "forwarded-cpu", "forwarded-first", "forwarded-second"}, forwardedPosts},
	{[]string{"forwarded-64-rate", "forwarded-64-cpu"}, forwardedPostsOf64},
	{[]string{"forwarded-bulk-rate", "forwarded-bulk-cpu"}, forwardedBulk},
	{[]string{"inside-16-cpu"}, inside(16)},
	{[]string{"inside-64-cpu"}, inside(64)},
	{[]string{"paced-p50", "paced-p50-added", "paced-p99", "paced-p99-added"}, forwardedAtPace},
	{[]string{"beside-p99", "beside-bodies"}, forwardedBesideBodies},
}

// forwardedMetrics are those of all phases.
func forwardedMetrics() (all []string) {
	for _, phase := range forwardedPhases {
		all = append(all, phase.metrics...)
	}
	return all
}

// runForwarded measures pushes that come to another worker than the one that holds the connection, and in turn the same
// pushes to the same connections that come to the one that does. Both name the connections by their sealed IDs.
func runForwarded(ctx context.Context, r *run, s server) error {
	var p *pair
	s.start = func(ctx context.Context, ping time.Duration) (_ *host, err error) {
		if p, err = r.startPair(ctx, ping); err != nil {
			return nil, err
		}
		return p.host, nil
	}
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		for _, phase := range forwardedPhases {
			if !r.wants(phase.metrics...) {
				continue
			}
			if err := r.measureRoutes(ctx, p, l, phase); err != nil {
				return err
			}
		}
		return nil
	})
}

// measureRoutes measures a phase on both routes, beginning with another in each round.
func (r *run) measureRoutes(ctx context.Context, p *pair, l *loader, phase forwardedPhase) error {
	routes := []route{p.direct, p.forwarded}
	found := map[string]figures{}
	for i := range routes {
		way := routes[(i+r.round)%len(routes)]
		f, err := phase.measure(ctx, r, p, l, way)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", way.series, strings.Join(phase.metrics, ", "), err)
		}
		found[way.series] = f
		for _, metric := range phase.metrics {
			if value, ok := f[metric]; ok {
				r.add(metric, way.series, r.plan.posted, value)
			}
		}
	}
	for _, metric := range phase.metrics {
		if of, ok := strings.CutSuffix(metric, added); ok {
			difference := found[p.forwarded.series][of] - found[p.direct.series][of]
			r.add(metric, p.forwarded.series, r.plan.posted, difference)
		}
	}
	return nil
}

// postAt pushes by POST on a route.
func (r *run) postAt(ctx context.Context, p *pair, l *loader, way route, publishers int, rate float64, d time.Duration) (order.Report, error) {
	return r.watch(ctx, p.host, l, order.Order{
		Do: order.Push, At: way.push, Publishers: publishers, Rate: rate, Warm: r.plan.warm, For: d, PIDs: p.pids(),
	})
}

func forwardedPosts(ctx context.Context, r *run, p *pair, l *loader, way route) (figures, error) {
	report, err := r.postAt(ctx, p, l, way, publishers, 0, r.plan.push)
	if err != nil {
		return nil, err
	}
	f := pushFigures("forwarded", report)
	f["forwarded-second"] = micro(report.CPUs[1]) / float64(report.Pushes)
	if way == p.forwarded { // of a direct push the first worker knows nothing
		f["forwarded-first"] = micro(report.CPUs[0]) / float64(report.Pushes)
	}
	return f, nil
}

func forwardedPostsOf64(ctx context.Context, r *run, p *pair, l *loader, way route) (figures, error) {
	report, err := r.postAt(ctx, p, l, way, 64, 0, r.plan.push)
	if err != nil {
		return nil, err
	}
	return pushFigures("forwarded-64", report), nil
}

func forwardedBulk(ctx context.Context, r *run, p *pair, l *loader, way route) (figures, error) {
	report, err := r.watch(ctx, p.host, l, order.Order{
		Do: order.Bulk, At: way.push, Form: p.way.form, Publishers: p.way.publishers, Batch: p.way.batch, Window: p.way.window,
		Warm: r.plan.warm, For: r.plan.push, PIDs: p.pids(),
	})
	if err != nil {
		return nil, err
	}
	return pushFigures("forwarded-bulk", report), nil
}

// pushFigures are the rate of pushes and what each costs.
func pushFigures(phase string, p order.Report) figures {
	return figures{
		phase + "-rate": float64(p.Pushes) / p.Elapsed.Seconds(),
		phase + "-cpu":  micro(p.CPU) / float64(p.Pushes),
	}
}

// forwardedAtPace measures how long a message takes when there is time enough for all.
func forwardedAtPace(ctx context.Context, r *run, p *pair, l *loader, way route) (figures, error) {
	report, err := r.postAt(ctx, p, l, way, publishers, pace, 2*r.plan.push)
	if err != nil {
		return nil, err
	}
	return figures{"paced-p50": micro(report.P50), "paced-p99": micro(report.P99)}, nil
}

// forwardedBesideBodies measures it while large bodies take the same route.
func forwardedBesideBodies(ctx context.Context, r *run, p *pair, l *loader, way route) (_ figures, err error) {
	b, err := startBodies(ctx, p.host, way.push)
	if err != nil {
		return nil, err
	}
	report, err := r.postAt(ctx, p, l, way, publishers, pace, 2*r.plan.push)
	rate, failed := b.stop()
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return figures{"beside-p99": micro(report.P99), "beside-bodies": rate}, nil
}

// inside measures pushes that the application of a worker itself makes, so many at a time.
func inside(callers int) func(context.Context, *run, *pair, *loader, route) (figures, error) {
	return func(ctx context.Context, r *run, p *pair, l *loader, way route) (figures, error) {
		ids, err := p.ask(ctx, 10*time.Second, http.MethodGet, "/bench/ids") // of the second, which has the connections
		if err != nil {
			return nil, err
		}
		if _, err := l.count(ctx, true); err != nil {
			return nil, err
		}
		warm, err := drive(ctx, way.worker, string(ids), callers, r.plan.warm)
		if err != nil {
			return nil, err
		}
		before, err := p.cpuOfAll()
		if err != nil {
			return nil, err
		}
		pushes, err := drive(ctx, way.worker, string(ids), callers, r.plan.push)
		if err != nil {
			return nil, err
		}
		after, err := p.cpuOfAll()
		if err != nil {
			return nil, err
		}
		if pushes == 0 {
			return nil, fmt.Errorf("no push within %v", r.plan.push)
		}
		c, err := l.arrived(ctx, warm+pushes)
		if err != nil {
			return nil, err
		}
		if c.Messages != warm+pushes {
			return nil, fmt.Errorf("of %d messages, %d came", warm+pushes, c.Messages)
		}
		return figures{fmt.Sprintf("inside-%d-cpu", callers): micro(after-before) / float64(pushes)}, nil
	}
}

// drive has a worker push to connections, by their sealed IDs, for a while, and returns how many pushes there were.
func drive(ctx context.Context, worker *host, ids string, callers int, d time.Duration) (pushes int, err error) {
	query := url.Values{"publishers": {fmt.Sprint(callers)}, "ms": {fmt.Sprint(d.Milliseconds())}}
	body, err := worker.send(ctx, d+30*time.Second, http.MethodPost, "/bench/drive?"+query.Encode(), strings.NewReader(ids))
	if err != nil {
		return 0, err
	}
	var sent struct{ Pushes int }
	if err := json.Unmarshal(body, &sent); err != nil {
		return 0, err
	}
	return sent.Pushes, nil
}
