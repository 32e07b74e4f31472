package wspush

import (
	"errors"
	"sync"
	"sync/atomic"
)

// roster holds every connection of a worker from its admission until its last goroutine ends, whether it is in the registry
// or not: the connections that Shutdown ends and waits for.
type roster struct {
	max int // how many connections may be in it; 0 or less means no limit

	mu      sync.Mutex // guards what follows
	state   rosterState
	conns   map[*Conn]struct{}
	resting map[*Conn]struct{} // of them, those that only wait to be saved: see rest
	coming  int                // sessions that are being taken from other workers, and may arrive

	quiet chan struct{} // closed when state becomes rosterQuiet, or passes it
	empty chan struct{} // closed when state becomes rosterEmpty

	cutting atomic.Bool   // cut is running, and wants to hear of every change
	changed chan struct{} // has an element when there may have been a change
}

// rosterState only ever advances.
type rosterState uint8

const (
	rosterOpen   rosterState = iota // connections may enter
	rosterClosed                    // nobody may enter, and somebody is left
	rosterQuiet                     // nobody may enter, and all who are left rest
	rosterEmpty                     // nobody may enter, and nobody is left
)

func newRoster(max int) *roster {
	return &roster{max: max, changed: make(chan struct{}, 1), conns: make(map[*Conn]struct{}), quiet: make(chan struct{}), empty: make(chan struct{})}
}

// errFull refuses a client when the roster is full.
var errFull = errors.New("wspush: as many clients are connected as WorkerOptions.MaxConns allows")

// admits returns the error that enter would return now.
func (r *roster) admits() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admitsLocked()
}

func (r *roster) admitsLocked() error {
	switch {
	case r.state != rosterOpen:
		return ErrShutdown
	case r.max > 0 && len(r.conns) >= r.max:
		return errFull
	}
	return nil
}

// enter adds c, unless the roster is closed or full.
func (r *roster) enter(c *Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admitsLocked(); err != nil {
		return err
	}
	r.conns[c] = struct{}{}
	return nil
}

// admit adds c, although the roster may be full: it was let in before.
func (r *roster) admit(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = struct{}{}
}

// expect says that a session may arrive. It reports false if a Shutdown is over.
func (r *roster) expect() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == rosterEmpty {
		return false
	}
	r.coming++
	return true
}

// expected ends what expect has begun.
func (r *roster) expected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.coming--
	r.advanceLocked()
	r.change()
}

// arrive adds a session that has come from another worker, which took part in deciding that. False means that Shutdown is over.
func (r *roster) arrive(c *Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == rosterEmpty {
		return false
	}
	r.conns[c] = struct{}{}
	if r.state != rosterOpen {
		r.restLocked(c)
	}
	return true
}

// leave removes c. It does nothing if c is not in the roster.
func (r *roster) leave(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	delete(r.resting, c)
	r.advanceLocked()
	r.change()
}

// rest says that c, which is in the roster, is suspended and has no goroutine, and that its client will not come back to this worker.
func (r *roster) rest(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.conns[c]; ok {
		r.restLocked(c)
	}
}

func (r *roster) restLocked(c *Conn) {
	if r.resting == nil {
		r.resting = make(map[*Conn]struct{})
	}
	r.resting[c] = struct{}{}
	r.advanceLocked()
	r.change()
}

// close lets nobody in from now on. Closing again has no effect.
func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == rosterOpen {
		r.state = rosterClosed
	}
	r.advanceLocked()
}

// stir says that a connection that rests has a goroutine again, which ends it.
func (r *roster) stir(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.resting, c)
}

// advanceLocked notices that a closed roster has become quiet, or empty.
func (r *roster) advanceLocked() {
	if r.state == rosterClosed && len(r.conns) == len(r.resting) && r.coming == 0 {
		r.state = rosterQuiet
		close(r.quiet)
	}
	if r.state == rosterQuiet && len(r.conns) == 0 && r.coming == 0 {
		r.state = rosterEmpty
		close(r.empty)
	}
}

// isClosed reports whether close has been called.
func (r *roster) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state != rosterOpen
}

// isEmpty reports whether the roster is closed and nobody is left.
func (r *roster) isEmpty() bool {
	select {
	case <-r.empty:
		return true
	default:
		return false
	}
}

// all returns the connections that are in the roster now.
func (r *roster) all() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	conns := make([]*Conn, 0, len(r.conns))
	for c := range r.conns {
		conns = append(conns, c)
	}
	return conns
}

// restless returns the connections that do not rest.
func (r *roster) restless() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	var conns []*Conn
	for c := range r.conns {
		if _, ok := r.resting[c]; !ok {
			conns = append(conns, c)
		}
	}
	return conns
}

// change wakes cut. It is called when a connection leaves, and when a callback begins or returns on a connection's goroutine,
// since nobody can end a callback.
func (r *roster) change() {
	if !r.cutting.Load() {
		return
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// cut cuts every connection that is left. It returns when those still left cannot leave by themselves: their goroutines are
// in a callback, or have not started because a server has not finished the handshake. Only one goroutine may call it at a
// time.
func (r *roster) cut() {
	r.cutting.Store(true)
	for _, c := range r.all() {
		c.cut()
	}
	for {
		stuck := true
		for _, c := range r.restless() {
			stuck = stuck && (c.calling.Load() || c.isUpgrading())
		}
		if stuck {
			return
		}
		<-r.changed
	}
}
