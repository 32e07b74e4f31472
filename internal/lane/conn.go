package lane

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// bufferSize is the size of the largest plain push, header and body together.
const bufferSize = 4 << 10

// conn is one publisher's connection on which all requests so far have been plain pushes. Every field except idle is owned by
// the goroutine running serve.
type conn struct {
	listener *Listener
	raw      net.Conn
	in       *bufio.Reader
	readBy   time.Time // the deadlines that are set
	writeBy  time.Time
	idle     atomic.Bool // between two requests
}

func newConn(l *Listener, raw net.Conn) *conn {
	return &conn{listener: l, raw: raw, in: bufio.NewReaderSize(raw, bufferSize)}
}

// serve answers plain pushes until something else arrives, or the connection ends.
func (c *conn) serve() {
	isHandedOver := false
	defer func() { // also when the application's Logger ends the goroutine
		if !isHandedOver {
			c.raw.Close()
		}
	}()
	config := &c.listener.config
	for timeout := config.HeaderTimeout; c.next(timeout); timeout = config.IdleTimeout {
		read, _ := c.in.Peek(c.in.Buffered())
		r := c.readPlainPush(read)
		if r == nil {
			isHandedOver = true
			c.handOver(read)
			return
		}
		if c.idle.Swap(false) && c.listener.isDraining() {
			return // Drain has closed it
		}
		if !c.answer(r) {
			return
		}
		if c.idle.Store(true); c.listener.isDraining() {
			return // Drain may not have seen that it is idle
		}
	}
}

// next waits for the first byte of the next request.
func (c *conn) next(timeout time.Duration) bool {
	for breaks := 0; ; {
		c.readWithin(timeout)
		first, err := c.in.Peek(1)
		if err != nil {
			return false
		}
		// Old clients end a body with a line break that belongs to nothing (RFC 9112 section 2.2). net/http skips as many.
		if !c.idle.Load() || breaks == 4 || first[0] != '\r' && first[0] != '\n' {
			return true
		}
		_, _ = c.in.Discard(1)
		breaks++
	}
}

// readPlainPush reads the header of a plain push. read is everything that has arrived; if the result is nil, it can still be
// handed over.
func (c *conn) readPlainPush(read []byte) *http.Request {
	if plainPush(read) == 0 {
		return nil
	}
	r, err := http.ReadRequest(c.in)
	if err != nil { // plainPush does not look at everything: not at the path, for example
		return nil
	}
	return r
}

// handOver gives the connection to net/http, with what has been read.
func (c *conn) handOver(read []byte) {
	_ = c.raw.SetDeadline(time.Time{})
	c.listener.handOver(&handedOver{c.raw, bytes.Clone(read)})
}

// handedOver is a connection whose first bytes have been read already.
type handedOver struct {
	net.Conn
	read []byte
}

func (c *handedOver) Read(p []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.read)
	c.read = c.read[n:]
	return n, nil
}

// CloseWrite is how net/http ends a connection on which the publisher is still sending, so that it sees the answer.
func (c *handedOver) CloseWrite() error { return closeWrite(c.Conn) }

// NetConn returns the connection underneath.
func (c *handedOver) NetConn() net.Conn { return c.Conn }

// answer answers a plain push. False means that no other may follow.
func (c *conn) answer(r *http.Request) (more bool) {
	config := &c.listener.config
	defer func() {
		if e := recover(); e != nil { // as net/http does
			config.Panicked(e)
			more = false
		}
	}()
	w := response{conn: c}
	config.Handler(&w, r)
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // the rest of the body is in c.in, before the next request
		return false
	}
	return w.send(c.listener.isDraining())
}

// readWithin bounds the next read. A deadline that is a second off spares a call for nearly every request.
func (c *conn) readWithin(d time.Duration) {
	if t := time.Now().Add(d); t.Sub(c.readBy).Abs() > time.Second {
		c.readBy = t
		_ = c.raw.SetReadDeadline(t)
	}
}

// writeWithin bounds the next write, in the same way.
func (c *conn) writeWithin(d time.Duration) {
	if t := time.Now().Add(d); t.Sub(c.writeBy).Abs() > time.Second {
		c.writeBy = t
		_ = c.raw.SetWriteDeadline(t)
	}
}
