package main

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// chaos carries out the schedule.
type chaos struct {
	*site
	losing sync.Mutex // held while the far clients are cut off
}

// happen carries out the event, and reports whether it had any effect.
func (c *chaos) happen(ctx context.Context, e event) bool {
	switch e.Kind {
	case kill:
		return c.down(ctx, e, (*slot).kill)
	case drain:
		return c.down(ctx, e, func(s *slot, p *process) {
			filling, stop := context.WithTimeout(ctx, drainOver)
			defer stop()
			var fillers sync.WaitGroup
			fillers.Go(func() { c.fill(filling, c.pick(e.Count, func(t *target) bool { return t.worker == s.number })) })
			sleep(ctx, 300*time.Millisecond)
			s.drain(p)
			fillers.Wait()
		})
	case stall:
		ctx, cancel := context.WithTimeout(ctx, e.For)
		defer cancel()
		targets := c.pick(e.Count, func(*target) bool { return true })
		<-ctx.Done()
		resume(targets)
		return len(targets) > 0
	case fill:
		ctx, cancel := context.WithTimeout(ctx, e.For)
		defer cancel()
		// Two of them are on worker 0, which shows best what is not given back.
		targets := c.pick(2, func(t *target) bool { return t.route != remote && t.worker == 0 })
		targets = append(targets, c.pick(e.Count-2, func(t *target) bool { return t.route != remote })...)
		return c.fill(ctx, targets) && len(targets) > 0
	case lose:
		c.losing.Lock()
		defer c.losing.Unlock()
		if err := c.far.cut(e.OneWay); err != nil {
			c.fault("%v", err)
		}
		sleep(ctx, e.For)
		if err := c.far.mend(); err != nil {
			c.fault("%v", err)
		}
		return true
	}
	return false
}

// down takes a worker down: the scheduled one or, if that is down already, another; but never worker 0.
func (c *chaos) down(ctx context.Context, e event, stop func(*slot, *process)) bool {
	mortal := c.slots[1:]
	for i := range mortal {
		s := mortal[(e.Worker-1+i)%len(mortal)]
		if !s.turn.TryLock() {
			continue
		}
		defer s.turn.Unlock()
		s.down(func() { sleep(ctx, e.Pause) }, func(p *process) { stop(s, p) })
		return true
	}
	return false
}

// pick stalls some clients and returns them.
func (c *chaos) pick(n int, want func(*target) bool) (stalled []*target) {
	for _, t := range c.addresses.some(c.random(), n, want) {
		if t.valve.stall() {
			stalled = append(stalled, t)
		}
	}
	return stalled
}

func resume(targets []*target) {
	for _, t := range targets {
		t.valve.resume()
	}
}

// fillers is how many publishers fill one client's buffers at a time: together they send more than may wait for it.
const fillers = 8

// fill pushes as much as the worker accepts to clients that do not read, until ctx ends; then they read on. It reports
// whether the worker refused any as too much.
func (c *chaos) fill(ctx context.Context, targets []*target) bool {
	var all sync.WaitGroup
	var mu sync.Mutex
	full := false
	for _, t := range targets {
		for range fillers {
			p := c.publisher()
			p.forwards = true
			all.Go(func() {
				for ctx.Err() == nil {
					switch p.push(t, p.large()).Status {
					case http.StatusNoContent:
					case http.StatusTooManyRequests:
						mu.Lock()
						full = true
						mu.Unlock()
						sleep(ctx, 100*time.Millisecond)
					default:
						return
					}
				}
			})
		}
	}
	<-ctx.Done()
	resume(targets)
	all.Wait()
	return full
}
