package membership_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// watched is a directory that keeps what it is told.
type watched struct {
	*membershiptest.Client
	mu      sync.Mutex
	leases  []directory.Lease
	times   []time.Time // of leases
	applied [][]directory.Change
}

func (w *watched) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	w.mu.Lock()
	w.leases, w.times = append(w.leases, l), append(w.times, time.Now())
	w.mu.Unlock()
	return w.Client.Renew(ctx, l)
}

func (w *watched) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	w.mu.Lock()
	w.applied = append(w.applied, changes)
	w.mu.Unlock()
	return w.Client.Apply(ctx, number, changes)
}

// take returns what it has been told since the last call.
func (w *watched) take() (leases []directory.Lease, times []time.Time, applied [][]directory.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	leases, times, applied = w.leases, w.times, w.applied
	w.leases, w.times, w.applied = nil, nil, nil
	return leases, times, applied
}

// A lease is renewed three times in its time. Its number has 63 bits, and its name contains it.
func TestLeaseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		w := &watched{Client: e.Client()}
		start(t, w, "a", nil)
		testutil.Pass(time.Minute)
		w.take()
		testutil.Pass(10 * time.Minute)
		leases, times, applied := w.take()
		if n := len(leases); n < 118 || n > 121 || len(applied) > 0 {
			t.Errorf("%d renewals in ten minutes, %d changes", n, len(applied))
		}
		for i := range leases[1:] {
			if d := times[i+1].Sub(times[i]); d > 5*time.Second+50*time.Millisecond {
				t.Errorf("the next comes after %v", d)
			}
		}
		l := leases[0]
		if l.Number == 0 || l.Number >= 1<<63 || l.Name != seal("a")(l.Number) || l.Leaving {
			t.Errorf("%+v", l)
		}
		if len(e.Leases()) != 1 || !slices.Contains(l.Synced, "settled") {
			t.Errorf("%+v", e.Leases())
		}
	})
}

// A worker that starts is synced at once: it has nothing to enter. The others need not ask it about every key.
func TestSyncedFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a := start(t, e.Client(), "a", nil)
		testutil.Pass(time.Minute)
		start(t, e.Client(), "b", nil)
		testutil.Pass(6 * time.Second)
		wantFound(t, a, "u:1", "")
	})
}

