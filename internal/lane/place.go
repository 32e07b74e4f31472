package lane

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// counted is a connection that has a place until it is closed, or until its place is given up. Every connection that the
// limiter lets in is one, so that it is counted whatever becomes of it: also if net/http, which tells nobody when a hijacked
// connection is closed, has it hijacked.
type counted struct {
	net.Conn
	limiter *limiter
	berths  *berths     // set together with berth
	berth   *berth      // where a publisher's connection rests; nil if it is none, or need not make room for others
	isKnown atomic.Bool // its publisher is no stranger

	// The lock of berth, or of the row that it is in, guards what follows.
	list       *list // that it is in, with its neighbours there; nil: none
	prev, next *counted
	since      int64 // when it began to rest
	stage      stage

	mu       sync.Mutex // guards what follows
	place    placeKind
	patience *time.Timer // of an opener; nil: none, or stopped
}

// placeKind is what kind of place a connection has.
type placeKind int

const (
	noPlace        placeKind = iota // it is closed, or a link
	publisherPlace                  // one of MaxConns
	silentPlace                     // one beyond them, until it has sent the header of a request
	openerPlace                     // one beyond them, for the opening of a link
)

// Close closes the connection, which gives up its place.
func (c *counted) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// CloseWrite is how net/http ends a connection on which the publisher is still sending, so that it sees the answer.
func (c *counted) CloseWrite() error { return closeWrite(c.Conn) }

// leave gives up the place, if the connection still has one.
func (c *counted) leave() {
	c.mu.Lock()
	had := c.place
	c.place = noPlace
	if c.patience != nil {
		c.patience.Stop()
		c.patience = nil
	}
	c.mu.Unlock()
	switch had {
	case publisherPlace:
		c.end()
		c.limiter.n.Add(-1)
	case silentPlace:
		c.limiter.silent.remove(c)
	case openerPlace:
		c.limiter.openers.remove(c)
	}
	if had != noPlace {
		c.limiter.forget(c)
	}
}

// becomeOpener gives a connection that has sent the header of an opening an opener's place. False means that it has been closed.
func (c *counted) becomeOpener() bool {
	l := c.limiter
	c.mu.Lock()
	if c.place != silentPlace || !l.silent.remove(c) {
		c.mu.Unlock()
		return false
	}
	c.place = openerPlace
	tooMany := l.openers.add(c, maxOpeners)
	c.mu.Unlock()
	if tooMany != nil {
		tooMany.cut()
	}
	return true
}

func (c *counted) hasPlace() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.place != noPlace
}

// isOpener reports whether the connection has a place only to open a link.
func (c *counted) isOpener() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.place == openerPlace
}

// waitFor closes the connection after d, unless it has given up its place by then.
func (c *counted) waitFor(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.place != noPlace {
		c.patience = time.AfterFunc(d, func() {
			if c.isOpener() { // it may have become a link just now
				c.cut()
			}
		})
	}
}

// closeWrite closes one direction of a connection that can do that.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// cut closes the connection at once: with TLS, without saying goodbye, for which it might have to wait.
func (c *counted) cut() {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.NetConn().Close()
	} else {
		_ = c.Conn.Close()
	}
	c.leave()
}

// cut closes any connection, in the same way.
func cut(c net.Conn) {
	if below := countedBelow(c); below != nil {
		below.cut()
		return
	}
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	_ = c.Close()
}

// countedBelow returns the counted connection that c is or stands on, or nil if there is none.
func countedBelow(c net.Conn) *counted {
	for {
		switch upper := c.(type) {
		case *counted:
			return upper
		case interface{ NetConn() net.Conn }: // *tls.Conn too
			c = upper.NetConn()
		default:
			return nil
		}
	}
}
