package membership_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/testutil"
)

// instant is a directory that answers at once, with 99 other workers. It stores nothing.
type instant struct {
	leases []directory.Lease
	found  directory.Found
}

func newInstant() *instant {
	in := &instant{found: directory.Found{Leases: []uint64{1}, Generation: "63"}}
	generations := make([]string, 64)
	for i := range generations {
		generations[i] = fmt.Sprint(i)
	}
	for i := range uint64(99) {
		in.leases = append(in.leases, directory.Lease{Number: i + 1, Name: seal(fmt.Sprint("w", i))(i + 1), Synced: append(generations, "settled")})
	}
	return in
}

func (in *instant) Renew(_ context.Context, l directory.Lease) (directory.View, error) {
	return directory.View{Generations: in.leases[0].Synced[:64], Leases: append(in.leases[:99:99], l)}, nil
}

func (in *instant) Apply(context.Context, uint64, []directory.Change) error { return nil }

func (in *instant) Find(_ context.Context, keys []string) ([]directory.Found, error) {
	found := make([]directory.Found, len(keys))
	for i := range found {
		found[i] = in.found
	}
	return found, nil
}

func startInstant(b *testing.B) *membership.Membership {
	m := membership.New(membership.Config{Directory: newInstant(), Address: "self", Seal: seal("self"), Open: open})
	b.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

// What a lookup costs above the engine's call, one at a time and many at a time.
func BenchmarkLookup(b *testing.B) {
	lookup := func(m *membership.Membership) {
		l := m.Lookup("u:1")
		workers, err := l.Next(context.Background())
		if err != nil || len(workers) != 1 {
			b.Fatal(workers, err)
		}
		l.Answered(workers[0], true)
		if _, err = l.Next(context.Background()); err != nil || l.Verdict() != membership.Complete {
			b.Fatal(err, l.Verdict())
		}
	}
	b.Run("one", func(b *testing.B) {
		m := startInstant(b)
		b.ReportAllocs()
		for b.Loop() {
			lookup(m)
		}
	})
	b.Run("many", func(b *testing.B) {
		m := startInstant(b)
		b.ReportAllocs()
		b.SetParallelism(64)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				lookup(m)
			}
		})
	})
}

// What Set costs a user who comes and goes.
func BenchmarkSet(b *testing.B) {
	m := startInstant(b)
	b.ReportAllocs()
	for b.Loop() {
		m.Set("u:1", true)
		m.Set("u:1", false)
	}
}

func (in *instant) Claim(_ context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
	return claims, nil
}

func (in *instant) Owners(_ context.Context, sessions []string) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, len(sessions))
	for i, s := range sessions {
		owners[i] = directory.Ownership{Session: s, Lease: 1, Moves: 1}
	}
	return owners, nil
}

func (in *instant) Disclaim(context.Context, []directory.Ownership) error { return nil }

// What a claim costs above the engine's call, one at a time and many at a time, and what it takes of memory.
func BenchmarkClaim(b *testing.B) {
	claim := func(m *membership.Membership, i uint64) {
		c := membership.Claim{Moves: 1}
		binary.BigEndian.PutUint64(c.Session[:], i)
		if owners, err := m.Claim(context.Background(), []membership.Claim{c}); err != nil || !owners[0].Mine {
			b.Fatal(owners, err)
		}
	}
	b.Run("one", func(b *testing.B) {
		m := startInstant(b)
		b.ReportAllocs()
		for b.Loop() {
			claim(m, 1)
		}
	})
	b.Run("many", func(b *testing.B) {
		m := startInstant(b)
		b.ReportAllocs()
		b.SetParallelism(64)
		var next atomic.Uint64
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				claim(m, next.Add(1)%1000)
			}
		})
	})
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			m := startInstant(b)
			const n = 100_000
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for i := range uint64(n) {
				claim(m, i)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/claim")
			runtime.KeepAlive(m)
		}
	})
}

// What a key takes of memory, without its string, which is the caller's.
func BenchmarkKeys(b *testing.B) {
	const n = 100_000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("u:", i)
	}
	for b.Loop() {
		m := startInstant(b)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, key := range keys {
			m.Set(key, true)
		}
		for m.Stats().Pending > 0 {
			testutil.Pass(time.Millisecond)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/key")
		runtime.KeepAlive(m)
	}
}
