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

// directory holds the addresses that clients have published.
type directory struct {
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

func (d *directory) add(t *target) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.indexed = len(d.live)
	d.live = append(d.live, t)
}

func (d *directory) remove(t *target) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.live[len(d.live)-1]
	d.live[t.indexed], last.indexed = last, t.indexed
	d.live = d.live[:len(d.live)-1]
	if len(d.gone) < keptGone {
		d.gone = append(d.gone, t)
	} else {
		d.gone[d.ended%keptGone] = t
	}
	d.ended++
}

// popular is how many connections have several publishers at a time.
const popular = 16

// pick returns a connection to push to: any, a popular one, or one that has ended; nil if there is none.
func (d *directory) pick(r *rand.Rand) *target {
	d.mu.Lock()
	defer d.mu.Unlock()
	from := d.live
	switch n := r.IntN(20); {
	case n < 1:
		from = d.gone
	case n < 6:
		from = from[:min(popular, len(from))]
	}
	if len(from) == 0 {
		return nil
	}
	return from[r.IntN(len(from))]
}

// some returns at most n live connections for which want is true.
func (d *directory) some(r *rand.Rand, n int, want func(*target) bool) []*target {
	var all []*target
	for _, t := range d.all() {
		if want(t) {
			all = append(all, t)
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

func (d *directory) all() []*target {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.live)
}

func (d *directory) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.live)
}
