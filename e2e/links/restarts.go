//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// restored is how soon pushes must work again.
const restored = 2 * time.Second

// restarts pushes to the workers while the proxy before them reloads, and then is killed and started again.
func (s *scene) restarts(asker *place, p *proxy, holders ...*place) {
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	var pushing sync.WaitGroup
	var clients [][]*client
	var books []*book
	for _, holder := range holders {
		some, err := holder.connect(8)
		if !s.starts(err) {
			return
		}
		publishers := s.publishers(asker)
		clients, books = append(clients, some), append(books, publishers.book)
		pushing.Go(func() { publishers.each(ctx, 8, endless, 200, 5*time.Millisecond, some) })
	}
	reloaded, restarted := new(trouble), new(trouble)
	sleep(ctx, time.Second)
	reloaded.begin = time.Now()
	err := p.kind.reload(p)
	reloaded.end = time.Now().Add(reloadGrace*time.Second + restored)
	sleep(ctx, reloadGrace*time.Second+restored+time.Second)

	restarted.begin = time.Now()
	p.process.kill()
	sleep(ctx, 500*time.Millisecond)
	err = errors.Join(err, p.start())
	restarted.end = time.Now().Add(restored)
	sleep(ctx, restored+time.Second)
	stop()
	pushing.Wait()
	if !s.starts(err) {
		return
	}
	for i, holder := range holders {
		s.check(holder.name+": outcomes are true while the proxy reloads and is killed", s.judge(books[i], clients[i]))
		s.check(holder.name+": pushes work again at most 2 s after each", books[i].works(reloaded, restarted))
	}
}

// trouble is a time in which pushes may fail.
type trouble struct{ begin, end time.Time }

// works returns an error if a push failed that had nothing to do with any trouble, or if none failed, so that nothing was
// shown.
func (b *book) works(troubles ...*trouble) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	failed := 0
	for st, e := range b.entries {
		if e.status == http.StatusNoContent {
			continue
		}
		failed++
		isExcused := false
		for _, t := range troubles {
			isExcused = isExcused || e.begun.Add(e.took).After(t.begin) && e.begun.Before(t.end)
		}
		if !isExcused {
			return fmt.Errorf("push %v, %v after the trouble, was answered with %d", st, e.begun.Sub(troubles[0].begin), e.status)
		}
	}
	if failed == 0 {
		return errors.New("no push has failed at all")
	}
	return nil
}
