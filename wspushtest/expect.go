package wspushtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wspush/wspush"
)

// Expect takes the next message, and fails the test unless it is this text message.
func (c *Client) Expect(text string) {
	c.tb.Helper()
	c.expect(Message{wspush.Text, []byte(text)})
}

// ExpectBinary takes the next message, and fails the test unless it is this binary message.
func (c *Client) ExpectBinary(data []byte) {
	c.tb.Helper()
	c.expect(Message{wspush.Binary, data})
}

func (c *Client) expect(want Message) {
	c.tb.Helper()
	switch got, err := c.next(c.timeout); {
	case err != nil:
		c.fatalf("want %v; %v", want, err)
	case got.Type != want.Type || !bytes.Equal(got.Data, want.Data):
		c.fatalf("want %v; got %v", want, got)
	}
}

// ExpectNothing fails the test if a message arrives within d or the connection ends. If d is 0 or less, it checks only what has
// arrived already. In a bubble, a message that arrives exactly when d ends may or may not be seen: use a nanosecond less.
func (c *Client) ExpectNothing(d time.Duration) {
	c.tb.Helper()
	got, err := c.next(d)
	var end *CloseError
	switch {
	case err == nil:
		c.fatalf("want nothing for %v; got %v", d, got)
	case errors.As(err, &end):
		c.fatalf("want nothing for %v; %v", d, end)
	}
}

// ExpectClose fails the test unless the connection ends with this code before any further message. It returns the reason. Code
// 1006 means an end without a close frame.
func (c *Client) ExpectClose(code int) (reason string) {
	c.tb.Helper()
	got, err := c.next(c.timeout)
	var end *CloseError
	switch {
	case err == nil:
		c.fatalf("want the connection to be closed with %d; got %v", code, got)
		return ""
	case !errors.As(err, &end) || end.Code != code:
		c.fatalf("want the connection to be closed with %d; %v", code, err)
		return ""
	}
	return end.Reason
}

// Next takes the next message. It fails the test if none comes.
func (c *Client) Next() Message {
	c.tb.Helper()
	m, err := c.next(c.timeout)
	if err != nil {
		c.fatalf("want a message; %v", err)
	}
	return m
}

// Receive takes the next message and never fails the test: the error is a [*CloseError] once the connection has ended, or
// ctx's. Only ctx bounds the wait.
func (c *Client) Receive(ctx context.Context) (Message, error) { return c.link.next(ctx) }

// next is Receive with a timeout of d, which a timeout's error mentions.
func (c *Client) next(d time.Duration) (Message, error) {
	ctx, cancel := within(d)
	defer cancel()
	m, err := c.link.next(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("nothing arrived within %v", d)
	}
	return m, err
}
