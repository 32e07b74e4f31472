package publisher

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

const (
	idleTimeout       = 90 * time.Second // below the 2 min after which a worker closes an idle connection
	maxIdlePerHost    = 256
	maxResponseHeader = 64 << 10 // bytes
	h2Silence         = 15 * time.Second
)

// newTransport connects for the Client, with no proxy, whatever the environment says. Dialling ends with ctx.
func newTransport(ctx context.Context, opts *Options) *http.Transport {
	dialer := &net.Dialer{Timeout: opts.DialTimeout}
	return &http.Transport{
		DialContext: func(dialing context.Context, network, addr string) (net.Conn, error) {
			dialing, cancel := context.WithCancel(dialing)
			defer cancel()
			defer context.AfterFunc(ctx, cancel)()
			conn, err := dialer.DialContext(dialing, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: conn}, nil
		},
		TLSClientConfig:        opts.TLS,
		TLSHandshakeTimeout:    opts.DialTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: h2Silence, PingTimeout: h2Silence},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

// countedConn counts what is written, so that it is known when nothing was.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// trace finds out whether anything of a request was sent.
type trace struct {
	mu     sync.Mutex // guards what follows
	conn   net.Conn   // nil before there is one
	reused bool
	before int64 // what had been written to it
	header bool  // the request's header has been made
}

func (t *trace) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.conn, t.reused, t.header = info.Conn, info.Reused, false
			if c := counted(info.Conn); c != nil {
				t.before = c.written.Load()
			}
		},
		WroteHeaderField: func(string, []string) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.header = true
		},
	})
}

// sent reports whether anything may have been sent, and if not, whether the connection had been used before: then it was
// stale, as a rule, and a new one will do. It is right once RoundTrip has returned, which waits for what writes.
func (t *trace) sent() (sent, stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch c := counted(t.conn); {
	case t.conn == nil:
		return false, false
	case c == nil || isHTTP2(t.conn): // which others may be using as well; but nothing is sent without a header
		sent = t.header
	default:
		sent = c.written.Load() != t.before
	}
	return sent, t.reused && !sent
}

func counted(conn net.Conn) *countedConn {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*countedConn)
	return c
}

func isHTTP2(conn net.Conn) bool {
	t, ok := conn.(*tls.Conn)
	return ok && t.ConnectionState().NegotiatedProtocol == "h2"
}
