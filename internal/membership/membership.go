// Package membership is one worker's part in a directory: it tells the directory which keys the worker has members of, and finds out
// which other workers to ask about a key. A key is a user or a group; to this package it is a string. It knows no connection, no link and
// no HTTP, and it never asks another worker: whoever uses it does, and tells a [Lookup] what came of it.
//
// The directory may be wrong, and it may lose all that it knows at any time. What must never happen is that a lookup ends with
// [Gone] while a worker that lives has a member whose Wait has returned nil. Every rule here serves that. Two limits are known:
//
//   - A worker that has been unable to renew its lease for longer than ten lease times is not found, until it has a lease again and
//     the others have seen that, which takes them a third of a lease time.
//   - A worker that had no lease when the directory lost its data is not found, until it has entered its keys again, by workers that
//     have started since, if nobody is left who knew it.
package membership

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
)

// ErrDirectory means that the directory, or the list of peers, cannot be had at present.
var ErrDirectory = errors.New("the directory does not answer")

// Config is what New needs. Directory and Peers exclude each other. With neither, there is nobody else to ask.
type Config struct {
	Directory directory.Directory

	// Peers returns the addresses of all workers, in the form that Address has. Each is asked about every key.
	Peers func(ctx context.Context) ([]string, error)

	// Address is this worker's own. A lease or a peer with this address is this worker, which need not be asked over a link.
	Address string

	// Seal makes the name of a lease, which contains its number and Address, and which Open opens. Only with a Directory.
	Seal func(number uint64) string
	// Open opens the name of a lease. It fails for those of other clusters.
	Open func(name string) (number uint64, address string, err error)

	Timing Timing       // the zero Timing is the default
	Log    *slog.Logger // nil: none
}

// Membership is one worker's part in a directory. It is safe for concurrent use.
type Membership struct {
	dir      directory.Directory // nil: none
	timing   Timing
	peers    *peers // nil: none
	own      *lease
	view     *view
	entries  *entries
	finds    *sharing[string, directory.Found]
	renewals *renewals
	removals *removals
	owners   *register // nil: the directory knows no owners of sessions
	claims   *claims   // nil likewise
	outage   *outage
	nonsense *nonsense

	applying chan struct{} // capacity 1: there may be something to apply

	// ctx ends when Close has done what it can: every goroutine ends with it.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	closed closing
}

// New starts a worker's part in a directory. Without a directory, no goroutine runs unless somebody asks; with one, some run until Close.
func New(c Config) *Membership {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Membership{dir: c.Directory, timing: c.Timing.withDefaults(), applying: make(chan struct{}, 1)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.closed.done = make(chan struct{})
	m.outage = newOutage(log)
	m.nonsense = &nonsense{log: log}
	if c.Peers != nil {
		m.peers = &peers{resolve: c.Peers, own: c.Address, timing: m.timing, outage: m.outage, ctx: m.ctx}
	}
	if m.dir == nil {
		return m
	}
	now := time.Now()
	m.own = &lease{seal: c.Seal, timing: m.timing}
	m.own.takeNumber(newNumber(), now)
	m.entries = newEntries(m.own.number)
	m.view = newView(m.timing, c.Open, c.Address, m.nonsense)
	m.finds = &sharing[string, directory.Found]{ask: m.findEach, key: itself, gate: &m.outage.reads}
	m.renewals = newRenewals()
	m.removals = &removals{}
	if owners, ok := m.dir.(directory.Owners); ok {
		m.owners = newRegister(owners, m)
		m.claims = newClaims(m.own.number)
		m.wg.Go(m.claim)
	}
	m.wg.Go(m.renew)
	m.wg.Go(m.apply)
	return m
}

// newNumber returns 63 random bits, and not zero.
func newNumber() uint64 {
	var random [8]byte
	for {
		_, _ = rand.Read(random[:]) // never fails
		if n := binary.BigEndian.Uint64(random[:]) >> 1; n != 0 {
			return n
		}
	}
}

// Set says that this worker has members of a key, or has none any more. It does not wait: the directory is told in the background, and
// only of the last state of each key.
func (m *Membership) Set(key string, present bool) {
	if m.dir == nil || m.closed.begun() {
		return
	}
	if m.entries.set(key, present) {
		wake(m.applying)
	}
}

// Wait waits until the directory has acknowledged what Set last said of the key. It returns ErrDirectory as soon as it is known that this
// cannot be at present; the directory is told later nevertheless.
func (m *Membership) Wait(ctx context.Context, key string) error {
	if m.dir == nil {
		return nil
	}
	acknowledged := m.entries.acknowledged(key)
	if acknowledged == nil {
		return nil
	}
	select {
	case <-acknowledged:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.outage.writes.shut():
		return ErrDirectory
	case <-m.ctx.Done():
		return ErrDirectory
	}
}

// call calls the directory within the time that a call may take. A panic is a failure: the goroutine is not the application's, and nobody else
// would recover it.
func (m *Membership) call(f func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(m.ctx, m.timing.Call)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a panic: %v", r)
		}
	}()
	return f(ctx)
}

// wake tells a goroutine that there may be something to do.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
