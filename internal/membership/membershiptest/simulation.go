package membershiptest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
)

// Simulation is many users over many workers, in one process, without connections. Each user is at one worker, and every tenth
// lookup is for one who is nowhere.
type Simulation struct {
	Users, Workers int
	Lookups        int // how many, in each phase
	Asking         int // how many lookups are under way at a time

	// Directory returns the directory of a worker: a client of its own, or one that all share.
	Directory func(worker int) directory.Directory

	// Restart, if it is not nil, lets the engine lose everything. It returns when the engine is there again.
	Restart func()

	Timing membership.Timing
	Log    func(format string, args ...any) // nil: none
}

// Phase is what one part of a simulation has taken.
type Phase struct {
	Took                   time.Duration
	Renews, Applies, Finds int64 // calls
	Changes, Keys          int64 // in Applies and Finds
	Heap                   int64 // what there is more of after it, in bytes, after a collection
}

// Lookups is what became of lookups.
type Lookups struct {
	Exact     int // the right worker, or nobody, for certain
	Doubtful  int // the right worker is asked, among others or only because it has not entered its keys again; or nobody is sure
	Refused   int // ErrDirectory
	Wrong     int // somebody who is there is not found, for certain
	Took      time.Duration
	P50, P99  time.Duration
	PerSecond float64
}

// Report is what a simulation has found out.
type Report struct {
	Join       Phase
	Lookup     Phase
	Calm       Lookups
	Repair     Phase   // until every worker has entered all keys anew
	Meanwhile  Lookups // during Repair
	Afterwards Lookups
	Close      Phase
}

// errFew means that a simulation has nobody to simulate.
var errFew = errors.New("there must be two workers and a user")

// Run runs it. It may take minutes, and ends early with the context.
func (s Simulation) Run(ctx context.Context) (r Report, err error) {
	if s.Workers < 2 || s.Users < 1 {
		return r, errFew
	}
	sim := &simulation{Simulation: s}
	if sim.Log == nil {
		sim.Log = func(string, ...any) {}
	}
	sim.start()
	defer func() {
		r.Close, _ = sim.phase(func() error { return sim.close(ctx) })
		sim.Log("closed: %+v", r.Close)
	}()
	if r.Join, err = sim.phase(func() error { return sim.join(ctx) }); err != nil {
		return r, err
	}
	sim.Log("joined: %+v", r.Join)
	if err = sim.settle(ctx); err != nil {
		return r, err
	}
	r.Lookup, err = sim.phase(func() error {
		r.Calm = sim.lookUp(ctx, func(done int) bool { return done < s.Lookups })
		return ctx.Err()
	})
	sim.Log("looked up: %+v, %+v", r.Calm, r.Lookup)
	if err != nil || s.Restart == nil {
		return r, err
	}
	return r, sim.restart(ctx, &r)
}

// simulation is one under way.
type simulation struct {
	Simulation
	workers []*membership.Membership
	counts  struct{ renews, applies, finds, changes, keys atomic.Int64 }
}

func (s *simulation) start() {
	for i := range s.Workers {
		address := "http://worker-" + strconv.Itoa(i)
		s.workers = append(s.workers, membership.New(membership.Config{
			Directory: &counting{s.Directory(i), s},
			Address:   address,
			// A sealed name has about as many bytes.
			Seal: func(number uint64) string { return fmt.Sprintf("%0180d|%s", number, address) },
			Open: func(name string) (uint64, string, error) {
				number, address, _ := strings.Cut(name, "|")
				n, err := strconv.ParseUint(number, 10, 64)
				return n, address, err
			},
			Timing: s.Timing,
		}))
	}
}

// phase measures what f takes.
func (s *simulation) phase(f func() error) (p Phase, err error) {
	heap, before := heapNow(), s.countsNow()
	begun := time.Now()
	err = f()
	p = s.countsNow()
	p.Took = time.Since(begun)
	p.Renews -= before.Renews
	p.Applies -= before.Applies
	p.Finds -= before.Finds
	p.Changes -= before.Changes
	p.Keys -= before.Keys
	p.Heap = heapNow() - heap
	return p, err
}

func (s *simulation) countsNow() Phase {
	c := &s.counts
	return Phase{Renews: c.renews.Load(), Applies: c.applies.Load(), Finds: c.finds.Load(), Changes: c.changes.Load(), Keys: c.keys.Load()}
}

func heapNow() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func user(i int) string { return "u:user-" + strconv.Itoa(i) }

// join lets all users come, and waits until the directory knows.
func (s *simulation) join(ctx context.Context) error {
	var wg sync.WaitGroup
	for i, m := range s.workers {
		wg.Go(func() {
			for u := i; u < s.Users; u += s.Workers {
				m.Set(user(u), true)
			}
		})
	}
	wg.Wait()
	return s.until(ctx, s.isQuiet)
}

