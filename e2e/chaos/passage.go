package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// passage is one connection through a forwarder: the client's side of it, and the server's.
type passage struct {
	client, server *net.TCPConn

	mu        sync.Mutex    // guards the fields below
	losesUp   bool          // what the client sends is thrown away
	losesDown bool          // what the server sends is
	stays     chan struct{} // the server's side stays open until this is closed; nil: no longer than the client's
}

func (p *passage) close() {
	p.client.Close()
	p.server.Close()
}

// finish ends both sides with FIN. What arrives after that is lost.
func (p *passage) finish() {
	p.lose(true, true)
	_ = p.client.CloseWrite()
	_ = p.server.CloseWrite()
}

// reset ends both sides with RST.
func (p *passage) reset() {
	p.lose(true, true)
	abort(p.client)
	abort(p.server)
}

// abort ends a connection with RST.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// lose throws away what passes from now on, in one direction or both. The connection is good for nothing after that.
func (p *passage) lose(up, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losesUp, p.losesDown = p.losesUp || up, p.losesDown || down
}

func (p *passage) loses(fromClient bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fromClient {
		return p.losesUp
	}
	return p.losesDown
}

// part ends the client's side with RST, and lets the server believe for a while that nothing has happened.
func (p *passage) part(ctx context.Context, d time.Duration) {
	p.lose(true, true)
	p.mu.Lock()
	if p.stays != nil {
		p.mu.Unlock()
		return
	}
	p.stays = make(chan struct{})
	p.mu.Unlock()
	abort(p.client)
	sleep(ctx, d)
	close(p.stays)
	abort(p.server)
}

// wait is for the end of either direction: it returns when both sides may end.
func (p *passage) wait(ctx context.Context) {
	p.mu.Lock()
	stays := p.stays
	p.mu.Unlock()
	if stays == nil {
		return
	}
	select {
	case <-stays:
	case <-ctx.Done():
	}
}
