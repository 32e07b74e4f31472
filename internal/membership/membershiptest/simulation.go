package membershiptest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
)

// Simulation is many users over many workers, in one process, without connections. Each user is at one worker, and every tenth at another
// one, too.
type Simulation struct {
	Users, Workers int
	For            time.Duration // how long each measurement of lookups takes
	Asking         []int         // how many lookups are under way at a time, in each of them
	Rate           int           // how many lookups a second begin while the engine is restarted

	// Directory returns the directory of a worker: a client of its own, or one that all share.
	Directory func(worker int) directory.Directory

	// Kill ends the engine, which loses everything, and Start starts it again. Each returns when that has been done.
	Kill, Start func()
	Down        time.Duration // how long there is none in between

	// Usage returns what the engine has used until now.
	Usage func() Usage

	// Entries counts what there is in the engine. It may take some time.
	Entries func() int64

	Timing membership.Timing
	Log    func(format string, args ...any)
}

// Usage is what an engine has used.
type Usage struct {
	Bytes   int64 // of memory, by its own account
	Process Process
}

// Phase is what one part of a simulation has taken.
type Phase struct {
	Took                   time.Duration
	Renews, Applies, Finds int64 // calls
	Changes, Keys          int64 // in Applies and Finds
	Heap                   int64 // what there is more of after it, in bytes, after a collection
	WorkersCPU, EngineCPU  time.Duration
	OtherCPU               time.Duration // of everything else on this machine
	EngineBytes, EngineRSS int64         // what there is more of after it
	RSSBefore              int64
}

// Report is what a simulation has found out.
type Report struct {
	Join    Phase
	Entries int64 // after Join
	Idle    Phase
	Lookup  []Answers // for each of Asking
	Repair  Repair
	Close   Phase
	Left    int64 // entries, after Close
}

// Repair is what a restart of the engine has cost, in times since it was killed.
type Repair struct {
	Phase                  // until Entered
	Started  time.Duration // it answers again
	Entered  time.Duration // every worker has entered all of its keys anew
	Seen     time.Duration // every worker knows that of all others, and asks those that are named and nobody else
	Certain  time.Duration // lookups say again that nobody is there, where that is so
	Seconds  []Answers     // what was answered in each
	Answered Answers       // all of them
	After    Answers       // and when it was over
}

// errFew means that a simulation has nobody to simulate.
var errFew = errors.New("there must be three workers and a user")

// Run runs it. It may take minutes, and ends early with the context.
func (s Simulation) Run(ctx context.Context) (r Report, err error) {
	if s.Workers < 3 || s.Users < 1 {
		return r, errFew
	}
	sim := &simulation{Simulation: s, byAddress: make(map[string]int)}
	sim.start()
	for _, step := range []func(context.Context, *Report) error{sim.join, sim.idle, sim.lookUp, sim.restart} {
		if err = step(ctx, &r); err != nil {
			break
		}
	}
	var closed error
	r.Close, closed = sim.phase(func() error { return sim.close(ctx) })
	r.Left = s.Entries()
	s.Log("closed: %s; %d entries are left", r.Close, r.Left)
	return r, errors.Join(err, closed)
}

// simulation is one under way.
type simulation struct {
	Simulation
	workers   []*membership.Membership
	byAddress map[string]int
	watch     watch
}

