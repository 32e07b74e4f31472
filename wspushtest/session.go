package wspushtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/session"
)

// hello is the first message to a client that speaks wspush.v1.
type hello struct {
	Address  string // "" if the application has a greeting of its own
	Ticket   string // "" if there is no session
	Protocol string // the application's subprotocol
	Resumed  bool
	Offset   uint64
	Missed   uint64
	Why      string // a client that wanted its session has got a new one
	Refused  string // why there is no connection
}

// resumePrefix begins the subprotocol that brings a client back; "TICKET.OFFSET" follows.
const resumePrefix = "wspush.resume."

var errHello = errors.New("the first message is not the hello of wspush.v1")

func parseHello(data []byte) (h hello, err error) {
	if json.Unmarshal(data, &h) != nil || !bytes.HasPrefix(data, []byte(`{"address":`)) && h.Refused == "" {
		return hello{}, fmt.Errorf("%w: %s", errHello, quote(data))
	}
	return h, nil
}

// greeting waits for the hello of a WebSocket. The error is a *CloseError if the end came in place of it.
func (l *link) greeting(ctx context.Context, w *webSocket) error {
	select {
	case <-w.greeted:
		return nil
	case <-w.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-w.greeted: // and then came the end
		return nil
	default:
	}
	if w.wrongHello != nil {
		return w.wrongHello
	}
	return w.end
}

var (
	errNoSession = errors.New("the client has no session: ClientOptions.Session is not set, or the handler has no ResumeWindow")
	errReturning = errors.New("the client is coming back already")
)

// resume comes back to the session, and waits for the hello.
func (l *link) resume(ctx context.Context) (h hello, err error) {
	offer, old, err := l.leave()
	if err != nil {
		return hello{}, err
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.isReturning = false
	}()
	old.gate.vanish() // if it has ended, nobody will notice
	w, err := l.dial(ctx, offer)
	if err != nil {
		return hello{}, err
	}
	l.begin(w)
	if err := l.greeting(ctx, w); err != nil {
		return hello{}, err
	}
	return w.hello, nil
}

// leave gives up the present WebSocket. What comes by it from now on does not count, so that the offer is right: TICKET.OFFSET.
func (l *link) leave() (offer string, old *webSocket, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.hello.Ticket == "":
		return "", nil, errNoSession
	case l.isReturning:
		return "", nil, errReturning
	}
	l.isReturning, l.ws.isLeft = true, true
	return l.hello.Ticket + "." + strconv.FormatUint(l.count, 10), l.ws, nil
}

// Vanish makes the client fall silent, as when its network is lost without a word: nothing that it sends arrives any more, it reads nothing and
// answers no pings, and the worker can only notice by itself. Reconnect brings a client with a session back, to a worker that has noticed or that
// has not; Disconnect ends the silence of any client.
func (c *Client) Vanish() { c.link.present().gate.vanish() }

// Suspend drops the connection, as Disconnect does, and returns when w, which holds it, has suspended the session: what is pushed from then on is
// [wspush.Buffered]. It fails the test if the client has no session. In a bubble it calls [testing/synctest.Wait].
func (c *Client) Suspend(w *wspush.Worker) {
	c.tb.Helper()
	conn := c.connOf(w)
	if conn == nil {
		c.fatalf("suspending the session: the worker does not hold the client's connection")
		return
	}
	if !conn.Info().Session {
		c.fatalf("suspending the session: %v", errNoSession)
		return
	}
	c.Disconnect()
	if inBubble() {
		synctest.Wait() // or time would pass
	}
	ctx, cancel := within(c.timeout)
	defer cancel()
	again := time.NewTicker(suspendInterval)
	defer again.Stop()
	for !conn.Info().Suspended {
		select {
		case <-again.C:
		case <-conn.Context().Done():
			c.fatalf("suspending the session: it has ended: %v", context.Cause(conn.Context()))
			return
		case <-ctx.Done():
			c.fatalf("suspending the session: the worker has not noticed within %v", c.timeout)
			return
		}
	}
}

// suspendInterval is how often Suspend looks.
const suspendInterval = time.Millisecond

// connOf returns the client's connection, or nil.
func (c *Client) connOf(w *wspush.Worker) *wspush.Conn {
	if conn, ok := w.Conn(c.ID); ok {
		return conn
	}
	for conn := range w.Conns() { // a sealed ID is found by no map
		if c.ID != "" && conn.SealedID() == c.ID {
			return conn
		}
	}
	return nil
}

// Reconnect brings the client back to its session by a new WebSocket, to the same handler with the same ClientOptions: it has the client's ticket, and
// says how many messages have arrived. It fails the test unless the session is resumed, and no message is lost. What was pushed meanwhile
// then arrives, after the messages that the test has not asked for yet.
//
// If the old WebSocket is still open, it is left as Vanish leaves it: the worker closes it.
func (c *Client) Reconnect() {
	c.tb.Helper()
	switch h, err := c.comeBack(); {
	case err != nil:
		c.fatalf("want the session to be resumed; %v", err)
	case !h.Resumed:
		c.fatalf("want the session to be resumed; it is lost (%s), and the client has a new one", h.Why)
	case h.Missed > 0:
		c.fatalf("want the session to be resumed; it is, but %d messages are lost", h.Missed)
	}
}

// ExpectNewSession brings the client back as Reconnect does, but fails the test unless its session is lost for this reason: "expired", because
// it was away for longer than the ResumeWindow, or "unknown", because it was for more than twice as long, or had ended the session itself. The client has a new session then. ID and Addresses are changed in this
// Client, and not in those that Within has made of it.
func (c *Client) ExpectNewSession(why string) {
	c.tb.Helper()
	switch h, err := c.comeBack(); {
	case err != nil:
		c.fatalf("want a new session (%s); %v", why, err)
	case h.Resumed:
		c.fatalf("want a new session (%s); the former one is resumed", why)
	case h.Why != why:
		c.fatalf("want a new session (%s); got one (%s)", why, h.Why)
	default:
		c.ID, c.Addresses = parseGreeting(Message{wspush.Text, []byte(h.Address)})
	}
}

// ExpectDismissed brings the client back as Reconnect does, but fails the test unless it is closed with this code, and gets no session. That is
// 3000 if Accept says [wspush.ErrUnauthorized], 3003 for [wspush.ErrForbidden] or another user, 1013 for any other error and during Shutdown, and
// for a session that has been closed meanwhile its code. It returns the reason. The client may try again.
func (c *Client) ExpectDismissed(code int) (reason string) {
	c.tb.Helper()
	h, err := c.comeBack()
	var end *CloseError
	switch {
	case err == nil && h.Resumed:
		c.fatalf("want the client to be dismissed with %d; its session is resumed", code)
		return ""
	case err == nil:
		c.fatalf("want the client to be dismissed with %d; it has a new session (%s)", code, h.Why)
		return ""
	case !errors.As(err, &end) || end.Code != code:
		c.fatalf("want the client to be dismissed with %d; %v", code, err)
		return ""
	}
	return end.Reason
}

// comeBack is resume within the client's timeout.
func (c *Client) comeBack() (hello, error) {
	ctx, cancel := within(c.timeout)
	defer cancel()
	h, err := c.link.resume(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the worker has not answered within %v", c.timeout)
	}
	return h, err
}

// statusFor returns the status with which a client would be refused that does not speak wspush.v1, for a close code; 0 for any other code.
func statusFor(code int) int {
	switch code {
	case session.CodeUnauthorized:
		return 401
	case session.CodeForbidden:
		return 403
	case codeTryAgain:
		return 503
	}
	return 0
}

const codeTryAgain = 1013
