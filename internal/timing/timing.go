// Package timing counts durations in buckets, cheaply and from any number of goroutines.
package timing

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets' bounds double, from first up to 16.8 s. The last bucket has no bound.
const (
	first = 8 * time.Microsecond

	// Buckets is the number of buckets.
	Buckets = 23
)

// Bound returns the longest duration that bucket i counts. Do not ask for the last bucket's: it has none.
func Bound(i int) time.Duration { return first << i }

// Recorder counts durations. The zero value is ready to use. It is safe for concurrent use and must not be copied.
type Recorder struct {
	counts [Buckets]atomic.Uint64
	sum    atomic.Int64
}

// Record counts d.
func (r *Recorder) Record(d time.Duration) {
	i := bits.Len64(uint64(max(d-1, 0) / first)) // less 1, so that a bound counts in its own bucket
	r.counts[min(i, Buckets-1)].Add(1)
	r.sum.Add(int64(d))
}

// Counts is the number of durations in each bucket, and their sum.
type Counts struct {
	In  [Buckets]uint64
	Sum time.Duration
}

// AddTo adds everything recorded so far to c.
func (r *Recorder) AddTo(c *Counts) {
	for i := range r.counts {
		c.In[i] += r.counts[i].Load()
	}
	c.Sum += time.Duration(r.sum.Load())
}
