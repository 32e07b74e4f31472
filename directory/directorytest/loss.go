package directorytest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
)

func emptied(t *testing.T, e *Engine) {
	afterLoss(t, e, e.Empty)
	afterLoss(t, e, e.Empty)
}

func restarted(t *testing.T, e *Engine) {
	afterLoss(t, e, func(tb testing.TB) {
		e.Kill(tb)
		e.Restart(tb)
	})
}

// afterLoss: nobody is taken to be nowhere because the engine has lost that she is there.
func afterLoss(t *testing.T, e *Engine, lose func(tb testing.TB)) {
	a, b := e.open(t), e.open(t)
	one := directory.Lease{Number: 1, Name: "one"}
	view := renew(t, a, one)
	one.Synced = view.Generations
	join(t, a, 1, "u:her", "g:room")
	wantLease(t, renew(t, a, one), one)
	lose(t)
	again(t, "Find", func(ctx context.Context) error {
		found, err := b.Find(ctx, []string{"u:her", "g:room", "u:nobody"})
		for _, f := range found {
			if slices.Contains(view.Generations, f.Generation) {
				t.Errorf("found leases %d in generation %q after all has been lost", f.Leases, f.Generation)
			}
		}
		return err
	})
	var seen directory.View
	again(t, "Renew", func(ctx context.Context) (err error) {
		seen, err = b.Renew(ctx, directory.Lease{Number: 2})
		return err
	})
	wantOther(t, view, seen)
	one.Synced = nil
	again(t, "Renew", func(ctx context.Context) (err error) {
		view, err = a.Renew(ctx, one)
		return err
	})
	wantLease(t, view, one)
	again(t, "Apply", func(ctx context.Context) error {
		return a.Apply(ctx, 1, changesOf(true, []string{"u:her", "g:room"}))
	})
	for _, found := range findAll(t, b, []string{"u:her", "g:room"}) {
		wantLeases(t, found, 1)
		if !slices.Contains(view.Generations, found.Generation) {
			t.Fatalf("generation %q is not in the view: %q", found.Generation, view.Generations)
		}
	}
	found := find(t, b, "u:nobody")
	wantLeases(t, found)
	if !slices.Contains(view.Generations, found.Generation) {
		t.Fatalf("generation %q is not in the view: %q", found.Generation, view.Generations)
	}
}

// wantOther fails if two views, before and after all has been lost, have a generation in common.
func wantOther(tb testing.TB, before, after directory.View) {
	tb.Helper()
	for _, generation := range after.Generations {
		if slices.Contains(before.Generations, generation) {
			tb.Fatalf("generation %q was there before all was lost", generation)
		}
	}
}

// lossBetween: what a reader has found before it renews its view is of the generation before.
func lossBetween(t *testing.T, e *Engine) {
	a, b := e.open(t), e.open(t)
	old := renew(t, a, directory.Lease{Number: 1, Name: "one"})
	join(t, a, 1, "u:her")
	e.Empty(t)
	found := find(t, b, "u:her") // another generation: the reader renews now
	e.Empty(t)
	view := renew(t, b, directory.Lease{Number: 2})
	wantOther(t, old, view)
	if slices.Contains(view.Generations, found.Generation) {
		t.Fatalf("found leases %d in generation %q, and all was lost after that, but it is still in the view", found.Leases, found.Generation)
	}
	// And a worker that has entered its keys in between has not entered them in what came after.
	e.Empty(t)
	view = renew(t, a, directory.Lease{Number: 1, Name: "one"})
	join(t, a, 1, "u:her")
	e.Empty(t)
	synced := directory.Lease{Number: 1, Name: "one", Synced: view.Generations}
	after := renew(t, a, synced)
	wantOther(t, view, after)
	wantLease(t, after, synced)
	found = find(t, b, "u:her")
	wantLeases(t, found)
	if !slices.Contains(after.Generations, found.Generation) {
		t.Fatalf("generation %q is not in the view: %q", found.Generation, after.Generations)
	}
}

// lossDuringFind loses everything after every few bytes of what Find asks. Nobody, in a generation that is known, is a lie then.
func lossDuringFind(t *testing.T, e *Engine) {
	p := newProxy(t, e.Address)
	near, far := e.open(t), e.Open(t, p.address, prefix)
	several := []string{"u:her"}
	for i := range 12 {
		several = append(several, fmt.Sprint("u:", i))
	}
	for _, test := range []struct {
		keys []string
		step int
	}{{several[:1], 11}, {several, 101}} {
		cuts := 0
		for cut := 0; ; cut += test.step {
			view := renew(t, near, directory.Lease{Number: 1})
			join(t, near, 1, test.keys...)
			findAll(t, far, test.keys) // the connection is there, and what a client asks only once has been asked
			p.after(cut, func() { e.Empty(t) })
			found := findAll(t, far, test.keys)
			if !p.cutReached() {
				break
			}
			cuts++
			for i, f := range found {
				if len(f.Leases) == 0 && slices.Contains(view.Generations, f.Generation) {
					t.Fatalf("all was lost after %d bytes of Find's request, and %s is nobody in the generation before that", cut, test.keys[i])
				}
			}
		}
		if cuts < 2 {
			t.Fatalf("Find's request was cut in only %d places", cuts)
		}
	}
}

// lossUnderLoad: who has entered a key in a generation is found in it, whenever it ends.
func lossUnderLoad(t *testing.T, e *Engine) {
	a, b := e.open(t), e.open(t)
	renew(t, a, directory.Lease{Number: 1})
	var stop atomic.Bool
	var loser sync.WaitGroup
	defer loser.Wait()
	defer stop.Store(true)
	var finds atomic.Int64
	loser.Go(func() {
		for round := int64(1); !stop.Load(); round++ {
			for next := round * 20; finds.Load() < next && !stop.Load(); {
				find(t, b, "u:other")
			}
			e.Empty(t)
		}
	})
	all := make([]string, 200)
	for i := range all {
		all[i] = fmt.Sprint("u:", i)
	}
	start := time.Now()
	for generations := 0; generations < 20 && (generations < 3 || time.Since(start) < 4*time.Second); generations++ {
		view := renew(t, a, directory.Lease{Number: 1})
		join(t, a, 1, all...)
		for known := true; known && !t.Failed(); {
			for i, found := range findAll(t, b, all) {
				known = known && slices.Contains(view.Generations, found.Generation)
				if len(found.Leases) == 0 && slices.Contains(view.Generations, found.Generation) {
					t.Fatalf("%s is nobody in a generation in which she has been entered", all[i])
				}
			}
			finds.Add(1)
		}
	}
}
