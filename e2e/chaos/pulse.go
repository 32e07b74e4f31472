package main

import (
	"context"
	"sync"
	"time"
)

// pulse notices when a process does not run: on a machine that is too busy, or that is stopped itself, nothing is on time,
// and that is nobody's fault who is tested.
type pulse struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	pauses []Window
}

const (
	beat    = 20 * time.Millisecond
	tooLate = 100 * time.Millisecond
)

// newPulse watches, in a goroutine that close ends.
func newPulse(since func() time.Duration) *pulse {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pulse{stop: cancel}
	p.running.Go(func() {
		for last := since(); ctx.Err() == nil; {
			sleep(ctx, beat)
			now := since()
			if now-last > beat+tooLate {
				p.mu.Lock()
				p.pauses = append(p.pauses, Window{last + beat, now})
				p.mu.Unlock()
			}
			last = now
		}
	})
	return p
}

func (p *pulse) close() {
	p.stop()
	p.running.Wait()
}

// all returns when the process did not run.
func (p *pulse) all() []Window {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Window(nil), p.pauses...)
}

// longest is the longest of some windows.
func longest(windows []Window) (most time.Duration) {
	for _, w := range windows {
		most = max(most, w.To-w.From)
	}
	return most
}
