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
// until all is entered again after a loss. Of a directory that implements [directory.Owners] it measures claims as well, of 200,000 sessions: as many as
// there are when workers hand over what they have, one at a time, and one at a time with 64 claiming. If size is not nil, it returns how many
// bytes the engine takes.
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
	if _, ok := directories[0].(directory.Owners); ok {
		benchmarkOwners(b, directories, func() int64 {
			if size == nil {
				return 0
			}
			return size(b, e)
		})
	}
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

// benchmarkOwners has each session claimed again and again, by another worker each time, as happens in a deploy.
func benchmarkOwners(b *testing.B, directories []directory.Directory, size func() int64) {
	moves, before := uint64(0), size()
	claim := func(b *testing.B, worker int, n, count int, moves uint64) {
		claims := make([]directory.Ownership, count)
		for i := range claims {
			claims[i] = owned(fmt.Sprintf("session-%08d", (n+i)%benchUsers), leaseOf(worker), moves)
		}
		for i, owner := range claimAll(b, directories[worker].(directory.Owners), claims) {
			if owner != claims[i] {
				b.Errorf("claim of %+v: told of %+v", claims[i], owner)
			}
		}
	}
	b.Run("Claim", func(b *testing.B) {
		for b.Loop() {
			moves++
			var workers sync.WaitGroup
			for i := range directories {
				workers.Go(func() {
					for n := 0; n < benchUsers/benchWorkers; n += 500 {
						claim(b, i, (i+int(moves))%benchWorkers*benchUsers/benchWorkers+n, 500, moves)
					}
				})
			}
			workers.Wait()
		}
		b.ReportMetric(benchUsers*float64(b.N)/b.Elapsed().Seconds(), "claims/s")
		if after := size(); after > 0 {
			b.ReportMetric(float64(after-before)/benchUsers, "B/session")
		}
	})
	one := func(claiming int) func(b *testing.B) {
		return func(b *testing.B) {
			moves++ // nobody claims a session twice
			var next atomic.Int64
			var workers sync.WaitGroup
			b.ResetTimer()
			for i := range claiming {
				workers.Go(func() {
					for n := next.Add(1); n <= int64(b.N) && !b.Failed(); n = next.Add(1) {
						claim(b, i%benchWorkers, int(n), 1, moves+uint64(n)/benchUsers)
					}
				})
			}
			workers.Wait()
			moves += uint64(b.N) / benchUsers
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "claims/s")
		}
	}
	b.Run("Claim/claiming=1", one(1))
	b.Run("Claim/claiming=64", one(64))
	b.Run("Owners", func(b *testing.B) {
		sessions := make([]string, 500)
		n := 0
		for b.Loop() {
			for i := range sessions {
				sessions[i] = fmt.Sprintf("session-%08d", n%benchUsers)
				n += 7919
			}
			for _, owner := range ownersOfAll(b, directories[0].(directory.Owners), sessions...) {
				if owner.Moves == 0 {
					b.Fatalf("nothing is known of %s", owner.Session)
				}
			}
		}
		b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
	})
}

// leaseOf returns a number as high as most random ones.
func leaseOf(i int) uint64 { return 1<<62 + uint64(i)*1_000_003 }
