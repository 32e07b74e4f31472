package directorytest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
)

const (
	benchUsers   = 200_000
	benchWorkers = 20
)

// Benchmark measures, with 200,000 users who are each at one of 20 workers: joins, lookups with one and with 64 asking, and how long it takes
// until all is entered again after a loss. If size is not nil, it returns how many bytes the engine takes.
func Benchmark(b *testing.B, start func(tb testing.TB) *Engine, size func(tb testing.TB, e *Engine) int64) {
	e := start(b)
	directories := make([]directory.Directory, benchWorkers)
	for i := range directories {
		directories[i] = e.open(b)
		renew(b, directories[i], directory.Lease{Number: leaseOf(i), Name: "worker"})
	}
	user := func(n int) string { return fmt.Sprintf("u:user-%08d", n%benchUsers) }
	enter := func(b *testing.B) {
		b.Helper()
		var workers sync.WaitGroup
		for i, d := range directories {
			workers.Go(func() {
				for n := 0; n < benchUsers/benchWorkers; n += 500 {
					changes := make([]directory.Change, 500)
					for j := range changes {
						changes[j] = directory.Change{Key: user((n+j)*benchWorkers + i), Present: true}
					}
					if err := d.Apply(limit(b, time.Minute), leaseOf(i), changes); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		workers.Wait()
	}
	before := int64(0)
	if size != nil {
		before = size(b, e)
	}
	b.Run("Join", func(b *testing.B) {
		for b.Loop() {
			enter(b)
		}
		b.ReportMetric(benchUsers*float64(b.N)/b.Elapsed().Seconds(), "joins/s")
		if size != nil {
			b.ReportMetric(float64(size(b, e)-before)/benchUsers, "B/user")
		}
	})
	lookup := func(asking, keys int) func(b *testing.B) {
		return func(b *testing.B) {
			var next atomic.Int64
			var askers sync.WaitGroup
			b.ResetTimer()
			for i := range asking {
				askers.Go(func() {
					d := directories[i%benchWorkers]
					for {
						n := int(next.Add(1))
						if n > b.N {
							return
						}
						all := make([]string, keys)
						for j := range all {
							all[j] = user((n*keys + j) * 7919)
						}
						for _, found := range findAll(b, d, all) {
							if len(found.Leases) != 1 {
								b.Errorf("found %d", found.Leases)
								return
							}
						}
					}
				})
			}
			askers.Wait()
			b.ReportMetric(float64(keys)*float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
		}
	}
	b.Run("Find/asking=1", lookup(1, 1))
	b.Run("Find/asking=64", lookup(64, 1))
	b.Run("Find/asking=64,coalesced", lookup(1, 64))
	b.Run("Find/asking=256,coalesced", lookup(2, 128))
	b.Run("Renew", func(b *testing.B) {
		for b.Loop() {
			renew(b, directories[0], directory.Lease{Number: leaseOf(0), Name: "worker"})
		}
	})
	b.Run("Repair", func(b *testing.B) {
		for b.Loop() {
			e.Kill(b)
			e.Restart(b)
			for i, d := range directories {
				again(b, "Renew", func(ctx context.Context) error {
					_, err := d.Renew(ctx, directory.Lease{Number: leaseOf(i), Name: "worker"})
					return err
				})
			}
			enter(b)
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/repair")
	})
}

// leaseOf returns a number as high as most random ones.
func leaseOf(i int) uint64 { return 1<<62 + uint64(i)*1_000_003 }
