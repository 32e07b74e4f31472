package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

var (
	stalledMetrics = []string{"alone-p99", "reading-p99", "stalled-p99"}
	stormMetrics   = []string{"storm", "storm-again"}
)

// runStalled measures what clients that never read do to the others: in turn with nobody beside them, with as many clients
// that do read and are pushed to alike, which tells what the machine has to bear in any case, and with clients that
// never read. Those beside, and who pushes to them, are a process of their own, so that they do not hold up the one that
// measures.
func runStalled(ctx context.Context, r *run, s server) error {
	args := []string{"-write-timeout", r.plan.writeTimeout.String(), "-max-pending", fmt.Sprint(stalledPending)}
	s.start = func(ctx context.Context, ping time.Duration) (*host, error) {
		return startGo(ctx, s.name, r.program(s.name), ping, args...)
	}
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		others, err := startLoader(r.program("load"))
		if err != nil {
			return err
		}
		defer others.stop()
		// A server's first pushes cost more than those to come.
		if _, err := r.post(ctx, h, l, r.plan.rate, 0, r.plan.beside); err != nil {
			return err
		}
		phases := []func() error{
			func() error { return r.measureBeside(ctx, h, l, "alone") },
			func() error { return r.measureReading(ctx, h, l, others) },
			func() error { return r.measureStalled(ctx, h, l, others) },
		}
		for i := range 2 * len(phases) {
			if err := phases[(r.round+i)%len(phases)](); err != nil {
				return err
			}
		}
		return nil
	})
}

// measureBeside measures one phase.
func (r *run) measureBeside(ctx context.Context, h *host, l *loader, phase string) error {
	p, err := r.post(ctx, h, l, r.plan.rate, 0, r.plan.beside)
	if err != nil {
		return err
	}
	r.add(phase+"-p99", h.name, r.plan.posted, micro(p.P99))
	if phase == "alone" { // what the rows of the other phases are held against
		for _, other := range []string{"reading", "stalled"} {
			r.add(other+"-p99", "wspush alone", r.plan.posted, micro(p.P99))
		}
	}
	return nil
}

// beside has the other load generator keep clients and push to them, until stop, which waits for its end and returns the
// report. It returns when they are what they will be.
func (r *run) beside(ctx context.Context, h *host, others *loader, reads bool, warm time.Duration) (
	stop func() (order.Report, error), err error) {
	type outcome struct {
		report order.Report
		err    error
	}
	takes := r.plan.besideTime()
	ended := make(chan outcome, 1)
	go func() {
		report, err := others.do(ctx, order.Order{
			Do: order.Stall, Addr: h.addr, Path: h.path, N: r.plan.stalled, Size: stalledSize, Reads: reads,
			Publishers: stalledPublishers, Rate: r.plan.stalledRate, Warm: warm, For: takes,
			Query: "timeout=" + (r.plan.writeTimeout / 2).String(),
		}, warm+takes)
		ended <- outcome{report, err}
	}()
	return func() (order.Report, error) {
		o := <-ended
		return o.report, o.err
	}, sleep(ctx, warm)
}

func (r *run) measureReading(ctx context.Context, h *host, l, others *loader) error {
	stop, err := r.beside(ctx, h, others, true, r.plan.writeTimeout/4)
	if err != nil {
		return err
	}
	if err := r.measureBeside(ctx, h, l, "reading"); err != nil {
		return err
	}
	_, err = stop()
	return err
}

func (r *run) measureStalled(ctx context.Context, h *host, l, others *loader) error {
	// The first of them are cut off already when it begins.
	stop, err := r.beside(ctx, h, others, false, 3*r.plan.writeTimeout/2)
	if err != nil {
		return err
	}
	if err := r.measureBeside(ctx, h, l, "stalled"); err != nil {
		return err
	}
	report, err := stop()
	if err == nil && (report.Cut == 0 || report.Answers[http.StatusTooManyRequests] == 0) {
		err = fmt.Errorf("nobody was stalled: %d cut off, and answers %v", report.Cut, report.Answers)
	}
	return err
}

// runStorm measures the memory of connections that stay while many others come and go.
func runStorm(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		begin, err := h.rss()
		if err != nil {
			return err
		}
		measure := func() (float64, error) {
			if err := sleep(ctx, r.plan.settle); err != nil {
				return 0, err
			}
			rss, err := h.rss()
			return (rss - begin) / float64(r.plan.stay), err
		}
		if _, err := l.connect(ctx, h, r.plan.stay); err != nil {
			return err
		}
		before, err := measure()
		if err != nil {
			return err
		}
		// Another storm tells a leak, which would grow again, from the room that the garbage collector leaves itself, and that the
		// first may fill.
		for _, metric := range stormMetrics {
			if err := l.storm(ctx, h, r.plan.storm); err != nil {
				return err
			}
			after, err := measure()
			if err != nil {
				return err
			}
			r.add(metric, "wspush before", r.plan.stay, before)
			r.add(metric, h.name, r.plan.stay, after)
			before = after
		}
		return nil
	})
}
