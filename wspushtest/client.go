package wspushtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// Client is a WebSocket client that fails its test when something else happens than was expected.
//
// It reads all the time, as a browser does, and keeps what comes until the test asks for it: pings are answered and pushes
// written meanwhile. What nobody asks for is no failure.
//
// All methods may be called from any goroutine, and each message is given to one of the callers. In the goroutine that connected the
// client, which is the test's, a failure ends the test, as [testing.T.FailNow] does. In any other, which cannot end it, a failure
// is reported as [testing.T.Errorf] does, and the method returns.
type Client struct {
	ID        string   // of the connection, or its token; "" where the greeting is not that of wspush
	Addresses []string // of the connection, as the greeting has them; nil where it is not that of wspush
	Greeting  Message  // the first message; none with NoGreeting

	tb        testing.TB
	goroutine uint64 // which may end the test
	timeout   time.Duration
	link      *link
}

const noID = "the greeting, which is not that of wspush, does not say what the connection's ID is: find it, and set Client.ID"

// Address returns the first of Addresses. It fails the test if there is none.
func (c *Client) Address() string {
	c.tb.Helper()
	if len(c.Addresses) == 0 {
		c.fatalf("the client has no address: %v is not a greeting of wspush", c.Greeting)
		return ""
	}
	return c.Addresses[0]
}

// Subprotocol returns what was negotiated, or "".
func (c *Client) Subprotocol() string { return c.link.ws.Subprotocol() }

// Within returns a Client for the same connection whose methods wait for d, and no longer, and so does Server.Push to it. If d is
// not more than 0, they do not wait.
func (c *Client) Within(d time.Duration) *Client {
	within := *c
	within.timeout = d
	return &within
}

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

// ExpectNothing fails the test if a message comes within d, or the connection ends. If d is not more than 0, it looks at what has
// come already. In a bubble, what comes at the very moment at which d is over may be seen or not: take a nanosecond less.
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

// ExpectClose fails the test unless the connection ends with this code, and no message before. It returns the reason. 1006 stands
// for an end without a close frame.
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

// Receive takes the next message, and never fails the test: the error is a [*CloseError] when the connection has ended, or
// ctx's. Only ctx bounds it.
func (c *Client) Receive(ctx context.Context) (Message, error) { return c.link.next(ctx) }

// next is Receive for d. The error also says for how long it has waited.
func (c *Client) next(d time.Duration) (Message, error) {
	ctx, cancel := within(d)
	defer cancel()
	m, err := c.link.next(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("nothing came within %v", d)
	}
	return m, err
}

// Send sends a text message, which is not checked to be UTF-8. It fails the test if that cannot be written.
func (c *Client) Send(text string) {
	c.tb.Helper()
	c.send(Message{wspush.Text, []byte(text)})
}

// SendBinary sends a binary message. It fails the test if that cannot be written.
func (c *Client) SendBinary(data []byte) {
	c.tb.Helper()
	c.send(Message{wspush.Binary, data})
}

func (c *Client) send(m Message) {
	c.tb.Helper()
	typ := websocket.MessageText
	if m.Type == wspush.Binary {
		typ = websocket.MessageBinary
	}
	ctx, cancel := within(c.timeout)
	defer cancel()
	err := c.link.ws.Write(ctx, typ, m.Data)
	switch end := c.link.endError(); {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		c.fatalf("sending %v: the server did not take it within %v, and the connection is given up", m, c.timeout)
	case end != nil:
		c.fatalf("sending %v: %v", m, end)
	default:
		c.fatalf("sending %v: %v", m, err)
	}
}

// Pings returns how many pings the client has received. In a bubble, call [synctest.Wait] before.
func (c *Client) Pings() int { return int(c.link.pings.Load()) }

// Pause has the client read no more, as one does whose network has stalled, until Resume. Pushes to it are then not written, once
// what lies between is full: in memory that holds nothing at all; a network connection has buffers.
func (c *Client) Pause() { c.link.gate.shut() }

// Resume ends a Pause.
func (c *Client) Resume() { c.link.gate.open() }

// Close closes the connection with this code and reason, and waits for the server's answer. It fails the test if there is none,
// for which it waits 5 s, or the connection has ended before. It ends a Pause. Messages that have come may still be received.
func (c *Client) Close(code int, reason string) {
	c.tb.Helper()
	c.Resume()
	if err := c.link.close(code, reason); err != nil {
		c.fatalf("closing with %d %q: %v", code, reason, err)
	}
}

// Disconnect drops the connection without a close frame, as when the network is lost. Nothing happens if it has ended.
func (c *Client) Disconnect() { c.link.cut() }

// fatalf ends the test, if it is called in a goroutine that can; otherwise the test fails, and goes on.
func (c *Client) fatalf(format string, args ...any) {
	c.tb.Helper()
	if goroutine() == c.goroutine {
		c.tb.Fatalf(format, args...)
	} else {
		c.tb.Errorf(format, args...)
	}
}
