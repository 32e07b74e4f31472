package wspushtest

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// gate is a network connection whose reading can be stopped, and that can fall silent altogether. Nobody else may set a read deadline on it.
type gate struct {
	net.Conn
	closed chan struct{} // closed by Close
	once   sync.Once     // closes closed

	mu      sync.Mutex    // guards the fields below, and the read deadline that goes with them
	opened  chan struct{} // nil while the gate is open; closed when it is opened
	reading chan struct{} // nil unless Conn is being read; closed when that read returns
	silent  bool          // it stays shut, and what is written is dropped
}

func newGate(conn net.Conn) *gate { return &gate{Conn: conn, closed: make(chan struct{})} }

func (g *gate) Read(p []byte) (int, error) {
	for {
		if opened := g.enter(); opened != nil {
			select {
			case <-opened:
			case <-g.closed:
				return 0, net.ErrClosed
			}
			continue
		}
		n, err := g.Conn.Read(p)
		g.leave()
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) { // interrupted by shut
			continue
		}
		return n, err
	}
}

// enter is called before Conn is read. If it returns a channel, the caller must first wait for that to be closed.
func (g *gate) enter() (opened <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		return g.opened
	}
	g.reading = make(chan struct{})
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.reading)
	g.reading = nil
}

// shut stops the reading of anything that arrives from now on. It waits for a read in progress, which may already have passed
// the check of its deadline.
func (g *gate) shut() {
	opened, reading := g.interrupt()
	if reading != nil {
		select {
		case <-reading:
		case <-opened: // shut already
		}
	}
}

func (g *gate) interrupt() (opened, reading <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
		_ = g.Conn.SetReadDeadline(time.Unix(1, 0)) // long past, so that no timer is set
	}
	return g.opened, g.reading
}

// vanish shuts it for ever, and drops what is written from now on.
func (g *gate) vanish() {
	g.mu.Lock()
	g.silent = true
	g.mu.Unlock()
	g.shut()
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	silent := g.silent
	g.mu.Unlock()
	if silent {
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// open undoes shut.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil && !g.silent {
		_ = g.Conn.SetReadDeadline(time.Time{})
		close(g.opened)
		g.opened = nil
	}
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Conn.Close()
}
