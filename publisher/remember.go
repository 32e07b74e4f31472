package publisher

import (
	"slices"
	"strings"
	"sync"

	"github.com/wspush/wspush/internal/bulk"
)

// memory is what a Client has learnt about origins. It is kept by origin rather than by connection: all connections of a worker
// share its origins, and no client can fill the memory.
type memory struct {
	wholes bulk.Wholes // by origin

	mu     sync.Mutex        // guards what follows
	worked map[string]string // by set of origins: the one that worked last
}

const maxRemembered = 1024 // sets of origins

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
	if _, ok := m.worked[key]; !ok && len(m.worked) >= maxRemembered { // an arbitrary one has to go
		for any := range m.worked {
			delete(m.worked, any)
			break
		}
	}
	m.worked[key] = t.origin.String()
}
