package wspushtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/session"
)

// ClientOptions configures a [Client]. A nil *ClientOptions, and the zero value of each field, mean the defaults.
type ClientOptions struct {
	// Header is added to the handshake: Cookie, Authorization, Origin, User-Agent … A Host in it replaces the target's.
	Header http.Header

	// Jar supplies more cookies and receives those of the response. Usually it is the Jar of an http.Client that has signed in.
	// Its cookies must be for the host that the client connects to.
	Jar http.CookieJar

	// Subprotocols are offered to the server, in order of preference.
	Subprotocols []string

	// Session makes a client that speaks wspush.v1, as client/wspush.js does: where the handler has a ResumeWindow, its connection is a session.
	// Its addresses come in the hello of wspush.v1. If the application makes a Greeting, that is the first message that the test can ask for.
	Session bool

	// TLS is used by Dial for https and wss URLs. The default is that of crypto/tls, which trusts the system's authorities.
	TLS *tls.Config

	// NoGreeting makes Connect return right after the handshake. By default it waits for a first message: set this if the
	// application's Greeting sends none. It means nothing with Session.
	NoGreeting bool

	// NoPongs stops the client from answering pings, as if its machine were gone.
	NoPongs bool

	// Timeout bounds the handshake and each of the client's methods. The default is 5 s.
	Timeout time.Duration
}

const defaultTimeout = 5 * time.Second

// Connect connects a client to h, in memory, and reads its greeting. target is a path, optionally with a query
// ("/ws?user=ada"), or a URL, whose host becomes the request's ("http://chat.example.com/ws"); the default host is example.com,
// as with [net/http/httptest.NewRequest]. Unlike a browser, the client sends no Origin unless Header has one.
//
// Connect ends the test if the handshake is refused or no greeting arrives. The client is disconnected when the test ends.
func Connect(tb testing.TB, h http.Handler, target string, opts *ClientOptions) *Client {
	tb.Helper()
	return mustConnect(tb, serve(tb, h), true, target, opts)
}

// Dial is [Connect] to a server that listens on the network, such as an [net/http/httptest.Server], given an http, https, ws or
// wss URL. In a testing/synctest bubble it ends the test.
func Dial(tb testing.TB, url string, opts *ClientOptions) *Client {
	tb.Helper()
	if inBubble() {
		tb.Fatalf("connecting to %s: %s: use Connect", url, noNetwork)
	}
	return mustConnect(tb, new(net.Dialer).DialContext, false, url, opts)
}

// ExpectRefused connects as [Connect] does, but expects h to refuse the handshake with the given status. It returns the
// response, with the first 1024 bytes of its body. It ends the test if the client is connected or the status is different.
//
// A client with Session is told over its WebSocket that it is refused, since a page could not see the status. 401 then stands for "unauthorized" and
// the close code 3000, 403 for "forbidden" and 3003, 503 for "retry" and 1013; the response is that of the handshake.
func ExpectRefused(tb testing.TB, h http.Handler, target string, status int, opts *ClientOptions) *http.Response {
	tb.Helper()
	c, resp, err := connect(tb, serve(tb, h), true, target, opts)
	if err == nil && c.link.present().speaksV1 {
		var end *CloseError
		switch err := c.greeted(); {
		case err == nil:
		case errors.As(err, &end) && statusFor(end.Code) == status:
			return resp
		default:
			tb.Fatalf("want the client to be refused with status %d; %v", status, err)
		}
	}
	switch {
	case err == nil:
		tb.Fatalf("want the handshake to be refused with status %d; the client is connected", status)
	case resp == nil:
		tb.Fatalf("want the handshake to be refused with status %d; got no response: %v", status, err)
	case resp.StatusCode != status:
		tb.Fatalf("want the handshake to be refused with status %d; %s", status, howRefused(resp, err))
	}
	return resp
}

