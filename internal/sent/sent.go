// Package sent finds out whether any byte of an HTTP request was sent. That decides whether a failed push may be sent again:
// net/http retries only the requests that it knows are harmless to repeat.
package sent

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// Conn wraps a connection to count the bytes written to it. Transports whose requests are traced must use such connections.
func Conn(c net.Conn) net.Conn { return &countedConn{Conn: c} }

type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// Trace finds out whether any byte of one request was sent. The zero value is ready to use.
type Trace struct {
	mu     sync.Mutex // guards the fields below
	conn   net.Conn   // nil until the request has one
	reused bool
	before int64 // bytes written to conn before this request
	header bool  // the request's header has been encoded
}

// Attach returns the context to send the request with. The request must go through an http.Transport.
func (t *Trace) Attach(ctx context.Context) context.Context {
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

// Sent reports whether any byte may have been sent. If not, stale reports whether the connection had been used before: then the
// server had probably closed it, and a new connection will do. Call Sent only after RoundTrip has returned, since that waits
// for writes.
func (t *Trace) Sent() (sent, stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch c := counted(t.conn); {
	case t.conn == nil:
		return false, false
	case c == nil || isHTTP2(t.conn): // others may be writing to it as well, but nothing is sent without a header
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
