package console

import (
	"context"
	"sync"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/stats"
)

const (
	interval   = 500 * time.Millisecond // between two looks at the worker
	maxSamples = 360                    // kept for the charts: three minutes
)

// feed looks at the worker for as long as there are pages, for all of them together.
type feed struct {
	worker *wspush.Worker
	label  func(*wspush.Conn) string

	mu      sync.Mutex // guards what follows
	closed  bool
	pages   int
	latest  *snapshot
	stop    context.CancelFunc // ends the looking; nil while there are no pages
	before  stats.Snapshot     // of the last sample
	samples []sample           // the last ones, also of earlier pages: rates are right across the gap

	running sync.WaitGroup // the looking, and the pages' goroutines; nothing is added once closed is set
}

// snapshot is what there was at one time. It is never written to again.
type snapshot struct {
	at         time.Time // zero: nobody has looked yet
	entries    []*entry
	sample     sample
	stats      stats.Snapshot
	isDraining bool
	next       chan struct{} // closed when there is a newer one
}

// isOver reports whether the worker has shut down: nothing will change any more.
func (s *snapshot) isOver() bool {
	return s.isDraining && s.sample.Connections == 0 && len(s.entries) == 0
}

// nothing is what has been seen before anybody has looked.
func nothing() *snapshot { return &snapshot{next: make(chan struct{})} }

func newFeed(worker *wspush.Worker, label func(*wspush.Conn) string) *feed {
	return &feed{worker: worker, label: label, latest: nothing()}
}

// enter runs page in a goroutine of its own, unless the feed is closed. The first page has the looking begin, and when the last
// one returns, it ends.
func (f *feed) enter(page func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.pages++; f.pages == 1 {
		ctx, cancel := context.WithCancel(context.Background())
		f.stop = cancel
		f.running.Go(func() { f.look(ctx) })
	}
	f.running.Go(func() {
		defer f.leave()
		page()
	})
}

func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pages--; f.pages == 0 {
		f.stop()
		f.stop = nil
		f.latest = nothing() // holds no connections, and is not taken for news by the next page
	}
}

// close waits until nothing runs, or ctx ends. The pages' connections have ended, and with them the pages.
func (f *feed) close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	done := make(chan struct{})
	go func() {
		f.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look makes snapshots until ctx ends.
func (f *feed) look(ctx context.Context) {
	t := newTable(f.label)
	for {
		began := time.Now()
		s := &snapshot{at: began, isDraining: f.worker.Draining(), entries: t.look(f.worker), stats: f.worker.Stats(), next: make(chan struct{})}
		f.publish(ctx, s)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pace(time.Since(began), interval)):
		}
	}
}

// publish lets pages see s.
func (f *feed) publish(ctx context.Context, s *snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil { // another one may have begun to look
		return
	}
	s.sample = newSample(s.at, &s.stats, &f.before)
	f.before = s.stats
	f.samples = append(f.samples[max(0, len(f.samples)+1-maxSamples):], s.sample)
	close(f.latest.next)
	f.latest = s
}

// now returns the latest snapshot, and the samples up to it.
func (f *feed) now() (*snapshot, []sample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.samples
}
