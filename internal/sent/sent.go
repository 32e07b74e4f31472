// Package sent tells whether anything of an HTTP request has been sent. What the answer decides is whether a push that has
// failed may be sent again: net/http sends only those again of which it knows that it does no harm.
package sent

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// Conn is a connection that counts what is written to it. Transports whose requests are traced must have such connections.
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

// Trace finds out whether anything of one request was sent. The zero value is ready.
type Trace struct {
	mu     sync.Mutex // guards what follows
	conn   net.Conn   // nil before there is one
	reused bool
	before int64 // what had been written to it
	header bool  // the request's header has been made
}

// Attach returns the context for the request, to be sent by a Transport.
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

// Sent reports whether anything may have been sent, and if not, whether the connection had been used before: then it was
// stale, as a rule, and a new one will do. It is right once RoundTrip has returned, which waits for what writes.
func (t *Trace) Sent() (sent, stale bool) {
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
