package wspush

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// laneBuffer is how large a plain push can be, header and body together.
const laneBuffer = 4 << 10

// lane is one publisher's connection on which there have only been plain pushes. All but idle is its goroutine's.
type lane struct {
	express *express
	conn    net.Conn
	in      *bufio.Reader
	readBy  time.Time // the deadlines that are set
	writeBy time.Time
	idle    atomic.Bool // between two requests
}

func newLane(x *express, conn net.Conn) *lane {
	return &lane{express: x, conn: conn, in: bufio.NewReaderSize(conn, laneBuffer)}
}

// serve answers plain pushes until there is something else, or nothing more.
func (l *lane) serve() {
	handedOver := false
	defer func() { // also when the application's Logger ends the goroutine
		if !handedOver {
			l.express.close(l.conn)
		}
	}()
	for timeout := headerTimeout; l.next(timeout); timeout = idleTimeout {
		raw, _ := l.in.Peek(l.in.Buffered())
		r := l.readPlainPush(raw)
		if r == nil {
			handedOver = true
			l.handOver(raw)
			return
		}
		if l.idle.Swap(false) && l.express.draining.Load() {
			return // drain has closed it
		}
		if !l.answer(r) {
			return
		}
		if l.idle.Store(true); l.express.draining.Load() {
			return // drain may not have seen that it is idle
		}
	}
}

// next waits until something of the next request is there.
func (l *lane) next(timeout time.Duration) bool {
	for breaks := 0; ; {
		l.readWithin(timeout)
		first, err := l.in.Peek(1)
		if err != nil {
			return false
		}
		// Old clients end a body with a line break that belongs to nothing (RFC 9112 section 2.2); net/http takes so many.
		if !l.idle.Load() || breaks == 4 || first[0] != '\r' && first[0] != '\n' {
			return true
		}
		_, _ = l.in.Discard(1)
		breaks++
	}
}

// readPlainPush reads the header of the plain push that raw, which is all that has come in, begins with. If it is nil, raw is
// still good to hand over.
func (l *lane) readPlainPush(raw []byte) *http.Request {
	if plainPush(raw) == 0 {
		return nil
	}
	r, err := http.ReadRequest(l.in)
	if err != nil { // the path, for one, has not been looked at
		return nil
	}
	return r
}

// handOver gives the connection to net/http, with what has been read.
func (l *lane) handOver(read []byte) {
	_ = l.conn.SetDeadline(time.Time{})
	l.express.handOver(&handedOver{l.conn, bytes.Clone(read)})
}

// handedOver is a connection of which something has been read already.
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

// CloseWrite is how net/http ends a connection on which the publisher still sends, so that it sees the answer.
func (c *handedOver) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// answer answers a plain push. False means that it has been the last.
func (l *lane) answer(r *http.Request) (more bool) {
	defer func() {
		if e := recover(); e != nil { // as net/http does
			logPanic(l.express.log, "the push endpoint", e)
			more = false
		}
	}()
	w := response{lane: l}
	l.express.handler(&w, r)
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // what is left of it is in l.in, before the next request
		return false
	}
	return w.send(l.express.draining.Load())
}

// readWithin bounds the next read. A deadline that is a second off costs nothing.
func (l *lane) readWithin(d time.Duration) {
	if t := time.Now().Add(d); t.Sub(l.readBy).Abs() > time.Second {
		l.readBy = t
		_ = l.conn.SetReadDeadline(t)
	}
}

// writeWithin bounds the next write, in the same way.
func (l *lane) writeWithin(d time.Duration) {
	if t := time.Now().Add(d); t.Sub(l.writeBy).Abs() > time.Second {
		l.writeBy = t
		_ = l.conn.SetWriteDeadline(t)
	}
}
