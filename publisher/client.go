package publisher

import (
	"container/list"
	"context"
	"net/http"
	"sync"

	"github.com/wspush/wspush/internal/wire"
)

// MessageType is the type of a WebSocket message: Text or Binary, and no other value. It is an int type, the same as in package
// wspush; its String method returns "text" or "binary".
type MessageType = wire.MessageType

// The types of messages.
const (
	Text   = wire.Text   // valid UTF-8
	Binary = wire.Binary // any bytes
)

// Client pushes to connections of the workers that its options allow. It is safe for concurrent use. It keeps connections to
// workers open until Close, or until they have been unused for 90 s; all its goroutines belong to them, or to its Streams.
type Client struct {
	opts      Options // with defaults; 0 means no limit
	allowed   *allowed
	workers   []target // to ask about users and groups; their IDs are ""
	transport *http.Transport
	bulk      *http.Client // for streams
	memory    memory
	moves     moves

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex // guards closed, and orders running.Add before Close's running.Wait
	closed  bool
	running sync.WaitGroup // calls for single connections, and goroutines of streams
}

// New makes a Client, which must be closed. It returns an error if opts do not say where pushes may go, or make no sense. opts is
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
	workers, err := parseWorkers(o.Workers)
	if err != nil {
		return nil, err
	}
	c := &Client{opts: o, allowed: a, workers: workers, memory: memory{worked: make(map[string]string)}, moves: moves{entries: make(map[string]*list.Element)}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.transport = newTransport(c.ctx, &o)
	c.bulk = &http.Client{Transport: c.transport}
	return c, nil
}

// Close ends the Client: later calls fail with ErrClosed, streams that are still open are cut off, calls under way are waited
// for, and all connections are closed. It may be called more than once, but not from Options.Allow, Dial or CredentialFunc, nor
// from the done function of Stream.Send: it waits for them.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	c.transport.CloseIdleConnections()
}

// enter counts a call. The caller must call c.running.Done at its end.
func (c *Client) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.running.Add(1)
	return nil
}

// targets returns the targets of an address that are allowed. An address may name hosts that only others can reach. But if any
// part of it is malformed, no part of it is trusted.
func (c *Client) targets(address string) ([]target, error) {
	if wire.IsID(address) || wire.IsSealedID(address) {
		if len(c.workers) == 0 {
			return nil, refuse("it is an ID, and Options.Workers does not say which worker to ask")
		}
		return at(c.workers, address), nil
	}
	all, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	var targets []target
	refused, reason := all[0].origin, errNotAllowed
	for _, t := range all {
		switch err := c.allowed.check(t.origin); err {
		case nil:
			targets = append(targets, t)
		case errHTTP:
			refused, reason = t.origin, err // it says more
		}
	}
	if targets == nil {
		return nil, refusal(refused, reason)
	}
	return targets, nil
}

// within returns ctx with the Client's timeout.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.opts.Timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.opts.Timeout)
}
