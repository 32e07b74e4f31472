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

	// TLS is used by Dial for https and wss URLs. The default is that of crypto/tls, which trusts the system's authorities.
	TLS *tls.Config

	// NoGreeting makes Connect return right after the handshake. By default it waits for a first message: set this if the
	// application's Greeting sends none.
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
func ExpectRefused(tb testing.TB, h http.Handler, target string, status int, opts *ClientOptions) *http.Response {
	tb.Helper()
	_, resp, err := connect(tb, serve(tb, h), true, target, opts)
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
	case opts != nil && opts.NoGreeting:
		return c
	}
	if c.Greeting, err = c.next(c.timeout); err != nil {
		tb.Fatalf("connecting to %s: want a greeting; %v. If the application sends none, set NoGreeting", target, err)
	}
	c.ID, c.Addresses = parseGreeting(c.Greeting)
	return c
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
	gated := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l.gate = newGate(conn)
		return l.gate, nil
	}
	transport := &http.Transport{DialContext: gated, TLSClientConfig: o.TLS, DisableKeepAlives: true}
	if inMemory {
		transport.DialTLSContext = gated // without encryption
	}
	ctx, cancel := within(o.Timeout)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			Jar:           o.Jar,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // as browsers do
		},
		HTTPHeader:   o.Header,
		Host:         o.Header.Get("Host"),
		Subprotocols: o.Subprotocols,
		OnPingReceived: func(context.Context, []byte) bool {
			l.pings.Add(1)
			return !o.NoPongs
		},
	})
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the handshake got no response within %v", o.Timeout)
		}
		return nil, resp, err
	}
	l.begin(ws)
	c := &Client{tb: tb, goroutine: goroutine(), timeout: o.Timeout, link: l}
	tb.Cleanup(c.Disconnect)
	return c, resp, nil
}
