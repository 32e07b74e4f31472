package membership_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

var (
	modelSeeds = flag.Int("model.seeds", 4, "how many runs of the model")
	modelFirst = flag.Uint64("model.first", 1, "the seed of the first")
	modelHours = flag.Float64("model.hours", 0.5, "how long each is, in the time of its bubble")
)

// seal and open are the names of the tests' leases.
func seal(address string) func(uint64) string {
	return func(number uint64) string { return fmt.Sprintf("sealed:%d:%s", number, address) }
}

func open(name string) (uint64, string, error) {
	rest, ok := strings.CutPrefix(name, "sealed:")
	number, address, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return 0, "", fmt.Errorf("%q cannot be opened", name)
	}
	n, err := strconv.ParseUint(number, 10, 64)
	return n, address, err
}

// TestModel lets everything happen to some workers and their directory, and looks up who has members all the while. No lookup may end with
// Gone while a worker that lives has a member of which Wait has said that it is known.
func TestModel(t *testing.T) {
	var sum tallies
	for seed := *modelFirst; seed < *modelFirst+uint64(*modelSeeds) && !t.Failed(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed)
				w.run(time.Duration(*modelHours * float64(time.Hour)))
				t.Logf("%+v", w.tally)
				sum.add(w.tally)
			})
		})
	}
	t.Logf("in all: %+v", sum)
	if sum.Gone < 100 || sum.Complete < 100 || sum.Incomplete == 0 || sum.Refused == 0 || sum.Acknowledged < 100 {
		t.Errorf("the model shows too little: %+v", sum)
	}
}

type tallies struct {
	Gone, Complete, Incomplete, Refused, Acknowledged int
	FalseGone                                         int
	CutOffTooLong, CameTooLate                        int // false, too, but known limits
}

func (a *tallies) add(b tallies) {
	a.Gone += b.Gone
	a.Complete += b.Complete
	a.Incomplete += b.Incomplete
	a.Refused += b.Refused
	a.Acknowledged += b.Acknowledged
	a.FalseGone += b.FalseGone
	a.CutOffTooLong += b.CutOffTooLong
	a.CameTooLate += b.CameTooLate
}

const (
	modelWorkers = 6
	modelKeys    = 24
)

// world is what the model consists of.
type world struct {
	t      *testing.T
	engine *membershiptest.Engine
	wg     sync.WaitGroup

	mu      sync.Mutex
	rand    *rand.Rand // guarded by mu, as is all below
	places  [modelWorkers]*process
	down    map[[2]string]bool // links that are down, by addresses
	tally   tallies
	started int
	storm   bool // much goes wrong at a time
}

// process is a worker, from start to end.
type process struct {
	address string
	m       *membership.Membership
	line    *line

	// Guarded by world.mu.
	alive   bool
	leaving bool
	members map[string]*member
}

type member struct {
	known time.Time // when Wait returned nil; zero: it has not
}

// line is a process' way to the engine. It notes when the process had a lease, and since when it has seen the others.
type line struct {
	*membershiptest.Client
	mu    sync.Mutex
	full  bool      // the engine refuses changes
	since time.Time // of an uninterrupted run of views
	last  time.Time // when the last began

	held  time.Time // since when the engine has had its lease; zero: it does not
	solid time.Time // when the engine last had had it for a lease time, so that everyone must have seen it; or its first lease
}

const leaseTime = directory.LeaseTime

func (l *line) Renew(ctx context.Context, lease directory.Lease) (directory.View, error) {
	begun := time.Now()
	view, err := l.Client.Renew(ctx, lease)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		if l.since.IsZero() || time.Since(l.last) > leaseTime {
			l.since = time.Now()
		}
		l.last = begun
	}
	return view, err
}

func (l *line) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	l.mu.Lock()
	full := l.full
	l.mu.Unlock()
	if full {
		return errBroken
	}
	return l.Client.Apply(ctx, number, changes)
}

func (l *line) setFull(full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = full
}

