package main

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
)

// target is a connection known to publishers.
type target struct {
	*Conn
	worker  int
	byUser  string // its address with the ID as the user name
	byPath  string // the same with the ID in the path
	sealed  string // its sealed ID, to which any worker pushes
	route   route
	valve   *valve
	indexed int // its index among the live ones
}

// addressBook holds the addresses that clients have published.
type addressBook struct {
	mu    sync.Mutex // guards the fields below
	live  []*target
	gone  []*target // some whose connection has ended
	ended int
}

// keptGone is how many addresses of ended connections are kept, for late pushes.
const keptGone = 300

// newTarget parses a greeting's address; it returns nil if that is not an address.
func newTarget(c *Conn, address *url.URL, sealed string, worker int, r route, v *valve) *target {
	path := *address
	path.User = nil
	path.Path += "/@connections/" + c.ID
	return &target{Conn: c, worker: worker, byUser: address.String(), byPath: path.String(), sealed: sealed, route: r, valve: v}
}

func (b *addressBook) add(t *target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.indexed = len(b.live)
	b.live = append(b.live, t)
}

func (b *addressBook) remove(t *target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.live[len(b.live)-1]
	b.live[t.indexed], last.indexed = last, t.indexed
	b.live = b.live[:len(b.live)-1]
	if len(b.gone) < keptGone {
		b.gone = append(b.gone, t)
	} else {
		b.gone[b.ended%keptGone] = t
	}
	b.ended++
}

// popular is how many connections have several publishers at a time.
const popular = 16

// pick returns a connection to push to: any, a popular one, or one that has ended; nil if there is none.
func (b *addressBook) pick(r *rand.Rand) *target {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := b.live
	switch n := r.IntN(20); {
	case n < 1:
		from = b.gone
	case n < 6:
		from = from[:min(popular, len(from))]
	}
	if len(from) == 0 {
		return nil
	}
	return from[r.IntN(len(from))]
}

// some returns at most n live connections for which want is true.
func (b *addressBook) some(r *rand.Rand, n int, want func(*target) bool) []*target {
	var all []*target
	for _, t := range b.all() {
		if want(t) {
			all = append(all, t)
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

func (b *addressBook) all() []*target {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.live)
}

func (b *addressBook) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.live)
}
