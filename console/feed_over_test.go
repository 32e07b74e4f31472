package console

import "testing"

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
