package lane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// bufferSize is the size of the largest plain push, header and body together.
const bufferSize = 4 << 10

// conn is one publisher's connection on which all requests so far have been plain pushes. Every field except idle and aside is
// owned by the goroutine running serve; listener and counted never change.
type conn struct {
	listener *Listener
	counted  *counted
	raw      net.Conn             // counted, or TLS on top of it
	tls      *tls.ConnectionState // nil: no TLS
	in       *bufio.Reader
	context  context.Context // of its requests, until they have one of their own
	template *http.Request   // what is the same in all of them
	readBy   time.Time       // the deadlines that are set
	writeBy  time.Time
	idle     atomic.Bool // between two requests
	aside    atomic.Bool // see StepAside
}

// serve answers plain pushes until something else arrives, or the connection ends.
func (c *conn) serve() {
	isHandedOver := false
	defer func() { // also when the application's Logger ends the goroutine
		if !isHandedOver {
			c.close()
		}
	}()
	c.introduce()
	if secure := c.listener.config.secure(c.counted); secure != nil && !c.agree(secure) {
		isHandedOver = true
		c.listener.handOverTLS(secure, c.counted)
		return
	}
	c.template.TLS = c.tls
	c.in = bufio.NewReaderSize(c.raw, bufferSize)
	config := &c.listener.config
	for timeout := config.HeaderTimeout; c.next(timeout); timeout = config.IdleTimeout {
		if c.idle.Swap(false) && c.listener.isDraining() {
			return // Drain has closed it
		}
		read, _ := c.in.Peek(c.in.Buffered())
		size := plainPush(read)
		var p *push
		if size > 0 {
			p = c.newPush(read[:size])
		}
		if p == nil {
			isHandedOver = true
			c.handOver(read)
			return
		}
		_, _ = c.in.Discard(size)
		if !c.counted.begin() || !c.answer(p) {
			return
		}
		c.counted.rest()
		if c.idle.Store(true); c.listener.isDraining() {
			return // Drain may not have seen that it is idle
		}
	}
}

// introduce finds out what each request says of its connection. An address may take long to be told, behind a proxy that announces
// its clients.
func (c *conn) introduce() {
	c.template = &http.Request{Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if remote := c.counted.RemoteAddr(); remote != nil {
		c.template.RemoteAddr = remote.String()
	}
	c.context = context.WithValue(c.listener.config.Context, http.LocalAddrContextKey, c.counted.LocalAddr())
}

// close closes the connection. With TLS it says goodbye, which may take a moment.
func (c *conn) close() {
	_ = c.raw.Close()
	c.counted.leave()
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

// handOver gives the connection to net/http, with what has been read.
func (c *conn) handOver(read []byte) {
	_ = c.raw.SetDeadline(time.Time{})
	c.listener.handOver(handedOverWith(c.raw, c.tls, bytes.Clone(read)))
}

// handedOver is a connection whose first bytes have been read already.
type handedOver struct {
	net.Conn
	read []byte
	half *half
}

// handedOverTLS is one on which TLS has been agreed already. net/http asks a connection that is no tls.Conn for its state.
type handedOverTLS struct {
	handedOver
	state *tls.ConnectionState
}

// handedOverWith makes what net/http gets of a connection from which read has been read.
func handedOverWith(c net.Conn, state *tls.ConnectionState, read []byte) net.Conn {
	over := handedOver{c, read, newHalf(resetOf(c))}
	if state != nil {
		return &handedOverTLS{over, state}
	}
	return &over
}

func (c *handedOver) Read(p []byte) (int, error) {
	if len(c.read) == 0 {
		n, err := c.Conn.Read(p)
		if err == io.EOF && n == 0 {
			err = c.half.ended(p)
		}
		return n, err
	}
	n := copy(p, c.read)
	c.read = c.read[n:]
	return n, nil
}

// other returns what is known of the publisher's side.
func (c *handedOver) other() *half { return c.half }

// CloseWrite is how net/http ends a connection on which the publisher is still sending, so that it sees the answer.
func (c *handedOver) CloseWrite() error { return closeWrite(c.Conn) }

// NetConn returns the connection underneath.
func (c *handedOver) NetConn() net.Conn { return c.Conn }

// ConnectionState returns what has been agreed.
func (c *handedOverTLS) ConnectionState() tls.ConnectionState { return *c.state }

// answer answers a plain push. False means that no other may follow.
func (c *conn) answer(p *push) (more bool) {
	config := &c.listener.config
	defer p.end() // also when the handler panics, or ends the goroutine
	defer func() {
		if e := recover(); e != nil { // as net/http does
			config.Panicked(e)
			more = false
		}
	}()
	config.Handler(&p.response, p.request)
	p.end()
	return p.response.send(c.listener.isDraining())
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

// watch reads ahead in a goroutine, since only a read notices that a publisher has left: then it calls left. stop ends the
// goroutine and waits for it. Meanwhile the goroutine owns in, and may write.
func (c *conn) watch(left func()) (stop func()) {
	_ = c.raw.SetReadDeadline(time.Time{})
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		// What arrives is the next request. A publisher that fills the buffer has not left.
		_, err := c.in.Peek(c.in.Buffered() + 1)
		if err == io.EOF && c.isStill(stopping) || err == nil || err == bufio.ErrBufferFull {
			return
		}
		left()
	}()
	return func() {
		c.readBy = time.Unix(1, 0)
		close(stopping)
		_ = c.raw.SetReadDeadline(c.readBy)
		<-ended
	}
}

// isStill reports whether a publisher that has closed its side of the connection is still there when stopping is closed. It returns
// false as soon as it is known to have left.
func (c *conn) isStill(stopping <-chan struct{}) bool {
	await := resetOf(c.raw)
	if await == nil {
		return false
	}
	select {
	case <-stopping:
		return true
	case <-time.After(probeDelay):
	}
	c.writeWithin(c.listener.config.WriteTimeout)
	if _, err := io.WriteString(c.raw, interim); err != nil {
		return false
	}
	return errors.Is(await(), os.ErrDeadlineExceeded) // which stop has set
}
