package lane

import (
	"context"
	"net"
	"sync"
)

// DefaultMaxLinks is how many links there may be unless something else is said.
const DefaultMaxLinks = 1024

// Links are the places of links: standing connections of other workers, which have proved that they are. Publishers cannot
// take these places, however many of them there are. Links is safe for concurrent use.
//
// Before it is a link, a connection to a push listener counts among publishers, or, where all of their places are taken, has one
// of the few places for openers (see OpensLink). Adopt moves it.
type Links struct {
	max int

	mu   sync.Mutex // guards what follows
	all  map[*adopted]struct{}
	none chan struct{} // closed when the last one leaves; nil while nobody waits
}

// adopted is a connection among Links.
type adopted struct{ net.Conn }

// NewLinks makes places for max links. 0 means DefaultMaxLinks, and a negative number that there is no limit.
func NewLinks(max int) *Links {
	if max == 0 {
		max = DefaultMaxLinks
	}
	return &Links{max: max, all: make(map[*adopted]struct{})}
}

// Adopt gives a connection that the caller has hijacked a link's place, in return for the one that it has had so far. The
// connection may be one that http.Hijacker has returned, with TLS or without, of a Listener or of any other server. If ok is
// false, all places are taken, and the connection keeps the one that it has until it is closed.
//
// The connection stays the caller's, who closes it, and calls release, which may be called more than once, when it is closed.
// No Listener waits for it any more, or closes it: Wait does.
func (l *Links) Adopt(c net.Conn) (release func(), ok bool) {
	link := &adopted{c}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.max >= 0 && len(l.all) >= l.max {
		return nil, false
	}
	l.all[link] = struct{}{}
	if below := countedBelow(c); below != nil {
		below.leave()
	}
	return func() { l.release(link) }, true
}

func (l *Links) release(link *adopted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, link)
	if len(l.all) == 0 && l.none != nil {
		close(l.none)
		l.none = nil
	}
}

// Len returns how many links there are.
func (l *Links) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// Wait waits until every link has been released. When ctx ends, it closes the connections of those that are left, and does not
// wait for their owners to release them.
func (l *Links) Wait(ctx context.Context) {
	l.mu.Lock()
	if len(l.all) == 0 {
		l.mu.Unlock()
		return
	}
	if l.none == nil {
		l.none = make(chan struct{})
	}
	none := l.none
	l.mu.Unlock()
	select {
	case <-none:
		return
	case <-ctx.Done():
	}
	l.mu.Lock()
	left := make([]net.Conn, 0, len(l.all))
	for link := range l.all {
		left = append(left, link.Conn)
	}
	l.mu.Unlock()
	for _, c := range left {
		cut(c)
	}
}
