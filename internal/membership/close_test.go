package membership_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// A worker that ends in order leaves no entries, and nobody doubts.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, e.Client(), "b", nil)
		for i := range 3000 {
			a.Set(fmt.Sprint("u:", i), true)
		}
		join(t, a, "u:last")
		testutil.Pass(time.Minute)
		a.Leave()
		synctest.Wait()
		testutil.Pass(time.Second)
		for _, l := range e.Leases() {
			if want := l.Name == seal("a")(l.Number); l.Leaving != want {
				t.Errorf("%+v", l)
			}
		}
		testutil.Pass(10 * time.Minute) // its connections end at last
		wantFound(t, b, "u:7", "a")
		join(t, a, "u:late")
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := e.Entries(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
		wantFound(t, b, "u:7", "")
		testutil.Pass(time.Minute)
		wantFound(t, b, "u:7", "")
		if s := b.Stats(); s.Vanished != 0 || s.Workers != 0 {
			t.Errorf("%+v", s)
		}
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		a.Set("u:1", true)
		if err := a.Wait(t.Context(), "u:1"); err != nil {
			t.Error(err)
		}
		if _, err := a.Find(t.Context(), []string{"u:1"}); !errors.Is(err, membership.ErrDirectory) {
			t.Error(err)
		}
	})
}

// What has come and gone without the directory's knowledge does not hold up Close.
func TestCloseWithNothingToSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, newEngine().Client(), "a", nil)
		testutil.Pass(time.Minute)
		m.Set("u:1", true)
		m.Set("u:1", false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// A worker that leaves is doubted like any other if it vanishes: it may be cut off while its last connections are still there.
func TestVanishedWhileLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a, b := start(t, line, "a", nil), start(t, e.Client(), "b", nil)
		join(t, a, "u:1")
		testutil.Pass(time.Minute)
		a.Leave()
		testutil.Pass(10 * time.Second)
		line.Cut(true)
		testutil.Pass(30 * time.Second)
		wantFound(t, b, "u:1", "a?")
	})
}

// Close ends when the directory is down, too, and when calls hang. Nothing is left running: synctest would say so.
func TestCloseWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a := start(t, line, "a", nil)
		join(t, a, "u:1")
		line.Cut(true)
		testutil.Pass(time.Minute)
		begun := time.Now()
		if err := a.Close(context.Background()); !errors.Is(err, membership.ErrDirectory) {
			t.Error(err)
		}
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("it takes %v", d)
		}

		line = e.Client()
		b := start(t, line, "b", nil)
		join(t, b, "u:1")
		testutil.Pass(time.Minute)
		line.Cut(true)
		lookups := make(chan error, 10)
		for range cap(lookups) {
			go func() {
				_, err := b.Find(context.Background(), []string{"u:1"})
				lookups <- err
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		for range cap(lookups) {
			if err := <-lookups; !errors.Is(err, membership.ErrDirectory) {
				t.Error(err)
			}
		}
	})
}

// stumbling is a directory of which some Applies fail.
type stumbling struct {
	*membershiptest.Client
	fails atomic.Int64 // how many are left to fail
}

func (s *stumbling) Apply(ctx context.Context, lease uint64, changes []directory.Change) error {
	if s.fails.Add(-1) >= 0 {
		return errors.New("stumbled")
	}
	return s.Client.Apply(ctx, lease, changes)
}

// An Apply that fails while nothing else does is no reason for Close to leave entries: a hundred workers that end at once keep a directory busy.
func TestCloseWhileApplyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		s := &stumbling{Client: e.Client()}
		m := start(t, s, "a", nil)
		for i := range 3000 {
			m.Set(fmt.Sprint("u:", i), true)
		}
		testutil.Pass(time.Minute)
		s.fails.Store(3)
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := e.Entries(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}