// watch looks at whether the engine has its lease.
func (l *line) watch() {
	isHeld := l.IsHeld()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch now := time.Now(); {
	case !isHeld:
		l.held = time.Time{}
	case l.held.IsZero():
		l.held = now
		if l.solid.IsZero() {
			l.solid = now
		}
	case now.Sub(l.held) >= leaseTime:
		l.solid = now
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 1))
	return &world{
		t: t, rand: random, down: make(map[[2]string]bool),
		engine: membershiptest.NewEngine(3, rand.New(rand.NewPCG(seed, 2))),
	}
}

func (w *world) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

func (w *world) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rand.Int64N(int64(d)))
}

func (w *world) run(d time.Duration) {
	end := time.Now().Add(d)
	for i := range w.places {
		w.start(i)
	}
	for time.Now().Before(end) {
		if w.isStorm() && w.roll(40) == 0 || w.roll(250) == 0 {
			w.turn()
		}
		w.happen()
		for range 2 + w.roll(3) {
			w.lookUp(w.roll(modelWorkers), w.key())
		}
		testutil.Pass(w.upTo(2 * time.Second))
	}
	w.settle()
	for i := range w.places {
		w.stop(i, true)
	}
	w.wg.Wait()
	w.engine.Wait()
}

// turn begins or ends a storm.
func (w *world) turn() {
	w.mu.Lock()
	w.storm = !w.storm
	calm := !w.storm
	w.mu.Unlock()
	if calm {
		w.engine.Set(membershiptest.Faults{Latency: time.Second / 50})
	}
}

func (w *world) isStorm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.storm
}

func (w *world) key() string { return "u:" + strconv.Itoa(w.roll(modelKeys)) }

// start starts a worker, at its usual address or at a new one.
func (w *world) start(i int) {
	w.mu.Lock()
	if w.places[i] != nil {
		w.mu.Unlock()
		return
	}
	address := "w" + strconv.Itoa(i)
	if w.started++; w.rand.IntN(3) == 0 {
		address += "." + strconv.Itoa(w.started)
	}
	l := &line{Client: w.engine.Client()}
	p := &process{address: address, line: l, alive: true, members: make(map[string]*member)}
	p.m = membership.New(membership.Config{
		Directory: l, Address: address, Seal: seal(address), Open: open, Log: slog.New(slog.DiscardHandler),
	})
	w.places[i] = p
	w.mu.Unlock()
	w.wg.Go(func() {
		for w.isAlive(p) {
			l.watch()
			testutil.Pass(time.Second / 4)
		}
	})
}

func (w *world) isAlive(p *process) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.alive
}

// stop ends a worker: by a crash, or in order.
func (w *world) stop(i int, orderly bool) {
	w.mu.Lock()
	p := w.places[i]
	if p == nil || p.leaving {
		w.mu.Unlock()
		return
	}
	p.leaving = true
	w.mu.Unlock()
	w.wg.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if orderly {
			p.m.Leave()
			testutil.Pass(w.upTo(time.Minute)) // its connections end at last
		} else {
			p.line.Cut(true)
			cancel()
		}
		w.mu.Lock()
		p.alive = false
		gone := p.members
		p.members = nil
		w.mu.Unlock()
		if orderly {
			for key := range gone {
				p.m.Set(key, false)
			}
			var stop context.CancelFunc
			ctx, stop = context.WithTimeout(ctx, w.upTo(10*time.Second))
			defer stop()
		}
		_ = p.m.Close(ctx)
		w.mu.Lock()
		w.places[i] = nil
		w.mu.Unlock()
	})
}

