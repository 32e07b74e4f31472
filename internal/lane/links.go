package lane

import (
	"net"
	"sync"
	"sync/atomic"
)

// MaxLinks is how many links there may be.
const MaxLinks = 1024

// Links are the places of links: standing connections of other workers, which have proved that they are. Publishers cannot
// take these places, however many of them there are. Links is safe for concurrent use.
//
// Before it is a link, a connection to a push listener counts among publishers, or, where all of their places are taken, has one
// of the few places for openers (see OpensLink). Adopt moves it.
type Links struct {
	max   int64
	taken atomic.Int64
}

// NewLinks makes places for max links.
func NewLinks(max int) *Links { return &Links{max: int64(max)} }

// Adopt gives a connection that the caller has hijacked a link's place, in return for the one that it has had so far. The
// connection may be one that http.Hijacker has returned, with TLS or without, of a Listener or of any other server. If ok is
// false, all places are taken, and the connection keeps the one that it has until it is closed.
//
// The connection stays the caller's, who closes it, and calls release, which may be called more than once, when it is closed.
// No Listener waits for it any more, or closes it.
func (l *Links) Adopt(c net.Conn) (release func(), ok bool) {
	if l.taken.Add(1) > l.max {
		l.taken.Add(-1)
		return nil, false
	}
	if below := countedBelow(c); below != nil {
		below.leave()
	}
	return sync.OnceFunc(func() { l.taken.Add(-1) }), true
}
