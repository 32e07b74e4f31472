package stats_test

import (
	"math"
	"testing"
	"time"

	"github.com/wspush/wspush/stats"
)

// The bounds double, and what Buckets yields is cumulative.
func TestBuckets(t *testing.T) {
	h := stats.NewHistogram([]uint64{3, 0, 2}, time.Second)
	var counts []uint64
	last := time.Duration(0)
	for bound, n := range h.Buckets() {
		switch {
		case last == 0 && bound != 8*time.Microsecond:
			t.Errorf("the first bound is %v", bound)
		case last > 0 && bound != 2*last && bound != math.MaxInt64:
			t.Errorf("%v follows %v", bound, last)
		}
		last = bound
		counts = append(counts, n)
	}
	if last != math.MaxInt64 || len(counts) != 23 {
		t.Errorf("%d buckets, the last of which has the bound %v", len(counts), last)
	}
	if counts[0] != 3 || counts[1] != 3 || counts[2] != 5 || counts[22] != 5 || h.Count() != 5 || h.Sum() != time.Second {
		t.Errorf("%v, in all %d and %v", counts, h.Count(), h.Sum())
	}
	for range h.Buckets() {
		break // which must not go on
	}
}

func TestQuantile(t *testing.T) {
	endless := make([]uint64, 23)
	endless[22] = 1
	longest := 8 * time.Microsecond << 21
	for name, tt := range map[string]struct {
		counts []uint64
		q      float64
		want   time.Duration
	}{
		"of nothing":            {nil, 0.5, 0},
		"0 is the shortest":     {[]uint64{0, 1, 1}, 0, 16 * time.Microsecond},
		"1 is the longest":      {[]uint64{0, 1, 1}, 1, 32 * time.Microsecond},
		"the median of two":     {[]uint64{1, 1}, 0.5, 8 * time.Microsecond},
		"the median of three":   {[]uint64{1, 1, 1}, 0.5, 16 * time.Microsecond},
		"99 of 100":             {[]uint64{99, 1}, 0.99, 8 * time.Microsecond},
		"just more":             {[]uint64{99, 1}, 0.991, 16 * time.Microsecond},
		"what has no bound":     {endless, 0.5, longest},
		"more counts than fit":  {append(endless, 7), 1, longest},
		"the last with a bound": {append(make([]uint64, 21), 1), 0.5, longest},
	} {
		if got := stats.NewHistogram(tt.counts, 0).Quantile(tt.q); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestSince(t *testing.T) {
	earlier, later := stats.NewHistogram([]uint64{1, 2}, time.Second), stats.NewHistogram([]uint64{1, 5, 1}, 3*time.Second)
	if got, want := later.Since(earlier), stats.NewHistogram([]uint64{0, 3, 1}, 2*time.Second); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if earlier.Count() != 3 || later.Count() != 7 {
		t.Error("Since has changed a value")
	}
	if got := later.Since(stats.Histogram{}); got != later {
		t.Errorf("since the beginning: %+v", got)
	}
}