// settle waits until lookups are exact: a new directory may have lost something just before.
func (s *simulation) settle(ctx context.Context) error {
	return s.until(ctx, func() bool {
		for _, m := range s.workers {
			found, err := m.Find(ctx, []string{"u:nobody"})
			if err != nil || !found[0].Sure || len(found[0].Workers) > 0 {
				return false
			}
		}
		return true
	})
}

func (s *simulation) isQuiet() bool {
	return !slices.ContainsFunc(s.workers, func(m *membership.Membership) bool { return m.Stats().Pending > 0 })
}

func (s *simulation) until(ctx context.Context, done func() bool) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// lookUp looks up users at random workers for as long as more says so.
func (s *simulation) lookUp(ctx context.Context, more func(done int) bool) (l Lookups) {
	var done atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	var took []time.Duration
	begun := time.Now()
	for range max(1, s.Asking) {
		wg.Go(func() {
			var mine Lookups
			var times []time.Duration
			for ctx.Err() == nil && more(int(done.Add(1))-1) {
				at := time.Now()
				s.lookUpOne(ctx, &mine)
				times = append(times, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			l.Exact += mine.Exact
			l.Doubtful += mine.Doubtful
			l.Refused += mine.Refused
			l.Wrong += mine.Wrong
			took = append(took, times...)
		})
	}
	wg.Wait()
	l.Took = time.Since(begun)
	slices.Sort(took)
	if n := len(took); n > 0 {
		l.P50, l.P99 = took[n/2], took[n*99/100]
		l.PerSecond = float64(n) / l.Took.Seconds()
	}
	return l
}

func (s *simulation) lookUpOne(ctx context.Context, l *Lookups) {
	u := rand.IntN(s.Users)
	home, key := u%s.Workers, user(u)
	if rand.IntN(10) == 0 {
		home, key = -1, "u:nobody-"+strconv.Itoa(u)
	}
	asker := rand.IntN(s.Workers)
	if asker == home {
		asker = (asker + 1) % s.Workers
	}
	found, err := s.workers[asker].Find(ctx, []string{key})
	if err != nil {
		l.Refused++
		return
	}
	f := found[0]
	isAsked := slices.ContainsFunc(f.Workers, func(w membership.Worker) bool { return w.Address == "http://worker-"+strconv.Itoa(home) })
	switch {
	case home >= 0 && !isAsked && f.Sure:
		l.Wrong++
	case f.Sure && home < 0 && len(f.Workers) == 0, f.Sure && home >= 0 && len(f.Workers) == 1 && f.Workers[0].Named:
		l.Exact++
	default:
		l.Doubtful++
	}
}

// restart restarts the engine, looks up all the while, and waits until everything is as it was.
func (s *simulation) restart(ctx context.Context, r *Report) (err error) {
	s.Restart()
	r.Repair, err = s.phase(func() error {
		repaired := make(chan struct{})
		var failed error
		go func() {
			defer close(repaired)
			failed = s.repaired(ctx)
		}()
		r.Meanwhile = s.lookUp(ctx, func(int) bool {
			select {
			case <-repaired:
				return false
			default:
				return true
			}
		})
		<-repaired
		return failed
	})
	s.Log("repaired: %+v, meanwhile %+v", r.Repair, r.Meanwhile)
	if err == nil {
		err = s.settle(ctx)
	}
	if err == nil {
		r.Afterwards = s.lookUp(ctx, func(done int) bool { return done < s.Lookups })
		s.Log("afterwards: %+v", r.Afterwards)
	}
	return err
}

// repaired waits until nobody is asked who is not named: all have entered their keys again.
func (s *simulation) repaired(ctx context.Context) error {
	return s.until(ctx, func() bool {
		for i, m := range s.workers {
			found, err := m.Find(ctx, []string{user((i + 1) % s.Workers), "u:nobody"})
			if err != nil || len(found[0].Workers) != 1 || !found[0].Workers[0].Named || len(found[1].Workers) > 0 {
				return false
			}
		}
		return s.isQuiet()
	})
}

func (s *simulation) close(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(s.workers))
	for i, m := range s.workers {
		wg.Go(func() { errs[i] = m.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// counting counts the calls of one worker.
type counting struct {
	directory.Directory
	s *simulation
}

func (c *counting) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	c.s.counts.renews.Add(1)
	return c.Directory.Renew(ctx, l)
}

func (c *counting) Apply(ctx context.Context, lease uint64, changes []directory.Change) error {
	c.s.counts.applies.Add(1)
	c.s.counts.changes.Add(int64(len(changes)))
	return c.Directory.Apply(ctx, lease, changes)
}

func (c *counting) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	c.s.counts.finds.Add(1)
	c.s.counts.keys.Add(int64(len(keys)))
	return c.Directory.Find(ctx, keys)
}
