package check

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// client is a WebSocket client of the quickstart: the browser of the page.
type client struct {
	id, address string // the ID, and host:port of its push address
	conn        *websocket.Conn
	events      chan event
	cancel      context.CancelFunc
	ended       chan struct{}
}

// event is a message to the client, or its end.
type event struct {
	closed bool
	code   int
	binary bool
	size   int // of a binary message
	text   string
}

func (e event) String() string {
	switch {
	case e.closed:
		return fmt.Sprintf("closed: %d %q", e.code, e.text)
	case e.binary && e.size == 1:
		return "binary, 1 byte"
	case e.binary:
		return fmt.Sprintf("binary, %d bytes", e.size)
	}
	return strconv.Quote(e.text)
}

// connect connects a client, and reads its greeting.
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
		return nil, fmt.Errorf("the greeting is no address: %q", greeting)
	}
	c := &client{id: u.User.Username(), address: u.Host, conn: conn, events: make(chan event, 1000), ended: make(chan struct{})}
	ctx, c.cancel = context.WithCancel(context.Background())
	go c.read(ctx)
	return c, nil
}

// read reads until the connection ends. More than the channel holds, no page shows.
func (c *client) read(ctx context.Context) {
	defer close(c.ended)
	defer close(c.events)
	defer c.conn.CloseNow()
	for {
		typ, data, err := c.conn.Read(ctx)
		e := event{binary: typ == websocket.MessageBinary, size: len(data), text: string(data)}
		if err != nil {
			e = event{closed: true, text: err.Error()}
			if frame := new(websocket.CloseError); errors.As(err, frame) {
				e.code, e.text = int(frame.Code), frame.Reason
			}
		}
		select {
		case c.events <- e:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// await waits for what the client gets next, and returns it and all that has come since unless it is that.
func (c *client) await(what string, timeout time.Duration) (got []string, ok bool) {
	select {
	case e, open := <-c.events:
		if open && e.String() == what {
			return nil, true
		}
		if open {
			got = append(got, e.String())
		}
	case <-time.After(timeout):
	}
	return append(got, c.rest()...), false
}

// rest is what the client has got by now and await has not returned.
func (c *client) rest() []string {
	// What the server sent before it answers this has been read then. If it has closed the connection instead, read ends.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if c.conn.Ping(ctx) != nil {
		select {
		case <-c.ended:
		case <-ctx.Done():
		}
	}
	var got []string
	for {
		select {
		case e, open := <-c.events:
			if !open {
				return got
			}
			got = append(got, e.String())
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
