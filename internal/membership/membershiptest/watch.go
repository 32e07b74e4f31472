package membershiptest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/wspush/wspush/directory"
)

// watch counts the calls of all workers, and looks at what their leases say, without a call of its own.
type watch struct {
	renews, applies, finds, changes, keys atomic.Int64

	mu      sync.Mutex
	workers []seen              // guarded by mu
	lost    map[string]struct{} // generations that are no more; nil: nothing is waited for. Guarded by mu
}

// seen is what a worker's last Renew has shown.
type seen struct {
	generations []string
	entered     bool // its own keys are entered in all of them
	all         bool // so are those of all workers
}

func (w *watch) count() Phase {
	return Phase{Renews: w.renews.Load(), Applies: w.applies.Load(), Finds: w.finds.Load(), Changes: w.changes.Load(), Keys: w.keys.Load()}
}

// expectLoss says that the engine is about to lose all that there is.
func (w *watch) expectLoss() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = make(map[string]struct{})
	for i := range w.workers {
		for _, g := range w.workers[i].generations {
			w.lost[g] = struct{}{}
		}
		w.workers[i] = seen{}
	}
}

// haveEntered reports whether every worker has entered its keys after the loss, and said so.
func (w *watch) haveEntered() bool { return w.each(func(s seen) bool { return s.entered }) }

// haveSeen reports whether every worker has seen that all have.
func (w *watch) haveSeen() bool { return w.each(func(s seen) bool { return s.all }) }

func (w *watch) each(is func(seen) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(w.workers, func(s seen) bool { return !is(s) })
}

func (w *watch) renewed(worker int, put directory.Lease, view directory.View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := seen{generations: view.Generations}
	if w.lost != nil {
		isLost := func(g string) bool { _, lost := w.lost[g]; return lost }
		isNew := len(view.Generations) > 0 && !slices.ContainsFunc(view.Generations, isLost)
		s.entered = isNew && isSynced(put, view.Generations)
		s.all = s.entered && len(view.Leases) >= len(w.workers) &&
			!slices.ContainsFunc(view.Leases, func(l directory.Lease) bool { return !isSynced(l, view.Generations) })
	}
	w.workers[worker] = s
}

func isSynced(l directory.Lease, generations []string) bool {
	if len(l.Synced) >= len(generations) && slices.Equal(l.Synced[:len(generations)], generations) {
		return true // the usual order
	}
	return !slices.ContainsFunc(generations, func(g string) bool { return !slices.Contains(l.Synced, g) })
}

// watched is the directory of one worker.
type watched struct {
	directory.Directory
	w      *watch
	worker int
}

func (d *watched) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	d.w.renews.Add(1)
	view, err := d.Directory.Renew(ctx, l)
	if err == nil {
		d.w.renewed(d.worker, l, view)
	}
	return view, err
}

func (d *watched) Apply(ctx context.Context, lease uint64, changes []directory.Change) error {
	d.w.applies.Add(1)
	d.w.changes.Add(int64(len(changes)))
	return d.Directory.Apply(ctx, lease, changes)
}

func (d *watched) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	d.w.finds.Add(1)
	d.w.keys.Add(int64(len(keys)))
	return d.Directory.Find(ctx, keys)
}
