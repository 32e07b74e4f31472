package main

import (
	"context"
	"net"
	"sync"
)

// forwarder implements far for users who may not make namespaces: it forwards until it is cut, and then nothing, not even
// an end. Unlike with lost packets, senders have got acknowledgements for data that it withholds.
type forwarder struct {
	ctx       context.Context
	stop      context.CancelFunc
	listeners []net.Listener
	running   sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	up    chan struct{}
	down  chan struct{}
	conns map[net.Conn]struct{}
	isOff bool // connections are closed at once
}

// closedChannel makes a wait end at once.
var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// newForwarder opens one listener per worker.
func newForwarder(workers []string) (*forwarder, error) {
	f := &forwarder{up: closedChannel, down: closedChannel, conns: map[net.Conn]struct{}{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	for _, worker := range workers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			f.close()
			return nil, err
		}
		f.listeners = append(f.listeners, l)
		f.running.Go(func() { f.serve(l, worker) })
	}
	return f, nil
}

func (f *forwarder) serve(l net.Listener, worker string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		f.running.Go(func() {
			defer client.Close()
			server, err := dial(f.ctx, worker)
			if err != nil {
				return
			}
			defer server.Close()
			if !f.enter(client, server) {
				return
			}
			defer f.leave(client, server)
			var half sync.WaitGroup
			half.Go(func() { f.pass(client, server, true) })
			f.pass(server, client, false)
			half.Wait()
		})
	}
}

// pass forwards what one side sends, and its end.
func (f *forwarder) pass(from, to net.Conn, fromClient bool) {
	defer to.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		f.mu.Lock()
		open := f.down
		if fromClient {
			open = f.up
		}
		f.mu.Unlock()
		select {
		case <-open:
		case <-f.ctx.Done():
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (f *forwarder) enter(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil || f.isOff {
		return false
	}
	for _, c := range conns {
		f.conns[c] = struct{}{}
	}
	return true
}

func (f *forwarder) leave(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		delete(f.conns, c)
	}
}

func (f *forwarder) dial(ctx context.Context, worker int) (net.Conn, error) {
	return dial(ctx, f.listeners[worker].Addr().String())
}

func (f *forwarder) cut(oneWay bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up = make(chan struct{})
	if !oneWay {
		f.down = make(chan struct{})
	}
	return nil
}

// sever closes every connection, and new ones as soon as they come.
func (f *forwarder) sever() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isOff = true
	for c := range f.conns {
		c.Close()
	}
}

func (f *forwarder) mend() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isOff = false
	for _, gate := range []*chan struct{}{&f.up, &f.down} {
		if *gate != closedChannel {
			close(*gate)
			*gate = closedChannel
		}
	}
	return nil
}

func (f *forwarder) close() {
	f.stop()
	for _, l := range f.listeners {
		l.Close()
	}
	f.mu.Lock()
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

func (f *forwarder) String() string {
	return "behind a forwarder in this program, which stops passing on"
}
