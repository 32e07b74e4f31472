package directorytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
)

// An Engine is an engine that runs, with nothing in it, and which its tests have for themselves. Its functions fail the test if they cannot
// do what they are for; they are called concurrently only where this says so.
type Engine struct {
	// Address is the host and port where the engine is reached over TCP, after Restart too.
	Address string

	// Open returns a directory in the engine with a client of its own, which connects to the given address: that of the engine
	// or of a proxy in front of it. The prefix, of lower-case letters and digits, keeps it apart from others in the same
	// engine. It registers with Cleanup what there is to close. The client should reconnect at once.
	Open func(tb testing.TB, address, prefix string) directory.Directory

	// Empty makes the engine lose all its data while it runs and connections stay. If it can do that in several ways, this is the
	// fastest.
	Empty func(tb testing.TB)

	// Kill ends the engine without a warning. It is not running when Kill returns.
	Kill func(tb testing.TB)

	// Restart starts it again after Kill, without its data.
	Restart func(tb testing.TB)

	// Nonsense has, by name, functions that put something that the implementation has not written where it will look for the key or
	// for leases, such as a value of another type.
	Nonsense map[string]func(tb testing.TB, prefix, key string)

	// OwnerNonsense has, by name, functions that put such a thing where the owner of a session is, instead of that which is there. It is needed
	// only if the directory implements directory.Owners.
	OwnerNonsense map[string]func(tb testing.TB, prefix, session string)
}

type test struct {
	name string
	run  func(t *testing.T, e *Engine)
}

// Run runs the suite as subtests of t, each with an engine that start starts, and that is to be ended by a function
// that start gives to Cleanup. If the directory implements [directory.Owners], that is tested as well. Two run at a time, as two of them wait.
func Run(t *testing.T, start func(tb testing.TB) *Engine) {
	waiting := beginLapse(t, start(t))
	tests := []test{
		{"JoinAndFind", joinAndFind},
		{"Keys", keys},
		{"Many", many},
		{"Leases", leases},
		{"Prefixes", prefixes},
		{"WriteLoad", writeLoad},
		{"Emptied", emptied},
		{"Restarted", restarted},
		{"LossBetweenFindAndRenew", lossBetween},
		{"LossDuringFind", lossDuringFind},
		{"LossUnderLoad", lossUnderLoad},
		{"AnswersLost", answersLost},
		{"LateLeave", lateLeave},
		{"ContextEnds", contextEnds},
		{"Nonsense", nonsense},
	}
	if _, ok := waiting.a.(directory.Owners); ok {
		tests = append(tests, ownersTests...)
		e := start(t)
		var forgetting sync.WaitGroup
		defer forgetting.Wait()
		forgetting.Go(func() { t.Run("Forgotten", func(t *testing.T) { forgotten(t, e) }) })
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, start(t))
		})
	}
	t.Run("Lapse", waiting.end)
}

const prefix = "suite"

// within bounds what must succeed.
const within = 20 * time.Second

func limit(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	tb.Cleanup(cancel)
	return ctx
}

func (e *Engine) open(tb testing.TB) directory.Directory {
	tb.Helper()
	return e.Open(tb, e.Address, prefix)
}

func renew(tb testing.TB, d directory.Directory, lease directory.Lease) directory.View {
	tb.Helper()
	view, err := d.Renew(limit(tb, within), lease)
	if err != nil {
		tb.Fatalf("Renew: %v", err)
	}
	if len(view.Generations) == 0 || slices.Contains(view.Generations, "") {
		tb.Fatalf("Renew: generations %q", view.Generations)
	}
	return view
}

func apply(tb testing.TB, d directory.Directory, lease uint64, changes ...directory.Change) {
	tb.Helper()
	if err := d.Apply(limit(tb, within), lease, changes); err != nil {
		tb.Fatalf("Apply: %v", err)
	}
}

func join(tb testing.TB, d directory.Directory, lease uint64, keys ...string) {
	tb.Helper()
	apply(tb, d, lease, changesOf(true, keys)...)
}

