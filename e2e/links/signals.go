//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// killed kills the worker that holds the connections while 32 publishers push to them through another one, and starts it again
// on the same ports.
func (s *scene) killed() {
	asker, holder := s.place("asker"), s.place("holder")
	if !s.starts(asker.start(), holder.start()) {
		return
	}
	clients, err := holder.connect(16)
	if !s.starts(err) {
		return
	}
	publishers := s.publishers(asker)
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	var pushing sync.WaitGroup
	pushing.Go(func() { publishers.each(ctx, 32, endless, 200, 2*time.Millisecond, clients) })
	sleep(ctx, 3*time.Second)
	holder.process.kill()
	killed := time.Now()
	sleep(ctx, 1500*time.Millisecond)
	refused := publishers.book.since(killed)
	err = holder.start()
	ready := time.Now()
	sleep(ctx, restored+2*time.Second)
	stop()
	pushing.Wait()
	if !s.starts(err) {
		return
	}
	n := publishers.book.count()
	s.check(fmt.Sprintf("outcomes are true: %v", n), errors.Join(
		publishers.book.only(http.StatusNoContent, http.StatusBadGateway, http.StatusGone, http.StatusGatewayTimeout),
		s.judge(publishers.book, clients), atMost(n[http.StatusGatewayTimeout], 32)))
	s.check("502 until it is back", onlyCount(refused, http.StatusBadGateway))
	s.check("410 from then on", onlyCount(publishers.book.since(ready.Add(restored)), http.StatusGone))
	s.check("pushes to new connections work", s.isBack(asker, holder, clients[0]))
}

// atMost returns an error if more outcomes are unknown than pushes were under way.
func atMost(unknown, most int) error {
	if unknown > most {
		return fmt.Errorf("%d outcomes are unknown, of at most %d pushes at a time", unknown, most)
	}
	return nil
}

// since counts the answers to pushes that began after a time.
func (b *book) since(from time.Time) map[int]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := make(map[int]int)
	for _, e := range b.entries {
		if e.begun.After(from) {
			n[e.status]++
		}
	}
	return n
}

func onlyCount(n map[int]int, status int) error {
	if len(n) != 1 || n[status] == 0 {
		return fmt.Errorf("answers: %v", n)
	}
	return nil
}

// stopped stops a worker with SIGSTOP, which leaves its connections open and answers nothing, while others push to it and to a
// third one.
func (s *scene) stopped() {
	asker, holder, third := s.place("asker"), s.place("holder"), s.place("third")
	if !s.starts(asker.start(), holder.start(), third.start()) {
		return
	}
	held, err := holder.connect(8)
	theirs, err2 := third.connect(4)
	if !s.starts(err, err2) {
		return
	}
	publishers := s.publishers(asker)
	publishers.each(s.ctx, 8, 10, 200, 0, held)

	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	var beside sync.WaitGroup
	alone, others := s.publishers(asker), s.publishers(asker)
	alone.each(s.ctx, 4, 200, 200, 10*time.Millisecond, theirs)
	early := s.judge(alone.book, theirs)
	for _, c := range theirs {
		c.forget()
	}
	holder.process.signal(syscall.SIGSTOP)
	beside.Go(func() { others.each(ctx, 4, endless, 200, 10*time.Millisecond, theirs) })
	hung := publishers.flood(s.ctx, 12*time.Second, held)
	stop()
	beside.Wait()
	holder.process.signal(syscall.SIGCONT)
	continued := time.Now()
	hung.Wait()

	var slowest time.Duration
	var wrong map[int]int
	publishers.book.mu.Lock()
	for _, e := range publishers.book.entries {
		slowest = max(slowest, e.took)
	}
	publishers.book.mu.Unlock()
	wrong = publishers.book.count()
	delete(wrong, http.StatusNoContent)
	delete(wrong, http.StatusGatewayTimeout)
	delete(wrong, http.StatusBadGateway)
	err = nil
	if len(wrong) > 0 || slowest > 10*time.Second {
		err = fmt.Errorf("answers: %v, the slowest after %v", publishers.book.count(), slowest)
	}
	s.check(fmt.Sprintf("pushes to it end with 502 or 504 within 10 s: %v, %v", publishers.book.count(), slowest.Round(time.Millisecond)), err)

	before, meanwhile := alone.book.latencies(), others.book.latencies()
	err = errors.Join(early, others.book.only(http.StatusNoContent), s.judge(others.book, theirs))
	// A push that had to wait for anything about the stopped worker would take seconds: even the slowest does not.
	if meanwhile.most > 3*before.most+time.Second || meanwhile.p50 > 3*before.p50+50*time.Millisecond {
		err = errors.Join(err, fmt.Errorf("pushes take %v, before %v", meanwhile, before))
	}
	s.check(fmt.Sprintf("pushes to a third worker go on meanwhile: %v, before %v", meanwhile, before), err)

	last := publishers.book.publisher(1)
	works := await(s.ctx, 3*time.Second, func() bool {
		return publishers.push(held[0], stamp{last, int(time.Since(continued))}, 200).status == http.StatusNoContent
	})
	if err = nil; !works {
		err = errors.New("they do not, after 3 s")
	}
	s.check("pushes work again after SIGCONT", err)
	s.check("what was refused never arrived, and nothing arrived twice", s.judge(publishers.book, held))
}

// flood pushes 40 messages a second for a time, whether or not there are answers. The caller waits for the rest of those.
func (p *publishers) flood(ctx context.Context, d time.Duration, to []*client) *sync.WaitGroup {
	var all sync.WaitGroup
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	end := time.Now().Add(d)
	for i := 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		<-ticker.C
		all.Go(func() { p.push(to[i%len(to)], stamp{p.book.publisher(1), 0}, 200) })
	}
	return &all
}

// latencies are how long pushes took.
type latencies struct{ p50, most time.Duration }

func (l latencies) String() string {
	return fmt.Sprintf("p50 %v, at most %v", l.p50.Round(10*time.Microsecond), l.most.Round(10*time.Microsecond))
}

func (b *book) latencies() latencies {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []time.Duration
	for _, e := range b.entries {
		all = append(all, e.took)
	}
	slices.Sort(all)
	if len(all) == 0 {
		return latencies{}
	}
	return latencies{all[len(all)/2], all[len(all)-1]}
}
