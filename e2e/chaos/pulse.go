package main

import (
	"context"
	"sync"
	"time"
)

// pulse notices when a process is not running: on a machine that is too busy or is itself stopped, nothing is on time, and
// the tested code is not to blame.
type pulse struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	pauses []Window
}

const (
	beat    = 20 * time.Millisecond
	tooLate = 100 * time.Millisecond
)

// newPulse starts a goroutine that watches until close.
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

// all returns the times when the process was not running.
func (p *pulse) all() []Window {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Window(nil), p.pauses...)
}

// longest returns the length of the longest window.
func longest(windows []Window) (most time.Duration) {
	for _, w := range windows {
		most = max(most, w.To-w.From)
	}
	return most
}
