package wspush

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

// express is the push listener's way for plain pushes: small POSTs that come in whole, with nothing in their header that
// takes an HTTP server to understand. They are most of what a push listener gets, and without a goroutine that watches the
// publisher, a context and half a dozen deadlines for each they cost a tenth to a fifth less.
//
// It knows what a plain push is, and no more of HTTP than that. On anything else it hands the connection over to net/http,
// for good, with all that it has read, as if it had never been here: to net/http it is a listener. What a push means is
// decided by the same handler, whichever way it comes.
type express struct {
	listener net.Listener
	handler  http.HandlerFunc
	log      *slog.Logger

	publishers *publishers

	handed   chan net.Conn  // what Accept returns
	done     chan struct{}  // closed by Close
	once     sync.Once      // closes done
	stopping chan struct{}  // closed by drain
	draining atomic.Bool    // the same
	ended    atomic.Bool    // no lane is to begin any more
	running  sync.WaitGroup // accept, and each lane

	mu    sync.Mutex // guards lanes
	lanes map[*lane]struct{}
}

// newExpress accepts connections of listener, as far as publishers lets them in, until drain, and answers plain pushes with
// handler. Accept and Close are for net/http, which is to say when a connection that it got has ended; drain and then wait
// end it.
func newExpress(listener net.Listener, publishers *publishers, handler http.HandlerFunc, log *slog.Logger) *express {
	x := &express{
		listener: listener, publishers: publishers, handler: handler, log: log,
		handed: make(chan net.Conn), done: make(chan struct{}), stopping: make(chan struct{}), lanes: make(map[*lane]struct{}),
	}
	x.running.Go(x.accept)
	return x
}

// acceptPause is for how long accept pauses at most when the system refuses it, as http.Server does.
const acceptPause = time.Second

// accept gives every connection a lane.
func (x *express) accept() {
	var pause time.Duration
	for {
		conn, err := x.listener.Accept()
		if err == nil {
			pause = 0
			if x.publishers.enter(conn) {
				x.running.Go(func() { x.serve(conn) })
			}
			continue
		}
		if x.draining.Load() {
			return
		}
		if !isTemporary(err) {
			x.log.Error("wspush: the push listener has failed: connections of this worker cannot be pushed to from outside", "error", err)
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), acceptPause)
		x.log.Warn("wspush: the push listener does not accept for a moment", "pause", pause, "error", err)
		select {
		case <-time.After(pause):
		case <-x.stopping:
			return
		}
	}
}

// serve serves a connection on a lane of its own.
func (x *express) serve(conn net.Conn) {
	if _, ok := conn.(*tls.Conn); ok { // a listener that serves TLS itself, and maybe HTTP/2: net/http must see what it is
		x.handOver(conn)
		return
	}
	l := newLane(x, conn)
	x.mu.Lock()
	x.lanes[l] = struct{}{}
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.lanes, l)
		x.mu.Unlock()
	}()
	if x.ended.Load() { // and wait may not have seen this one
		x.close(conn)
		return
	}
	l.serve()
}

// close ends a connection that net/http has not got.
func (x *express) close(conn net.Conn) {
	conn.Close()
	x.publishers.leave()
}

// handOver gives a connection to net/http.
func (x *express) handOver(conn net.Conn) {
	select {
	case x.handed <- conn:
	case <-x.done:
		x.close(conn)
	}
}

// Accept returns the next connection that is not for a lane.
func (x *express) Accept() (net.Conn, error) {
	select {
	case conn := <-x.handed:
		return conn, nil
	case <-x.done:
		return nil, net.ErrClosed
	}
}

func (x *express) Addr() net.Addr { return x.listener.Addr() }

// Close has Accept return. What is on a lane stays there.
func (x *express) Close() error {
	x.once.Do(func() { close(x.done) })
	return nil
}

// drain closes the listener, and every connection once it is between two requests.
func (x *express) drain() {
	if x.draining.Swap(true) {
		return
	}
	close(x.stopping)
	x.listener.Close()
	for _, l := range x.all() {
		if l.idle.Load() { // if it is not yet, it will see that draining is set
			l.conn.Close()
		}
	}
}

// wait waits until every lane is empty, and ends those that are not when ctx ends.
func (x *express) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		x.ended.Store(true)
		for _, l := range x.all() {
			l.conn.Close()
		}
	})()
	x.running.Wait()
}

func (x *express) all() []*lane {
	x.mu.Lock()
	defer x.mu.Unlock()
	lanes := make([]*lane, 0, len(x.lanes))
	for l := range x.lanes {
		lanes = append(lanes, l)
	}
	return lanes
}
