package main

import (
	"context"
	"maps"
	"net"
	"slices"
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
	conns map[*passage]struct{}
	isOff bool // connections are closed at once
}

// closedChannel makes a wait end at once.
var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// newForwarder opens one listener per worker.
func newForwarder(workers []string) (*forwarder, error) {
	f := &forwarder{up: closedChannel, down: closedChannel, conns: map[*passage]struct{}{}}
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
			p := &passage{client: client.(*net.TCPConn), server: server.(*net.TCPConn)}
			if !f.enter(p) {
				return
			}
			defer f.leave(p)
			var half sync.WaitGroup
			half.Go(func() { f.pass(p, true) })
			f.pass(p, false)
			half.Wait()
		})
	}
}

// pass forwards what one side sends, and its end.
func (f *forwarder) pass(p *passage, fromClient bool) {
	from, to := p.server, p.client
	if fromClient {
		from, to = to, from
	}
	defer to.Close()
	defer p.wait(f.ctx)
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
		if n > 0 && !p.loses(fromClient) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (f *forwarder) enter(p *passage) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil || f.isOff {
		return false
	}
	f.conns[p] = struct{}{}
	return true
}

func (f *forwarder) leave(p *passage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, p)
}

// passages returns the connections that there are.
func (f *forwarder) passages() []*passage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.conns))
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
	for p := range f.conns {
		p.close()
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
	for p := range f.conns {
		p.close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

func (f *forwarder) String() string {
	return "behind a forwarder in this program, which stops passing on"
}
