package publisher

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// memory is what has been learnt of origins. It is kept for them and not for connections: all connections of a worker have the
// same, and no client can fill it.
type memory struct {
	mu     sync.Mutex           // guards what follows
	worked map[string]string    // by sets of origins: the one that has worked last
	whole  map[string]time.Time // by origin: until when requests are sent whole
}

const (
	maxRemembered = 1024 // in each map
	wholeFor      = 5 * time.Minute
)

// put adds to a map of a memory, at the cost of anything else where it is full.
func put[V any](m map[string]V, key string, v V) {
	if _, ok := m[key]; !ok && len(m) >= maxRemembered {
		for any := range m {
			delete(m, any)
			break
		}
	}
	m[key] = v
}

func originsKey(targets []target) string {
	all := make([]string, len(targets))
	for i, t := range targets {
		all[i] = t.origin.String()
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// recall returns the index of the target to try first.
func (m *memory) recall(targets []target) int {
	if len(targets) == 1 {
		return 0
	}
	key := originsKey(targets)
	m.mu.Lock()
	worked, ok := m.worked[key]
	m.mu.Unlock()
	if !ok {
		return 0
	}
	return max(0, slices.IndexFunc(targets, func(t target) bool { return t.origin.String() == worked }))
}

func (m *memory) remember(targets []target, t target) {
	if len(targets) == 1 {
		return
	}
	key := originsKey(targets)
	m.mu.Lock()
	defer m.mu.Unlock()
	put(m.worked, key, t.origin.String())
}

// setNeedsWhole remembers that something before the origin should get requests only whole.
func (m *memory) setNeedsWhole(o origin) {
	m.mu.Lock()
	defer m.mu.Unlock()
	put(m.whole, o.String(), time.Now().Add(wholeFor))
}

func (m *memory) needsWhole(o origin) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.whole[o.String()])
}
