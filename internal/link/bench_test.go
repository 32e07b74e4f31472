//go:build unix

package link

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpu returns the processor time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPush pushes over one link to a handler that answers at once. cpu-ns is the processor time of both ends for each push.
func BenchmarkPush(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			benchmarkPush(b, callers, 100, nil)
		})
	}
	b.Run("sequence", func(b *testing.B) { benchmarkPush(b, 1, 100, new(Sequence)) })
	b.Run("large", func(b *testing.B) { benchmarkPush(b, 16, 1<<20, nil) })
}

func benchmarkPush(b *testing.B, callers, size int, s *Sequence) {
	asked := newWorker(b, nil, func(c *Config) { c.Handler = yes{} })
	asker := newWorker(b, nil, func(c *Config) { c.Handler = yes{} })
	data := make([]byte, size)
	if _, err := asker.push(b, &Push{Peer: Peer{asked.url, 1}, Path: "/ws", Data: data}); err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			depth := 1
			if s != nil {
				depth = 64
			}
			free := make(chan *Push, depth)
			for range depth {
				p := &Push{Peer: Peer{asked.url, 1}, Path: "/ws", Data: data, Patience: 10 * time.Second, Sequence: s}
				p.Done = func(_ int, _ Answer, err error) {
					if err != nil {
						b.Error(err)
					}
					free <- p
				}
				free <- p
			}
			for left.Add(-1) >= 0 {
				asker.Push(<-free)
			}
			for range depth {
				<-free
			}
		})
	}
	running.Wait()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/push")
}

// yes answers every push at once.
type yes struct{ Handler }

func (yes) Push(batch []*Incoming) {
	for _, in := range batch {
		in.Answer(0, Answer{Code: 1})
	}
}

// BenchmarkBeside pushes a small message at a time while others of 1 MiB pass, 43 a second, and reports how long the small ones take.
func BenchmarkBeside(b *testing.B) {
	for _, rate := range []int{0, 43} {
		b.Run(fmt.Sprintf("large=%d", rate), func(b *testing.B) {
			asked := newWorker(b, nil, func(c *Config) { c.Handler = yes{} })
			asker := newWorker(b, nil, func(c *Config) { c.Handler = yes{} })
			stop := make(chan struct{})
			var running sync.WaitGroup
			if rate > 0 {
				running.Go(func() {
					tick := time.NewTicker(time.Second / time.Duration(rate))
					defer tick.Stop()
					data := make([]byte, 1<<20)
					for {
						select {
						case <-tick.C:
							running.Go(func() { _, _ = asker.push(b, &Push{Peer: Peer{asked.url, 1}, Data: data}) })
						case <-stop:
							return
						}
					}
				})
			}
			var took []time.Duration
			data := make([]byte, 100)
			for b.Loop() {
				start := time.Now()
				if _, err := asker.push(b, &Push{Peer: Peer{asked.url, 1}, Data: data}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			close(stop)
			running.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
