package console

import (
	"context"
	"sync"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/stats"
)

const (
	interval   = 500 * time.Millisecond // between two snapshots of the worker
	maxSamples = 360                    // kept for the charts: three minutes
	period     = maxSamples * interval
	gap        = 2 * time.Second // without a page, from which it is told of: the charts' rates cover so long anyway
)

// feed takes snapshots of the worker on behalf of all pages, while there are any.
type feed struct {
	worker *wspush.Worker
	label  func(*wspush.Conn) string
	hurry  chan struct{} // an element has look take the next snapshot at once

	mu      sync.Mutex // guards the fields below, except running
	closed  bool
	pages   int
	latest  *snapshot
	stop    context.CancelFunc // stops look; nil while there are no pages
	before  stats.Snapshot     // of the last sample
	samples []sample           // the last ones, also of earlier pages: rates are right across the gap

	running sync.WaitGroup // look and the pages' goroutines; nothing is added once closed is set
}

// snapshot is the worker's state at one moment. It is immutable.
type snapshot struct {
	at         time.Time // zero: nothing has been seen yet
	entries    []*entry
	sample     sample
	stats      stats.Snapshot
	isDraining bool
	next       chan struct{} // closed when a newer snapshot exists
}

// isOver reports whether the worker has shut down, so that nothing will change any more. A client that does not read is no longer among the
// connections when it is being closed, but what waits for it still counts as pending.
func (s *snapshot) isOver() bool {
	return s.isDraining && s.sample.Connections == 0 && len(s.entries) == 0 && s.sample.Pending == 0
}

// nothing is the snapshot before the first look.
func nothing() *snapshot { return &snapshot{next: make(chan struct{})} }

func newFeed(worker *wspush.Worker, label func(*wspush.Conn) string) *feed {
	return &feed{worker: worker, label: label, hurry: make(chan struct{}, 1), latest: nothing()}
}

// enter runs page in its own goroutine, unless the feed is closed. The first page starts look, and the last one to return stops
// it.
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
		f.latest = nothing() // keeps no connections alive, and the next page does not take it for news
	}
}

// close waits until nothing runs or ctx ends. Call it once the pages' connections have ended, since that ends the pages. It may be called
// more than once.
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

// finish waits until all pages have been told that the worker has shut down, which it must have, but not for one that does not read.
func (f *feed) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	select {
	case f.hurry <- struct{}{}:
	default:
	}
	_ = f.close(ctx) // the pages' goroutines end then
}

// look takes snapshots until ctx ends.
func (f *feed) look(ctx context.Context) {
	t := newTable(f.label)
	for isFirst := true; ; isFirst = false {
		began := time.Now()
		s := &snapshot{at: began, isDraining: f.worker.Draining(), entries: t.look(f.worker), stats: f.worker.Stats(), next: make(chan struct{})}
		f.publish(ctx, s, isFirst)
		select {
		case <-ctx.Done():
			return
		case <-f.hurry:
		case <-time.After(pace(time.Since(began), interval)):
		}
	}
}

// publish shows s to the pages. If it is the first since a page was opened, nobody has looked since the last sample.
func (f *feed) publish(ctx context.Context, s *snapshot, isFirst bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil { // another look may have started
		return
	}
	var unseen time.Duration
	if n := len(f.samples); isFirst && n > 0 {
		unseen = s.at.Sub(time.UnixMilli(f.samples[n-1].At))
	}
	if unseen > period {
		f.samples = nil // no chart goes so far back
	}
	if len(f.samples) == 0 {
		f.before = s.stats
	}
	s.sample = newSample(s.at, &s.stats, &f.before)
	s.sample.Gap = unseen > gap && len(f.samples) > 0
	f.before = s.stats
	f.samples = append(f.samples[max(0, len(f.samples)+1-maxSamples):], s.sample)
	close(f.latest.next)
	f.latest = s
}

// now returns the latest snapshot and the samples up to it.
func (f *feed) now() (*snapshot, []sample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.samples
}