func leave(tb testing.TB, d directory.Directory, lease uint64, keys ...string) {
	tb.Helper()
	apply(tb, d, lease, changesOf(false, keys)...)
}

func changesOf(present bool, keys []string) []directory.Change {
	changes := make([]directory.Change, len(keys))
	for i, key := range keys {
		changes[i] = directory.Change{Key: key, Present: present}
	}
	return changes
}

func find(tb testing.TB, d directory.Directory, key string) directory.Found {
	tb.Helper()
	return findAll(tb, d, []string{key})[0]
}

func findAll(tb testing.TB, d directory.Directory, keys []string) []directory.Found {
	tb.Helper()
	found, err := d.Find(limit(tb, within), keys)
	if err != nil {
		tb.Fatalf("Find: %v", err)
	}
	if len(found) != len(keys) {
		tb.Fatalf("Find: %d answers for %d keys", len(found), len(keys))
	}
	return found
}

// again calls until there is no error, as the owner of a directory does.
func again(tb testing.TB, what string, call func(ctx context.Context) error) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := call(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s still fails after %v: %v", what, within, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func wantLeases(tb testing.TB, found directory.Found, want ...uint64) {
	tb.Helper()
	got := slices.Sorted(slices.Values(found.Leases))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		tb.Fatalf("found leases %d, want %d", got, want)
	}
}

// wantLease fails if the view does not have the lease, once, as it is.
func wantLease(tb testing.TB, view directory.View, want directory.Lease) {
	tb.Helper()
	count := 0
	for _, got := range view.Leases {
		if got.Number != want.Number {
			continue
		}
		count++
		if got.Name != want.Name || got.Leaving != want.Leaving || !slices.Equal(got.Synced, want.Synced) {
			tb.Fatalf("lease %+v, want %+v", got, want)
		}
	}
	if count != 1 {
		tb.Fatalf("lease %d is %d times in the view, want once: %+v", want.Number, count, view.Leases)
	}
}

func joinAndFind(t *testing.T, e *Engine) {
	a, b, c := e.open(t), e.open(t), e.open(t)
	view := renew(t, a, directory.Lease{Number: 1, Name: "one"})
	wantLeases(t, find(t, c, "u:her"))
	join(t, a, 1, "u:her")
	wantLeases(t, find(t, c, "u:her"), 1)
	join(t, b, 2, "u:her", "g:room")
	join(t, b, 2, "u:her") // state, not an event
	found := findAll(t, c, []string{"g:room", "u:nobody", "u:her", "g:room"})
	wantLeases(t, found[0], 2)
	wantLeases(t, found[1])
	wantLeases(t, found[2], 1, 2)
	wantLeases(t, found[3], 2)
	for _, f := range found {
		if !slices.Contains(view.Generations, f.Generation) {
			t.Fatalf("Find: generation %q, of %q", f.Generation, view.Generations)
		}
	}
	leave(t, a, 1, "u:her")
	leave(t, a, 1, "u:her", "u:never")
	wantLeases(t, find(t, c, "u:her"), 2)
	apply(t, b, 2, directory.Change{Key: "u:her"}, directory.Change{Key: "u:him", Present: true})
	wantLeases(t, find(t, c, "u:her"))
	wantLeases(t, find(t, c, "u:him"), 2)
	join(t, b, 2, "u:her")
	wantLeases(t, find(t, c, "u:her"), 2)
	if got := findAll(t, c, nil); len(got) != 0 {
		t.Fatalf("Find of no keys: %v", got)
	}
	apply(t, c, 3)
}

