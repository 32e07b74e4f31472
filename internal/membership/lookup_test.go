package membership_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/testutil"
)

// cluster is some workers that have been there for a while.
func cluster(t *testing.T, addresses ...string) []*membership.Membership {
	t.Helper()
	e := newEngine()
	var all []*membership.Membership
	for _, address := range addresses {
		all = append(all, start(t, e.Client(), address, nil))
	}
	testutil.Pass(3 * time.Minute)
	return all
}

// wantNext expects one round of a lookup.
func wantNext(t *testing.T, l *membership.Lookup, want string) []membership.Worker {
	t.Helper()
	workers, err := l.Next(t.Context())
	if got := fmt.Sprint(workers); err != nil || got != want {
		t.Errorf("next are %s, %v, and not %s", got, err, want)
	}
	return workers
}

func wantVerdict(t *testing.T, l *membership.Lookup, want membership.Verdict, asked, answered int) bool {
	t.Helper()
	gotAsked, gotAnswered := l.Workers()
	if got := l.Verdict(); got != want || gotAsked != asked || gotAnswered != answered {
		t.Errorf("%v, of %d asked %d answered, and not %v, %d, %d", got, gotAsked, gotAnswered, want, asked, answered)
		return false
	}
	return true
}

func TestVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := cluster(t, "a", "b", "c")
		c := all[2]
		join(t, all[0], "g:both")
		join(t, all[1], "g:both")
		a, b := membership.Worker{Address: "a", Named: true}, membership.Worker{Address: "b", Named: true}
		for _, test := range []struct {
			name     string
			say      func(*membership.Lookup)
			want     membership.Verdict
			answered int
		}{
			{"both have it", func(l *membership.Lookup) { l.Answered(a, true); l.Answered(b, true) }, membership.Complete, 2},
			{"one has it", func(l *membership.Lookup) { l.Answered(a, false); l.Answered(b, true) }, membership.Complete, 2},
			{"one has it, one is silent", func(l *membership.Lookup) { l.Answered(a, true); l.Silent(b) }, membership.Incomplete, 1},
			{"one says nothing", func(l *membership.Lookup) { l.Answered(a, false) }, membership.Incomplete, 1},
			{"one is silent", func(l *membership.Lookup) { l.Answered(a, false); l.Silent(b) }, membership.Incomplete, 1},
			{"neither has it", func(l *membership.Lookup) { l.Answered(a, false); l.Answered(b, false) }, membership.Gone, 2},
			{"a stranger answers", func(l *membership.Lookup) { l.Answered(membership.Worker{Address: "d"}, true) }, membership.Incomplete, 0},
		} {
			l := c.Lookup("g:both")
			wantNext(t, l, "[{a true} {b true}]")
			test.say(l)
			if v := l.Verdict(); v == membership.Gone || v != test.want && v != membership.Incomplete {
				t.Errorf("%s: %v before the end", test.name, v)
			}
			if test.want == membership.Gone { // those that are named still are asked again, once
				wantNext(t, l, "[{a true} {b true}]")
				test.say(l)
			}
			wantNext(t, l, "[]")
			wantNext(t, l, "[]")
			if !wantVerdict(t, l, test.want, 2, test.answered) {
				t.Error(test.name)
			}
		}
	})
}

// As long as this worker has members, there is one round, and nobody is gone.
func TestHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := cluster(t, "a", "b")
		join(t, all[0], "u:1")
		l := all[1].Lookup("u:1")
		l.Here(true)
		a := wantNext(t, l, "[{a true}]")
		l.Answered(a[0], false)
		wantNext(t, l, "[]")
		wantVerdict(t, l, membership.Complete, 1, 1)
		l.Here(false) // they have gone, perhaps to another worker
		wantVerdict(t, l, membership.Incomplete, 1, 1)
		a = wantNext(t, l, "[{a true}]") // which is named still
		l.Answered(a[0], false)
		wantNext(t, l, "[]")
		wantVerdict(t, l, membership.Gone, 1, 1)
	})
}

