package membership_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// Lookups that come while calls are under way share the next one, each key once.
func TestLookupsShareACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, e.Client(), "b", nil)
		for i := range 100 {
			join(t, a, fmt.Sprint("u:", i))
		}
		testutil.Pass(time.Minute)
		before := e.Counts()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { wantFound(t, b, fmt.Sprint("u:", i%200), map[bool]string{true: "a"}[i%200 < 100]) })
		}
		wg.Wait()
		after := e.Counts()
		// The first few of whatever had come, and then all others.
		if finds, keys := after.Finds-before.Finds, after.Keys-before.Keys; finds > 8 || keys > 1000 {
			t.Errorf("%d calls for %d keys", finds, keys)
		}
		keys := make([]string, 1000)
		for i := range keys {
			keys[i] = fmt.Sprint("u:", i)
		}
		found, err := b.Find(t.Context(), keys)
		if err != nil || len(found) != len(keys) || len(found[99].Workers) != 1 || len(found[100].Workers) != 0 {
			t.Errorf("%d of %d: %v", len(found), len(keys), err)
		}
	})
}

// A lookup never shares a call that began before it: what was acknowledged before a lookup is found.
func TestLookupsSeeWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute)
		for i := range 300 {
			key := fmt.Sprint("u:", i)
			for range 6 {
				go func() { _, _ = b.Find(context.Background(), []string{key}) }()
			}
			join(t, a, key)
			wantFound(t, b, key, "a")
		}
	})
}

// A worker that is named and has not been seen yet is looked for at once.
func TestUnseenWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute + time.Second)
		a := start(t, e.Client(), "a", nil)
		join(t, a, "u:1")
		wantFound(t, b, "u:1", "a")
	})
}

// stranded is a directory whose lookups have a generation that no Renew shows.
type stranded struct {
	*membershiptest.Client
	mu sync.Mutex
	n  int
}

func (s *stranded) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	found, err := s.Client.Find(ctx, keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	for i := range found {
		found[i].Generation = fmt.Sprint("unheard of ", s.n)
	}
	return found, err
}

// A generation that no Renew shows means that everyone is asked, and that nothing is sure. It does not mean a Renew for each lookup.
func TestUnknownGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, &stranded{Client: e.Client()}, "b", nil)
		join(t, a, "u:1")
		testutil.Pass(time.Minute)
		before := e.Counts().Renews
		for range 500 {
			wantFound(t, b, "u:1", "a ?")
			wantFound(t, b, "u:2", "a? ?")
		}
		d := 500 * 2 * 10 * time.Millisecond // they take some time
		if n := e.Counts().Renews - before; n > 3*int(d/time.Second)+10 {
			t.Errorf("%d renewals", n)
		}
	})
}

func TestFindObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		m := start(t, e.Client(), "a", nil)
		testutil.Pass(time.Minute)
		e.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/10)
		defer cancel()
		if _, err := m.Find(ctx, []string{"u:1"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		e.Resume()
		testutil.Pass(time.Second)
		wantFound(t, m, "u:1", "") // one who has no time is no outage
		if m.Stats() != (membership.Stats{}) {
			t.Errorf("%+v", m.Stats())
		}
	})
}

// odd is a directory that knows no generation of one key.
type odd struct{ *membershiptest.Client }

func (o *odd) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	found, err := o.Client.Find(ctx, keys)
	for i := range found {
		if keys[i] == "u:odd" {
			found[i].Generation = ""
		}
	}
	return found, err
}

// A key whose generation is unknown does not keep lookups of others from looking for workers that have not been seen yet.
func TestUnseenWorkerBesideAnOddKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := start(t, &odd{e.Client()}, "b", nil)
		testutil.Pass(3*time.Minute + time.Second)
		wantFound(t, b, "u:odd", "?")
		a := start(t, e.Client(), "a", nil)
		join(t, a, "u:1")
		wantFound(t, b, "u:1", "a")
	})
}

// tardy is a directory whose Renew returns some time after it has read everything.
type tardy struct{ *membershiptest.Client }

func (s *tardy) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	view, err := s.Client.Renew(ctx, l)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	return view, err
}

// A worker that has not been seen yet is looked for with a Renew that begins after the lookup. One that is under way may have read the
// leases before.
func TestUnseenWorkerWhileRenewing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := start(t, &tardy{e.Client()}, "b", nil)
		testutil.Pass(3 * time.Minute)
		for i := range 30 {
			address, key := fmt.Sprint("a", i), fmt.Sprint("u:", i)
			a := start(t, e.Client(), address, nil)
			join(t, a, key)
			wantFound(t, b, key, address)
			testutil.Pass(4*time.Second + time.Duration(i)*100*time.Millisecond)
		}
	})
}

// Without a time to settle, a lookup sees whoever has a lease when it begins, and is sure.
func TestNothingToSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		begin := func(address string) *membership.Membership {
			m := membership.New(membership.Config{
				Directory: e.Client(), Address: address, Seal: seal(address), Open: open, Timing: membership.Timing{Settle: -1},
			})
			t.Cleanup(func() { _ = m.Close(context.Background()) })
			return m
		}
		a := begin("a")
		wantFound(t, a, "u:1", "")
		b := begin("b")
		join(t, b, "u:1")
		wantFound(t, a, "u:1", "b")
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := e.Counts().Renews
		wantFound(t, a, "u:1", "")
		if e.Counts().Renews == before {
			t.Error("the lookup has not looked who is there")
		}
	})
}
