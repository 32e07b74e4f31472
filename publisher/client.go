package publisher

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// MessageType is the type of a WebSocket message: Text or Binary. It is the one of package wspush.
type MessageType = wire.MessageType

const (
	Text   = wire.Text   // valid UTF-8
	Binary = wire.Binary // any bytes
)

// Client pushes to connections of the workers that its options allow. All its methods are safe for concurrent use. It keeps
// connections to workers open until Stop, or for 90 s without use, and has no goroutines but theirs.
type Client struct {
	opts      Options // finished: 0 means no limit
	allowed   *allowed
	transport *http.Transport
	bulk      *http.Client // for streams
	memory    memory

	ctx    context.Context // ends with Stop
	cancel context.CancelFunc

	mu      sync.Mutex // guards stopped, and running against being added to afterwards
	stopped bool
	running sync.WaitGroup // calls for single connections, and goroutines of streams
}

// New makes a Client, which needs to be stopped. It fails if opts do not say where pushes may go, or make no sense. They are
// copied.
func New(opts *Options) (*Client, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	a, err := newAllowed(&o)
	if err != nil {
		return nil, err
	}
	c := &Client{opts: o, allowed: a, memory: memory{worked: make(map[string]string), whole: make(map[string]time.Time)}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.transport = newTransport(c.ctx, &o)
	c.bulk = &http.Client{Transport: c.transport}
	return c, nil
}

// Stop ends the Client: calls that come later fail with ErrStopped, streams that have not been closed are cut off, calls that
// are under way are waited for, and all connections are closed. It may be called more than once, but not from a callback.
func (c *Client) Stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	c.transport.CloseIdleConnections()
}

// enter counts a call, for which c.running.Done is to be called.
func (c *Client) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return ErrStopped
	}
	c.running.Add(1)
	return nil
}

// targets are those of an address that are allowed. An address may name hosts that only others can reach; but if any of it is
// malformed, none of it is to be trusted.
func (c *Client) targets(address string) ([]target, error) {
	all, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, t := range all {
		if c.allowed.ok(t.origin) {
			targets = append(targets, t)
		}
	}
	if targets == nil {
		return nil, refuse("Options allow pushes to none of its hosts")
	}
	return targets, nil
}

// within is ctx, and the Client's timeout.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.opts.Timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.opts.Timeout)
}
