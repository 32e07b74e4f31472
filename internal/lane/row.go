package lane

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// row is a row of connections in the order in which they came. A connection is in one at most.
type row struct {
	mu          sync.Mutex // guards what follows, and the neighbours, the stage and the time of connections in it
	first, last *counted
	n           int
}

// stage says whether a publisher's connection may be closed to make room for another. Each change but the last is the work of the
// goroutine that serves the connection.
type stage int

const (
	resting stage = iota // between two requests, or it has not sent the first one's header: it may be closed, and is in its row
	busy                 // in a request, whose answer is owed
	gone                 // closed, or about to be
)

func (r *row) addLocked(c *counted) {
	c.row, c.prev = r, r.last
	if r.last != nil {
		r.last.next = c
	} else {
		r.first = c
	}
	r.last = c
	r.n++
}

func (r *row) removeLocked(c *counted) {
	if c.row != r {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		r.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		r.last = c.prev
	}
	c.row, c.prev, c.next = nil, nil, nil
	r.n--
}

// add adds a connection. If there are then more than limit, it returns the first one, which has left the row.
func (r *row) add(c *counted, limit int) (tooMany *counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(c)
	if r.n > limit {
		tooMany = r.first
		r.removeLocked(tooMany)
	}
	return tooMany
}

// remove removes a connection, and reports whether it was there.
func (r *row) remove(c *counted) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := c.row == r
	r.removeLocked(c)
	return was
}

// length returns how many there are.
func (r *row) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// rows are the publishers' connections that may be closed to make room. There are several, so that connections seldom wait for each
// other: each push changes its row twice.
type rows struct {
	start time.Time
	all   [16]struct {
		row
		_ [64]byte // or they would share a line of the processor's cache
	}
	next atomic.Uint32 // whose row a connection gets is the turn's
}

func (rs *rows) now() int64 { return int64(time.Since(rs.start)) }

// enter gives a connection its row. It rests.
func (rs *rows) enter(c *counted) {
	c.rows, c.home = rs, &rs.all[rs.next.Add(1)%uint32(len(rs.all))].row
	c.home.mu.Lock()
	defer c.home.mu.Unlock()
	c.since = rs.now()
	c.home.addLocked(c)
}

// takeLongest takes the connection that has rested for the longest time, which is then gone. It returns nil if none rests.
func (rs *rows) takeLongest() *counted {
	for {
		var oldest *row
		since := int64(math.MaxInt64)
		for i := range rs.all {
			r := &rs.all[i].row
			r.mu.Lock()
			if r.first != nil && r.first.since < since {
				oldest, since = r, r.first.since
			}
			r.mu.Unlock()
		}
		if oldest == nil {
			return nil
		}
		oldest.mu.Lock()
		c := oldest.first
		if c != nil && c.since == since {
			oldest.removeLocked(c)
			c.stage = gone
			oldest.mu.Unlock()
			return c
		}
		oldest.mu.Unlock() // it has begun a request since
	}
}

// begin says that the connection has a request, whose answer is owed until rest. False means that the connection is gone: the request
// must not be carried out.
func (c *counted) begin() bool {
	if c.home == nil {
		return true
	}
	c.home.mu.Lock()
	defer c.home.mu.Unlock()
	if c.stage == gone {
		return false
	}
	c.home.removeLocked(c)
	c.stage = busy
	return true
}

// rest says that the answer has been written.
func (c *counted) rest() {
	if c.home == nil {
		return
	}
	now := c.rows.now()
	c.home.mu.Lock()
	defer c.home.mu.Unlock()
	if c.stage == busy {
		c.stage, c.since = resting, now
		c.home.addLocked(c)
	}
}

// isGone reports whether the connection has been closed, or is about to be.
func (c *counted) isGone() bool {
	if c.home == nil {
		return false
	}
	c.home.mu.Lock()
	defer c.home.mu.Unlock()
	return c.stage == gone
}

// end says that the connection is closed.
func (c *counted) end() {
	if c.home == nil {
		return
	}
	c.home.mu.Lock()
	defer c.home.mu.Unlock()
	c.home.removeLocked(c)
	c.stage = gone
}