func (s *simulation) start() {
	s.watch.workers = make([]seen, s.Workers)
	for i := range s.Workers {
		address := "http://worker-" + strconv.Itoa(i)
		s.byAddress[address] = i
		s.workers = append(s.workers, membership.New(membership.Config{
			Directory: &watched{s.Directory(i), &s.watch, i},
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
func (s *simulation) phase(f func() error) (Phase, error) {
	heap := heapNow()
	end := s.begin()
	err := f()
	p := end()
	p.Heap = heapNow() - heap
	return p, err
}

// begin begins to measure, and returns what ends that. It does not measure the heap.
func (s *simulation) begin() (end func() Phase) {
	before, own, engine, machine := s.watch.count(), OfProcess(os.Getpid()), s.Usage(), ofMachine()
	begun := time.Now()
	return func() Phase {
		p := s.watch.count()
		p.Took = time.Since(begun)
		used := s.Usage()
		p.WorkersCPU = OfProcess(os.Getpid()).CPU - own.CPU
		p.EngineCPU = used.Process.CPU - engine.Process.CPU
		p.OtherCPU = ofMachine() - machine - p.WorkersCPU - p.EngineCPU
		p.EngineBytes, p.EngineRSS = used.Bytes-engine.Bytes, used.Process.RSS-engine.Process.RSS
		p.RSSBefore = engine.Process.RSS
		p.Renews -= before.Renews
		p.Applies -= before.Applies
		p.Finds -= before.Finds
		p.Changes -= before.Changes
		p.Keys -= before.Keys
		return p
	}
}

func (p Phase) String() string {
	return fmt.Sprintf("%.2f s; %d Renew, %d Apply of %d changes, %d Find of %d keys; CPU of the workers %.2f s, of the engine %.2f s, of others %.2f s; heap of the workers %+d kB; "+
		"engine: %+d kB, its process %d %+d kB", p.Took.Seconds(), p.Renews, p.Applies, p.Changes, p.Finds, p.Keys,
		p.WorkersCPU.Seconds(), p.EngineCPU.Seconds(), p.OtherCPU.Seconds(), p.Heap/1000, p.EngineBytes/1000, p.RSSBefore/1000, p.EngineRSS/1000)
}

func heapNow() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func user(i int) string { return "u:user-" + strconv.Itoa(i) }

// homes returns the workers at which a user is.
func (s *simulation) homes(user int) []int {
	first := user % s.Workers
	if user/s.Workers%10 != 0 {
		return []int{first}
	}
	return []int{first, (first + 1) % s.Workers}
}

// entries returns how many entries the users have.
func (s Simulation) entries() (n int) {
	sim := simulation{Simulation: s}
	for u := range s.Users {
		n += len(sim.homes(u))
	}
	return n
}

// join lets all users come, and waits until the directory knows.
func (s *simulation) join(ctx context.Context, r *Report) (err error) {
	if err = s.settle(ctx); err != nil {
		return err
	}
	r.Join, err = s.phase(func() error {
		for u := range s.Users {
			for _, home := range s.homes(u) {
				s.workers[home].Set(user(u), true)
			}
		}
		return s.until(ctx, s.isQuiet)
	})
	s.Log("joined: %s", r.Join)
	r.Entries = s.Entries()
	users := float64(s.Users)
	s.Log("a user: %.3f entries, %.3f writes, %.0f B in the engine, %.0f B of its process, %.0f B in the workers", float64(r.Entries)/users,
		float64(r.Join.Changes)/users, float64(r.Join.EngineBytes)/users, float64(r.Join.EngineRSS)/users, float64(r.Join.Heap)/users)
	return err
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

// idle is when nobody comes, goes or is looked up.
func (s *simulation) idle(ctx context.Context, r *Report) (err error) {
	if err = s.settle(ctx); err != nil {
		return err
	}
	r.Idle, err = s.phase(func() error {
		select {
		case <-time.After(s.For):
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	s.Log("idle: %s", r.Idle)
	return err
}

// lookUp looks up as many as can be.
func (s *simulation) lookUp(ctx context.Context, r *Report) error {
	for _, asking := range s.Asking {
		var a Answers
		p, err := s.phase(func() error {
			a = sum(s.ask(ctx, asking, 0, after(s.For)))
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		r.Lookup = append(r.Lookup, a)
		s.Log("%d asking: %.0f lookups/s, %s; %s", asking, float64(a.Count())/p.Took.Seconds(), a, p)
	}
	return nil
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

// restart restarts the engine, looks up all the while, and waits until everything is as it was.
func (s *simulation) restart(ctx context.Context, report *Report) (err error) {
	r := &report.Repair
	s.watch.expectLoss()
	end := s.begin()
	over := make(chan struct{})
	var asking sync.WaitGroup
	begun := time.Now()
	asking.Go(func() { r.Seconds = s.ask(ctx, maxAsking, s.Rate, over) })
	s.Kill()
	down := time.NewTimer(s.Down)
	defer down.Stop()
	select {
	case <-down.C:
	case <-ctx.Done():
	}
	s.Start()
	r.Started = time.Since(begun)
	for _, step := range []struct {
		at   *time.Duration
		wait func() error
	}{
		{&r.Entered, func() error { return s.until(ctx, func() bool { return s.watch.haveEntered() && s.isQuiet() }) }},
		{&r.Seen, func() error { return s.until(ctx, s.watch.haveSeen) }},
		{&r.Certain, func() error { return s.settle(ctx) }},
	} {
		if err == nil {
			err = step.wait()
			*step.at = time.Since(begun)
		}
		if step.at == &r.Entered {
			r.Phase = end()
			of := s.Usage().Process.CPU // of its new process
			r.OtherCPU += r.EngineCPU - of
			r.EngineCPU = of
		}
	}
	close(over)
	asking.Wait()
	r.Answered = sum(r.Seconds)
	s.Log("the engine was killed, and answers after %.2f s; keys entered anew after %.2f s, others know after %.2f s, nobody is certain after %.2f s",
		r.Started.Seconds(), r.Entered.Seconds(), r.Seen.Seconds(), r.Certain.Seconds())
	s.Log("repaired: %s", r.Phase)
	for i, a := range r.Seconds {
		s.Log("second %3d: %s", i, a)
	}
	s.Log("in all: %s", r.Answered)
	if err == nil {
		r.After = sum(s.ask(ctx, maxAsking, s.Rate, after(s.For)))
		s.Log("afterwards: %s", r.After)
	}
	return err
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
