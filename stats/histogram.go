package stats

import (
	"iter"
	"math"
	"time"

	"github.com/wspush/wspush/internal/timing"
)

// Histogram is a distribution of durations, in buckets whose bounds double: 8 µs, 16 µs, … 16.8 s, and one without a bound. It
// is a value: later measurements do not change it.
type Histogram struct{ counts timing.Counts }

// NewHistogram makes a Histogram of how many durations lie in each bucket, from the shortest to the longest, and of their sum.
// Counts beyond the last bucket are left out. Worker.Stats makes its histograms with it, and so can tests of programs that read
// a Snapshot.
func NewHistogram(counts []uint64, sum time.Duration) Histogram {
	h := Histogram{timing.Counts{Sum: sum}}
	copy(h.counts.In[:], counts)
	return h
}

// Count returns the number of durations.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, in := range h.counts.In {
		n += in
	}
	return n
}

// Sum returns the sum of all durations.
func (h Histogram) Sum() time.Duration { return h.counts.Sum }

// Buckets yields each bound in ascending order, with the number of durations up to and including it. The last bound is
// math.MaxInt64, which means no bound.
func (h Histogram) Buckets() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		var n uint64
		for i, in := range h.counts.In {
			bound := time.Duration(math.MaxInt64)
			if i < timing.Buckets-1 {
				bound = timing.Bound(i)
			}
			if n += in; !yield(bound, n) {
				return
			}
		}
	}
}

// Quantile returns the bound of the bucket that holds the q-quantile, for q from 0 to 1: with q = 0.99, at least 99 of 100
// durations are no longer than the result. From 8 µs on, the result is less than twice the exact quantile. As with
// Prometheus's histogram_quantile, the longest bound, 16.8 s, stands for anything longer. An empty Histogram returns 0.
func (h Histogram) Quantile(q float64) time.Duration {
	all := h.Count()
	if all == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(all)))
	for bound, n := range h.Buckets() {
		if n >= max(rank, 1) {
			return min(bound, timing.Bound(timing.Buckets-2))
		}
	}
	return 0
}

// Since returns what was added since earlier, which must be an earlier value of the same histogram.
func (h Histogram) Since(earlier Histogram) Histogram {
	for i, in := range earlier.counts.In {
		h.counts.In[i] -= in
	}
	h.counts.Sum -= earlier.counts.Sum
	return h
}
