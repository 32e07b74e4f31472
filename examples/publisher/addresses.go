package main

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Addresses remembers at which addresses users can be reached. In SQL it is a table with the columns user and address, both of
// them its key, and a time by which old rows are deleted; in Redis a sorted set for each user. It must be safe for concurrent use.
type Addresses interface {
	// Of returns the addresses of a user, in any order; none is no error.
	Of(ctx context.Context, user string) ([]string, error)
	// Set adds an address to those of a user, or takes it away. What is so already stays so.
	Set(ctx context.Context, user, address string, valid bool) error
}

const (
	maxDevices = 16     // of a user
	maxUsers   = 100000 // in memory
)

var errFull = errors.New("there are too many users")

// inMemory is Addresses that end with the process. Its clients have to put theirs again then.
type inMemory struct {
	mu    sync.Mutex          // guards users
	users map[string][]string // by name; the addresses from old to new, at least one of them
}

func newInMemory() *inMemory { return &inMemory{users: make(map[string][]string)} }

func (m *inMemory) Of(_ context.Context, user string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.users[user]), nil
}

func (m *inMemory) Set(_ context.Context, user, address string, valid bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.DeleteFunc(m.users[user], func(a string) bool { return a == address })
	if valid {
		if len(m.users) >= maxUsers && m.users[user] == nil {
			return errFull
		}
		all = append(all, address)
	}
	// Of a worker that never comes back, nobody says that it is gone. New addresses push such old ones out.
	if len(all) > maxDevices {
		all = slices.Delete(all, 0, len(all)-maxDevices)
	}
	if m.users[user] = all; len(all) == 0 {
		delete(m.users, user)
	}
	return nil
}
