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

	posted int // connections: POST
	warm   time.Duration
	push   time.Duration

	hot time.Duration

	broadcast time.Duration // of messages to everybody, for each size

	stalled      int           // connections that never read
	stalledRate  float64       // of the pushes to them
	writeTimeout time.Duration // after which they are cut off; a push to them waits half of that
	rate         float64       // of the pushes to the others
	beside       time.Duration // of these

	stay  int // connections, while others storm
	storm int // connections

	crowd  int           // connections that are sent the same, and do not read meanwhile
	others int           // connections that are sent the same, beside the pushes to others
	every  time.Duration // so often

	acquainted time.Duration // until workers that have started together have told each other that they have entered their users

	returning int           // clients that come back to their sessions
	spread    time.Duration // in what time

	pinged      int           // connections
	pingSpacing time.Duration // the interval of pings, for each connection there is; see interval
	minInterval time.Duration
}

// interval is the interval of pings with so many connections. They are pinged one after the other, as they were opened,
// and between two such rounds there must be as much time without pings.
func (p plan) interval(conns int) time.Duration {
	return max(time.Duration(conns)*p.pingSpacing, p.minInterval)
}

// most is the greatest number of connections at a time.
func (p plan) most() int {
	return slices.Max([]int{p.idle, p.posted + p.stalled + stalledPublishers, p.pinged, p.stay, p.crowd, p.others, p.returning})
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
	idle:   10_000, settle: 3 * time.Second,
	posted: 1000, warm: 500 * time.Millisecond, push: 2 * time.Second,
	hot:       2 * time.Second,
	broadcast: 2 * time.Second,
	stalled:   100, stalledRate: 300, writeTimeout: 3 * time.Second, rate: 1000, beside: 4 * time.Second,
	stay: 5000, storm: 20_000,
	crowd: 10_000, others: 15_000, every: 250 * time.Millisecond,
	acquainted: 6 * time.Second,
	returning:  10_000, spread: 10 * time.Second,
	pinged: 10_000, pingSpacing: 600 * time.Microsecond, minInterval: 2 * time.Second,
}

var quick = plan{
	rounds: 1,
	idle:   2000, settle: 1500 * time.Millisecond,
	posted: 1000, warm: 200 * time.Millisecond, push: 700 * time.Millisecond,
	hot:       500 * time.Millisecond,
	broadcast: 500 * time.Millisecond,
	stalled:   100, stalledRate: 600, writeTimeout: time.Second, rate: 1000, beside: 2 * time.Second,
	stay: 1000, storm: 4000,
	crowd: 2000, others: 2000, every: 100 * time.Millisecond,
	acquainted: 6 * time.Second,
	returning:  2000, spread: 2 * time.Second,
	pinged: 1000, minInterval: 1500 * time.Millisecond,
}

// smoke is as long as it takes on a machine that has much else to do.
var smoke = plan{
	rounds: 1,
	idle:   200, settle: 50 * time.Millisecond,
	posted: 50, warm: 10 * time.Millisecond, push: 250 * time.Millisecond,
	hot:       100 * time.Millisecond,
	broadcast: 50 * time.Millisecond,
	stalled:   20, stalledRate: 400, writeTimeout: 200 * time.Millisecond, rate: 500, beside: 500 * time.Millisecond,
	stay: 100, storm: 200,
	crowd: 200, others: 200, every: 50 * time.Millisecond,
	returning: 100, spread: 100 * time.Millisecond,
	pinged: 100, minInterval: 1500 * time.Millisecond,
}
