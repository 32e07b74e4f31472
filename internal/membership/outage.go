package membership

import (
	"log/slog"
	"sync"
	"time"
)

// call is a kind of call that can fail by itself: an engine whose memory is full still answers lookups.
type call int

const (
	renewCall call = iota
	applyCall
	findCall
	claimCall
	ownersCall
	resolveCall
	calls int = iota
)

func (c call) String() string {
	return [...]string{"Renew", "Apply", "Find", "Claim", "Owners", "Peers"}[c]
}

// outage knows which calls fail at present, so that others fail fast. It warns once for each outage.
type outage struct {
	reads  gate // shut: lookups fail at once
	writes gate // shut: Wait fails at once
	owners gate // shut: nothing is learnt about the owners of sessions

	mu    sync.Mutex
	log   *slog.Logger
	fails [calls]bool // guarded by mu
	// suspect means that a call has failed, and that a Renew must show whether all do. Guarded by mu.
	suspect bool
	since   time.Time // when the first of them failed; zero if all work. Guarded by mu
}

func newOutage(log *slog.Logger) *outage {
	return &outage{log: log}
}

// failed notes that a call has failed. news means that calls of this kind worked until now.
func (o *outage) failed(c call, err error) (news bool) {
	o.mu.Lock()
	news = !o.fails[c]
	first := o.since.IsZero()
	if first {
		o.since = time.Now()
	}
	o.fails[c] = true
	switch {
	case c == renewCall:
		o.suspect = false
	case news:
		o.suspect = true
	}
	o.adjustLocked()
	o.mu.Unlock()
	if first {
		if c == claimCall || c == ownersCall {
			o.log.Warn("wspush: the directory fails: no session moves until it works again", "call", c.String(), "error", err)
		} else {
			o.log.Warn("wspush: the directory fails: pushes to users and groups are refused until it works again", "call", c.String(), "error", err)
		}
	}
	return news
}

// worked notes that a call has succeeded.
func (o *outage) worked(c call) {
	o.mu.Lock()
	o.fails[c] = false
	if c == renewCall {
		o.suspect = false
	}
	since := o.since
	over := !since.IsZero() && o.fails == [calls]bool{}
	if over {
		o.since = time.Time{}
	}
	o.adjustLocked()
	o.mu.Unlock()
	if over {
		o.log.Info("wspush: the directory works again", "after", time.Since(since).Round(time.Millisecond))
	}
}

func (o *outage) adjustLocked() {
	o.reads.set(o.suspect || o.fails[renewCall] || o.fails[findCall])
	o.writes.set(o.suspect || o.fails[renewCall] || o.fails[applyCall])
	o.owners.set(o.suspect || o.fails[renewCall] || o.fails[claimCall] || o.fails[ownersCall])
}

// is reports whether calls of this kind fail.
func (o *outage) is(c call) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fails[c]
}

// isOn reports whether calls of any kind fail.
func (o *outage) isOn() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero()
}

// mayApply reports whether it makes sense to try an Apply.
func (o *outage) mayApply() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.suspect && !o.fails[renewCall]
}

// mayClaim reports whether it makes sense to try a Claim.
func (o *outage) mayClaim() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.suspect && !o.fails[renewCall] && !o.fails[claimCall] && !o.fails[ownersCall]
}

// gate is open or shut.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // closed while the gate is shut. Guarded by mu
	isShut bool          // guarded by mu
}

// shut returns a channel that is closed as soon as the gate is shut.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
	return g.closed
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut == g.isShut:
		return
	case !shut:
		g.closed = nil
	case g.closed == nil:
		g.closed = make(chan struct{})
		fallthrough
	default:
		close(g.closed)
	}
	g.isShut = shut
}