// After half an hour without a lease a worker takes a new number, and enters everything in its name. What is said meanwhile is in it.
func TestNewNumber(t *testing.T) {
	for _, test := range []struct {
		minutes int
		isNew   bool
	}{{29, false}, {31, true}} {
		synctest.Test(t, func(t *testing.T) {
			e := newEngine()
			w := &watched{Client: e.Client()}
			a, b := start(t, w, "a", nil), start(t, e.Client(), "b", nil)
			join(t, a, "u:stays")
			join(t, a, "u:goes")
			testutil.Pass(time.Minute)
			before := e.Named("u:stays")
			w.Cut(true)
			testutil.Pass(time.Second)
			a.Set("u:goes", false)
			a.Set("u:comes", true)
			testutil.Pass(time.Duration(test.minutes) * time.Minute)
			w.take()
			w.Cut(false)
			testutil.Pass(20 * time.Second)
			wantFound(t, b, "u:stays", "a")
			wantFound(t, b, "u:comes", "a")
			wantFound(t, b, "u:goes", "")
			after := e.Named("u:comes")
			if len(after) != 1 || (after[0] != before[0]) != test.isNew {
				t.Errorf("after %d minutes, the number was %v and is %v", test.minutes, before, after)
			}
			if !slices.Contains(e.Named("u:stays"), after[0]) {
				t.Errorf("%v does not have what stayed", after)
			}
			if s := a.Stats(); s.Keys != 2 || s.Pending != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// When the directory has lost something, all keys are entered anew, paced, and only then the worker says that they are.
func TestEnteredAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 5000
		e := newEngine()
		w := &watched{Client: e.Client()}
		a, b := start(t, w, "a", nil), start(t, e.Client(), "b", nil)
		for i := range keys {
			a.Set(fmt.Sprint("u:", i), true)
		}
		join(t, a, "u:last")
		testutil.Pass(time.Minute)
		wantFound(t, b, "u:nobody", "")
		w.take()
		e.Lose(1)
		e.Lose(0)
		if got := find(t, b, "u:7"); got != "a? ?" {
			t.Errorf("at once after the loss: %q", got)
		}
		testutil.Pass(6 * time.Second)
		leases, _, applied := w.take()
		n := 0
		for _, changes := range applied {
			if n += len(changes); len(changes) > 500 {
				t.Errorf("%d at once", len(changes))
			}
		}
		if n != keys+1 {
			t.Errorf("%d entered anew", n)
		}
		generation := func(l directory.Lease) int { return len(l.Synced) }
		if first, last := leases[0], leases[len(leases)-1]; len(first.Synced) == 0 || generation(last) != 2 || slices.Contains(first.Synced, last.Synced[0]) {
			t.Errorf("%+v, and then %+v", leases[0], leases[len(leases)-1])
		}
		wantFound(t, b, "u:7", "a ?") // nobody else is asked, but someone may have come just before the loss
		testutil.Pass(15 * time.Second)
		wantFound(t, b, "u:7", "a")
		wantFound(t, b, "u:nobody", "")
	})
}

// What changes while much is entered anew need not wait for that.
func TestChangesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a := start(t, e.Client(), "a", nil)
		for i := range 50_000 {
			a.Set(fmt.Sprint("u:", i), true)
		}
		join(t, a, "u:last")
		e.Set(membershiptest.Faults{Latency: 100 * time.Millisecond})
		e.Lose(0)
		testutil.Pass(8 * time.Second)
		if s := a.Stats(); s.Pending < 1000 {
			t.Fatalf("it is over too soon: %+v", s)
		}
		begun := time.Now()
		join(t, a, "u:new")
		if d := time.Since(begun); d > 700*time.Millisecond { // the Apply under way, and its own
			t.Errorf("a join takes %v", d)
		}
	})
}

// Every eight hours or so all keys are entered anew, though nothing has happened: entries expire.
func TestEnteredAnewInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		w := &watched{Client: e.Client()}
		a := start(t, w, "a", nil)
		join(t, a, "u:1")
		last := time.Now()
		var all []time.Duration
		for range 30 * 60 {
			testutil.Pass(time.Minute)
			if _, _, applied := w.take(); len(applied) > 0 && time.Since(last) > time.Hour {
				all = append(all, time.Since(last))
				last = time.Now()
			}
		}
		if len(all) != 3 {
			t.Fatalf("in thirty hours after %v", all)
		}
		for _, d := range all {
			if d < 7*time.Hour || d > 9*time.Hour {
				t.Errorf("after %v", d)
			}
		}
	})
}

// halting is a directory whose Apply returns some time after it has told everything.
type halting struct{ *membershiptest.Client }

func (h *halting) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	err := h.Client.Apply(ctx, number, changes)
	select {
	case <-time.After(1900 * time.Millisecond):
	case <-ctx.Done():
	}
	return err
}

// What is in flight when the directory loses it is entered anew, though it is acknowledged later.
func TestLostInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, &halting{e.Client()}, "a", nil), start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute)
		for i := range 20 {
			key := fmt.Sprint("u:", i)
			a.Set(key, true)
			testutil.Pass(time.Second / 10)
			e.Lose(0)
			e.Lose(1)
			wantFound(t, b, "u:nobody", "a? ?")
			a.Leave() // it renews its lease at once, and sees the new generations
			if err := a.Wait(t.Context(), key); err != nil {
				t.Error(err)
			}
			testutil.Pass(time.Minute)
			wantFound(t, b, key, "a")
		}
	})
}
