package directory

import (
	"context"
	"time"
)

const (
	// LeaseTime is how long a lease is good for after Renew. Workers renew theirs three times as often.
	LeaseTime = 15 * time.Second

	// EntryTime is how long an entry stays in the engine after Apply, unless it is applied again or removed. Workers enter
	// their keys anew three times as often. It is what rids the engine of the entries of workers that have died.
	EntryTime = 24 * time.Hour
)

// A Directory tells which workers have members of a user or group. Its methods may be called concurrently, by many workers, with one
// exception: Apply.
//
// Every method returns soon after its context ends. An error means that nothing is known: what was to be written may have been written in
// part, in whole, or not at all, and may even be written later, when the call has long returned. Calling the method again must put that
// right, which is why nothing here is an event: Renew and Apply say what is so. An implementation does not retry for longer than the
// context allows, and does not answer from memory: an error is always better than an answer that may be wrong.
//
// What an engine holds that no implementation has written, such as a value of another type, is an error that names the place. It is
// never passed over, since "nobody" might be wrong then.
type Directory interface {
	// Renew puts the lease, whatever was there under its number, for LeaseTime. It returns the leases of all workers that have not
	// lapsed, among them this one, and the current generations. If a part of the engine has no generation, as it has when it is
	// new or has lost its data, Renew gives it one.
	//
	// A lapse is no loss: entries stay when their lease lapses, and are found again.
	Renew(ctx context.Context, lease Lease) (View, error)

	// Apply makes each change to the entries of a lease, for EntryTime. Once it has returned nil, every Find that begins afterwards, by
	// whichever client of the engine, sees the changes, unless it returns another generation. Changes are in any number, and if two
	// are of the same key, either may win. The lease need not have been renewed.
	//
	// Calls for one lease never overlap. A change from a call that has failed may arrive at the engine after those of later
	// calls; it must not undo a later Present then. (It may undo a later absence: that costs a question to a worker that has no
	// such member, and no more.)
	Apply(ctx context.Context, lease uint64, changes []Change) error

	// Find returns, for each key, in order, the leases that have it present, and the generation of the part of the engine that holds
	// the key, as it was after the leases were read or in the same instant. The order matters: if the generation were read first,
	// and the engine lost everything between the two, the answer would be "nobody", and of the generation that the
	// caller knows. A Generation of "" is in no View: data has been lost, and nobody has renewed since.
	Find(ctx context.Context, keys []string) ([]Found, error)
}

// A Lease is a worker's word, to be renewed, that it lives.
type Lease struct {
	// Number names the lease in entries. It is from 1 to 1<<63 - 1, and random: no two workers have the same.
	Number uint64

	// Name says where the worker is reached, sealed so that only workers of its cluster can read it. To a directory it is just up to
	// 1,024 bytes, of any values.
	Name string

	// Synced are the generations in which the worker has entered all of its keys.
	Synced []string

	// Leaving says that the worker is shutting down, so that nobody wonders when its lease lapses.
	Leaving bool
}

// A View is what a worker knows of the others.
type View struct {
	// Generations has a generation for each part of the engine that may lose its data by itself, in no order: a part that has lost
	// data, even if it was only the latest writes, has another generation afterwards. They are short, and none is "".
	Generations []string

	// Leases are the leases that have not lapsed, in no order, each number once.
	Leases []Lease
}

// Found is where a key is present.
type Found struct {
	Leases     []uint64 // in no order, each once
	Generation string
}

// A Change says whether a lease has a key. A key has 1 to 300 bytes, of any values; it means nothing to the directory.
type Change struct {
	Key     string
	Present bool
}
