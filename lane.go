package wspush

import (
	"bufio"
	"bytes"
	"context"
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
			l.conn.Close()
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

// response is the http.ResponseWriter of a plain push.
type response struct {
	lane   *lane
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// SetReadDeadline is for http.ResponseController, and has nothing to do: the request is here in full.
func (w *response) SetReadDeadline(time.Time) error { return nil }

// watch returns a context that ends when the publisher leaves; stop ends the watch.
func (w *response) watch(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancel(ctx)
	l := w.lane
	_ = l.conn.SetReadDeadline(time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// What comes in is the next request. If that fills the buffer, the publisher has not left.
		if _, err := l.in.Peek(l.in.Buffered() + 1); err != nil && err != bufio.ErrBufferFull {
			cancel()
		}
	}()
	return watched, func() {
		l.readBy = time.Unix(1, 0)
		_ = l.conn.SetReadDeadline(l.readBy)
		<-ended
		cancel()
	}
}

// send sends the response, and reports whether another may follow.
func (w *response) send(last bool) (more bool) {
	var out []byte
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent && len(w.header) == 0 && !last {
		out = append(out, "HTTP/1.1 204 No Content\r\nDate: "...)
		out = append(time.Now().UTC().AppendFormat(out, http.TimeFormat), "\r\n\r\n"...)
	} else {
		last = last || w.Header().Get("Connection") == "close"
		w.header.Del("Connection")
		w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
		resp := http.Response{
			StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: last,
			Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
		}
		var buf bytes.Buffer
		if resp.Write(&buf) != nil {
			return false
		}
		out = buf.Bytes()
	}
	w.lane.writeWithin(answerTimeout)
	_, err := w.lane.conn.Write(out)
	return err == nil && !last
}
