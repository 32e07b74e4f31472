package membership

import (
	"log/slog"
	"sync"
)

// nonsense logs what makes no sense in a directory, each kind once in the life of a worker: it comes again with every call.
type nonsense struct {
	log  *slog.Logger
	mu   sync.Mutex
	said map[string]bool // by kind. Guarded by mu
}

func (n *nonsense) hasSaid(kind string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.said[kind]
}

func (n *nonsense) is(kind string, details ...any) {
	n.mu.Lock()
	again := n.said[kind]
	if !again {
		if n.said == nil {
			n.said = make(map[string]bool)
		}
		n.said[kind] = true
	}
	n.mu.Unlock()
	if !again {
		n.log.Warn("wspush: the directory holds what makes no sense; it is passed over", append([]any{"what", kind}, details...)...)
	}
}
