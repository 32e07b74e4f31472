package main

import (
	"context"
	"sync"
	"syscall"
	"time"
)

// fleetChaos carries out the schedule of a run with several workers that have sessions.
type fleetChaos struct {
	sessionChaos
	fleet *fleet
	turn  sync.Mutex // held while a worker is replaced or killed
	wires sync.Mutex // held while something is wrong between workers
}

// happen carries out the event, and reports whether it had any effect.
func (c *fleetChaos) happen(ctx context.Context, e event) bool {
	wait := func() { sleep(ctx, e.For) }
	switch e.Kind {
	case renew:
		return c.replace(ctx, e, c.fleet.oldest)
	case kill:
		return c.replace(ctx, e, func() *member {
			all := c.fleet.living()
			return all[e.Worker%len(all)]
		})
	case parted, awaiting:
		if !lockWithin(ctx, &c.wires) {
			return false
		}
		defer c.wires.Unlock()
		defer c.fleet.disturbed(&c.fleet.cuts)()
		all := c.fleet.living()
		for i := range min(e.Count, len(all)) {
			link := c.fleet.links[all[(e.Worker+i)%len(all)].slot.number]
			if e.Kind == parted {
				link.sever()
			} else {
				_ = link.cut(e.OneWay)
			}
			defer func() { _ = link.mend() }()
		}
		wait()
		return true
	case crash:
		return c.disturb(ctx, func() {
			_ = c.engine.process.stop(syscall.SIGKILL, time.Second)
			sleep(ctx, e.Pause)
			if err := c.engine.start(); err != nil {
				c.fault("%v", err)
			}
		})
	case freeze:
		return c.disturb(ctx, func() {
			_ = c.engine.process.cmd.Process.Signal(syscall.SIGSTOP)
			wait()
			_ = c.engine.process.cmd.Process.Signal(syscall.SIGCONT)
		})
	case cut:
		return c.disturb(ctx, func() {
			for i := range e.Count {
				all := c.fleet.living()
				way := c.ways[all[(e.Worker+i)%len(all)].slot.number]
				way.sever()
				defer func() { _ = way.mend() }()
			}
			wait()
		})
	}
	return c.sessionChaos.happen(ctx, e)
}

// disturb does something to the engine, or to the ways to it.
func (c *fleetChaos) disturb(ctx context.Context, do func()) bool {
	if !lockWithin(ctx, &c.engine.turn) {
		return false
	}
	defer c.engine.turn.Unlock()
	defer c.fleet.disturbed(&c.fleet.losses)()
	do()
	return true
}

// replace stops a worker and starts another one: before, if that is wanted, or after.
func (c *fleetChaos) replace(ctx context.Context, e event, choose func() *member) bool {
	if !lockWithin(ctx, &c.turn) {
		return false
	}
	defer c.turn.Unlock()
	old := choose()
	place := old.slot
	start := func() {
		if err := c.fleet.start(place); err != nil {
			c.fault("%v", err)
		}
	}
	if e.OneWay || e.Elsewhere {
		for _, sl := range c.slots {
			if c.fleet.isFree(sl) {
				place = sl
				break
			}
		}
	}
	if e.OneWay && e.Kind == renew {
		start()
		c.fleet.stop(old, e.Kind)
		return true
	}
	c.fleet.stop(old, e.Kind)
	sleep(ctx, e.Pause)
	start()
	return true
}
