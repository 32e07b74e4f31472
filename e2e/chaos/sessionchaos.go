package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// roads is how many forwarders there are: clients behind one of them can be held up together.
const roads = 5

// sessionChaos carries out the schedule of a run with sessions.
type sessionChaos struct {
	*site
	books        *sessionBooks
	clients      []*sessionClient
	newPublisher func() *sessionPublisher
	losing       sync.Mutex   // held while the far clients are cut off
	holding      []sync.Mutex // of each road: held while it holds back what passes
	stops        []eventKind  // those to come; slot.turn guards it

	mu     sync.Mutex // guards random
	random *rand.Rand
}

// happen carries out the event, and reports whether it had any effect.
func (c *sessionChaos) happen(ctx context.Context, e event) bool {
	switch e.Kind {
	case fin:
		return c.each(c.passages(e.Count), (*passage).finish)
	case rst:
		return c.each(c.passages(e.Count), (*passage).reset)
	case swallow:
		all := c.passages(e.Count)
		c.each(all, func(p *passage) { p.lose(true, !e.OneWay) })
		sleep(ctx, e.For)
		return c.each(all, (*passage).reset)
	case half:
		var parted sync.WaitGroup
		all := c.passages(e.Count)
		for _, p := range all {
			parted.Go(func() { p.part(ctx, e.For) })
		}
		parted.Wait()
		return len(all) > 0
	case hold:
		if !c.holding[e.Worker].TryLock() {
			return false
		}
		defer c.holding[e.Worker].Unlock()
		_ = c.roads[e.Worker].cut(e.OneWay)
		sleep(ctx, e.For)
		_ = c.roads[e.Worker].mend()
		return true
	case lose:
		return c.lose(ctx, func() {
			c.cutFar(e.OneWay)
			sleep(ctx, e.For)
		})
	case flap:
		return c.lose(ctx, func() {
			for end := time.Now().Add(e.For); ctx.Err() == nil && time.Now().Before(end); {
				c.cutFar(false)
				sleep(ctx, c.upTo(150*time.Millisecond))
				c.mendFar()
				sleep(ctx, c.upTo(400*time.Millisecond))
			}
		})
	case storm:
		return c.each(c.passages(len(c.clients)), (*passage).reset)
	case stall, fill:
		return c.stall(ctx, e)
	case replace, reload, depart, leave:
		return c.order(e)
	case restart, finish, kill:
		return c.stop(ctx, e)
	}
	return false
}

func (c *sessionChaos) upTo(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.random.Int64N(int64(d)))
}

// passages returns at most n connections of clients that are not far away.
func (c *sessionChaos) passages(n int) (all []*passage) {
	for _, r := range c.roads {
		all = append(all, r.passages()...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

func (c *sessionChaos) each(all []*passage, do func(*passage)) bool {
	for _, p := range all {
		do(p)
	}
	return len(all) > 0
}

// lose does something to the far clients' network, and mends it.
func (c *sessionChaos) lose(ctx context.Context, do func()) bool {
	if !lockWithin(ctx, &c.losing) {
		return false
	}
	defer c.losing.Unlock()
	do()
	c.mendFar()
	return true
}

func (c *sessionChaos) cutFar(oneWay bool) {
	if err := c.far.cut(oneWay); err != nil {
		c.fault("%v", err)
	}
}

func (c *sessionChaos) mendFar() {
	if err := c.far.mend(); err != nil {
		c.fault("%v", err)
	}
}

// some returns at most n clients.
func (c *sessionChaos) some(n int) []*sessionClient {
	all := slices.Clone(c.clients)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

// stall keeps some clients from reading for a while; with fill, they are pushed as much as the worker accepts.
func (c *sessionChaos) stall(ctx context.Context, e event) bool {
	ctx, cancel := context.WithTimeout(ctx, e.For)
	defer cancel()
	var stalled []*valve
	var fillings sync.WaitGroup
	var isFull atomic.Bool
	for _, client := range c.some(e.Count) {
		w := client.present()
		if w == nil || !w.conn.stall() {
			continue
		}
		stalled = append(stalled, w.conn)
		if e.Kind == fill {
			for range fillers {
				p := c.newPublisher()
				fillings.Go(func() {
					for ctx.Err() == nil {
						if p.fill(c.books.addresseeOf(w.session)) == http.StatusTooManyRequests {
							isFull.Store(true)
							sleep(ctx, 100*time.Millisecond)
						}
					}
				})
			}
		}
	}
	<-ctx.Done()
	for _, v := range stalled {
		v.resume()
	}
	fillings.Wait()
	return len(stalled) > 0 && (e.Kind == stall || isFull.Load())
}

// order tells some clients to do something.
func (c *sessionChaos) order(e event) bool {
	any := false
	for _, client := range c.some(e.Count) {
		select {
		case client.orders <- command{e.Kind, e.For}:
			any = true
		default: // it has one already
		}
	}
	return any
}

// stop stops the worker and starts its successor.
func (c *sessionChaos) stop(ctx context.Context, e event) bool {
	s := c.slots[0]
	s.turn.Lock()
	defer s.turn.Unlock()
	kind := c.stops[0] // what it was started for
	ready := c.books.stop(kind, c.since)
	c.stops = c.stops[1:]
	s.down(func() {
		c.betweenStops(kind, c.stops[0])
		sleep(ctx, e.Pause)
	}, func(p *process) {
		switch kind {
		case kill:
			s.kill(p)
		case finish:
			defer c.obstruct()()
			s.drain(p)
		default:
			s.drain(p)
		}
	})
	ready()
	return true
}
