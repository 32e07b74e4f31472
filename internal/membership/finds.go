package membership

import (
	"context"
	"sync"

	"github.com/wspush/wspush/directory"
)

const (
	maxFinds    = 4   // how many calls of Find are under way at a time
	maxFindKeys = 200 // how many keys each asks about
)

// finds makes few calls of many lookups, without waiting: who finds too few under way begins at once, and what comes meanwhile shares
// the next. A lookup never shares a call that began before it.
type finds struct {
	find func(keys []string) findAnswers

	mu      sync.Mutex
	under   int        // how many are under way. Guarded by mu
	waiting []*findFor // guarded by mu
	lastKey string     // guarded by mu
	stopped bool       // guarded by mu
}

// findFor is one call of Find, for all who share it.
type findFor struct {
	keys    []string       // guarded by finds.mu until the call begins
	index   map[string]int // by key, into keys; guarded likewise
	done    chan struct{}
	answers findAnswers // set before done is closed
}

// findAnswers has an answer for each key. If it is nil, there is none.
type findAnswers []*directory.Found

func (f *findFor) add(key string) int {
	i, ok := f.index[key]
	if !ok {
		i = len(f.keys)
		f.keys = append(f.keys, key)
		f.index[key] = i
	}
	return i
}

func (f *findFor) hasRoom(keys []string) bool {
	if len(f.keys)+len(keys) <= maxFindKeys {
		return true
	}
	n := len(f.keys)
	for _, key := range keys {
		if _, ok := f.index[key]; !ok {
			n++
		}
	}
	return n <= maxFindKeys
}

// do looks up at most maxFindKeys keys.
func (f *finds) do(ctx context.Context, keys []string, m *Membership) ([]directory.Found, error) {
	shut := m.outage.reads.shut()
	select {
	case <-shut:
		return nil, ErrDirectory
	default:
	}
	call, places := f.join(keys, m)
	if call == nil {
		return nil, ErrDirectory
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-shut:
		return nil, ErrDirectory
	case <-m.ctx.Done(): // the directory does not obey its context
		return nil, ErrDirectory
	}
	answers := make([]directory.Found, len(keys))
	for i, place := range places {
		answer := call.answers[place]
		if answer == nil {
			return nil, ErrDirectory
		}
		answers[i] = *answer
	}
	return answers, nil
}

// join adds keys to a call that has not begun, and begins one if there is room.
func (f *finds) join(keys []string, m *Membership) (call *findFor, places []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return nil, nil
	}
	if n := len(f.waiting); n > 0 && f.waiting[n-1].hasRoom(keys) {
		call = f.waiting[n-1]
	} else {
		call = &findFor{index: make(map[string]int, len(keys)), done: make(chan struct{})}
		f.waiting = append(f.waiting, call)
	}
	places = make([]int, len(keys))
	for i, key := range keys {
		places[i] = call.add(key)
	}
	if f.under < maxFinds {
		f.under++
		m.wg.Go(f.run)
	}
	return call, places
}

// run makes calls until none is waiting.
func (f *finds) run() {
	for {
		f.mu.Lock()
		if len(f.waiting) == 0 {
			f.under--
			f.mu.Unlock()
			return
		}
		call := f.waiting[0]
		f.waiting[0] = nil
		if f.waiting = f.waiting[1:]; len(f.waiting) == 0 {
			f.waiting = nil
		}
		f.lastKey = call.keys[0]
		f.mu.Unlock()
		call.answers = f.find(call.keys)
		close(call.done)
	}
}

// last returns a key that has been looked up.
func (f *finds) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastKey
}

// stop lets no lookup begin any more.
func (f *finds) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}
