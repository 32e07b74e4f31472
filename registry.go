package wspush

import (
	"iter"
	"sync"
)

// registry is the live connections of one worker. It calls no method of a Conn.
type registry struct {
	mu    sync.RWMutex // guards conns
	conns map[string]*Conn
}

func newRegistry() *registry { return &registry{conns: make(map[string]*Conn)} }

// add enters c under its ID, which is new: version 4 UUIDs do not repeat.
func (r *registry) add(id string, c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[id] = c
}

func (r *registry) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, id)
}

func (r *registry) get(id string) (*Conn, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.conns[id]
	return c, ok
}

func (r *registry) len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.conns)
}

// all yields the connections that were there when the iteration began, with no lock held.
func (r *registry) all() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		r.mu.RLock()
		snapshot := make([]*Conn, 0, len(r.conns))
		for _, c := range r.conns {
			snapshot = append(snapshot, c)
		}
		r.mu.RUnlock()
		for _, c := range snapshot {
			if !yield(c) {
				return
			}
		}
	}
}
