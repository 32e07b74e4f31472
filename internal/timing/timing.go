// Package timing counts how long things took, in buckets, for next to nothing and from any number of goroutines.
package timing

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The bounds of the buckets double from first on, to 16.8 s; the last bucket has none.
const (
	first = 8 * time.Microsecond

	// Buckets is how many there are.
	Buckets = 23
)

// Bound is the longest time that bucket i counts. The last has no bound, and is not to be asked for.
func Bound(i int) time.Duration { return first << i }

// Recorder counts. The zero value is ready; it must not be copied.
type Recorder struct {
	counts [Buckets]atomic.Uint64
	sum    atomic.Int64
}

// Record counts d.
func (r *Recorder) Record(d time.Duration) {
	i := bits.Len64(uint64(max(d-1, 0) / first)) // d is in a bucket with its bound
	r.counts[min(i, Buckets-1)].Add(1)
	r.sum.Add(int64(d))
}

// Counts is what has been recorded: how many in each bucket, and how long all of them took together.
type Counts struct {
	In  [Buckets]uint64
	Sum time.Duration
}

// AddTo adds what has been recorded so far to c.
func (r *Recorder) AddTo(c *Counts) {
	for i := range r.counts {
		c.In[i] += r.counts[i].Load()
	}
	c.Sum += time.Duration(r.sum.Load())
}
