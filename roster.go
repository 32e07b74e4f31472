package wspush

import "sync"

// roster is every connection of a worker whose goroutine has not ended, in the registry or not: those that Shutdown ends
// and waits for.
type roster struct {
	mu     sync.Mutex // guards what follows
	closed bool
	conns  map[*Conn]struct{}
	empty  chan struct{} // closed when the roster is closed and has nobody left
}

func newRoster() *roster {
	return &roster{conns: make(map[*Conn]struct{}), empty: make(chan struct{})}
}

// enter adds c, unless the roster is closed.
func (r *roster) enter(c *Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *roster) leave(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	if r.closed && len(r.conns) == 0 {
		close(r.empty)
	}
}

// close lets nobody in any more. Closing again has no effect.
func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && len(r.conns) == 0 {
		close(r.empty)
	}
	r.closed = true
}

func (r *roster) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// all returns who is in it now.
func (r *roster) all() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	conns := make([]*Conn, 0, len(r.conns))
	for c := range r.conns {
		conns = append(conns, c)
	}
	return conns
}