// Keys mean nothing to a directory, whatever their bytes.
func keys(t *testing.T, e *Engine) {
	a, b := e.open(t), e.open(t)
	renew(t, a, directory.Lease{Number: 1})
	all := []string{"u", "u:", "u:a", "u:A", "u:a.b", "u:a.*", "u:*", "*", ">", "u:>", "u:a b", "u:{1}", "u:}{", "u:a\nb", "u:a\r\n", "u:\x00", "u:\xff\xfe", "u:é",
		"generation", ".generation", "leases", "leases.1", "u:a:b", "u:%2F", "u:a/b", `u:"\`, "$", "u:" + strings.Repeat("n", 298), "u:" + strings.Repeat("é", 149), "g:a"}
	for i, key := range all {
		join(t, a, uint64(1+i), key)
	}
	join(t, a, 1<<63-1, all...)
	for i, found := range findAll(t, b, all) {
		wantLeases(t, found, uint64(1+i), 1<<63-1)
	}
	leave(t, a, 1<<63-1, all...)
	for i, key := range all {
		wantLeases(t, find(t, b, key), uint64(1+i))
	}
}

// There may be any number of keys in a call, and of leases for a key.
func many(t *testing.T, e *Engine) {
	a, b := e.open(t), e.open(t)
	renew(t, a, directory.Lease{Number: 1})
	all := make([]string, 2500)
	for i := range all {
		all[i] = fmt.Sprint("u:", i)
	}
	join(t, a, 1, all...)
	for i, found := range findAll(t, b, all) {
		if !slices.Equal(found.Leases, []uint64{1}) {
			t.Fatalf("key %d: %d", i, found.Leases)
		}
	}
	rooms, want := all[:200], []uint64{1}
	for lease := uint64(2); lease <= 30; lease++ {
		want = append(want, lease)
		join(t, a, lease, rooms...)
		wantLeases(t, find(t, b, rooms[len(rooms)-1]), want...) // the last as well as the first
	}
	for _, found := range findAll(t, b, rooms) {
		wantLeases(t, found, want...)
	}
	leave(t, a, 1, all...)
	for i, found := range findAll(t, b, all) {
		if n := len(found.Leases); i >= len(rooms) && n != 0 || i < len(rooms) && n != len(want)-1 {
			t.Fatalf("key %d: %d", i, found.Leases)
		}
	}
}

func leases(t *testing.T, e *Engine) {
	a, b := e.open(t), e.open(t)
	one := directory.Lease{Number: 1, Name: "one"}
	view := renew(t, a, one)
	wantLease(t, view, one)
	two := directory.Lease{Number: 1<<63 - 1, Name: strings.Repeat("\x00\xff\n,\" é", 128), Synced: view.Generations}
	view = renew(t, b, two)
	wantLease(t, view, one)
	wantLease(t, view, two)
	if len(view.Leases) != 2 {
		t.Fatalf("leases %+v", view.Leases)
	}
	// Whatever was there.
	one = directory.Lease{Number: 1, Name: "another", Synced: view.Generations[:1], Leaving: true}
	wantLease(t, renew(t, b, one), one)
	wantLease(t, renew(t, a, two), one)
	one = directory.Lease{Number: 1, Name: "one"}
	wantLease(t, renew(t, a, one), one)
	if again := renew(t, b, two); !slices.Equal(slices.Sorted(slices.Values(again.Generations)), slices.Sorted(slices.Values(view.Generations))) {
		t.Fatalf("generations %q, then %q", view.Generations, again.Generations)
	}
	for n := uint64(2); n <= 50; n++ {
		renew(t, a, directory.Lease{Number: n, Name: strings.Repeat("x", 1024), Synced: view.Generations})
	}
	if view := renew(t, b, two); len(view.Leases) != 51 {
		t.Fatalf("%d leases, want 51", len(view.Leases))
	}
}

// A lapsing is a lease that nobody renews, while the rest of the suite runs.
type lapsing struct {
	a, b directory.Directory
	view directory.View     // when it was there
	done chan time.Duration // how long it took to lapse, or -1 if it has not
	err  error              // why that is not known; to be read after done
}

var lapsingLease, otherLease = directory.Lease{Number: 1, Name: "one"}, directory.Lease{Number: 2, Name: "two"}

func beginLapse(t *testing.T, e *Engine) *lapsing {
	t.Helper()
	l := &lapsing{a: e.open(t), b: e.open(t), done: make(chan time.Duration, 1)}
	start := time.Now()
	l.view = renew(t, l.a, lapsingLease)
	join(t, l.a, 1, "u:her")
	wantLease(t, renew(t, l.b, otherLease), lapsingLease)
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		defer close(l.done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
			}
			took := time.Since(start)
			ctx, cancel := context.WithTimeout(context.Background(), within)
			view, err := l.b.Renew(ctx, otherLease)
			cancel()
			switch {
			case err != nil:
				l.err = err
				return
			case !slices.ContainsFunc(view.Leases, func(lease directory.Lease) bool { return lease.Number == lapsingLease.Number }):
				l.done <- took
				return
			case took > directory.LeaseTime+within:
				l.done <- -1
				return
			}
		}
	}()
	return l
}

// A lapse is no loss.
func (l *lapsing) end(t *testing.T) {
	took, ok := <-l.done
	if !ok || took < directory.LeaseTime-2*time.Second {
		t.Fatalf("the lease lapsed after %v, want %v; error: %v", took, directory.LeaseTime, l.err)
	}
	found := find(t, l.b, "u:her")
	wantLeases(t, found, 1)
	if !slices.Contains(l.view.Generations, found.Generation) {
		t.Fatalf("generation %q, of %q", found.Generation, l.view.Generations)
	}
	again := renew(t, l.a, lapsingLease)
	wantLease(t, again, lapsingLease)
	if !slices.Equal(slices.Sorted(slices.Values(again.Generations)), slices.Sorted(slices.Values(l.view.Generations))) {
		t.Fatalf("a lapse was taken for a loss: generations %q, then %q", l.view.Generations, again.Generations)
	}
	wantLeases(t, find(t, l.b, "u:her"), 1)
}

func prefixes(t *testing.T, e *Engine) {
	all := []string{"a", "b", "ab", "a1"}
	for i, prefix := range all {
		d, number := e.Open(t, e.Address, prefix), uint64(1+i)
		view := renew(t, d, directory.Lease{Number: number, Name: prefix})
		if len(view.Leases) != 1 {
			t.Fatalf("prefix %s has leases %+v", prefix, view.Leases)
		}
		wantLeases(t, find(t, d, "u:her"))
		join(t, d, number, "u:her")
	}
	for i, prefix := range all {
		wantLeases(t, find(t, e.Open(t, e.Address, prefix), "u:her"), uint64(1+i))
	}
}

// What has been joined is found by others at once, whatever else is being written.
func writeLoad(t *testing.T, e *Engine) {
	a, b := e.open(t), e.open(t)
	renew(t, a, directory.Lease{Number: 1})
	var stop atomic.Bool
	var load sync.WaitGroup
	defer load.Wait()
	defer stop.Store(true)
	for n := range uint64(3) {
		d := e.open(t)
		load.Go(func() {
			for round := 0; !stop.Load(); round++ {
				changes := make([]directory.Change, 300)
				for i := range changes {
					changes[i] = directory.Change{Key: fmt.Sprintf("u:load%d.%d", n, (round/2*len(changes)+i)%10_000), Present: round%2 == 0}
				}
				if err := d.Apply(limit(t, within), 100+n, changes); err != nil {
					t.Errorf("Apply under load: %v", err)
					return
				}
				_, err := d.Find(limit(t, within), []string{changes[0].Key, "u:other"})
				if err != nil {
					t.Errorf("Find under load: %v", err)
					return
				}
			}
		})
	}
	start := time.Now()
	for i := 0; i < 1000 && (i < 20 || time.Since(start) < 4*time.Second); i++ {
		mine, shared := fmt.Sprint("u:", i), "u:shared"
		join(t, a, 1, mine, shared)
		for _, found := range findAll(t, b, []string{mine, shared}) {
			wantLeases(t, found, 1)
		}
		leave(t, a, 1, shared)
		wantLeases(t, find(t, b, shared))
	}
}
