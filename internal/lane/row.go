package lane

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// row is a row of connections in the order in which they came. A connection is in one at most.
type row struct {
	mu sync.Mutex // guards what follows, and the neighbours of connections in it
	list
}

// list is what a row, or a half of a berth, consists of.
type list struct {
	first, last *counted
	n           int
}

// stage says whether a publisher's connection may be closed to make room for another. Each change but the last is the work of the
// goroutine that serves the connection.
type stage int

const (
	resting stage = iota // between two requests, or it has not sent the first one's header: it may be closed, and is in its berth
	busy                 // in a request, whose answer is owed
	gone                 // closed, or about to be
)

// The methods of list need the lock of what it belongs to.

func (l *list) add(c *counted) {
	c.list, c.prev = l, l.last
	if l.last != nil {
		l.last.next = c
	} else {
		l.first = c
	}
	l.last = c
	l.n++
}

func (l *list) remove(c *counted) {
	if c.list != l {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.last = c.prev
	}
	c.list, c.prev, c.next = nil, nil, nil
	l.n--
}

// add adds a connection. If there are then more than limit, it returns the first one, which has left the row.
func (r *row) add(c *counted, limit int) (tooMany *counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list.add(c)
	if r.n > limit {
		tooMany = r.first
		r.list.remove(tooMany)
	}
	return tooMany
}

// remove removes a connection, and reports whether it was there.
func (r *row) remove(c *counted) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := c.list == &r.list
	r.list.remove(c)
	return was
}

// length returns how many there are.
func (r *row) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// berths are where publishers' connections rest that may be closed to make room. There are several, so that connections seldom wait for
// each other: each push changes its berth twice.
//
// Those of strangers go first: knownGrace is taken off the rest of a connection whose publisher is none. Otherwise anyone who opens many
// connections in a moment could close those that publishers use again and again.
type berths struct {
	start time.Time
	all   [16]berth
	next  atomic.Uint32 // whose berth a connection gets is the turn's
}

// berth is where some of them rest.
type berth struct {
	mu               sync.Mutex // guards what follows, and the neighbours, the stage and the time of its connections
	strangers, known list       // each in the order in which they began to rest
	_                [64]byte   // or two berths would share a line of the processor's cache
}

// knownGrace is for how much longer a connection may rest than one of a stranger.
const knownGrace = 10 * time.Second

func (bs *berths) now() int64 { return int64(time.Since(bs.start)) }

// enter gives a connection its berth. It rests.
func (bs *berths) enter(c *counted) {
	c.berths, c.berth = bs, &bs.all[bs.next.Add(1)%uint32(len(bs.all))]
	c.berth.mu.Lock()
	defer c.berth.mu.Unlock()
	c.since = bs.now()
	c.berth.strangers.add(c)
}

// longestLocked returns the connection that is to go first, and since when it counts as resting.
func (b *berth) longestLocked() (longest *counted, since int64) {
	longest, since = b.strangers.first, math.MaxInt64
	if longest != nil {
		since = longest.since
	}
	if c := b.known.first; c != nil && c.since+int64(knownGrace) < since {
		longest, since = c, c.since+int64(knownGrace)
	}
	return longest, since
}

// takeLongest takes the connection that is to go first, which is then gone. It returns nil if none rests.
func (bs *berths) takeLongest() *counted {
	for {
		var with *berth
		first := int64(math.MaxInt64)
		for i := range bs.all {
			b := &bs.all[i]
			b.mu.Lock()
			if c, since := b.longestLocked(); c != nil && since < first {
				with, first = b, since
			}
			b.mu.Unlock()
		}
		if with == nil {
			return nil
		}
		with.mu.Lock()
		c, since := with.longestLocked()
		if c != nil && since == first {
			c.list.remove(c)
			c.stage = gone
			with.mu.Unlock()
			return c
		}
		with.mu.Unlock() // it has begun a request since
	}
}

// begin says that the connection has a request, whose answer is owed until rest. False means that the connection is gone: the request
// must not be carried out.
func (c *counted) begin() bool {
	if c.berth == nil {
		return true
	}
	c.berth.mu.Lock()
	defer c.berth.mu.Unlock()
	if c.stage == gone {
		return false
	}
	if c.list != nil {
		c.list.remove(c)
	}
	c.stage = busy
	return true
}

// rest says that the answer has been written.
func (c *counted) rest() {
	if c.berth == nil {
		return
	}
	now := c.berths.now()
	c.berth.mu.Lock()
	defer c.berth.mu.Unlock()
	if c.stage != busy {
		return
	}
	c.stage, c.since = resting, now
	if c.isKnown.Load() {
		c.berth.known.add(c)
	} else {
		c.berth.strangers.add(c)
	}
}

// isGone reports whether the connection has been closed, or is about to be.
func (c *counted) isGone() bool {
	if c.berth == nil {
		return false
	}
	c.berth.mu.Lock()
	defer c.berth.mu.Unlock()
	return c.stage == gone
}

// end says that the connection is closed.
func (c *counted) end() {
	if c.berth == nil {
		return
	}
	c.berth.mu.Lock()
	defer c.berth.mu.Unlock()
	if c.list != nil {
		c.list.remove(c)
	}
	c.stage = gone
}
