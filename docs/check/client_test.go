package check

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// client is a WebSocket client of the quickstart, in place of the browser.
type client struct {
	id, address string // its ID, and the host:port of its push address
	conn        *websocket.Conn
	events      chan string // what it got, as pages write it; closed at the end
	ended       chan struct{}
	cancel      context.CancelFunc
}

// connect connects a client to the quickstart at server, and reads the greeting.
func connect(server string) (*client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+server+"/ws", nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	_, greeting, err := conn.Read(ctx)
	if err != nil {
		conn.CloseNow()
		return nil, err
	}
	address, _, _ := strings.Cut(string(greeting), ",")
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		conn.CloseNow()
		return nil, fmt.Errorf("the greeting is not an address: %q", greeting)
	}
	c := &client{id: u.User.Username(), address: u.Host, conn: conn, events: make(chan string, 1000), ended: make(chan struct{})}
	ctx, c.cancel = context.WithCancel(context.Background())
	go c.read(ctx)
	return c, nil
}

// read runs until the connection ends. No page shows more events than the channel holds.
func (c *client) read(ctx context.Context) {
	defer close(c.ended)
	defer c.conn.CloseNow()
	for {
		typ, data, err := c.conn.Read(ctx)
		closed := new(websocket.CloseError)
		switch {
		case errors.As(err, closed):
			c.events <- fmt.Sprintf("closed: %d %q", closed.Code, closed.Reason)
			return
		case err != nil:
			return
		case typ == websocket.MessageBinary:
			c.events <- fmt.Sprintf("binary, %d bytes", len(data))
		default:
			c.events <- fmt.Sprintf("%q", data)
		}
	}
}

// next returns the next event, or "" if none comes within timeout.
func (c *client) next(timeout time.Duration) string {
	select {
	case e := <-c.events:
		return e
	case <-time.After(timeout):
		return ""
	}
}

// rest returns everything that the server has sent by now and next has not returned.
func (c *client) rest() (got []string) {
	// Everything sent before the pong has been read once the pong has. If the server has closed the connection instead, read ends.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if c.conn.Ping(ctx) != nil {
		select {
		case <-c.ended:
		case <-ctx.Done():
		}
	}
	for {
		select {
		case e := <-c.events:
			got = append(got, e)
		default:
			return got
		}
	}
}

// gone reports whether the connection has ended.
func (c *client) gone() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *client) close() {
	c.cancel()
	<-c.ended
}
