package wspushtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/session"
)

// Client is a WebSocket client that fails its test when anything but the expected happens.
//
// It reads continuously, as a browser does, and queues messages until the test asks for them. So pings are answered, and pushes
// to it complete, while the test does something else. Messages that the test never asks for are not failures.
//
// All methods may be called from any goroutine; each message goes to only one caller. In the goroutine that connected the
// client, which is the test's, a failure ends the test, as [testing.T.FailNow] does. Another goroutine cannot end the test:
// there a failure is reported as with [testing.T.Errorf], and the method returns, with zero values.
//
// A subtest is such another goroutine: a failure there fails the test that connected the client, while the subtest goes on and
// passes. To fail and end the subtest instead, connect a client with the subtest's own *testing.T.
type Client struct {
	ID        string   // of the connection, or its token; "" where the greeting is not that of wspush
	Addresses []string // of the connection, as the greeting has them; nil where it is not that of wspush
	Greeting  Message  // the first message; none with NoGreeting, nor with Session

	tb        testing.TB
	goroutine uint64 // which may end the test
	timeout   time.Duration
	link      *link
}

const noID = "the greeting is not wspush's default, so the connection's ID is unknown: find it and set Client.ID"

// Address returns the first of Addresses. It fails the test if there is none.
func (c *Client) Address() string {
	c.tb.Helper()
	if len(c.Addresses) == 0 {
		c.fatalf("the client has no address: %v is not wspush's default greeting", c.Greeting)
		return ""
	}
	return c.Addresses[0]
}

// Subprotocol returns the negotiated subprotocol, or "": the application's, which is never wspush.v1.
func (c *Client) Subprotocol() string {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ws.speaksV1 {
		return l.hello.Protocol
	}
	return l.ws.ws.Subprotocol()
}

// Within returns a Client for the same connection whose methods, and Server.Push to it, wait for at most d. If d is 0 or less,
// they do not wait.
func (c *Client) Within(d time.Duration) *Client {
	within := *c
	within.timeout = d
	return &within
}

// Send sends a text message, without checking that it is UTF-8. It fails the test if the message cannot be written.
func (c *Client) Send(text string) {
	c.tb.Helper()
	c.send(Message{wspush.Text, []byte(text)})
}

// SendBinary sends a binary message. It fails the test if the message cannot be written.
func (c *Client) SendBinary(data []byte) {
	c.tb.Helper()
	c.send(Message{wspush.Binary, data})
}

func (c *Client) send(m Message) {
	c.tb.Helper()
	w, typ, data := c.link.present(), websocket.MessageText, m.Data
	switch {
	case m.Type == wspush.Binary:
		typ = websocket.MessageBinary
	case w.speaksV1:
		data = session.Escape(data)
	}
	ctx, cancel := within(c.timeout)
	defer cancel()
	err := w.ws.Write(ctx, typ, data)
	switch end := c.link.endError(); {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		c.fatalf("sending %v: the server did not read it within %v; the connection is closed", m, c.timeout)
	case end != nil:
		c.fatalf("sending %v: %v", m, end)
	default:
		c.fatalf("sending %v: %v", m, err)
	}
}

// Pings returns how many pings the client has received. In a bubble, call [testing/synctest.Wait] first.
func (c *Client) Pings() int { return int(c.link.pings.Load()) }

// Pause stops the client from reading, as if its network had stalled, until Resume. Pushes to it then block once everything in
// between is full: in memory there is no buffer at all; a network connection has some.
func (c *Client) Pause() { c.link.present().gate.shut() }

// Resume ends a Pause. It is no return to a session: see Reconnect.
func (c *Client) Resume() { c.link.present().gate.open() }

// Close closes the connection with this code and reason, and waits for the server's answer. It fails the test if none comes
// within 5 s, or if the connection has already ended. It ends a Pause. Messages that arrive meanwhile may be dropped. It
// ends a session if code is 1000, or 3000 to 4999 but for 3901, "I shall be back"; any other code suspends it.
func (c *Client) Close(code int, reason string) {
	c.tb.Helper()
	c.Resume()
	if err := c.link.close(code, reason); err != nil {
		c.fatalf("closing with %d %q: %v", code, reason, err)
	}
}

// Disconnect drops the connection without a close frame, as when the network is lost. It does nothing if the connection has
// already ended. A session is suspended: see Suspend.
func (c *Client) Disconnect() { c.link.cut() }

// fatalf ends the test if called from the goroutine that can; otherwise it marks the test as failed and returns.
func (c *Client) fatalf(format string, args ...any) {
	c.tb.Helper()
	if goroutine() == c.goroutine {
		c.tb.Fatalf(format, args...)
	} else {
		c.tb.Errorf(format, args...)
	}
}
