//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// scene is one attack, with the worker that is attacked.
type scene struct {
	ctx     context.Context
	attack  *attack
	victim  *victim
	honest  *honest
	sending chan struct{} // has an element for each attacker that is sending
	sent    atomic.Int64  // bytes that the attackers have sent
	opened  atomic.Int64  // connections of theirs
	noted   string        // more about the attack, for the figures
	before  int64         // the worker's memory before it, in bytes
	cpu     time.Duration // the worker's processor time during it
	took    time.Duration

	mu    sync.Mutex // guards what follows
	conns []io.Closer
}

// newScene starts a worker. It always returns a scene, which close ends.
func newScene(ctx context.Context, a *attack, b *bounds) (*scene, error) {
	s := &scene{ctx: ctx, attack: a, sending: make(chan struct{}, 32)}
	v, err := startVictim(b, a.settings)
	if err != nil {
		return s, err
	}
	s.victim = v
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(ctx)
	go func() { // ends with the worker: there is nothing left to attack then
		<-v.ended
		cancel()
	}()
	s.honest, err = newHonest(ctx, v)
	return s, err
}

// carryOut attacks while honest publishers push, and judges both.
func (s *scene) carryOut() error {
	stop := s.honest.push(s.ctx)
	await(s.ctx, 10*time.Second, func() bool { return s.honest.answered() >= 10 })
	s.before = s.victim.resident()
	began, cpu := time.Now(), s.victim.processorTime()
	err := s.attack.run(s)
	s.cpu, s.took = s.victim.processorTime()-cpu, time.Since(began)
	stop()
	survived, honest := s.victim.judge(), s.honest.judge(s.ctx, began)
	if s.victim.hasEnded() { // which explains all the rest
		return survived
	}
	return errors.Join(err, survived, honest)
}

// close ends the scene, and returns its figures and what the worker has said.
func (s *scene) close() (figures, said string) {
	s.leave()
	if s.honest != nil {
		s.honest.close()
	}
	if s.victim == nil {
		return "the worker did not start", ""
	}
	peak, kernel := s.victim.close()
	figures = fmt.Sprintf("%.0f s, %d connections, %s sent; memory %s, at most %s, and %s in the kernel; %.1f s of CPU",
		s.took.Seconds(), s.opened.Load(), size(s.sent.Load()), size(s.before), size(peak), kernel, s.cpu.Seconds())
	if s.noted != "" {
		figures += "; " + s.noted
	}
	if s.honest != nil {
		figures += "; " + s.honest.String()
	}
	return figures, s.victim.said.last()
}

// keep has a connection closed when the attack is over.
func (s *scene) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
}

// leave closes the attackers' connections.
func (s *scene) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// hold goes on with the attack as it is.
func (s *scene) hold(d time.Duration) { sleep(s.ctx, d) }

// settle goes on with the attack until the worker takes no more memory, for at least 2 s.
func (s *scene) settle() {
	const step, enough = 500 * time.Millisecond, 1 << 20
	last, same := s.victim.resident(), 0
	for end := time.Now().Add(15 * time.Second); same < 4 && time.Now().Before(end) && s.ctx.Err() == nil; {
		s.hold(step)
		if now := s.victim.resident(); now > last+enough {
			last, same = now, 0
		} else {
			same++
		}
	}
}

// size formats a number of bytes.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// sleep waits for d, but no longer than ctx lasts.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// await waits until done, for at most d.
func await(ctx context.Context, d time.Duration, done func() bool) bool {
	for end := time.Now().Add(d); !done(); sleep(ctx, 20*time.Millisecond) {
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
	}
	return true
}

// parallel calls f for 0 to n-1, on at most width goroutines, and returns the number of calls that succeeded and the first error.
func parallel(n, width int, f func(i int) error) (done int64, first error) {
	var next, succeeded atomic.Int64
	var once sync.Once
	var all sync.WaitGroup
	for range min(n, width) {
		all.Go(func() {
			for i := int(next.Add(1) - 1); i < n; i = int(next.Add(1) - 1) {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
				} else {
					succeeded.Add(1)
				}
			}
		})
	}
	all.Wait()
	return succeeded.Load(), first
}
