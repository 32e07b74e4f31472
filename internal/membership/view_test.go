package membership_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// A worker that has vanished is asked for ten lease times, by those who knew it. Its entries say nothing after that.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a, b := start(t, line, "a", nil), start(t, e.Client(), "b", nil)
		join(t, a, "u:1")
		testutil.Pass(time.Minute)
		line.Cut(true)
		testutil.Pass(21 * time.Second) // its lease has lapsed
		wantFound(t, b, "u:1", "a?")
		wantFound(t, b, "u:2", "a?")
		if s := b.Stats(); s.Vanished != 1 || s.Workers != 0 {
			t.Errorf("%+v", s)
		}
		testutil.Pass(130 * time.Second)
		wantFound(t, b, "u:1", "a?")
		testutil.Pass(30 * time.Second)
		wantFound(t, b, "u:1", "")
		if s := b.Stats(); s.Vanished != 0 || s.Workers != 0 {
			t.Errorf("%+v", s)
		}
		line.Cut(false)
		testutil.Pass(8 * time.Second)
		wantFound(t, b, "u:1", "a")
	})
}

// Whoever starts while others doubt about someone cannot be sure either, though it has never heard of that one.
func TestDoubtsArePassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a, b := start(t, line, "a", nil), start(t, e.Client(), "b", nil)
		join(t, a, "u:1")
		testutil.Pass(time.Minute)
		line.Cut(true)
		testutil.Pass(10 * time.Second)
		e.Lose(0)
		e.Lose(1)
		testutil.Pass(40 * time.Second)
		c := start(t, e.Client(), "c", nil)
		testutil.Pass(20 * time.Second)
		wantFound(t, b, "u:1", "a?")
		wantFound(t, c, "u:1", "?")
		testutil.Pass(2 * time.Minute)
		wantFound(t, c, "u:1", "")
	})
}

// A worker that meets a number without a lease cannot know whose it was, unless it has been there for ten lease times.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a, b := start(t, line, "a", nil), start(t, e.Client(), "b", nil)
		join(t, a, "u:1")
		testutil.Pass(time.Minute)
		line.Cut(true)
		testutil.Pass(3 * time.Minute)
		wantFound(t, b, "u:1", "")
		c := start(t, e.Client(), "c", nil)
		testutil.Pass(20 * time.Second)
		wantFound(t, c, "u:2", "")
		wantFound(t, c, "u:1", "?")
		testutil.Pass(140 * time.Second)
		wantFound(t, c, "u:1", "")
	})
}

// A worker that was started anew at its address is asked instead of its predecessor. Nobody doubts, but it is asked.
func TestSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a, b := start(t, line, "a", nil), start(t, e.Client(), "b", nil)
		join(t, a, "u:1")
		join(t, a, "u:2")
		testutil.Pass(time.Minute)
		line.Cut(true)
		a2 := start(t, e.Client(), "a", nil)
		join(t, a2, "u:1")
		wantFound(t, b, "u:1", "a") // both leases are there, and lead to one worker
		wantFound(t, b, "u:2", "a")
		wantFound(t, a2, "u:2", "") // its predecessor is not another worker
		testutil.Pass(time.Minute)
		wantFound(t, b, "u:1", "a")
		wantFound(t, b, "u:2", "a?")
		if s := b.Stats(); s.Vanished != 0 || s.Workers != 1 {
			t.Errorf("%+v", s)
		}
		c := start(t, e.Client(), "c", nil)
		testutil.Pass(10 * time.Second)
		wantFound(t, c, "u:3", "") // the doubts of b are none
		testutil.Pass(3 * time.Minute)
		wantFound(t, b, "u:2", "")
	})
}

// Two workers that have been given the same address cannot ask each other. They say so, and are sure of nothing.
func TestTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		records, log := newRecords()
		a, b := start(t, e.Client(), "same", log), start(t, e.Client(), "same", nil)
		join(t, a, "u:1")
		testutil.Pass(30 * time.Second)
		wantFound(t, b, "u:1", "")
		testutil.Pass(30 * time.Second)
		wantFound(t, b, "u:1", "?")
		wantFound(t, a, "u:2", "?")
		if got := records.take(); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}

// The first worker of a directory cannot know that others have not been there before it lost everything, until they would have
// shown themselves. Those who come later take its word.
func TestYoungGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a := start(t, e.Client(), "a", nil)
		wantFound(t, a, "u:1", "?")
		testutil.Pass(14 * time.Second)
		wantFound(t, a, "u:1", "?")
		testutil.Pass(7 * time.Second)
		wantFound(t, a, "u:1", "")
		b := start(t, e.Client(), "b", nil)
		testutil.Pass(6 * time.Second)
		wantFound(t, b, "u:1", "")
	})
}

// With leases and entries that nobody of this cluster has made, everything goes on. Each kind is logged once.
func TestNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		records, log := newRecords()
		a, b := start(t, e.Client(), "a", nil), start(t, &nonsensical{Client: e.Client()}, "b", log)
		join(t, a, "u:1")
		testutil.Pass(3 * time.Minute)
		wantFound(t, b, "u:1", "a")
		records.take()
		for range 100 {
			wantFound(t, b, "u:1", "a")
			wantFound(t, b, "u:2", "")
			testutil.Pass(10 * time.Second)
		}
		if got := records.take(); len(got) > 0 {
			t.Errorf("again: %q", got)
		}
		if s := b.Stats(); s.Workers != 1 || s.Vanished != 0 || s.Failing {
			t.Errorf("%+v", s)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		records, log := newRecords()
		b := start(t, &nonsensical{Client: e.Client()}, "b", log)
		testutil.Pass(time.Minute)
		_ = find(t, b, "u:1")
		got := records.take()
		if len(got) != 2 || !strings.HasPrefix(got[0], "WARN ") {
			t.Errorf("%q", got)
		}
	})
}

// nonsensical adds to all answers.
type nonsensical struct{ *membershiptest.Client }

const foreigner = 1 << 62

func (n *nonsensical) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	view, err := n.Client.Renew(ctx, l)
	view.Generations = append(view.Generations, "", "settled")
	view.Leases = append(view.Leases, directory.Lease{}, directory.Lease{Number: foreigner, Name: "another cluster's"})
	view.Leases = append(view.Leases, directory.Lease{Number: foreigner + 1, Name: seal("evil")(7)})
	view.Leases = append(view.Leases, view.Leases...)
	return view, err
}

func (n *nonsensical) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	found, err := n.Client.Find(ctx, keys)
	for i := range found {
		found[i].Leases = append(found[i].Leases, 0, 1<<63, foreigner, foreigner+1, 77)
		found[i].Leases = append(found[i].Leases, found[i].Leases...)
	}
	return found, err
}
