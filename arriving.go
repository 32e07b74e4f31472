package wspush

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/takeover"
)

// takeovers are the sessions that the worker is taking from others.
type takeovers struct {
	running tally // goroutines that have to do with sessions that move

	mu      sync.Mutex // guards what follows
	under   map[string]*arriving
	offers  int                  // that are being fetched
	failing map[string]time.Time // since when the owner of a session cannot be reached; by ID
}

// arriving is a session that is being taken from another worker.
type arriving struct {
	worker *Worker
	id     string
	done   chan struct{} // closed when the rest is final

	conn    *Conn
	outcome arrivalOutcome
	ended   *dismissal // of takeEnded
	failure error      // why it was not to be had, if there was a reason

	isCommitting bool          // its copy is here, and its owner may have agreed. Guarded by takeovers
	waiting      []func(*Conn) // guarded by takeovers: what others ask about the session meanwhile; nil: there is none
	isOver       bool          // the same
}

// arrivalOutcome is what became of a take-over.
type arrivalOutcome uint8

const (
	takeDone        arrivalOutcome = iota // the session is here
	takeUnknown                           // nobody has it
	takeExpired                           // its client was away for too long
	takeEnded                             // it has ended, by a code
	takeForbidden                         // its client is somebody else
	takeAhead                             // its client says that it has received more than was sent
	takeLater                             // not now
	takeUnreachable                       // its owner has not been reached for takeGiveUp
)

// isAboutClient reports whether the outcome may be another one for another handshake of the same session.
func (o arrivalOutcome) isAboutClient() bool {
	switch o {
	case takeUnknown, takeExpired, takeEnded, takeForbidden, takeAhead:
		return true
	}
	return false
}

// begin begins to take a session, or joins whoever does. It returns nil if a Shutdown is over.
func (t *takeovers) begin(w *Worker, id string) (a *arriving, isNew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.under[id]; a != nil {
		return a, false
	}
	if !w.roster.expect() {
		return nil, false
	}
	if t.under == nil {
		t.under = make(map[string]*arriving)
	}
	a = &arriving{worker: w, id: id, done: make(chan struct{}), outcome: takeLater}
	t.under[id] = a
	t.running.add(1)
	return a, true
}

// await has f called once it is certain whether a session is here that is being taken; it reports false if none is.
func (t *takeovers) await(id string, f func(*Conn)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.under[strings.ToLower(id)]
	if a == nil || a.isOver || !a.isCommitting {
		return false
	}
	a.waiting = append(a.waiting, f)
	return true
}

// wait waits for a session that is being taken, and returns it if it has come.
func (t *takeovers) wait(ctx context.Context, id string) *Conn {
	t.mu.Lock()
	a := t.under[id]
	t.mu.Unlock()
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
		return a.conn
	case <-ctx.Done():
		return nil
	}
}

// isUnder reports whether a session is being taken, or may be among those that are offered.
func (t *takeovers) isUnder(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.under[id] != nil || t.offers > 0
}

// isComing reports whether a session is just coming: its former owner may send here what it is pushed. As long as that has only been asked, which may
// be in vain, the session is still there.
func (t *takeovers) isComing(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.under) == 0 {
		return false
	}
	a := t.under[strings.ToLower(id)]
	return a != nil && a.isCommitting
}

// commits notes that the copy of the session is here: what it is pushed waits from now on.
func (a *arriving) commits() {
	t := &a.worker.takeovers
	t.mu.Lock()
	defer t.mu.Unlock()
	a.isCommitting = true
}

// fails notes that the copy was in vain: what has waited is told so.
func (a *arriving) fails() {
	t := &a.worker.takeovers
	t.mu.Lock()
	waiting := a.waiting
	a.waiting, a.isCommitting = nil, false
	t.mu.Unlock()
	for _, f := range waiting {
		f(nil)
	}
}

// fetches counts the offers that are being fetched: it is not known yet which sessions they are of.
func (t *takeovers) fetches(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offers += n
}

// failed notes that the owner of a session cannot be reached, and returns since when that is so.
func (t *takeovers) failed(id string) (since time.Time) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	since, ok := t.failing[id]
	if !ok || now.Sub(since) > time.Minute { // long ago, it was something else
		since = now
		if t.failing == nil {
			t.failing = make(map[string]time.Time)
		}
		if len(t.failing) >= maxFailing {
			for other, at := range t.failing {
				if now.Sub(at) > time.Minute || len(t.failing) >= maxFailing {
					delete(t.failing, other)
				}
			}
		}
		t.failing[id] = now
	}
	return since
}

func (t *takeovers) reached(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.failing, id)
}

// end ends the taking. What has been asked meanwhile comes before what is asked from now on: nobody finds the connection before that.
func (a *arriving) end(outcome arrivalOutcome, c *Conn) {
	t := &a.worker.takeovers
	a.outcome, a.conn = outcome, c
	for {
		t.mu.Lock()
		waiting := a.waiting
		a.waiting = nil
		if len(waiting) == 0 {
			if c != nil {
				a.worker.adopt(c)
			}
			a.isOver = true
			delete(t.under, a.id)
			t.mu.Unlock()
			a.worker.roster.expected()
			break
		}
		t.mu.Unlock()
		for _, f := range waiting {
			f(c)
		}
	}
	close(a.done)
}

// arrive makes the session what its copy says, which has come from another worker.
func (k *resumable) arrive(from takeover.Worker, s *sessionfile.Session, held []*socket.Holding) {
	c := k.conn
	waiting := c.load(s, held)
	earlier := append(s.Earlier, sessionfile.Owner{Address: from.Address, Instance: from.Instance})
	if n := len(earlier); n > maxEarlier {
		earlier = earlier[n-maxEarlier:]
	}
	k.moving = &moving{owner: takeover.Owner{Moves: s.Moves + 1}, earlier: earlier, waiting: waiting, released: s.Released}
	c.shared.clock.set(&settling{session: k}, settleFor)
}

// settling is the time in which a session that has come may get what the worker where it comes from has got as well.
type settling struct {
	session *resumable
	alarm   alarm // guarded by the clock
}

// settleFor is longer than anything is under way between workers that was meant for the former one.
const settleFor = 30 * time.Second

func (s *settling) bell() *alarm { return &s.alarm }

func (s *settling) fire() {
	c := s.session.conn
	c.outbox.ForgetMarks()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.session.moving.waiting = nil
}

// adopt makes a session that has arrived one of the worker's connections.
func (w *Worker) adopt(c *Conn) {
	n := &w.shared.count
	n.sessions.Add(1)
	n.suspended.Add(1)
	if !w.roster.arrive(c) { // nobody else has what is in it
		c.end(w.shutdownError())
		return
	}
	c.register()
	c.setOpen()
	w.departures.forget(c.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	w.shared.clock.set(c.session, c.session.remainingLocked())
}
