// Package directory is what knows which workers have members of a user or group.
package directory

import (
	"context"
	"time"
)

// LeaseTime is how long a lease is good for after Renew.
const LeaseTime = 15 * time.Second

// A Directory tells which workers have members of a user or group.
type Directory interface {
	Renew(ctx context.Context, lease Lease) (View, error)
	Apply(ctx context.Context, lease uint64, changes []Change) error
	Find(ctx context.Context, keys []string) ([]Found, error)
}

// A Lease is a worker's word, to be renewed, that it lives.
type Lease struct {
	Number  uint64
	Name    string
	Synced  []string
	Leaving bool
}

// A View is what a worker knows of the others.
type View struct {
	Generations []string
	Leases      []Lease
}

// Found is where a key is present.
type Found struct {
	Leases     []uint64
	Generation string
}

// A Change says whether a lease has a key.
type Change struct {
	Key     string
	Present bool
}
