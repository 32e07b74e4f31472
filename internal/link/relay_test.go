package link

import (
	"net"
	"sync"
	"testing"
)

// relay passes TCP connections on, and can do to them what networks and proxies do.
type relay struct {
	tb  testing.TB
	url string
	to  string

	mu      sync.Mutex // guards what follows
	moved   *sync.Cond
	conns   map[*relayed]struct{}
	stalled bool                                                               // nothing is passed on
	change  func(conn int, up bool, at int64, p []byte) (out []byte, cut bool) // nil: as it is
	count   int
	closed  chan struct{} // when the test ends
	running sync.WaitGroup
}

// relayed is one connection, in two halves.
type relayed struct {
	number         int
	client, server net.Conn
	orphaned       bool // the server's half stays open although the client has gone
}

// newRelay relays to the address until the test ends. To is read when a connection comes.
func newRelay(tb testing.TB) *relay {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &relay{tb: tb, url: "http://" + listener.Addr().String(), conns: make(map[*relayed]struct{}), closed: make(chan struct{})}
	r.moved = sync.NewCond(&r.mu)
	r.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.pass(client) })
		}
	})
	tb.Cleanup(func() {
		listener.Close()
		close(r.closed)
		r.resume()
		r.cut()
		r.running.Wait()
	})
	return r
}

func (r *relay) pass(client net.Conn) {
	r.mu.Lock()
	to := r.to
	r.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		client.Close()
		return
	}
	r.mu.Lock()
	r.count++
	c := &relayed{number: r.count, client: client, server: server}
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	var halves sync.WaitGroup
	halves.Go(func() { r.half(c, client, server, true) })
	halves.Go(func() { r.half(c, server, client, false) })
	halves.Wait()
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

func (r *relay) half(c *relayed, from, to net.Conn, up bool) {
	defer func() {
		c.client.Close()
		r.mu.Lock()
		orphaned := c.orphaned
		r.mu.Unlock()
		if orphaned {
			<-r.closed
		}
		c.server.Close()
	}()
	var at int64
	buf := make([]byte, 8<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		for r.stalled {
			r.moved.Wait()
		}
		out, cut := buf[:n], false
		if r.change != nil && n > 0 {
			out, cut = r.change(c.number, up, at, out)
		}
		r.mu.Unlock()
		at += int64(n)
		if _, werr := to.Write(out); err != nil || werr != nil || cut {
			return
		}
	}
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.client.Close()
		c.server.Close()
	}
}

// orphan ends all connections towards the clients only, as a proxy may that has lost its state.
func (r *relay) orphan() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.orphaned = true
		c.client.Close()
	}
}

func (r *relay) stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = true
}

func (r *relay) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = false
	r.moved.Broadcast()
}

func (r *relay) set(change func(conn int, up bool, at int64, p []byte) ([]byte, bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = change
}

func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// behind makes a worker that others reach through the relay.
func behind(tb testing.TB, r *relay, h *holder, change func(*Config), times ...func(*bounds)) *worker {
	tb.Helper()
	w := newWorker(tb, h, func(c *Config) {
		r.mu.Lock()
		r.to = c.Address[len("http://"):]
		r.mu.Unlock()
		c.Address = r.url
		if change != nil {
			change(c)
		}
	}, times...)
	w.url = r.url
	return w
}
