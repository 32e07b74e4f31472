package console

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

// A handle leads back to its ID, but only at the console that made it.
func TestHandles(t *testing.T) {
	h, other := newHandles(), newHandles()
	for range 1000 {
		id := uuid.NewString()
		handle := h.of(id)
		if got := h.id(handle); got != id {
			t.Fatalf("%s becomes %s", id, got)
		}
		if got := other.id(handle); got == id {
			t.Fatalf("another console reads the handle of %s", id)
		}
	}
	for _, bad := range []string{"", "x", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA=", "\xff"} {
		if got := h.id(bad); got != "" {
			t.Errorf("handle %q leads to %q", bad, got)
		}
	}
}

func TestShorten(t *testing.T) {
	long := make([]rune, 300)
	for i := range long {
		long[i] = '界' // 3 bytes
	}
	for text, want := range map[string]string{"": "", "a": "a", string(long[:66]): string(long[:66]), string(long): string(long[:66]) + "…"} {
		if got := shorten(text); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// Looking takes at most a twentieth of the time, unless that would leave a page without news for long.
func TestPace(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      interval,
		time.Millisecond:       interval,
		25 * time.Millisecond:  interval,
		400 * time.Millisecond: 8 * time.Second,
		time.Second:            10 * time.Second,
		time.Minute:            10 * time.Second, // as when Label asks a database 10,000 times
	} {
		if got := pace(took, interval); got != want {
			t.Errorf("after %v it rests for %v", took, got)
		}
	}
}

// keepFirst keeps the same elements as sorting everything would.
func TestKeepFirst(t *testing.T) {
	compare := func(a, b candidate) int { return a.Pending - b.Pending }
	for _, n := range []int{0, 1, maxRows - 1, maxRows, maxRows + 1, 5 * maxRows} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var all, first []candidate
			for range n {
				c := candidate{state: state{Pending: rand.IntN(2 * maxRows)}}
				all = append(all, c)
				first = keepFirst(first, c, compare)
			}
			slices.SortFunc(all, compare)
			if want := all[:min(n, maxRows)]; !slices.Equal(first, want) {
				t.Errorf("kept %v", first)
			}
		})
	}
}

// A worker is over when both its count and its list of connections say so, since the two are not of the same instant: the last
// update that a page gets must list nobody.
func TestIsOver(t *testing.T) {
	one := []*entry{{}}
	for _, tt := range []struct {
		draining bool
		count    int
		listed   []*entry
		want     bool
	}{
		{false, 0, nil, false},
		{true, 1, one, false},
		{true, 0, one, false},
		{true, 1, nil, false},
		{true, 0, nil, true},
	} {
		s := &snapshot{isDraining: tt.draining, entries: tt.listed, sample: sample{Connections: tt.count}}
		if got := s.isOver(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
