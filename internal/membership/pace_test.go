package membership_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// queue is an engine that does one thing after the other, whether anybody waits for it or not.
type queue struct {
	perChange time.Duration

	mu      sync.Mutex
	free    time.Time // when it has done all that it has been asked for. Guarded by mu
	changes int       // guarded by mu
	last    time.Time // when the last change will have been made. Guarded by mu
}

// queued is a way to it.
type queued struct {
	*membershiptest.Client
	q *queue
}

func (q *queue) wait(ctx context.Context, changes int) error {
	q.mu.Lock()
	if now := time.Now(); q.free.Before(now) {
		q.free = now
	}
	q.free = q.free.Add(time.Duration(changes) * q.perChange)
	if q.changes += changes; changes > 0 {
		q.last = q.free
	}
	done := time.NewTimer(time.Until(q.free))
	q.mu.Unlock()
	defer done.Stop()
	select {
	case <-done.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d queued) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	if err := d.q.wait(ctx, 0); err != nil {
		return directory.View{}, err
	}
	return d.Client.Renew(ctx, l)
}

func (d queued) Apply(ctx context.Context, lease uint64, changes []directory.Change) error {
	if err := d.q.wait(ctx, len(changes)); err != nil {
		return err
	}
	return d.Client.Apply(ctx, lease, changes)
}

func (d queued) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	if err := d.q.wait(ctx, 0); err != nil {
		return nil, err
	}
	return d.Client.Find(ctx, keys)
}

// A hundred workers have many changes at once, which takes the directory ten seconds. No call fails for want of time, no change is made twice,
// and lookups are answered all the while, sooner when keys are only entered anew.
func TestManyChangesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers, keys, perSecond = 100, 2000, 20_000
		e := membershiptest.NewEngine(1, rand.New(rand.NewPCG(1, 2)))
		q := &queue{perChange: time.Second / perSecond}
		var all []*membership.Membership
		for i := range workers {
			all = append(all, start(t, queued{e.Client(), q}, fmt.Sprint("w", i), nil))
		}
		testutil.Pass(time.Minute)
		phase := func(name string, slowest time.Duration, begin func()) {
			t.Helper()
			q.mu.Lock()
			before := q.changes
			q.mu.Unlock()
			begun := time.Now()
			begin()
			var longest time.Duration
			for time.Since(begun) < 25*time.Second {
				at := time.Now()
				if _, err := all[0].Find(t.Context(), []string{"u:nobody"}); err != nil {
					t.Errorf("%s, after %s: %v", name, time.Since(begun), err)
				}
				longest = max(longest, time.Since(at))
				testutil.Pass(10 * time.Millisecond)
			}
			q.mu.Lock()
			if n := q.changes - before; n != workers*keys {
				t.Errorf("%s: %d changes, not %d", name, n, workers*keys)
			}
			took := q.last.Sub(begun)
			q.mu.Unlock()
			t.Logf("%s: %s, slowest lookup %s", name, took, longest)
			if longest > slowest {
				t.Errorf("%s: a lookup took %s", name, longest)
			}
			if e.Entries() != workers*keys {
				t.Errorf("%s: %d entries", name, e.Entries())
			}
		}
		phase("joining", 1500*time.Millisecond, func() {
			for i, m := range all {
				for k := range keys {
					m.Set(fmt.Sprint("u:", i, "-", k), true)
				}
			}
		})
		phase("entering anew", 500*time.Millisecond, func() { e.Lose(0) })
	})
}
