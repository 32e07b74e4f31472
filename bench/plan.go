package main

import (
	"slices"
	"time"
)

// plan is how much is measured, and for how long.
type plan struct {
	rounds int

	idle   int           // connections: memory, and what an idle connection costs
	settle time.Duration // until memory is what it will be
	rest   time.Duration // of idleness, for its CPU

	posted int // connections: POST, and pushes in-process
	warm   time.Duration
	push   time.Duration

	inProcess int // pushes

	hot time.Duration

	pinged      int           // connections
	pingSpacing time.Duration // the interval of pings, for each connection there is; see interval
	minInterval time.Duration
	rate        float64 // of the pushes amid the pings
	targets     int     // connections that get them

	stay  int // connections, while others storm
	storm int // connections

	scale []int // other numbers of connections

	stalled      int           // connections that never read
	stalledRate  float64       // of the pushes to them
	writeTimeout time.Duration // after which they are cut off; a push to them waits half of that
	beside       time.Duration // of pushes to the others
}

// interval is the interval of pings with so many connections. They are pinged one after the other, as they were opened,
// and between two such rounds there must be as much time without pings.
func (p plan) interval(conns int) time.Duration {
	return max(time.Duration(conns)*p.pingSpacing, p.minInterval)
}

// most is the greatest number of connections at a time.
func (p plan) most() int {
	return slices.Max(append([]int{p.idle, p.posted + p.stalled + stalledPublishers, p.pinged, p.stay}, p.scale...))
}

// besideTime is for how long others are there beside those that are measured, once they are what they will be.
func (p plan) besideTime() time.Duration { return p.warm + p.beside + p.writeTimeout/4 }

// many is how many clients a message for many is for.
func (p plan) many() int { return min(100, p.posted/2) }

// publishers are how many POST at the same time.
const publishers = 16

// Clients that never read are pushed to with larger messages, and little may wait for each, so that a push is refused soon.
const (
	stalledSize       = 16 << 10
	stalledPending    = 64 << 10 // MaxPending
	stalledPublishers = 500
)

var full = plan{
	rounds: 5,
	idle:   10_000, settle: 3 * time.Second, rest: 2 * time.Second,
	posted: 1000, warm: 500 * time.Millisecond, push: 2 * time.Second,
	inProcess: 100_000,
	hot:       2 * time.Second,
	pinged:    10_000, pingSpacing: 600 * time.Microsecond, minInterval: 2 * time.Second, rate: 1000, targets: 200,
	stay: 5000, storm: 20_000,
	scale:   []int{1000, 5000, 15_000},
	stalled: 100, stalledRate: 300, writeTimeout: 3 * time.Second, beside: 4 * time.Second,
}

var quick = plan{
	rounds: 1,
	idle:   2000, settle: 1500 * time.Millisecond, rest: time.Second,
	posted: 1000, warm: 200 * time.Millisecond, push: 700 * time.Millisecond,
	inProcess: 20_000,
	hot:       500 * time.Millisecond,
	pinged:    1000, minInterval: 1500 * time.Millisecond, rate: 1000, targets: 100,
	stay: 1000, storm: 4000,
	stalled: 100, stalledRate: 600, writeTimeout: time.Second, beside: 2 * time.Second,
}

// smoke is as long as it takes on a machine that has much else to do.
var smoke = plan{
	rounds: 1,
	idle:   200, settle: 50 * time.Millisecond, rest: 50 * time.Millisecond,
	posted: 50, warm: 10 * time.Millisecond, push: 250 * time.Millisecond,
	inProcess: 4000,
	hot:       100 * time.Millisecond,
	pinged:    100, minInterval: 1500 * time.Millisecond, rate: 500, targets: 10,
	stay: 100, storm: 200,
	scale:   []int{20},
	stalled: 20, stalledRate: 400, writeTimeout: 200 * time.Millisecond, beside: 500 * time.Millisecond,
}