// happen lets something happen.
func (w *world) happen() {
	i := w.roll(modelWorkers)
	p := w.place(i)
	if p == nil {
		if w.roll(3) == 0 {
			w.start(i)
		}
		return
	}
	n := w.roll(200)
	if !w.isStorm() && n >= 150 && w.roll(30) > 0 {
		n = w.roll(150) // most of what goes wrong comes in storms
	}
	switch {
	case n < 2:
		w.ambush(i)
	case n < 30:
		w.join(p, w.key())
	case n < 150:
		w.leave(p, w.key())
	case n < 156:
		w.stop(i, false)
	case n < 160:
		w.stop(i, true)
	case n < 166:
		d := w.upTo(40 * time.Second)
		if w.roll(4) == 0 {
			d = w.upTo(400 * time.Second)
		}
		w.cut(p, d)
	case n < 174:
		link := [2]string{p.address, "w" + strconv.Itoa(w.roll(modelWorkers))}
		w.setLink(link, true)
		w.later(w.upTo(time.Minute), func() { w.setLink(link, false) })
	case n < 179:
		w.engine.Lose(w.roll(w.engine.Parts()))
	case n < 182:
		for part := range w.engine.Parts() {
			w.engine.Lose(part)
		}
	case n < 184:
		w.engine.Pause()
		w.later(w.upTo(30*time.Second), w.engine.Resume)
	case n < 190 || !w.isStorm():
		w.engine.Set(membershiptest.Faults{Latency: time.Second / 10})
	case n < 196:
		w.engine.Set(membershiptest.Faults{
			Latency: time.Second / 10, Slow: .05, SlowFor: 5 * time.Second, Fail: .03, Late: .7, LateFor: 10 * time.Second, Lie: .05,
		})
	default:
		w.engine.Set(membershiptest.Faults{Latency: time.Second, Slow: .2, SlowFor: 3 * time.Second, Fail: .2, Late: .5, LateFor: 20 * time.Second})
	}
}

// ambush loses everything when that is worst for a member of a worker, and looks for the member all the while.
func (w *world) ambush(i int) {
	key := w.key()
	w.wg.Go(func() {
		switch w.roll(5) {
		case 0: // the worker has just started, so that few know it
			w.stop(i, true)
			testutil.Pass(90 * time.Second)
			w.start(i)
		case 1: // it is cut off
			w.join(w.place(i), key)
			testutil.Pass(w.upTo(5 * time.Second))
			w.cut(w.place(i), w.upTo(150*time.Second))
			testutil.Pass(w.upTo(20 * time.Second))
		case 3: // it cannot enter anything anew
			if p := w.place(i); p != nil {
				w.join(p, key)
				testutil.Pass(w.upTo(5 * time.Second))
				p.line.setFull(true)
				w.later(w.upTo(time.Minute), func() { p.line.setFull(false) })
			}
		case 2: // it leaves
			w.join(w.place(i), key)
			w.stop(i, true)
			testutil.Pass(w.upTo(20 * time.Second))
		}
		w.join(w.place(i), key)
		testutil.Pass(w.upTo(time.Second))
		for part := range w.engine.Parts() {
			w.engine.Lose(part)
			if w.roll(3) == 0 {
				testutil.Pass(w.upTo(time.Second))
			}
		}
		for range 80 {
			w.lookUp(w.roll(modelWorkers), key)
			testutil.Pass(w.upTo(time.Second / 2))
		}
	})
}

func (w *world) place(i int) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.places[i]
}

// cut cuts a worker off from the engine for some time.
func (w *world) cut(p *process, d time.Duration) {
	if p == nil {
		return
	}
	p.line.Cut(true)
	w.later(d, func() { p.line.Cut(!w.isAlive(p)) })
}

func (w *world) later(d time.Duration, f func()) {
	w.wg.Go(func() {
		testutil.Pass(d)
		f()
	})
}

func (w *world) setLink(link [2]string, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[link] = down
}

func (w *world) join(p *process, key string) {
	if p == nil {
		return
	}
	w.mu.Lock()
	if !p.alive || p.members[key] != nil {
		w.mu.Unlock()
		return
	}
	m := new(member)
	p.members[key] = m
	p.m.Set(key, true)
	w.mu.Unlock()
	w.wg.Go(func() {
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			err := p.m.Wait(ctx, key)
			cancel()
			w.mu.Lock()
			isCurrent := p.alive && p.members[key] == m
			if isCurrent && err == nil {
				m.known = time.Now()
				w.tally.Acknowledged++
			}
			w.mu.Unlock()
			if err == nil || !isCurrent {
				return
			}
			testutil.Pass(time.Second)
		}
	})
}

