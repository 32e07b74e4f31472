package main

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Addresses stores the addresses at which users can be reached. In SQL it is a table with the columns user and address, both in
// its key, and a time by which to delete old rows; in Redis it is a sorted set per user. It must be safe for concurrent use.
type Addresses interface {
	// Of returns a user's addresses, in any order. It is no error if there are none.
	Of(ctx context.Context, user string) ([]string, error)
	// Set adds an address to a user's, or removes it. Repeating a call changes nothing.
	Set(ctx context.Context, user, address string, valid bool) error
}

const (
	maxDevices = 16     // per user
	maxUsers   = 100000 // in memory
)

var errFull = errors.New("there are too many users")

// inMemory is an Addresses that lasts as long as the process. After a restart, clients must put their addresses again.
type inMemory struct {
	mu    sync.Mutex          // guards users
	users map[string][]string // by name; each has at least one address, oldest first
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
	// Nobody reports addresses of a worker that never comes back as gone. New ones push them out.
	if len(all) > maxDevices {
		all = slices.Delete(all, 0, len(all)-maxDevices)
	}
	if m.users[user] = all; len(all) == 0 {
		delete(m.users, user)
	}
	return nil
}
