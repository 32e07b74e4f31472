// Package lane is the push listener's fast way for plain pushes: small POSTs that arrive whole, with nothing in their header
// that takes an HTTP server to understand. Nearly every request to a push listener is one. Without net/http's goroutine that
// watches the publisher, its context and its half a dozen deadlines, each costs a tenth to a fifth less.
//
// A lane knows what a plain push is, and nothing else of HTTP. At anything else it hands the connection over to net/http, for
// good, with everything that it has read: to net/http it is a listener. The same handler decides what a push means, whichever
// way it comes.
//
// The package also limits how many connections publishers have, and how many links. At the limit, a connection that rests makes room for
// another. A connection of another worker that opens a link counts as a publisher's, or, when all of these are busy, has one of the few
// places that are left for openers; Links.Adopt makes it a link.
package lane

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how a Listener serves its connections.
type Config struct {
	// Handler answers plain pushes, and Panicked is told when it panics. It gets requests as net/http makes them, and may do with
	// them what it may do there. Its answer is sent when it returns.
	Handler  http.HandlerFunc
	Panicked func(recovered any)

	// Context is what the contexts of requests are made of. net/http has the server in it (http.ServerContextKey).
	Context context.Context

	// MaxConns bounds the connections, those of net/http included. A negative value means that there is no limit. Full writes
	// the answer to a request on a connection for which no other could be closed.
	MaxConns int
	Full     func(http.ResponseWriter)

	// TLS is what the Listener speaks TLS with. To net/http it gives a tls.Conn, or, if HTTP/1.1 has been agreed, a connection
	// that tells its state. If TLS is nil, there is none, except on connections that are tls.Conns already.
	TLS *tls.Config

	HeaderTimeout time.Duration // for a TLS handshake, and for the first request on a connection
	IdleTimeout   time.Duration // between two requests
	WriteTimeout  time.Duration // for writing an answer

	Log *slog.Logger
}

// Listener accepts the connections of publishers and answers the plain pushes on them. To net/http it is the listener of all
// other connections. It is safe for concurrent use.
//
// Two calls end it: Drain, and then Wait.
type Listener struct {
	inner   net.Listener
	source  accepting // of the connections of inner
	config  Config
	limiter *limiter

	handed   chan net.Conn      // what Accept returns
	closed   context.Context    // ends with Close: Accept takes no more
	close    context.CancelFunc // ends it
	phase    atomic.Int32       // a phase
	draining chan struct{}      // closed at the end of phaseOpen
	accepted chan struct{}      // closed at the end of accept
	goodbyes sync.WaitGroup     // of idle connections with TLS, which Drain closes
	foreign  sync.Map           // *tls.Conn of the application's own listener, which net/http has, to *counted

	mu      sync.Mutex // guards conns
	conns   map[*conn]struct{}
	changed sync.Cond // conns has lost one, or one has stepped aside; its lock is mu
}

// phase is how far a Listener has come with its lanes. It never goes back. What net/http gets is another matter: see Close.
type phase int32

const (
	phaseOpen     phase = iota // until Drain
	phaseDraining              // no connection is accepted, and each is closed as soon as it is between two requests
	phaseEnded                 // from the end of Wait's context: no lane may begin any more
)

// New starts to accept connections of inner, in a goroutine that Drain and Wait stop.
func New(inner net.Listener, config Config) *Listener {
	l := &Listener{
		inner: inner, config: config, limiter: newLimiter(&config),
		handed: make(chan net.Conn), draining: make(chan struct{}), accepted: make(chan struct{}), conns: make(map[*conn]struct{}),
	}
	l.source = accepting{inner: inner, log: config.Log, draining: l.draining}
	l.changed.L = &l.mu
	l.closed, l.close = context.WithCancel(context.Background())
	go l.accept()
	return l
}

// accept accepts connections until Drain, or until there will be none.
func (l *Listener) accept() {
	defer close(l.accepted)
	defer l.source.giveUp(errGoexit) // if Accept ends the goroutine
	for {
		c := l.source.next()
		if c == nil {
			return
		}
		if c := l.limiter.enter(c, l.handOver); c != nil {
			l.serve(c)
		}
	}
}

// serve serves a connection on a lane, in a goroutine, or hands it over.
func (l *Listener) serve(raw *counted) {
	c := &conn{listener: l, counted: raw, raw: raw}
	l.mu.Lock()
	isEnded := phase(l.phase.Load()) == phaseEnded // Wait has cut what there was, and will not cut this one
	if !isEnded {
		l.conns[c] = struct{}{}
	}
	l.mu.Unlock()
	if isEnded {
		raw.cut()
		return
	}
	go func() {
		defer l.forget(c)
		c.serve()
	}()
}

// forget is told that a connection is on its lane no more.
func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	if l.isDraining() {
		l.changed.Broadcast()
	}
}

// stepped is told that a connection has stepped aside.
func (l *Listener) stepped() {
	if l.isDraining() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	}
}

// handOver gives a connection to net/http.
func (l *Listener) handOver(c net.Conn) {
	select {
	case l.handed <- c:
	case <-l.closed.Done():
		cut(c)
		l.ConnState(c, http.StateClosed)
	}
}

// Accept returns the next connection for net/http.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.handed:
		return c, nil
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

// connKey is the key of a connection in the contexts that ConnContext makes.
type connKey struct{}

