package main

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// memberChaos carries out the schedule of a run with users and groups.
type memberChaos struct {
	*site
	members *memberBooks
}

// happen carries out the event, and reports whether it had any effect.
func (c *memberChaos) happen(ctx context.Context, e event) bool {
	wait := func() { sleep(ctx, e.For) }
	switch e.Kind {
	case kill:
		return c.down(ctx, e, (*slot).kill)
	case drain:
		return c.down(ctx, e, (*slot).drain)
	case pause:
		return c.take(ctx, e.Worker, func(s *slot) {
			defer c.members.lose(s.number, c.since)() // calls of the directory that were under way take too long
			s.pause(wait)
		})
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
	case empty: // nobody has an excuse for that
		if !lockWithin(ctx, &c.engine.turn) {
			return false
		}
		defer c.engine.turn.Unlock()
		for ctx.Err() == nil {
			if c.engine.empty() == nil {
				return true
			}
			sleep(ctx, 200*time.Millisecond) // after a crash, nobody may have made the stream anew yet
		}
		return false
	case cut:
		return c.interrupt(ctx, e, wait, (*way).sever)
	case hold:
		return c.interrupt(ctx, e, wait, func(w *way) { _ = w.cut(e.OneWay) })
	case remain:
		way := c.ways[e.Worker]
		if !lockWithin(ctx, &way.turn) {
			return false
		}
		defer way.turn.Unlock()
		// It must live for as long as that.
		if !lockWithin(ctx, &c.slots[e.Worker].turn) {
			return false
		}
		defer c.slots[e.Worker].turn.Unlock()
		found := c.members.lose(e.Worker, c.since)
		way.sever()
		wait()
		_ = way.mend()
		found()
		return true
	}
	return false
}

// lockWithin locks, unless ctx ends before.
func lockWithin(ctx context.Context, mu *sync.Mutex) bool {
	for ctx.Err() == nil {
		if mu.TryLock() {
			return true
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return false
}

// disturb does something to the engine that all workers notice.
func (c *memberChaos) disturb(ctx context.Context, do func()) bool {
	if !lockWithin(ctx, &c.engine.turn) {
		return false
	}
	defer c.engine.turn.Unlock()
	for worker := range c.slots {
		defer c.members.lose(worker, c.since)()
	}
	do()
	return true
}

// interrupt does something to the ways of some workers to the engine.
func (c *memberChaos) interrupt(ctx context.Context, e event, wait func(), do func(*way)) bool {
	any := false
	for i := range e.Count {
		worker := (e.Worker + i) % len(c.ways)
		way := c.ways[worker]
		if i == 0 && !lockWithin(ctx, &way.turn) || i > 0 && !way.turn.TryLock() {
			continue
		}
		defer way.turn.Unlock()
		any = true
		found := c.members.lose(worker, c.since)
		do(way)
		defer func() {
			_ = way.mend()
			found()
		}()
	}
	if any {
		wait()
	}
	return any
}

// take does something to the scheduled worker or, if something is happening to that already, to another; but never to worker 0.
func (c *memberChaos) take(ctx context.Context, worker int, do func(*slot)) bool {
	mortal := c.slots[1:]
	for i := 0; ctx.Err() == nil; i++ {
		s := mortal[(worker-1+i)%len(mortal)]
		if !s.turn.TryLock() {
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		defer s.turn.Unlock()
		do(s)
		return true
	}
	return false
}

// down takes a worker down.
func (c *memberChaos) down(ctx context.Context, e event, stop func(*slot, *process)) bool {
	return c.take(ctx, e.Worker, func(s *slot) {
		s.down(func() {
			sleep(ctx, e.Pause)
			if e.Elsewhere {
				c.move(s)
			}
		}, func(p *process) { stop(s, p) })
	})
}

// move gives a worker that is down another port.
func (c *memberChaos) move(s *slot) {
	s.mu.Lock()
	_, port, _ := net.SplitHostPort(s.push)
	s.push = "127.0.0.1:" + c.spare[s.number][0]
	s.mu.Unlock()
	c.spare[s.number] = append(c.spare[s.number][1:], port)
	if c.setting.directory != amongPeers {
		return
	}
	found := c.members.lose(s.number, c.since) // until the others have read the list
	var pushes []string
	for _, s := range c.slots {
		pushes = append(pushes, s.pushAddress())
	}
	if err := c.listPeers(pushes); err != nil {
		c.fault("%v", err)
	}
	found()
}
