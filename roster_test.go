package wspush

import (
	"errors"
	"testing"
)

// However often a connection leaves, and in whatever order the roster is closed, it becomes empty once, and only when it is
// closed and has nobody left.
func TestRosterEmpty(t *testing.T) {
	a, b := new(Conn), new(Conn)
	type step struct {
		do    func(r *roster)
		empty bool
	}
	enter := func(c *Conn) func(*roster) {
		return func(r *roster) {
			if err := r.enter(c); err != nil {
				t.Errorf("enter: %v", err)
			}
		}
	}
	leave := func(c *Conn) func(*roster) { return func(r *roster) { r.leave(c) } }
	for name, steps := range map[string][]step{
		"nobody":                  {{(*roster).close, true}, {(*roster).close, true}, {leave(a), true}},
		"leaving twice":           {{enter(a), false}, {(*roster).close, false}, {leave(a), true}, {leave(a), true}},
		"leaving before close":    {{enter(a), false}, {leave(a), false}, {leave(a), false}, {(*roster).close, true}, {leave(a), true}},
		"a stranger":              {{enter(a), false}, {(*roster).close, false}, {leave(b), false}, {leave(a), true}, {leave(b), true}},
		"one of two, twice":       {{enter(a), false}, {enter(b), false}, {(*roster).close, false}, {leave(a), false}, {leave(a), false}, {leave(b), true}},
		"closed twice, then gone": {{enter(a), false}, {(*roster).close, false}, {(*roster).close, false}, {leave(a), true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoster(0)
			for i, s := range steps {
				s.do(r)
				if r.isEmpty() != s.empty {
					t.Fatalf("after step %d, isEmpty is %v", i+1, !s.empty)
				}
			}
			if err := r.enter(a); !errors.Is(err, ErrShutdown) {
				t.Errorf("entering a closed roster: %v", err)
			}
			if n := len(r.all()); n != 0 {
				t.Errorf("%d are in it", n)
			}
		})
	}
}

// A roster with a limit counts everyone who has entered and not left.
func TestRosterFull(t *testing.T) {
	r := newRoster(1)
	a, b := new(Conn), new(Conn)
	if err := errors.Join(r.admits(), r.enter(a)); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{r.admits(), r.enter(b)} {
		if !errors.Is(err, errFull) {
			t.Errorf("beyond the limit: %v", err)
		}
	}
	r.leave(b) // who is not in it takes nobody's place away
	if err := r.enter(b); !errors.Is(err, errFull) {
		t.Errorf("beyond the limit, after a stranger left: %v", err)
	}
	r.leave(a)
	if err := errors.Join(r.admits(), r.enter(b)); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}