// ConnContext is for http.Server.ConnContext, so that IsGone, MarkKnown, Rest, Probing and HalfClosed know the connection of a request.
func (l *Listener) ConnContext(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(interface{ other() *half }); ok {
		ctx = context.WithValue(ctx, halfKey{}, over.other())
	}
	if below := l.below(c); below != nil {
		return context.WithValue(ctx, connKey{}, below)
	}
	return ctx
}

// IsGone reports whether the connection of a request of net/http's has been closed to make room for another: then the request must not
// be carried out, since nobody will see the answer. Otherwise, the connection stays until it has been answered.
func IsGone(w http.ResponseWriter, r *http.Request) bool {
	if _, plain := w.(*response); plain { // which begins only if it may
		return false
	}
	c, ok := r.Context().Value(connKey{}).(*counted)
	return ok && c.isGone()
}

// MarkKnown says that the publisher is no stranger: it may push, or knows a connection. From the answer on, its connection makes room for others
// only after those of strangers.
func MarkKnown(w http.ResponseWriter, r *http.Request) {
	if plain, ok := w.(*response); ok {
		plain.conn.counted.isKnown.Store(true)
	} else if c, ok := r.Context().Value(connKey{}).(*counted); ok {
		c.isKnown.Store(true)
	}
}

// Rest says that a request of net/http's has its whole answer, although the handler goes on: its connection may make room for another.
func Rest(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*counted); ok {
		c.rest()
	}
}

// below returns the counted connection that one of net/http's stands on, or nil if there is none.
func (l *Listener) below(c net.Conn) *counted {
	if foreign, ok := l.foreign.Load(c); ok {
		return foreign.(*counted)
	}
	return countedBelow(c)
}

// ConnState is for http.Server.ConnState. The connections that Accept returned count until they are closed, by net/http or by
// whoever hijacks them, or until Links.Adopt.
func (l *Listener) ConnState(c net.Conn, state http.ConnState) {
	if over, ok := c.(interface{ other() *half }); ok {
		over.other().isServing.Store(state == http.StateActive)
	}
	below := l.below(c)
	if below == nil {
		return
	}
	switch state {
	case http.StateActive: // the header of a request has come
		below.begin()
	case http.StateClosed:
		l.foreign.Delete(c)
		below.leave()
	case http.StateHijacked:
		if l.foreign.CompareAndDelete(c, below) { // nobody would notice that it is closed
			below.leave()
			return
		}
		l.limiter.hijack(below)
	case http.StateIdle:
		if below.isOpener() { // it has not opened a link, and its place is for nothing else
			below.Close()
		}
		below.rest()
	}
}

// CloseHijacked closes the connections that handlers have hijacked, and neither closed nor given to Links. Call it once no handler
// is running: they are nobody's.
func (l *Listener) CloseHijacked() { l.limiter.closeHijacked() }

// Addr returns the address of the listener underneath.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close makes Accept return. Connections on a lane stay there.
func (l *Listener) Close() error {
	l.close()
	return nil
}

// Conns returns how many connections have a publisher's place, those of net/http included.
func (l *Listener) Conns() int64 { return l.limiter.n.Load() }

// Refused returns how many connections have been beyond the limit so far.
func (l *Listener) Refused() uint64 { return l.limiter.refused.Load() }

// Displaced returns how many connections of publishers have been closed so far because they rested and others needed their place.
func (l *Listener) Displaced() uint64 { return l.limiter.displaced.Load() }

// Failure returns why the Listener accepts no connections, or nil if it does. Drain is no failure.
func (l *Listener) Failure() error { return l.source.failure() }

// Fail closes the listener underneath for good: there is no net/http to hand connections over to.
func (l *Listener) Fail(err error) { l.source.giveUp(err) }

// Drain closes the listener underneath. It closes each connection on a lane as soon as that is between two requests.
func (l *Listener) Drain() {
	if !l.phase.CompareAndSwap(int32(phaseOpen), int32(phaseDraining)) {
		return
	}
	close(l.draining)
	l.source.closeInner()
	for _, c := range l.onLane() {
		if !c.idle.Load() { // it will see that the phase has changed
			continue
		}
		if c.tls == nil {
			c.close()
		} else {
			l.goodbyes.Go(c.close) // which may have to wait
		}
	}
}

// Wait waits until every lane is empty, after Drain. When ctx ends, it closes the connections that are left on a lane, and does not
// wait any longer for those that have stepped aside.
func (l *Listener) Wait(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.phase.Store(int32(phaseEnded))
		l.changed.Broadcast()
		l.mu.Unlock()
		for _, c := range l.onLane() {
			c.counted.cut()
		}
	})()
	<-l.accepted
	l.mu.Lock()
	for !l.isEmptyLocked() {
		l.changed.Wait()
	}
	l.mu.Unlock()
	l.goodbyes.Wait()
}

// isEmptyLocked reports whether there is nothing to wait for on the lanes.
func (l *Listener) isEmptyLocked() bool {
	isEnded := phase(l.phase.Load()) == phaseEnded
	for c := range l.conns {
		if !isEnded || !c.aside.Load() {
			return false
		}
	}
	return true
}

// WaitRefused waits until each connection beyond the limit is refused or let in, which takes at most refuseTime. When ctx ends, it closes
// them.
func (l *Listener) WaitRefused(ctx context.Context) { l.limiter.wait(ctx) }

// isDraining reports whether Drain has been called.
func (l *Listener) isDraining() bool { return phase(l.phase.Load()) != phaseOpen }

func (l *Listener) onLane() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	return conns
}
