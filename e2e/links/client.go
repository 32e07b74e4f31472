//go:build linux

package main

import (
	"context"
	"slices"
	"sync"

	"github.com/coder/websocket"
)

// client is a client of a worker, and what it has received.
type client struct {
	id    string // sealed
	conn  *websocket.Conn
	ended chan struct{} // closed when the connection has ended
	err   error         // why; read it only after ended

	mu    sync.Mutex // guards what follows
	got   []stamp
	fault error
}

// connect connects n clients to a worker. They end with the scenario.
func (p *place) connect(n int) ([]*client, error) {
	var all []*client
	for range n {
		c, err := connect(p.scene.ctx, "ws://"+p.set.App+"/ws")
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func connect(ctx context.Context, url string) (*client, error) {
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	_, greeting, err := conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	c := &client{id: string(greeting), conn: conn, ended: make(chan struct{})}
	go c.read(ctx)
	return c, nil
}

func (c *client) read(ctx context.Context) {
	defer close(c.ended)
	for {
		_, data, err := c.conn.Read(ctx)
		if err != nil {
			c.err = err
			_ = c.conn.CloseNow()
			return
		}
		s, err := readStamp(string(data))
		c.mu.Lock()
		if err != nil && c.fault == nil {
			c.fault = err
		}
		c.got = append(c.got, s)
		c.mu.Unlock()
	}
}

func (c *client) received() []stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// wrong returns what was wrong with the first damaged message.
func (c *client) wrong() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

// forget forgets what has been received.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = nil
}
