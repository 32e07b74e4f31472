package testutil

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// Options configures how a [Client] connects and behaves. The zero value is an ordinary client of /ws.
type Options struct {
	// Path is the request target, sent as it is: escaped, and with its query. The default is the path of the URL given to Dial,
	// if it has one, or else "/ws".
	Path string

	// Header is added to the request (Origin, Sec-WebSocket-Protocol, Sec-WebSocket-Extensions, User-Agent …). It replaces
	// headers that the handshake sends anyway, Host included; a name without values removes that header.
	Header http.Header

	// Early is sent in the same write as the handshake: frames that arrive together with it.
	Early []byte

	// TLS is used for wss and https. By default any certificate is accepted.
	TLS *tls.Config

	// Silent keeps the client from answering pings and closes, as a dead peer does. It still reads.
	Silent bool

	// Timeout bounds each frame read, each write and each step of the handshake, so that a test fails instead of hanging. The
	// default is 30 s; a negative value sets no deadlines at all.
	Timeout time.Duration
}

// Dial connects to a ws, wss, http or https URL, which must name a port, and performs the handshake. It ends the
// test if that fails.
func Dial(tb testing.TB, rawURL string, opts Options) *Client {
	tb.Helper()
	c, resp, err := TryDial(tb, rawURL, opts)
	mustUpgrade(tb, resp, err)
	return c
}

// TryDial is [Dial] for a test that expects a refusal or that connects in another goroutine; see [TryHandshake].
func TryDial(tb testing.TB, rawURL string, opts Options) (*Client, *http.Response, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, nil, err
	}
	if opts.Path == "" && u.Path != "" {
		opts.Path = u.RequestURI()
	}
	conn, err := dial(u, opts)
	if err != nil {
		return nil, nil, err
	}
	return handshake(tb, conn, u.Host, opts)
}

// Handshake performs the handshake on an open connection, such as one from [Pipe], using the connection's remote address
// ("pipe") as the Host. It ends the test if the handshake fails, and closes conn when the test ends.
func Handshake(tb testing.TB, conn net.Conn, opts Options) *Client {
	tb.Helper()
	c, resp, err := TryHandshake(tb, conn, opts)
	mustUpgrade(tb, resp, err)
	return c
}

// TryHandshake is [Handshake] for a test that expects a refusal or that runs it in another goroutine. On an error it closes the
// connection; the response, nil if there was none, holds its whole body in memory.
func TryHandshake(tb testing.TB, conn net.Conn, opts Options) (*Client, *http.Response, error) {
	return handshake(tb, conn, conn.RemoteAddr().String(), opts)
}

// mustUpgrade ends the test unless the handshake succeeded.
func mustUpgrade(tb testing.TB, resp *http.Response, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	var body []byte
	if resp != nil {
		body, _ = io.ReadAll(resp.Body)
	}
	tb.Fatalf("WebSocket handshake: %v; body: %s", err, quote(body))
}

func dial(u *url.URL, opts Options) (net.Conn, error) {
	d := &net.Dialer{Timeout: opts.timeout()}
	switch u.Scheme {
	case "ws", "http":
		return d.Dial("tcp", u.Host)
	case "wss", "https":
		config := cmp.Or(opts.TLS, &tls.Config{InsecureSkipVerify: true})
		return tls.DialWithDialer(d, "tcp", u.Host, config)
	}
	return nil, fmt.Errorf("no WebSocket at %q", u)
}

// timeout returns the limit for one operation; 0 means none.
func (o Options) timeout() time.Duration {
	return max(cmp.Or(o.Timeout, patience), 0)
}

func handshake(tb testing.TB, conn net.Conn, host string, opts Options) (*Client, *http.Response, error) {
	tb.Cleanup(func() { _ = conn.Close() })
	c := &Client{
		tb: tb, conn: conn, br: bufio.NewReader(conn), turn: make(chan struct{}, 1),
		timeout: opts.timeout(), silent: opts.Silent,
	}
	header := requestHeader(host, opts.Header)
	// Write the request while reading the response: a net.Pipe has no buffer, so with a server that answers before it has read
	// all of Early, both sides would wait for each other.
	sent := make(chan error, 1)
	go func() { sent <- c.write(requestBytes(header, opts)) }()

	c.setReadDeadline()
	resp, err := http.ReadResponse(c.br, &http.Request{Method: http.MethodGet})
	if err != nil {
		_ = conn.Close()
		return nil, nil, errors.Join(fmt.Errorf("reading the response: %w", err), <-sent)
	}
	c.response = resp
	if err = checkResponse(resp, header); err == nil {
		return c, resp, nil
	}
	body, bodyErr := io.ReadAll(io.LimitReader(resp.Body, maxPayload))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	_ = conn.Close()
	return nil, resp, errors.Join(err, bodyErr)
}

// requestHeader returns the handshake's header, with extra's entries replacing its own.
func requestHeader(host string, extra http.Header) http.Header {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	header := http.Header{}
	header.Set("Host", host)
	header.Set("Upgrade", "websocket")
	header.Set("Connection", "Upgrade")
	header.Set("Sec-WebSocket-Version", "13")
	header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(nonce[:]))
	for name, values := range extra {
		// A test may write a map literal with "Sec-WebSocket-Protocol", which is not Go's canonical form.
		header[http.CanonicalHeaderKey(name)] = values
	}
	return header
}

func requestBytes(header http.Header, opts Options) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\n", cmp.Or(opts.Path, "/ws"))
	_ = header.Write(&b) // writing to a bytes.Buffer never fails
	b.WriteString("\r\n")
	b.Write(opts.Early)
	return b.Bytes()
}

// checkResponse makes the checks that a browser makes (RFC 6455, section 4.1, from "the client MUST validate").
func checkResponse(resp *http.Response, asked http.Header) error {
	accept := acceptKey(asked.Get("Sec-WebSocket-Key"))
	upgrade := func(token string) bool { return strings.EqualFold(token, "upgrade") }
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("refused with %s", resp.Status)
	case !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket"):
		return fmt.Errorf("101 with Upgrade %q", resp.Header.Values("Upgrade"))
	case !slices.ContainsFunc(tokens(resp.Header, "Connection"), upgrade):
		return fmt.Errorf("101 with Connection %q", resp.Header.Values("Connection"))
	case !slices.Equal(resp.Header.Values("Sec-WebSocket-Accept"), []string{accept}):
		return fmt.Errorf("101 with Sec-WebSocket-Accept %q, not %q", resp.Header.Values("Sec-WebSocket-Accept"), accept)
	case len(tokens(resp.Header, "Sec-WebSocket-Protocol")) > 1:
		return fmt.Errorf("101 with subprotocols %q", resp.Header.Values("Sec-WebSocket-Protocol"))
	}
	for _, name := range []string{"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
		for _, token := range tokens(resp.Header, name) {
			if !slices.Contains(tokens(asked, name), token) {
				return fmt.Errorf("101 with %s %q, which was not asked for", name, token)
			}
		}
	}
	return nil
}

// acceptKey returns the Sec-WebSocket-Accept for key, for a test that plays the server.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tokens returns the elements of a comma-separated header, without their parameters.
func tokens(header http.Header, name string) []string {
	var list []string
	for _, value := range header.Values(name) {
		for element := range strings.SplitSeq(value, ",") {
			token, _, _ := strings.Cut(element, ";")
			if token = strings.TrimSpace(token); token != "" {
				list = append(list, token)
			}
		}
	}
	return list
}
