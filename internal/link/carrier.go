package link

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// carrier is the connection under a link's WebSocket. It counts what is written, can gather the pieces in which a batch arrives
// into one write, and can be closed without waiting for anyone.
type carrier struct {
	net.Conn
	written atomic.Uint64 // bytes

	mu        sync.Mutex // guards what follows, and keeps the order of writes: TLS numbers its records
	gathering bool       // Write only appends to gathered
	gathered  *[]byte
}

// gathers holds buffers for what is gathered: a batch with the heads of its WebSocket frame and of TLS records.
var gathers = sync.Pool{New: func() any { b := make([]byte, 0, maxBatch+socketBuffer); return &b }}

func (c *carrier) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gathering {
		*c.gathered = append(*c.gathered, p...)
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	c.written.Add(uint64(n))
	return n, err
}

// gather lets writes be gathered until flush.
func (c *carrier) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gathering, c.gathered = true, gathers.Get().(*[]byte)
}

// flush writes what has been gathered.
func (c *carrier) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.Conn.Write(*c.gathered)
	c.written.Add(uint64(n))
	*c.gathered = (*c.gathered)[:0]
	gathers.Put(c.gathered)
	c.gathering, c.gathered = false, nil
	return err
}

// Close closes the connection without the goodbye of TLS, which can wait for the other side.
func (c *carrier) Close() error {
	if secure, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		return secure.NetConn().Close()
	}
	return c.Conn.Close()
}

// hijacked is a ResponseWriter that keeps the connection that coder/websocket takes over.
type hijacked struct {
	http.ResponseWriter
	conn    net.Conn
	carrier *carrier
	reader  *bufio.Reader // which coder/websocket goes on to use
	early   bool          // it held bytes that came with the request
}

// Hijack takes the connection over, without the deadlines that the server has set.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	h.conn, h.carrier = conn, &carrier{Conn: conn}
	h.reader, h.early = rw.Reader, rw.Reader.Buffered() > 0
	// rw's reader may hold bytes that came with the request: coder/websocket takes them first. Its writer would pass the carrier by.
	return h.carrier, bufio.NewReadWriter(rw.Reader, bufio.NewWriterSize(h.carrier, socketBuffer)), nil
}

// canHijack reports whether rw, or what it wraps, is an http.Hijacker.
func canHijack(rw http.ResponseWriter) bool {
	for {
		if _, ok := rw.(http.Hijacker); ok {
			return true
		}
		wrapped, ok := rw.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		rw = wrapped.Unwrap()
	}
}

// socketBuffer is the size of the buffers that a link keeps while it is idle.
const socketBuffer = 4 << 10

// WriteHeaderNow is for gin, which only notes the status, and hijacks without writing it.
func (h *hijacked) WriteHeaderNow() {
	if w, ok := h.ResponseWriter.(interface{ WriteHeaderNow() }); ok {
		w.WriteHeaderNow()
	}
}
