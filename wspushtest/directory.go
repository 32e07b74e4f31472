package wspushtest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/directory"
	links "github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
)

// errStopped is what calls of a directory get that has been stopped.
var errStopped = errors.New("the test has stopped the directory")

// memory is a directory's engine in memory. It may be stopped, and loses nothing by that.
type memory struct {
	mu      sync.Mutex                 // guards what follows
	stopped bool                       //
	leases  map[uint64]heldLease       // by number
	entries map[string]map[uint64]bool // the numbers of the leases that have a key, by key
	owners  map[string]heldSession     // by session
}

type heldLease struct {
	directory.Lease
	until time.Time
}

type heldSession struct {
	directory.Ownership
	until time.Time
}

func newMemory() *memory {
	return &memory{
		leases: make(map[uint64]heldLease), entries: make(map[string]map[uint64]bool), owners: make(map[string]heldSession),
	}
}

func (m *memory) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
}

// start undoes stop. Nobody could renew a lease meanwhile, so none lapses for that: a worker that looks for others finds all who live.
func (m *memory) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopped {
		return
	}
	m.stopped = false
	for number, l := range m.leases {
		l.until = time.Now().Add(directory.LeaseTime)
		m.leases[number] = l
	}
}

// do calls f unless the directory is stopped or ctx has ended.
func (m *memory) do(ctx context.Context, f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case m.stopped:
		return errStopped
	}
	f()
	return nil
}

// generation is the only one there is, since nothing is ever lost.
const generation = "in memory"

// seat is one worker's way to the directory and to the other workers: a directory.Directory with directory.Owners for its Cluster.
type seat struct {
	memory *memory
	dial   links.Dial
	found  atomic.Int64 // how many Finds have been answered
}

// Renew puts a lease, and returns all.
func (s *seat) Renew(ctx context.Context, l directory.Lease) (view directory.View, err error) {
	err = s.memory.do(ctx, func() {
		now := time.Now()
		s.memory.leases[l.Number] = heldLease{l, now.Add(directory.LeaseTime)}
		for number, held := range s.memory.leases {
			if !now.Before(held.until) {
				delete(s.memory.leases, number)
				continue
			}
			view.Leases = append(view.Leases, held.Lease)
		}
		view.Generations = []string{generation}
	})
	return view, err
}

// Apply enters and removes keys.
func (s *seat) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	return s.memory.do(ctx, func() {
		entries := s.memory.entries
		for _, c := range changes {
			has := entries[c.Key]
			switch {
			case c.Present && has == nil:
				entries[c.Key] = map[uint64]bool{number: true}
			case c.Present:
				has[number] = true
			default:
				if delete(has, number); len(has) == 0 {
					delete(entries, c.Key)
				}
			}
		}
	})
}

// Find returns who has the keys.
func (s *seat) Find(ctx context.Context, keys []string) (found []directory.Found, err error) {
	err = s.memory.do(ctx, func() {
		s.found.Add(1)
		for _, key := range keys {
			found = append(found, directory.Found{Leases: slices.Collect(maps.Keys(s.memory.entries[key])), Generation: generation})
		}
	})
	return found, err
}

// Claim makes claims, and returns the owners that there are then.
func (s *seat) Claim(ctx context.Context, claims []directory.Ownership) (owners []directory.Ownership, err error) {
	err = s.memory.do(ctx, func() {
		for _, c := range claims {
			if owner := s.memory.ownerLocked(c.Session); c.Moves > owner.Moves || c == owner {
				s.memory.owners[c.Session] = heldSession{c, time.Now().Add(directory.EntryTime)}
			}
			owners = append(owners, s.memory.ownerLocked(c.Session))
		}
	})
	return owners, err
}

// Owners returns who owns the sessions.
func (s *seat) Owners(ctx context.Context, sessions []string) (owners []directory.Ownership, err error) {
	err = s.memory.do(ctx, func() {
		for _, session := range sessions {
			owners = append(owners, s.memory.ownerLocked(session))
		}
	})
	return owners, err
}

// Disclaim has owners forgotten a moment later.
func (s *seat) Disclaim(ctx context.Context, claims []directory.Ownership) error {
	return s.memory.do(ctx, func() {
		for _, c := range claims {
			if s.memory.ownerLocked(c.Session) == c {
				s.memory.owners[c.Session] = heldSession{c, time.Now().Add(directory.LeaseTime)}
			}
		}
	})
}

// ownerLocked returns who owns a session.
func (m *memory) ownerLocked(session string) directory.Ownership {
	held, ok := m.owners[session]
	if ok && time.Now().Before(held.until) {
		return held.Ownership
	}
	delete(m.owners, session)
	return directory.Ownership{Session: session}
}

// never is longer than a directory is stopped.
const never = 365 * 24 * time.Hour

// InMemory has the worker reach others in memory, be sure at any time who there is, and keep its lease's number however long the directory
// is stopped: nothing is ever lost here, and every worker is in every view.
func (s *seat) InMemory() (links.Dial, membership.Timing) {
	return s.dial, membership.Timing{Settle: -1, Abandon: never}
}
