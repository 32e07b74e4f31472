package directorytest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
)

const (
	patience = 150 * time.Millisecond // for calls that cannot succeed
	soon     = 2 * time.Second        // how long after its context's end a call may take to return
)

// fails calls with a context that ends soon, and fails the test if there is no error, or not in time.
func fails(tb testing.TB, what string, call func(ctx context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	failsWith(tb, ctx, what, call)
}

func failsWith(tb testing.TB, ctx context.Context, what string, call func(ctx context.Context) error) {
	tb.Helper()
	start := time.Now()
	err := call(ctx)
	if err == nil {
		tb.Fatalf("%s: no error", what)
	}
	if took := time.Since(start); took > patience+soon {
		tb.Fatalf("%s returned after %v, long after its context had ended: %v", what, took, err)
	}
}

// answersLost: a call whose answer is lost is an error, and the next one puts right what is so.
func answersLost(t *testing.T, e *Engine) {
	p := newProxy(t, e.Address)
	near, far := e.open(t), e.Open(t, p.address, prefix)
	renew(t, far, directory.Lease{Number: 1, Name: "one"})
	join(t, far, 1, "u:stays", "u:leaves")
	leaving := directory.Lease{Number: 1, Name: "one", Leaving: true}
	changes := []directory.Change{{Key: "u:joins", Present: true}, {Key: "u:leaves"}}
	for range 3 {
		for _, call := range []struct {
			name string
			call func(ctx context.Context) error
		}{
			{"Apply", func(ctx context.Context) error { return far.Apply(ctx, 1, changes) }},
			{"Renew", func(ctx context.Context) error { _, err := far.Renew(ctx, leaving); return err }},
			{"Find", func(ctx context.Context) error {
				found, err := far.Find(ctx, []string{"u:stays"})
				if err == nil {
					wantLeases(t, found[0], 1)
				}
				return err
			}},
		} {
			p.swallowAnswers(true)
			fails(t, call.name, call.call)
			p.swallowAnswers(false)
			again(t, call.name, call.call)
		}
		wantLeases(t, find(t, near, "u:stays"), 1)
		wantLeases(t, find(t, near, "u:joins"), 1)
		wantLeases(t, find(t, near, "u:leaves"))
		wantLease(t, renew(t, near, directory.Lease{Number: 2}), leaving)
	}
}

// lateLeave: the request of an Apply that has failed stays in the network while its connection is given up, and arrives
// after what the next Apply has said on another one.
func lateLeave(t *testing.T, e *Engine) {
	p := newProxy(t, e.Address)
	near, far := e.open(t), e.Open(t, p.address, prefix)
	renew(t, near, directory.Lease{Number: 1})
	cuts := 0
	for cut := 0; ; cut += 29 {
		again(t, "Apply", func(ctx context.Context) error { return far.Apply(ctx, 1, changesOf(true, []string{"u:her"})) })
		wantLeases(t, find(t, near, "u:her"), 1)
		p.after(cut, p.hold)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := far.Apply(ctx, 1, changesOf(false, []string{"u:her"}))
		cancel()
		if !p.cutReached() {
			break
		}
		cuts++
		arrives := p.dropClients()
		again(t, "Apply", func(ctx context.Context) error { return far.Apply(ctx, 1, changesOf(true, []string{"u:her"})) })
		wantLeases(t, find(t, near, "u:her"), 1)
		arrives()
		for end := time.Now().Add(patience / 2); time.Now().Before(end); {
			if found := find(t, near, "u:her"); !slices.Equal(found.Leases, []uint64{1}) {
				t.Fatalf("she has joined, but a leave that was cut after %d bytes, and had come to %v, arrived later: found %d", cut, err, found.Leases)
			}
		}
	}
	if cuts < 2 {
		t.Fatalf("the request of Apply was cut in only %d places", cuts)
	}
}

// contextEnds: no call outlasts its context, whether the engine is silent or gone, and what comes back is an error.
func contextEnds(t *testing.T, e *Engine) {
	callsEnd(t, e, map[string]func(d directory.Directory) func(ctx context.Context) error{
		"Apply": func(d directory.Directory) func(ctx context.Context) error {
			return func(ctx context.Context) error { return d.Apply(ctx, 1, changesOf(true, []string{"u:her"})) }
		},
		"Renew": func(d directory.Directory) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := d.Renew(ctx, directory.Lease{Number: 1}); return err }
		},
		"Find": func(d directory.Directory) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := d.Find(ctx, []string{"u:her"}); return err }
		},
	})
}

func callsEnd(t *testing.T, e *Engine, calls map[string]func(d directory.Directory) func(ctx context.Context) error) {
	t.Helper()
	p := newProxy(t, e.Address)
	far, near := e.Open(t, p.address, prefix), e.open(t)
	one := directory.Lease{Number: 1}
	renew(t, far, one)
	join(t, far, 1, "u:her")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	p.hold()
	for name, call := range calls {
		fails(t, name+", with the engine silent", call(far))
		failsWith(t, ended, name+", with a context that has ended", call(far))
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(patience, cancel)
		failsWith(t, ctx, name+", cancelled", call(far))
		timer.Stop()
	}
	p.release()
	for name, call := range calls {
		again(t, name, call(far))
	}
	renew(t, near, one)
	join(t, near, 1, "u:her")
	e.Kill(t)
	for name, call := range calls {
		fails(t, name+", with the engine gone", call(near))
	}
	e.Restart(t)
	again(t, "Renew", func(ctx context.Context) error { _, err := near.Renew(ctx, one); return err })
	again(t, "Apply", func(ctx context.Context) error { return near.Apply(ctx, 1, changesOf(true, []string{"u:her"})) })
	for name, call := range calls {
		again(t, name, call(near))
	}
	wantLeases(t, find(t, near, "u:her"), 1)
}

// nonsense: what nobody can have written is an error, and neither a panic nor "nobody". Others' keys are found as ever.
func nonsense(t *testing.T, e *Engine) {
	if len(e.Nonsense) == 0 {
		t.Fatal("the engine has no nonsense")
	}
	for name, put := range e.Nonsense {
		t.Run(name, func(t *testing.T) {
			e.Empty(t)
			d := e.open(t)
			view := renew(t, d, directory.Lease{Number: 1})
			join(t, d, 1, "u:her")
			put(t, prefix, "u:her")
			found, findErr := d.Find(limit(t, within), []string{"u:her"})
			if findErr == nil && !slices.Contains(found[0].Leases, 1) && slices.Contains(view.Generations, found[0].Generation) {
				t.Errorf("she is nobody: %+v", found)
			}
			view, renewErr := d.Renew(limit(t, within), directory.Lease{Number: 1})
			if renewErr == nil {
				wantLease(t, view, directory.Lease{Number: 1})
			}
			applyErr := d.Apply(limit(t, within), 1, changesOf(true, []string{"u:her"}))
			if findErr == nil && renewErr == nil && applyErr == nil {
				t.Error("there is no error")
			}
			t.Logf("Find: %v\nRenew: %v\nApply: %v", findErr, renewErr, applyErr)
		})
	}
}
