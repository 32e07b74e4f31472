package membership

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
)

const (
	// maxDisclaimed bounds how many sessions wait for the directory to forget them. What has no place expires.
	maxDisclaimed = 1 << 16
	// maxFormer is how many of its earlier lease numbers a worker remembers. It takes a new one at most every half hour, so that all
	// claims in the name of others have expired.
	maxFormer = 64
)

// claims are the sessions that this worker owns by claims that have won. The directory is told of them anew from time to time.
type claims struct {
	wake chan struct{} // capacity 1: there may be something to tell

	mu         sync.Mutex
	number     uint64              // this worker's own lease. Guarded by mu, as is all below
	former     []uint64            // its earlier numbers
	held       map[[16]byte]uint64 // after how many moves each session is owned
	again      [][16]byte          // those that are to be claimed anew, in no order; some may not be held any more
	limit      int                 // how many of them the next call has
	resume     time.Time           // when they are due
	disclaimed map[[16]byte]uint64 // those that the directory is to forget, and after how many moves they were owned
}

func newClaims(number uint64) *claims {
	return &claims{
		wake:       make(chan struct{}, 1),
		number:     number,
		limit:      maxQuestions,
		held:       make(map[[16]byte]uint64),
		disclaimed: make(map[[16]byte]uint64),
	}
}

func (c *claims) lease() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number
}

// isMine reports whether a lease is this worker's, or was.
func (c *claims) isMine(number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isMineLocked(number)
}

func (c *claims) isMineLocked(number uint64) bool {
	return number == c.number || slices.Contains(c.former, number)
}

func (c *claims) moves(session [16]byte) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[session]
}

// hold notes that a claim has won, unless a later one has.
func (c *claims) hold(session [16]byte, o directory.Ownership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Moves >= c.held[session] {
		c.ownLocked(session, o)
	}
}

// ownLocked notes how the directory says that this worker owns a session. If it says so of an earlier number, nobody finds the worker by that:
// then the session is to be claimed again, which takes one more move.
func (c *claims) ownLocked(session [16]byte, o directory.Ownership) {
	if o.Lease == c.number {
		c.held[session] = o.Moves
	} else {
		c.moveLocked(session, o.Moves)
	}
}

// moveLocked has a session claimed after one more move.
func (c *claims) moveLocked(session [16]byte, moves uint64) {
	if moves >= maxMoves {
		delete(c.held, session)
		return
	}
	c.held[session] = moves + 1
	c.again = append(c.again, session)
	wake(c.wake)
}

// see takes what the directory has said of a session, whoever has asked.
func (c *claims) see(session [16]byte, o directory.Ownership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	moves, isHeld := c.held[session]
	switch {
	case !isHeld || o.Moves < moves: // the directory has lost it, perhaps, or what was asked was asked before
	case !c.isMineLocked(o.Lease):
		delete(c.held, session)
	case o.Moves > moves: // by a claim whose answer was lost
		c.ownLocked(session, o)
	}
}

// disclaim reports whether there is something to tell.
func (c *claims) disclaim(session [16]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	moves, isHeld := c.held[session]
	if !isHeld {
		return false
	}
	delete(c.held, session)
	if len(c.disclaimed) >= maxDisclaimed {
		return false
	}
	c.disclaimed[session] = moves
	return true
}

// reset begins anew under another lease number. The directory lets nobody take over what is claimed under the old one but after one more move; so
// if somebody else is just taking a session, one of the two wins.
func (c *claims) reset(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.former = append(c.former, c.number)
	if len(c.former) > maxFormer {
		c.former = slices.Delete(c.former, 0, 1)
	}
	c.number = number
	c.again = make([][16]byte, 0, len(c.held))
	for session, moves := range c.held {
		c.moveLocked(session, moves)
	}
}

// enterAllAnew has all sessions claimed anew. The renewal that finds this necessary wakes the goroutine when it is over.
func (c *claims) enterAllAnew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.again = make([][16]byte, 0, len(c.held))
	for session := range c.held {
		c.again = append(c.again, session)
	}
	c.resume = time.Time{}
}

// claimBatch is what is told in one call.
type claimBatch struct {
	isDisclaim bool
	all        []directory.Ownership
}

// take takes what is to be told next. If nothing is, wait is how long it is until something will be, or negative.
func (c *claims) take(now time.Time) (b claimBatch, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for session, moves := range c.disclaimed {
		if len(b.all) == maxQuestions {
			break
		}
		delete(c.disclaimed, session)
		b.isDisclaim = true
		b.all = append(b.all, directory.Ownership{Session: string(session[:]), Lease: c.number, Moves: moves})
	}
	if b.isDisclaim {
		return b, 0
	}
	if now.Before(c.resume) && len(c.again) > 0 {
		return b, c.resume.Sub(now)
	}
	// A call has each session once, though it may be there several times.
	taken := make(map[[16]byte]bool)
	for len(c.again) > 0 && len(b.all) < c.limit {
		last := len(c.again) - 1
		session := c.again[last]
		c.again = c.again[:last]
		if moves, isHeld := c.held[session]; isHeld && !taken[session] {
			taken[session] = true
			b.all = append(b.all, directory.Ownership{Session: string(session[:]), Lease: c.number, Moves: moves})
		}
	}
	if len(c.again) == 0 {
		c.again = nil
	}
	return b, -1
}

// enterAnew has some sessions claimed anew, if they are held.
func (c *claims) enterAnew(claims []directory.Ownership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range claims {
		if session := sessionOf(o); c.held[session] > 0 {
			c.again = append(c.again, session)
		}
	}
	wake(c.wake)
}

// failed notes that a call has failed. It is made again later, after the others, and with fewer sessions, so that one that the engine refuses does
// not hold up the rest for long.
func (c *claims) failed(claims []directory.Ownership, resume time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := make([][16]byte, 0, len(claims)+len(c.again))
	for _, o := range claims {
		again = append(again, sessionOf(o))
	}
	c.again = append(again, c.again...)
	c.limit = max(1, len(claims)/2)
	c.resume = resume
}

// worked notes that a call has worked.
func (c *claims) worked(resume time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = min(2*c.limit, maxQuestions)
	c.resume = resume
}

func sessionOf(o directory.Ownership) [16]byte { return [16]byte([]byte(o.Session)) }

func (c *claims) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// claim is the goroutine that tells the directory anew which sessions this worker owns, and which it no longer does. It has one call under way at
// a time, and takes half of the time, as a round does.
func (m *Membership) claim() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.claims.wake:
		case <-timer.C:
		}
		for m.own.isPut() && m.outage.mayClaim() {
			batch, wait := m.claims.take(time.Now())
			if len(batch.all) == 0 {
				if wait >= 0 {
					timer.Reset(wait)
				}
				break
			}
			if !batch.isDisclaim {
				m.claimAnew(batch.all)
				continue
			}
			// It is tried once: what the directory does not forget expires.
			_ = m.call(func(ctx context.Context) error { return m.owners.dir.Disclaim(ctx, batch.all) })
		}
	}
}

// claimAnew makes claims once more.
func (m *Membership) claimAnew(claims []directory.Ownership) {
	begun := time.Now()
	owners, err := m.claimOnce(claims)
	now := time.Now()
	if err != nil {
		m.claims.failed(claims, now.Add(m.timing.Probe))
		return
	}
	for i, o := range owners {
		m.claims.see(sessionOf(claims[i]), o)
	}
	m.claims.worked(now.Add(now.Sub(begun)))
}

// claimAllAnew has all sessions claimed anew.
func (m *Membership) claimAllAnew() {
	if m.owners != nil {
		m.claims.enterAllAnew()
	}
}
