package wspush

import (
	"iter"
	"math"
	"time"

	"github.com/wspush/wspush/internal/timing"
)

// Histogram is how long things took, in buckets whose bounds double: 8 µs, 16 µs, … 16.8 s, and what took longer. It is a
// value: what happens later does not change it.
type Histogram struct{ counts timing.Counts }

// Count returns how many things took whatever they took.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, in := range h.counts.In {
		n += in
	}
	return n
}

// Sum returns how long all of them took together.
func (h Histogram) Sum() time.Duration { return h.counts.Sum }

// Buckets yields, for each bound in ascending order, how many took at most that long. The last bound is math.MaxInt64,
// which stands for none.
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

// Quantile returns the bound of the bucket in which the q-th of all lies, for q from 0 to 1: the 0.99 of a million took at
// most that long. From 8 µs on it is less than twice the truth. As with Prometheus' histogram_quantile, the longest bound, 16.8 s,
// stands for anything longer. It is 0 if there are none.
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

// Since returns what has been added since an earlier value of the same histogram.
func (h Histogram) Since(earlier Histogram) Histogram {
	for i, in := range earlier.counts.In {
		h.counts.In[i] -= in
	}
	h.counts.Sum -= earlier.counts.Sum
	return h
}
