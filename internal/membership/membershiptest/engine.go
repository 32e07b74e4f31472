// Package membershiptest is what tests of a directory stand on: an engine in memory that can do all that goes wrong with a real one, and
// a simulation of many users over many workers.
package membershiptest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
)

// errEngine is what a call that has failed returns. It says nothing about whether the call has had an effect.
var errEngine = errors.New("the engine failed")

// Faults says how often calls go wrong, from 0 to 1. Its zero value is an engine that answers at once.
type Faults struct {
	Latency time.Duration // each step of a call takes up to so long
	Slow    float64       // a step takes up to SlowFor
	SlowFor time.Duration
	Fail    float64 // a call fails, before, during or after its effect
	Late    float64 // what is left of a call that has failed has its effect later, up to LateFor
	LateFor time.Duration
	Lie     float64 // an answer has garbage in it, beside what is true
}

// Engine is a directory's engine in memory. Its workers use Clients.
type Engine struct {
	seed maphash.Seed
	late sync.WaitGroup

	mu     sync.Mutex
	faults Faults           // guarded by mu, as is all below
	lease  time.Duration    // how long one is good for
	rand   *rand.Rand       //
	parts  []part           // each may lose its data by itself
	leases map[uint64]lease // they are in the first part
	resume chan struct{}    // closed when it goes on; nil: it is not paused
	calls  uint64           // their number
	counts Counts           //
}

type part struct {
	generation string // "": it has lost everything, and nobody has renewed since
	born       time.Time
	sets       map[string]map[uint64]uint64   // key → lease → the call that put it last
	owners     map[string]directory.Ownership // by session
}

func newPart() part {
	return part{sets: make(map[string]map[uint64]uint64), owners: make(map[string]directory.Ownership)}
}

type lease struct {
	directory.Lease
	until time.Time
}

// Counts is what an engine has been asked to do.
type Counts struct {
	Renews, Applies, Finds int
	Changes, Keys          int // in Applies and Finds
	Claims, Owners         int
	Disclaims, Claimed     int // Claimed: sessions, in Claims
}

// NewEngine makes an engine of so many parts.
func NewEngine(parts int, random *rand.Rand) *Engine {
	e := &Engine{lease: directory.LeaseTime, seed: maphash.MakeSeed(), rand: random, parts: make([]part, parts), leases: make(map[uint64]lease)}
	for i := range e.parts {
		e.parts[i] = newPart()
	}
	return e
}

// SetLease sets how long leases are good for that are renewed from now on: directory.LeaseTime at first.
func (e *Engine) SetLease(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lease = d
}

// Set sets what goes wrong from now on.
func (e *Engine) Set(f Faults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = f
}

// Lose loses the data of a part. The first part has the leases, too.
func (e *Engine) Lose(i int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.parts[i] = newPart()
	if i == 0 {
		clear(e.leases)
	}
}

// Parts returns how many parts there are.
func (e *Engine) Parts() int { return len(e.parts) }

// Generation returns that of the part that has the key, and since when it has it. It is "", and now, if it has none.
func (e *Engine) Generation(key string) (string, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.partLocked(key); p.generation != "" {
		return p.generation, p.born
	}
	return "", time.Now()
}

// Pause lets calls wait until Resume. Both may be called again.
func (e *Engine) Pause() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.resume == nil {
		e.resume = make(chan struct{})
	}
}

// Resume ends a Pause.
func (e *Engine) Resume() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.resume != nil {
		close(e.resume)
		e.resume = nil
	}
}

// Counts returns what it has been asked to do.
func (e *Engine) Counts() Counts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts
}

// Entries returns how many entries there are, in all leases' names.
func (e *Engine) Entries() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.parts {
		for _, set := range p.sets {
			n += len(set)
		}
	}
	return n
}

// Named returns the leases that have a key.
func (e *Engine) Named(key string) (numbers []uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for number := range e.partLocked(key).sets[key] {
		numbers = append(numbers, number)
	}
	return numbers
}

// Leases returns the leases that have not lapsed.
func (e *Engine) Leases() (all []directory.Lease) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.leases {
		if time.Now().Before(l.until) {
			all = append(all, l.Lease)
		}
	}
	return all
}

// Wait waits until nothing that is late is left.
func (e *Engine) Wait() { e.late.Wait() }

func (e *Engine) partLocked(key string) *part {
	return &e.parts[maphash.String(e.seed, key)%uint64(len(e.parts))]
}

func (e *Engine) chanceLocked(p float64) bool { return p > 0 && e.rand.Float64() < p }

func (e *Engine) upToLocked(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(e.rand.Int64N(int64(d)))
}

// Client is one worker's way to an engine: a directory.Directory with directory.Owners.
type Client struct {
	e *Engine

	mu  sync.Mutex
	cut bool            // nothing gets through. Guarded by mu
	put directory.Lease // what it put last. Guarded by mu
}