// Several lookups find out together whom to ask first; from then on each is by itself.
func TestLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := cluster(t, "a", "b")
		join(t, all[0], "u:1")
		lookups, err := all[1].Lookups(t.Context(), []string{"u:1", "u:2", "u:1"})
		if err != nil || len(lookups) != 3 {
			t.Fatal(lookups, err)
		}
		for _, i := range []int{0, 2} {
			a := wantNext(t, lookups[i], "[{a true}]")
			lookups[i].Answered(a[0], i == 0)
			if i == 2 { // a is named still
				wantNext(t, lookups[i], "[{a true}]")
				lookups[i].Answered(a[0], false)
			}
			wantNext(t, lookups[i], "[]")
		}
		wantVerdict(t, lookups[0], membership.Complete, 1, 1)
		wantVerdict(t, lookups[2], membership.Gone, 1, 1)
		wantNext(t, lookups[1], "[]")
		wantVerdict(t, lookups[1], membership.Gone, 0, 0)
	})
}

// When all have said that they have none, there is a second lookup: a member may have moved meanwhile.
func TestMovedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := cluster(t, "a", "b", "c")
		join(t, all[0], "u:1")
		l := all[2].Lookup("u:1")
		a := wantNext(t, l, "[{a true}]")
		join(t, all[1], "u:1")
		all[0].Set("u:1", false)
		testutil.Pass(time.Second) // a tells the directory
		l.Answered(a[0], false)
		b := wantNext(t, l, "[{b true}]")
		l.Answered(b[0], true)
		wantNext(t, l, "[]")
		wantVerdict(t, l, membership.Complete, 2, 2)

		// Nobody is named at first.
		l = all[2].Lookup("u:2")
		wantNext(t, l, "[]")
		wantVerdict(t, l, membership.Gone, 0, 0)
	})
}

// A member that moves on and on, faster than it is asked for, is not called gone.
func TestMovedOnAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := cluster(t, "a", "b", "c", "d", "e", "f", "g")
		l := all[6].Lookup("u:1")
		asked := 0
		for i, m := range all[:6] {
			join(t, m, "u:1")
			workers, err := l.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range workers {
				asked++
				l.Answered(w, false)
			}
			m.Set("u:1", false)
			testutil.Pass(time.Second) // it tells the directory
			if len(workers) == 0 && i < 4 {
				t.Errorf("it ends after %d rounds", i)
			}
		}
		wantVerdict(t, l, membership.Incomplete, asked, asked)
	})
}

// If the second lookup fails, it is not known who is there.
func TestSecondLookupFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		a, m := start(t, e.Client(), "a", nil), start(t, b, "m", nil)
		join(t, a, "u:1")
		testutil.Pass(time.Minute)
		l := m.Lookup("u:1")
		workers := wantNext(t, l, "[{a true}]")
		l.Answered(workers[0], false)
		b.set("find", true)
		if _, err := l.Next(t.Context()); !errors.Is(err, membership.ErrDirectory) {
			t.Error(err)
		}
		wantVerdict(t, l, membership.Incomplete, 1, 1)
	})
}

// A member that moves back to a worker that has been asked is found there.
func TestMovedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := cluster(t, "a", "b", "c")
		join(t, all[0], "u:1")
		l := all[2].Lookup("u:1")
		a := wantNext(t, l, "[{a true}]")
		join(t, all[1], "u:1")
		all[0].Set("u:1", false)
		testutil.Pass(time.Second) // a tells the directory
		l.Answered(a[0], false)
		b := wantNext(t, l, "[{b true}]")
		join(t, all[0], "u:1")
		all[1].Set("u:1", false)
		l.Answered(b[0], false)
		testutil.Pass(time.Second) // b tells the directory
		a = wantNext(t, l, "[{a true}]")
		l.Answered(a[0], true)
		wantNext(t, l, "[]")
		wantVerdict(t, l, membership.Complete, 2, 2)
	})
}
