package membership

import (
	"context"
	"sync"

	"github.com/wspush/wspush/directory"
)

// maxRemovals bounds how many entries of the dead wait for their removal. What has no place is met again.
const maxRemovals = 1000

// removals are entries in the name of numbers that have had no lease for so long that their workers, if they live, have taken others.
type removals struct {
	mu    sync.Mutex
	keys  map[uint64]map[string]bool // by number. Guarded by mu
	count int                        // guarded by mu
}

func (r *removals) add(number uint64, key string) (added bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count >= maxRemovals || r.keys[number][key] {
		return false
	}
	if r.keys == nil {
		r.keys = make(map[uint64]map[string]bool)
	}
	if r.keys[number] == nil {
		r.keys[number] = make(map[string]bool)
	}
	r.keys[number][key] = true
	r.count++
	return true
}

func (r *removals) take() (number uint64, changes []directory.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for number, keys := range r.keys {
		for key := range keys {
			changes = append(changes, directory.Change{Key: key})
		}
		delete(r.keys, number)
		r.count -= len(keys)
		return number, changes
	}
	return 0, nil
}

// next removes the entries of one number, and reports whether there may be more to do. It is tried once: they are met again. It belongs to
// the goroutine that applies, so that a worker has one Apply under way.
func (r *removals) next(m *Membership) bool {
	number, changes := r.take()
	if len(changes) == 0 || !m.view.isStranger(number) {
		return len(changes) > 0
	}
	return m.call(func(ctx context.Context) error { return m.dir.Apply(ctx, number, changes) }) == nil
}
