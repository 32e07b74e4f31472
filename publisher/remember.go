package publisher

import (
	"slices"
	"strings"
	"sync"
)

// memory is which of several origins has worked last. It is kept for sets of origins and not for connections: all connections
// of a worker have the same, and no client can fill it.
type memory struct {
	mu     sync.Mutex
	worked map[string]string // by origins
}

const maxRemembered = 1024 // sets

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
	if _, ok := m.worked[key]; !ok && len(m.worked) >= maxRemembered {
		for any := range m.worked {
			delete(m.worked, any)
			break
		}
	}
	m.worked[key] = t.origin.String()
}
