package wspush

import (
	"sync"
	"time"

	"github.com/wspush/wspush/internal/session"
)

// tombstones remember sessions that have ended while their client may still want to come back: it is then told the end, or that it is
// too late. They are good under the tickets of their sessions alone.
type tombstones struct {
	mu   sync.Mutex // guards what follows
	byID map[string]*tombstone
	// In the order in which they were made. Those of sessions that have expired only explain why there is a new one, and give way to
	// their like; the others say what must not be undone.
	ended, expired tombstoneList
}

// maxTombstones bounds either list. The oldest gives way: its client will be told that the session is unknown.
const maxTombstones = 16 << 10

// tombstone is what is left of a session.
type tombstone struct {
	id      string
	handler *Handler
	path    string
	tickets tickets

	isExpired bool
	code      int // of the close frame that a client gets that comes back, unless the session has expired
	reason    string

	alarm      alarm // guarded by the clock
	next, prev *tombstone
}

func (s *tombstone) bell() *alarm { return &s.alarm }

// fire ends the memory, unless nobody can come back at the time: then the next worker goes on with it.
func (s *tombstone) fire() {
	if w := s.handler.worker; w.shared.leaving == nil || w.shared.leaving.since.Load() == 0 {
		w.tombstones.remove(s)
	}
}

type tombstoneList struct {
	first, last *tombstone
	n           int
}

// list returns the list for s.
func (t *tombstones) list(s *tombstone) *tombstoneList {
	if s.isExpired {
		return &t.expired
	}
	return &t.ended
}

// add adds a tombstone, which lasts for so long.
func (t *tombstones) add(s *tombstone, lasts time.Duration) {
	clock := s.handler.worker.shared.clock
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = make(map[string]*tombstone)
	}
	t.byID[s.id] = s
	l := t.list(s)
	if s.prev = l.last; s.prev != nil {
		s.prev.next = s
	} else {
		l.first = s
	}
	l.last = s
	l.n++
	clock.set(s, lasts)
	if l.n > maxTombstones {
		oldest := l.first
		clock.drop(oldest)
		t.removeLocked(oldest)
	}
}

func (t *tombstones) remove(s *tombstone) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(s)
}

func (t *tombstones) removeLocked(s *tombstone) {
	if t.byID[s.id] != s {
		return // it has given way before
	}
	delete(t.byID, s.id)
	if len(t.byID) == 0 {
		t.byID = nil // a map never shrinks
	}
	l := t.list(s)
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.last = s.prev
	}
	s.next, s.prev = nil, nil
	l.n--
}

// find returns the tombstone of the session that a ticket is for, or nil.
func (t *tombstones) find(h *Handler, path string, ticket session.Ticket) *tombstone {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[ticket.Session]
	if s == nil || s.tickets.find(ticket) < 0 || s.handler != h || s.path != path {
		return nil
	}
	return s
}

// findByName is find for another worker, which has a Handler of the same name.
func (t *tombstones) findByName(name, path string, ticket session.Ticket) *tombstone {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[ticket.Session]
	if s == nil || s.tickets.find(ticket) < 0 || s.handler.name != name || s.path != path {
		return nil
	}
	return s
}

// clear forgets everything, when nobody can come back any more.
func (t *tombstones) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byID {
		s.handler.worker.shared.clock.drop(s)
	}
	t.byID, t.ended, t.expired = nil, tombstoneList{}, tombstoneList{}
}
