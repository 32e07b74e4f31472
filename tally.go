package wspush

import (
	"sync"
	"sync/atomic"
)

// tally counts what is under way, and tells when nothing is. While nobody waits, add takes no lock.
type tally struct {
	n       atomic.Int64
	waiting atomic.Bool // zero is not nil

	mu   sync.Mutex    // guards zero
	zero chan struct{} // closed when n gets to 0; nil while nobody waits
}

func (t *tally) add(n int64) {
	if t.n.Add(n) == 0 && t.waiting.Load() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.tellLocked()
	}
}

// none returns a channel that is closed once nothing is under way.
func (t *tally) none() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.zero == nil {
		t.zero = make(chan struct{})
		t.waiting.Store(true) // before n is read: add does both in the other order
	}
	zero := t.zero
	t.tellLocked()
	return zero
}

// tellLocked closes zero if nothing is under way.
func (t *tally) tellLocked() {
	if t.zero != nil && t.n.Load() == 0 {
		close(t.zero)
		t.zero = nil
		t.waiting.Store(false)
	}
}
