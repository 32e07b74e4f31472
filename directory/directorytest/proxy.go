package directorytest

import (
	"net"
	"sync"
	"testing"
)

// A proxy stands between clients and the engine, and does to their bytes what networks do. It knows nothing of the protocol.
type proxy struct {
	address string // where it listens
	target  string
	pipes   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	conns   map[*proxied]struct{}
	swallow bool          // answers are read, and go nowhere
	cut     int           // how many bytes of requests still pass before atCut, if that is not nil
	atCut   func()        // is called once, while nothing passes
	holding chan struct{} // until it is closed, requests wait, if it is not nil
	reached bool          // the cut
}

type proxied struct{ client, engine net.Conn }

func newProxy(tb testing.TB, target string) *proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{address: listener.Addr().String(), target: target, conns: make(map[*proxied]struct{})}
	p.pipes.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.begin(client)
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			_, _ = c.client.Close(), c.engine.Close()
		}
		p.mu.Unlock()
		p.release()
		p.pipes.Wait()
	})
	return p
}

func (p *proxy) begin(client net.Conn) {
	engine, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	c := &proxied{client, engine}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_, _ = client.Close(), engine.Close()
		return
	}
	p.conns[c] = struct{}{}
	p.pipes.Go(func() { p.requests(c) })
	p.pipes.Go(func() { p.answers(c) })
}

// requests copies from the client to the engine. What it has read gets there even if the client has closed its connection
// meanwhile, as the network may still have it.
func (p *proxy) requests(c *proxied) {
	defer func() {
		_ = c.engine.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.client.Read(buf)
		for data := buf[:n]; len(data) > 0; {
			p.mu.Lock()
			holding, pass, atCut := p.holding, len(data), p.atCut
			if atCut != nil {
				pass = min(pass, p.cut)
				p.cut -= pass
				if pass == len(data) {
					atCut = nil // not yet
				} else {
					p.atCut, p.reached = nil, true
				}
			}
			p.mu.Unlock()
			if holding != nil {
				<-holding
			}
			if _, err := c.engine.Write(data[:pass]); err != nil {
				return
			}
			data = data[pass:]
			if atCut != nil {
				atCut()
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) answers(c *proxied) {
	defer func() { _ = c.client.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.engine.Read(buf)
		p.mu.Lock()
		swallow := p.swallow
		p.mu.Unlock()
		if n > 0 && !swallow {
			_, _ = c.client.Write(buf[:n]) // the client may be gone; its requests go on
		}
		if err != nil {
			return
		}
	}
}

// swallowAnswers says whether what the engine answers is lost from now on.
func (p *proxy) swallowAnswers(lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = lost
}

// after calls f once n bytes more of requests have passed, and before the next one does.
func (p *proxy) after(n int, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.atCut, p.reached = n, f, false
}

// cutReached reports whether the function given to after has been called, which it is not any more otherwise.
func (p *proxy) cutReached() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.atCut = nil
	return p.reached
}

// hold makes requests wait in the proxy.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holding = make(chan struct{})
}

// dropClients closes clients' connections. Requests that the proxy holds stay, and come to the engine after release; those of later
// connections pass.
func (p *proxy) dropClients() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.client.Close()
	}
	holding := p.holding
	p.holding = nil
	return func() {
		if holding != nil {
			close(holding)
		}
	}
}

// release lets requests pass again.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holding != nil {
		close(p.holding)
		p.holding = nil
	}
}
