package wspush

import (
	"errors"
	"sync"
	"sync/atomic"
)

// roster is every connection of a worker whose goroutine has not ended, in the registry or not: those that Shutdown ends
// and waits for.
type roster struct {
	cutting atomic.Bool   // cut wants to hear of every change
	changed chan struct{} // has an element when there may be one

	max int // connections; 0 or less: no limit

	mu     sync.Mutex // guards what follows
	closed bool
	conns  map[*Conn]struct{}
	empty  chan struct{} // closed when the roster is closed and has nobody left
}

func newRoster(max int) *roster {
	return &roster{max: max, changed: make(chan struct{}, 1), conns: make(map[*Conn]struct{}), empty: make(chan struct{})}
}

// errFull refuses a client that is one too many.
var errFull = errors.New("wspush: as many clients are connected as WorkerOptions.MaxConns allows")

// admits returns why enter would fail now.
func (r *roster) admits() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refusal()
}

// refusal is admits; mu is held.
func (r *roster) refusal() error {
	switch {
	case r.closed:
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
	if err := r.refusal(); err != nil {
		return err
	}
	r.conns[c] = struct{}{}
	return nil
}

func (r *roster) leave(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	if r.closed && len(r.conns) == 0 {
		close(r.empty)
	}
	r.change()
}

// close lets nobody in any more. Closing again has no effect.
func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && len(r.conns) == 0 {
		close(r.empty)
	}
	r.closed = true
}

func (r *roster) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// isEmpty reports whether the roster is closed and has nobody left.
func (r *roster) isEmpty() bool {
	select {
	case <-r.empty:
		return true
	default:
		return false
	}
}

// all returns who is in it now.
func (r *roster) all() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	conns := make([]*Conn, 0, len(r.conns))
	for c := range r.conns {
		conns = append(conns, c)
	}
	return conns
}

// change is called, too, when a callback of the application has begun or returned on a connection's goroutine: nobody can
// end it.
func (r *roster) change() {
	if !r.cutting.Load() {
		return
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// cut cuts everyone who is left, and returns when those who still are cannot leave: their goroutines are in a callback, or
// not begun because a server has not finished the handshake. Only one goroutine may call it at a time.
func (r *roster) cut() {
	r.cutting.Store(true)
	for _, c := range r.all() {
		c.cut()
	}
	for {
		stuck := true
		for _, c := range r.all() {
			stuck = stuck && (c.calling.Load() || c.isUpgrading())
		}
		if stuck {
			return
		}
		<-r.changed
	}
}
