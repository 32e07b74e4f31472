package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

var (
	eachMetrics   = []string{"each-one", "each-all", "each-cpu"}
	besideMetrics = []string{"each-quiet-p50", "each-quiet-p99", "each-beside-p50", "each-beside-p99", "each-beside", "each-other-p50", "each-other-p99"}
)

// crowdPath is where those connect who are all sent the same.
const crowdPath = "/ws/crowd"

// broadcast has the server send a message to everyone at crowdPath, so often, and returns how long each took. procs is how many
// processors it may use; 0: all.
func (h *host) broadcast(ctx context.Context, rounds int, every time.Duration, procs int) (took []time.Duration, err error) {
	query := url.Values{
		"rounds": {fmt.Sprint(rounds)},
		"every":  {fmt.Sprint(every.Milliseconds())},
		"procs":  {fmt.Sprint(procs)},
	}
	body, err := h.ask(ctx, time.Duration(rounds)*every+time.Minute, http.MethodPost, "/bench/each?"+query.Encode())
	if err != nil {
		return nil, err
	}
	return took, json.Unmarshal(body, &took)
}

// attempts is how often a message is sent to everyone in a round, with one processor and with all.
const attempts = 5

// runEach measures how long it takes until the last byte of a message for everyone is written. The clients are stopped meanwhile, and
// leave the processors to the server.
func runEach(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		at := *h
		at.path = crowdPath
		if _, err := l.connect(ctx, &at, r.plan.crowd); err != nil {
			return err
		}
		var one, all, cpu []float64
		for range attempts {
			for _, procs := range []int{1, 0} {
				before, err := h.cpu()
				if err != nil {
					return err
				}
				took, err := r.sendStopped(ctx, h, l, procs)
				if err != nil {
					return err
				}
				after, err := h.cpu()
				if err != nil {
					return err
				}
				if procs == 1 {
					one = append(one, milli(took))
				} else {
					all = append(all, milli(took))
					cpu = append(cpu, micro(after-before)/float64(r.plan.crowd))
				}
			}
		}
		for metric, samples := range map[string][]float64{"each-one": one, "each-all": all, "each-cpu": cpu} {
			slices.Sort(samples)
			r.add(metric, h.name, r.plan.crowd, samples[len(samples)/2])
		}
		return nil
	})
}

// sendStopped sends a message to everyone while the clients are stopped, and then has them read it.
func (r *run) sendStopped(ctx context.Context, h *host, l *loader, procs int) (time.Duration, error) {
	if _, err := l.count(ctx, true); err != nil {
		return 0, err
	}
	if err := l.process.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return 0, err
	}
	took, err := h.broadcast(ctx, 1, 0, procs)
	if e := l.process.cmd.Process.Signal(syscall.SIGCONT); err == nil {
		err = e
	}
	if err != nil {
		return 0, err
	}
	c, err := l.arrived(ctx, r.plan.crowd)
	if err == nil && c.Messages != r.plan.crowd {
		err = fmt.Errorf("of a message to %d clients, %d came", r.plan.crowd, c.Messages)
	}
	return took[0], err
}

// milli is a time in ms.
func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// runBeside measures single pushes alone, beside messages to everyone else, and beside the same messages by another process, which take
// the processors but not the server. Those who get the single ones are clients of another load generator, which does not have to read
// the others.
func runBeside(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, few *loader) error {
		if _, err := few.connect(ctx, h, min(100, r.plan.posted)); err != nil {
			return err
		}
		conns := r.plan.others
		err := r.withCrowd(ctx, h, func(many *loader) error {
			alone, err := r.single(ctx, h, few)
			if err != nil {
				return err
			}
			beside, took, err := r.singleBeside(ctx, h, few, h, many)
			if err != nil {
				return err
			}
			r.add("each-quiet-p50", h.name, conns, micro(alone.P50))
			r.add("each-quiet-p99", h.name, conns, micro(alone.P99))
			r.add("each-beside-p50", h.name, conns, micro(beside.P50))
			r.add("each-beside-p99", h.name, conns, micro(beside.P99))
			r.add("each-beside", h.name, conns, milli(took))
			return nil
		})
		if err != nil {
			return err
		}
		return r.under(ctx, s, pingRarely, func(other *host, _ *loader) error {
			return r.withCrowd(ctx, other, func(many *loader) error {
				beside, _, err := r.singleBeside(ctx, h, few, other, many)
				if err != nil {
					return err
				}
				r.add("each-other-p50", h.name, conns, micro(beside.P50))
				r.add("each-other-p99", h.name, conns, micro(beside.P99))
				return nil
			})
		})
	})
}

// withCrowd connects those who are all sent the same, for as long as measure takes.
func (r *run) withCrowd(ctx context.Context, h *host, measure func(*loader) error) error {
	l, err := startLoader(r.program("load"))
	if err != nil {
		return err
	}
	defer l.stop()
	at := *h
	at.path = crowdPath
	if _, err := l.connect(ctx, &at, r.plan.others); err != nil {
		return err
	}
	return measure(l)
}

// singleBeside pushes single messages while the other server sends messages to its crowd, and returns how long one of these took.
func (r *run) singleBeside(ctx context.Context, h *host, few *loader, other *host, many *loader) (order.Report, time.Duration, error) {
	rounds := int((r.plan.warm+r.plan.push)/r.plan.every) + 1
	type result struct {
		took []time.Duration
		err  error
	}
	done := make(chan result, 1)
	go func() {
		took, err := other.broadcast(ctx, rounds, r.plan.every, 0)
		done <- result{took, err}
	}()
	beside, err := r.single(ctx, h, few)
	all := <-done
	if err := errors.Join(err, all.err); err != nil {
		return beside, 0, err
	}
	c, err := many.arrived(ctx, rounds*r.plan.others)
	if err != nil {
		return beside, 0, err
	}
	if c.Messages != rounds*r.plan.others {
		return beside, 0, fmt.Errorf("of %d messages to everyone, %d came", rounds*r.plan.others, c.Messages)
	}
	slices.Sort(all.took)
	return beside, all.took[len(all.took)/2], nil
}

// single pushes single messages by POST, 1000 a second.
func (r *run) single(ctx context.Context, h *host, l *loader) (order.Report, error) {
	return r.watch(ctx, h, l, order.Order{
		Do: order.Push, Publishers: publishers, Rate: 1000, Warm: r.plan.warm, For: r.plan.push, PIDs: h.pids(),
	})
}
