package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

var (
	stalledMetrics = []string{
		"alone-p50", "alone-p99", "reading-p50", "reading-p99", "stalled-p50", "stalled-p99", "stalled-memory", "stalled-left",
		"stalled-204", "stalled-429", "stalled-410", "stalled-504", "stalled-500", "stalled-late", "stalled-cut",
	}
	confirmMetrics = []string{
		"confirm-rate", "confirm-cpu", "confirm-post-rate", "confirm-post-cpu", "confirm-hot", "confirm-pings",
	}
)

// runStalled measures what clients that never read do to the others: in turn with nobody beside them, with as many clients
// that do read and are pushed to alike, which tells what the machine has to bear in any case, and with clients that
// never read. Those beside, and who pushes to them, are a process of their own, so that they do not hold up the one that
// measures.
func runStalled(ctx context.Context, r *run, s server) error {
	r.note("the other Go peers' straightforward servers were not measured beside stalled clients: those of gorilla and gws end such a " +
		"client only by their pings, and that of melody answers before it has written")
	args := []string{"-write-timeout", r.plan.writeTimeout.String()}
	if s.name == "wspush" {
		args = append(args, "-max-pending", fmt.Sprint(stalledPending))
	}
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
		before, err := h.rss()
		if err != nil {
			return err
		}
		phases := []func() error{
			func() error { return r.measureBeside(ctx, h, l, "alone", func() error { return nil }) },
			func() error { return r.measureReading(ctx, h, l, others) },
			func() error { return r.measureStalled(ctx, h, l, others, before) },
		}
		for i := range 2 * len(phases) {
			if err := phases[(r.round+i)%len(phases)](); err != nil {
				return err
			}
		}
		if err := sleep(ctx, r.plan.settle); err != nil {
			return err
		}
		after, err := h.rss()
		r.add("stalled-left", h.name, r.plan.posted, (after-before)/float64(r.plan.stalled))
		return err
	})
}

// measureBeside measures one phase, and calls then at its end.
func (r *run) measureBeside(ctx context.Context, h *host, l *loader, phase string, then func() error) error {
	p, err := r.post(ctx, h, l, r.plan.rate, 0, r.plan.beside)
	if err != nil {
		return err
	}
	r.add(phase+"-p50", h.name, r.plan.posted, micro(p.P50))
	r.add(phase+"-p99", h.name, r.plan.posted, micro(p.P99))
	if h.name == "wspush" { // what the rows of other phases are held against
		switch phase {
		case "alone":
			for _, other := range []string{"reading", "stalled"} {
				r.add(other+"-p50", "wspush alone", r.plan.posted, micro(p.P50))
				r.add(other+"-p99", "wspush alone", r.plan.posted, micro(p.P99))
			}
		case "reading":
			r.add("stalled-p99", "wspush beside readers", r.plan.posted, micro(p.P99))
		}
	}
	return then()
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
	return r.measureBeside(ctx, h, l, "reading", func() error {
		_, err := stop()
		return err
	})
}

// measureStalled measures one phase with stalled clients; before is the server's memory without any.
func (r *run) measureStalled(ctx context.Context, h *host, l, others *loader, before float64) error {
	// The first of them are cut off already when it begins.
	stop, err := r.beside(ctx, h, others, false, 3*r.plan.writeTimeout/2)
	if err != nil {
		return err
	}
	return r.measureBeside(ctx, h, l, "stalled", func() error {
		rss, err := h.rss()
		if err != nil {
			return err
		}
		report, err := stop()
		switch {
		case err != nil:
			return err
		case h.name == "wspush" && (report.Cut == 0 || report.Answers[http.StatusTooManyRequests] == 0):
			return fmt.Errorf("nobody was stalled: %d cut off, and answers %v", report.Cut, report.Answers)
		}
		r.add("stalled-memory", h.name, r.plan.posted, (rss-before)/float64(r.plan.stalled))
		seconds := r.plan.besideTime().Seconds()
		for _, status := range []int{204, 429, 410, 504, 500} {
			r.add(fmt.Sprint("stalled-", status), h.name, r.plan.posted, float64(report.Answers[status])/seconds)
			delete(report.Answers, status)
		}
		r.add("stalled-late", h.name, r.plan.posted, float64(report.Late)/seconds)
		r.add("stalled-cut", h.name, r.plan.posted, float64(report.Cut)/seconds)
		if len(report.Answers) > 0 {
			return fmt.Errorf("pushes to stalled clients had other answers (status:number): %v", report.Answers)
		}
		return nil
	})
}

// runConfirm measures confirmed pushes beside those that are not.
func runConfirm(ctx context.Context, r *run, s server) error {
	err := r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		for _, confirmed := range []bool{false, true} {
			p, err := r.confirm(ctx, h, l, publishers, confirmed)
			if err != nil {
				return err
			}
			name := h.name
			if !confirmed {
				name += " unconfirmed"
			}
			r.add("confirm-rate", name, r.plan.posted, p.rate)
			r.add("confirm-cpu", name, r.plan.posted, p.cpu)

			query := ""
			if confirmed {
				query = "confirm=received"
			}
			posted, err := r.postQuery(ctx, h, l, query, 0, 0, r.plan.push)
			if err != nil {
				return err
			}
			r.add("confirm-post-rate", name, r.plan.posted, float64(posted.Pushes)/posted.Elapsed.Seconds())
			r.add("confirm-post-cpu", name, r.plan.posted, micro(posted.CPU)/float64(posted.Pushes))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, 1); err != nil {
			return err
		}
		p, err := r.confirm(ctx, h, l, 512, false)
		if err != nil {
			return err
		}
		r.add("confirm-hot", "wspush unconfirmed", 1, p.rate)
		if p, err = r.confirm(ctx, h, l, 512, true); err != nil {
			return err
		}
		r.add("confirm-hot", h.name, 1, p.rate)
		r.add("confirm-pings", h.name, 1, p.pings)
		return nil
	})
}

// confirming is what came of pushes in-process, confirmed or not.
type confirming struct {
	rate  float64 // 1/s
	cpu   float64 // of the server, for each push, in µs
	pings float64 // for each push
}

// confirm has the server push to any of its connections, and checks that every message arrives.
func (r *run) confirm(ctx context.Context, h *host, l *loader, publishers int, confirmed bool) (c confirming, err error) {
	if _, err := l.count(ctx, true); err != nil {
		return c, err
	}
	before, err := h.cpu()
	if err != nil {
		return c, err
	}
	query := url.Values{
		"publishers": {fmt.Sprint(publishers)},
		"confirmed":  {fmt.Sprint(confirmed)},
		"ms":         {fmt.Sprint(r.plan.hot.Milliseconds())},
	}
	body, err := h.ask(ctx, r.plan.hot+30*time.Second, http.MethodPost, "/bench/confirm?"+query.Encode())
	if err != nil {
		return c, err
	}
	after, err := h.cpu()
	if err != nil {
		return c, err
	}
	var sent struct {
		Pushes  int
		Elapsed time.Duration
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return c, err
	}
	if sent.Pushes == 0 {
		return c, errors.New("no push ended in time")
	}
	n := float64(sent.Pushes)
	received, err := l.arrived(ctx, sent.Pushes)
	switch {
	case err != nil:
		return c, err
	case received.Messages != sent.Pushes:
		return c, fmt.Errorf("of %d messages, %d came", sent.Pushes, received.Messages)
	}
	return confirming{n / sent.Elapsed.Seconds(), micro(after-before) / n, float64(received.Pings) / n}, nil
}
