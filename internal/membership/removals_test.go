package membership_test

import (
	"github.com/wspush/wspush/internal/testutil"
	"testing"
	"testing/synctest"
	"time"
)

// An entry in the name of a number that has had no lease for an hour is removed by those who meet it, if they have watched all the while.
func TestEntriesOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		dead, line := e.Client(), e.Client()
		a, b := start(t, dead, "a", nil), start(t, line, "b", nil)
		join(t, a, "u:1")
		join(t, a, "u:2")
		testutil.Pass(time.Minute)
		dead.Cut(true)
		left := func(want int) {
			t.Helper()
			_ = find(t, b, "u:1")
			testutil.Pass(time.Second)
			if n := e.Entries(); n != want {
				t.Errorf("after %v, %d entries are left, and not %d", time.Now().Format(time.TimeOnly), n, want)
			}
		}
		testutil.Pass(5 * time.Minute)
		left(2) // first met
		testutil.Pass(50 * time.Minute)
		left(2)
		line.Cut(true) // its views have a gap
		testutil.Pass(30 * time.Second)
		line.Cut(false)
		testutil.Pass(15 * time.Minute)
		left(2)
		testutil.Pass(55 * time.Minute)
		left(2)
		testutil.Pass(10 * time.Minute)
		left(1) // of two keys, one was looked up
		if got := e.Named("u:2"); len(got) != 1 {
			t.Errorf("%v", got)
		}
	})
}

// What belongs to a worker that comes back, or to another cluster, is not removed.
func TestEntriesOfTheLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a, b := start(t, line, "a", nil), start(t, &nonsensical{Client: e.Client()}, "b", nil)
		join(t, a, "u:1")
		for range 3 * 60 / 25 {
			testutil.Pass(5 * time.Minute)
			line.Cut(true)
			testutil.Pass(20 * time.Minute)
			_ = find(t, b, "u:1")
			line.Cut(false)
			testutil.Pass(10 * time.Second)
			wantFound(t, b, "u:1", "a")
		}
	})
}