func (w *world) leave(p *process, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.alive && p.members[key] != nil {
		delete(p.members, key)
		p.m.Set(key, false)
	}
}

// ask asks the worker at an address over a link.
func (w *world) ask(from, to string, key string) (has, answered bool) {
	testutil.Pass(w.upTo(20 * time.Millisecond))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down[[2]string{from, to}] || w.down[[2]string{to, from}] {
		return false, false
	}
	for _, p := range w.places {
		if p != nil && p.alive && p.address == to {
			return p.members[key] != nil, true
		}
	}
	return false, false
}

// lookUp looks up a key at a worker, and then sees whether the verdict was true all the while.
func (w *world) lookUp(i int, key string) {
	w.mu.Lock()
	reader := w.places[i]
	isReader := reader != nil && reader.alive && reader.members[key] == nil
	w.mu.Unlock()
	if !isReader {
		return
	}
	w.wg.Go(func() {
		begun := time.Now()
		verdict, err := w.verdict(reader, key)
		w.judge(reader, key, begun, verdict, err)
	})
}

func (w *world) verdict(reader *process, key string) (membership.Verdict, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l := reader.m.Lookup(key)
	for {
		workers, err := l.Next(ctx)
		if err != nil {
			return membership.Incomplete, err
		}
		if len(workers) == 0 {
			return l.Verdict(), nil
		}
		for _, other := range workers {
			if has, answered := w.ask(reader.address, other.Address, key); answered {
				l.Answered(other, has)
			} else {
				l.Silent(other)
			}
		}
	}
}

func (w *world) judge(reader *process, key string, begun time.Time, verdict membership.Verdict, err error) {
	generation, born := w.engine.Generation(key)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.tally.Refused++
	case verdict == membership.Complete:
		w.tally.Complete++
	case verdict == membership.Incomplete:
		w.tally.Incomplete++
	default:
		w.tally.Gone++
		for _, p := range w.places {
			if p == nil || !p.alive || p == reader || p.address == reader.address {
				continue
			}
			if m := p.members[key]; m != nil && !m.known.IsZero() && m.known.Before(begun) {
				w.blameLocked(reader, p, key, generation, born)
			}
		}
	}
}

// blameLocked says why a worker has not been found.
func (w *world) blameLocked(reader, p *process, key, generation string, born time.Time) {
	now := time.Now()
	reader.line.mu.Lock()
	since := reader.line.since
	reader.line.mu.Unlock()
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	isSolid := !p.line.held.IsZero() && now.Sub(p.line.held) >= leaseTime
	switch {
	case now.Sub(p.line.solid) > 10*leaseTime:
		w.tally.CutOffTooLong++
	case !isSolid && since.After(p.line.solid) && !p.line.Synced(generation):
		w.tally.CameTooLate++
	default:
		w.tally.FalseGone++
		w.t.Errorf("%s says that %q is gone, and %s has it. Now %v; lease of the latter held since %v, solid until %v; generation from %v, reader since %v",
			reader.address, key, p.address, now, p.line.held, p.line.solid, born, since)
	}
}

// settle lets all end that goes wrong. Then every lookup must be exact.
func (w *world) settle() {
	w.engine.Set(membershiptest.Faults{Latency: time.Second / 100})
	w.wg.Go(func() {}) // none of those that are under way is waited for: time passes
	testutil.Pass(8 * time.Minute)
	w.engine.Resume()
	for i := range w.places {
		w.start(i)
	}
	testutil.Pass(4 * time.Minute)
	for i := range w.places {
		for k := range modelKeys {
			key := "u:" + strconv.Itoa(k)
			want := membership.Gone
			w.mu.Lock()
			reader := w.places[i]
			for _, p := range w.places {
				if p != reader && p.members[key] != nil {
					want = membership.Complete
				}
			}
			w.mu.Unlock()
			if verdict, err := w.verdict(reader, key); err != nil || verdict != want {
				w.t.Errorf("in the end, %s says that %q is %v, %v, and not %v", reader.address, key, verdict, err, want)
			}
		}
	}
}
