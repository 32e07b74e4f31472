package main

import (
	"context"
	"fmt"

	"github.com/wspush/wspush/bench/internal/order"
)

var bulkMetrics = []string{
	"single-rate", "single-cpu", "bulk-rate", "bulk-cpu", "many-rate", "many-cpu",
}

// way is how a server takes many messages, and with how many at a time it does best.
type way struct {
	form       string // of the requests: see package order
	publishers int
	batch      int // pushes that are sent in one go
	window     int // pushes of each publisher that may be under way
}

// byLines is how wspush takes them, and the straightforward servers do.
var byLines = way{form: order.Lines, publishers: 4, batch: 100, window: 4000}

// runBulk measures many messages in a request beside one in each.
func runBulk(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		if err := sleep(ctx, r.plan.settle/4); err != nil { // not every server has subscribed a client when it greets it
			return err
		}
		phases := []struct {
			name    string // of its metrics
			measure func() (order.Report, error)
		}{
			{"single", func() (order.Report, error) { return r.post(ctx, h, l, 0, 0, r.plan.push) }},
			{"bulk", func() (order.Report, error) { return r.bulk(ctx, h, l, h.way, 0, 1) }},
			{"many", func() (order.Report, error) { return r.bulk(ctx, h, l, h.way, 0, r.plan.many()) }},
		}
		for _, phase := range phases {
			wanted := []string{phase.name + "-rate", phase.name + "-cpu"}
			if h.name == "wspush" && phase.name == "single" {
				wanted = append(wanted, "bulk-rate", "bulk-cpu", "many-rate", "many-cpu") // which are held against it
			}
			if !r.wants(wanted...) {
				continue
			}
			p, err := phase.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", phase.name, err)
			}
			r.addPushes(phase.name, h.name, r.plan.posted, p)
			if h.name == "wspush" && phase.name == "single" { // what the rows of other phases are held against
				r.addPushes("bulk", "wspush single", r.plan.posted, p)
				r.addPushes("many", "wspush single", r.plan.posted, p)
			}
		}
		return nil
	})
}

// addPushes adds what pushes have cost, and how many there were.
func (r *run) addPushes(phase, server string, conns int, p order.Report) {
	r.add(phase+"-rate", server, conns, float64(p.Pushes)/p.Elapsed.Seconds())
	r.add(phase+"-cpu", server, conns, micro(p.CPU)/float64(p.Pushes))
}

// bulk pushes many messages in a request, each to so many targets among the first clients or all of them (0).
func (r *run) bulk(ctx context.Context, h *host, l *loader, w way, clients, targets int) (order.Report, error) {
	return r.watch(ctx, h, l, order.Order{
		Do: order.Bulk, Form: w.form, Publishers: w.publishers, Batch: max(1, w.batch/targets), Window: max(w.window, targets),
		Clients: clients, Targets: targets, Warm: r.plan.warm, For: r.plan.push, PIDs: h.pids(),
	})
}