func mustConnect(tb testing.TB, dial dialFunc, inMemory bool, target string, opts *ClientOptions) *Client {
	tb.Helper()
	c, resp, err := connect(tb, dial, inMemory, target, opts)
	switch {
	case err != nil && resp != nil:
		tb.Fatalf("connecting to %s: %s", target, howRefused(resp, err))
	case err != nil:
		tb.Fatalf("connecting to %s: %v", target, err)
	case c.link.present().speaksV1:
		if err := c.greeted(); err != nil {
			tb.Fatalf("connecting to %s: %v", target, err)
		}
		c.ID, c.Addresses = parseGreeting(Message{wspush.Text, []byte(c.link.present().hello.Address)})
		return c
	case opts != nil && opts.NoGreeting:
		return c
	}
	if c.Greeting, err = c.next(c.timeout); err != nil {
		tb.Fatalf("connecting to %s: want a greeting; %v. If the application sends none, set NoGreeting", target, err)
	}
	c.ID, c.Addresses = parseGreeting(c.Greeting)
	return c
}

// greeted waits for the hello of a client that speaks wspush.v1.
func (c *Client) greeted() error {
	ctx, cancel := within(c.timeout)
	defer cancel()
	err := c.link.greeting(ctx, c.link.present())
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no hello of wspush.v1 has arrived within %v", c.timeout)
	}
	return err
}

// howRefused describes how a handshake failed.
func howRefused(resp *http.Response, err error) string {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Sprintf("the response is invalid: %v", err)
	}
	body, _ := io.ReadAll(resp.Body) // it is in memory
	return fmt.Sprintf("the handshake was refused with status %s: %s", resp.Status, quote(body))
}

// connect makes a client, which tb's clean-up ends. The response is the server's, or nil if there was none.
func connect(tb testing.TB, dial dialFunc, inMemory bool, target string, opts *ClientOptions) (*Client, *http.Response, error) {
	var o ClientOptions
	if opts != nil {
		o = *opts
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if inMemory && strings.HasPrefix(target, "/") {
		target = "http://example.com" + target
	}
	l := newLink()
	l.dial = func(ctx context.Context, resume string) (*webSocket, error) {
		w, resp, err := l.connect(ctx, dial, inMemory, target, &o, resume)
		if err != nil && resp != nil {
			err = errors.New(howRefused(resp, err))
		}
		return w, err
	}
	ctx, cancel := within(o.Timeout)
	defer cancel()
	w, resp, err := l.connect(ctx, dial, inMemory, target, &o, "")
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the handshake got no response within %v", o.Timeout)
	}
	if err != nil {
		return nil, resp, err
	}
	l.begin(w)
	c := &Client{tb: tb, goroutine: goroutine(), timeout: o.Timeout, link: l}
	tb.Cleanup(l.cutAll)
	return c, resp, nil
}

// connect makes a WebSocket, which nobody reads yet. resume is "TICKET.OFFSET" for a client that comes back.
func (l *link) connect(ctx context.Context, dial dialFunc, inMemory bool, target string, o *ClientOptions, resume string) (*webSocket, *http.Response, error) {
	w := newWebSocket()
	gated := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w.gate = newGate(conn)
		return w.gate, nil
	}
	transport := &http.Transport{DialContext: gated, TLSClientConfig: o.TLS, DisableKeepAlives: true}
	if inMemory {
		transport.DialTLSContext = gated // without encryption
	}
	offers := o.Subprotocols
	if o.Session {
		offers = []string{session.Subprotocol}
		if resume != "" {
			offers = append(offers, resumePrefix+resume)
		}
		offers = append(offers, o.Subprotocols...)
	}
	ws, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			Jar:           o.Jar,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // as browsers do
		},
		HTTPHeader:   o.Header,
		Host:         o.Header.Get("Host"),
		Subprotocols: offers,
		OnPingReceived: func(context.Context, []byte) bool {
			l.pings.Add(1)
			return !o.NoPongs
		},
	})
	if err != nil {
		return nil, resp, err
	}
	w.ws, w.speaksV1 = ws, o.Session
	if o.Session && ws.Subprotocol() != session.Subprotocol {
		_ = ws.CloseNow()
		return nil, nil, fmt.Errorf("the server does not speak %s: it has chosen the subprotocol %q", session.Subprotocol, ws.Subprotocol())
	}
	return w, resp, nil
}
