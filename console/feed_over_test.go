package console

import "testing"

// A worker is over when both its count and its list of connections say so, since the two are not of the same instant, and nothing waits for
// anybody: the last update that a page gets must not contradict itself.
func TestIsOver(t *testing.T) {
	one := []*entry{{}}
	for _, tt := range []struct {
		draining bool
		count    int
		listed   []*entry
		pending  int64
		want     bool
	}{
		{false, 0, nil, 0, false},
		{true, 1, one, 0, false},
		{true, 0, one, 0, false},
		{true, 1, nil, 0, false},
		{true, 0, nil, 1, false},
		{true, 0, nil, 0, true},
	} {
		s := &snapshot{isDraining: tt.draining, entries: tt.listed, sample: sample{Connections: tt.count, Pending: tt.pending}}
		if got := s.isOver(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
