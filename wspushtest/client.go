package wspushtest

import (
	"context"
	"errors"
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
// is reported as [testing.T.Errorf] does, and the method returns, with a zero value if with any.
//
// That is also so in a subtest: its goroutine is another, and it is the test that connected the client that fails. The subtest
// goes on and passes. Connect a client with the subtest's *testing.T to have that fail, and end.
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

// Pings returns how many pings the client has received. In a bubble, call [testing/synctest.Wait] before.
func (c *Client) Pings() int { return int(c.link.pings.Load()) }

// Pause has the client read no more, as one does whose network has stalled, until Resume. Pushes to it are then not written, once
// what lies between is full: in memory that holds nothing at all; a network connection has buffers.
func (c *Client) Pause() { c.link.gate.shut() }

// Resume ends a Pause.
func (c *Client) Resume() { c.link.gate.open() }

// Close closes the connection with this code and reason, and waits for the server's answer. It fails the test if there is none,
// for which it waits 5 s, or the connection has ended before. It ends a Pause. Messages that come meanwhile may be dropped.
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