// Client returns another client.
func (e *Engine) Client() *Client { return &Client{e: e} }

// Engine returns the engine.
func (c *Client) Engine() *Engine { return c.e }

// Cut cuts it off from the engine, or ends that. Calls do not fail then until their contexts do.
func (c *Client) Cut(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

// IsHeld reports whether the engine has the lease that it put.
func (c *Client) IsHeld() bool {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.e.leases[c.put.Number]
	return ok && time.Now().Before(l.until)
}

// Synced reports whether the lease that it last put says that the generation is synced.
func (c *Client) Synced(generation string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.put.Synced, generation)
}

func (c *Client) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

// Renew puts a lease.
func (c *Client) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	var view directory.View
	err := c.do(ctx, func(e *Engine) {
		e.counts.Renews++
		e.leases[l.Number] = lease{l, time.Now().Add(e.lease)}
		c.mu.Lock()
		c.put = l
		c.mu.Unlock()
	}, func(e *Engine) {
		for i := range e.parts {
			if p := &e.parts[i]; p.generation == "" {
				p.generation, p.born = fmt.Sprintf("%d.%x", i, e.rand.Uint64()), time.Now()
			}
			view.Generations = append(view.Generations, e.parts[i].generation)
		}
	}, func(e *Engine) {
		for number, l := range e.leases {
			if time.Now().After(l.until) {
				delete(e.leases, number)
				continue
			}
			view.Leases = append(view.Leases, l.Lease)
		}
		if e.chanceLocked(e.faults.Lie) {
			e.lieAboutLeasesLocked(&view)
		}
	})
	if err != nil {
		return directory.View{}, err
	}
	return view, nil
}

// Apply applies changes, in two steps.
func (c *Client) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	c.e.mu.Lock()
	c.e.calls++
	call := c.e.calls
	c.e.counts.Applies++
	c.e.counts.Changes += len(changes)
	c.e.mu.Unlock()
	apply := func(changes []directory.Change) func(*Engine) {
		return func(e *Engine) {
			for _, change := range changes {
				sets := e.partLocked(change.Key).sets
				set := sets[change.Key]
				switch {
				case change.Present && set == nil:
					sets[change.Key] = map[uint64]uint64{number: call}
				case change.Present:
					set[number] = max(set[number], call)
				case set[number] <= call: // an absence that is late does not undo a Present of a later call
					if delete(set, number); len(set) == 0 {
						delete(sets, change.Key)
					}
				}
			}
		}
	}
	half := len(changes) / 2
	return c.do(ctx, apply(changes[:half]), apply(changes[half:]))
}

// Find reads the leases of each key, and then the generations.
func (c *Client) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	found := make([]directory.Found, len(keys))
	err := c.do(ctx, func(e *Engine) {
		e.counts.Finds++
		e.counts.Keys += len(keys)
		for i, key := range keys {
			for number := range e.partLocked(key).sets[key] {
				found[i].Leases = append(found[i].Leases, number)
			}
		}
	}, func(e *Engine) {
		for i, key := range keys {
			found[i].Generation = e.partLocked(key).generation
		}
		if e.chanceLocked(e.faults.Lie) {
			found = e.lieAboutKeysLocked(found)
		}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// do takes the steps of a call, each at once, and lets go wrong what is to go wrong.
func (c *Client) do(ctx context.Context, steps ...func(*Engine)) error {
	e := c.e
	e.mu.Lock()
	failAt := -1
	if e.chanceLocked(e.faults.Fail) {
		failAt = e.rand.IntN(len(steps) + 1)
	}
	e.mu.Unlock()
	for i := range len(steps) + 1 {
		err := c.wait(ctx)
		if i == failAt {
			err = errEngine
		}
		if err != nil {
			e.takeLate(steps[i:])
			return err
		}
		if i < len(steps) {
			e.take(steps[i : i+1])
		}
	}
	return nil
}

func (e *Engine) take(steps []func(*Engine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, step := range steps {
		step(e)
	}
}

// takeLate takes the rest of a call that has failed some time later, perhaps.
func (e *Engine) takeLate(steps []func(*Engine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(steps) == 0 || !e.chanceLocked(e.faults.Late) {
		return
	}
	e.late.Add(1)
	time.AfterFunc(e.upToLocked(e.faults.LateFor), func() {
		defer e.late.Done()
		e.take(steps)
	})
}

// wait is how long a step takes.
func (c *Client) wait(ctx context.Context) error {
	if c.isCut() {
		<-ctx.Done()
		return ctx.Err()
	}
	e := c.e
	e.mu.Lock()
	d := e.upToLocked(e.faults.Latency)
	if e.chanceLocked(e.faults.Slow) {
		d = e.upToLocked(e.faults.SlowFor)
	}
	resume := e.resume
	e.mu.Unlock()
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if resume != nil {
		select {
		case <-resume:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
