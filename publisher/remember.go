package publisher

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// memory is what a Client has learnt about origins. It is kept by origin rather than by connection: all connections of a worker
// share its origins, and no client can fill the memory.
type memory struct {
	mu     sync.Mutex           // guards what follows
	worked map[string]string    // by set of origins: the one that worked last
	whole  map[string]time.Time // by origin: until when requests are sent whole
}

const (
	maxRemembered = 1024 // in each map
	wholeFor      = 5 * time.Minute
)

// putLocked adds to a map of a memory. If the map is full, an arbitrary entry has to go.
func putLocked[V any](m map[string]V, key string, v V) {
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
	putLocked(m.worked, key, t.origin.String())
}

// setNeedsWhole remembers that requests to the origin should be sent whole, because of something in front of it.
func (m *memory) setNeedsWhole(o origin) {
	m.mu.Lock()
	defer m.mu.Unlock()
	putLocked(m.whole, o.String(), time.Now().Add(wholeFor))
}

func (m *memory) needsWhole(o origin) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.whole[o.String()])
}
