package wspush

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// express is the push listener's lane for plain pushes: small POSTs that come in whole, with nothing in their header that
// takes an HTTP server to understand. They are most of what a push listener gets, and without a goroutine that watches the
// publisher, a context and half a dozen deadlines for each they cost a fifth less.
//
// It knows what a plain push is, and no more of HTTP than that. On anything else it hands the connection over to net/http,
// for good, with all that it has read, as if it had never been here: to net/http it is a listener. What a push means is
// decided by the same handler, whichever way it comes.
type express struct {
	listener net.Listener
	handler  http.HandlerFunc
	log      *slog.Logger

	handed  chan net.Conn
	errors  chan error
	done    chan struct{}  // closed by Close
	close   sync.Once      // of done
	running sync.WaitGroup // accept, and each lane

	mu       sync.Mutex // guards what follows
	lanes    map[*lane]struct{}
	draining bool
}

// newExpress accepts connections of listener, until drain, and answers plain pushes with handler. Accept and Close are for
// net/http; then drain, wait and cut end it.
func newExpress(listener net.Listener, handler http.HandlerFunc, log *slog.Logger) *express {
	x := &express{
		listener: listener, handler: handler, log: log,
		handed: make(chan net.Conn), errors: make(chan error), done: make(chan struct{}), lanes: make(map[*lane]struct{}),
	}
	x.running.Go(x.accept)
	return x
}

// accept puts every connection on the lane.
func (x *express) accept() {
	for {
		conn, err := x.listener.Accept()
		if err == nil {
			if l := x.enter(conn); l != nil {
				x.running.Go(l.serve)
			}
			continue
		}
		if x.isDraining() {
			return
		}
		select {
		case x.errors <- err: // to net/http, which comes back for more when it makes sense to try again
		case <-x.done:
			return
		}
	}
}

// Accept returns the next connection that is not for the lane, or the listener's error.
func (x *express) Accept() (net.Conn, error) {
	select {
	case conn := <-x.handed:
		return conn, nil
	case err := <-x.errors:
		return nil, err
	case <-x.done:
		return nil, net.ErrClosed
	}
}

func (x *express) Addr() net.Addr { return x.listener.Addr() }

// Close closes the listener, and has Accept return. Connections on the lane go on.
func (x *express) Close() error {
	x.close.Do(func() { close(x.done) })
	return x.listener.Close()
}

// drain closes the listener, and every connection once it is between two requests.
func (x *express) drain() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.draining = true
	x.listener.Close()
	for l := range x.lanes {
		if l.idle {
			l.conn.Close()
		}
	}
}

func (x *express) isDraining() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.draining
}

// wait waits until every connection has gone, after drain; cut closes those that have not when ctx ends.
func (x *express) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, x.cut)()
	x.running.Wait()
}

func (x *express) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for l := range x.lanes {
		l.conn.Close()
	}
}

// enter puts a connection on the lane, unless that is closed.
func (x *express) enter(conn net.Conn) *lane {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.draining {
		conn.Close()
		return nil
	}
	l := &lane{express: x, conn: conn, remote: conn.RemoteAddr().String(), in: bufio.NewReaderSize(conn, laneBuffer)}
	x.lanes[l] = struct{}{}
	return l
}

func (x *express) leave(l *lane) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.lanes, l)
}

// laneBuffer is how large a plain push can be, header and body together.
const laneBuffer = 4 << 10

// lane is one publisher's connection, and its goroutine's but for idle.
type lane struct {
	*express
	conn    net.Conn
	remote  string
	in      *bufio.Reader
	readBy  time.Time // the deadlines that are set
	writeBy time.Time
	idle    bool // between two requests; guarded by express.mu
}

// serve answers plain pushes until there is something else, or nothing more.
func (l *lane) serve() {
	defer l.leave(l)
	timeout := headerTimeout
	for {
		l.readWithin(timeout)
		if _, err := l.in.Peek(1); err != nil {
			l.conn.Close()
			return
		}
		raw, _ := l.in.Peek(l.in.Buffered())
		r := l.readPlainPush(raw)
		if r == nil {
			l.handOver(raw)
			return
		}
		if !l.begin() || !l.answer(r) || !l.end() {
			l.conn.Close()
			return
		}
		timeout = idleTimeout
	}
}

// readPlainPush reads the header of the plain push that raw, which is all that has come in, begins with. If it does not
// begin with one, raw is as it was.
func (l *lane) readPlainPush(raw []byte) *http.Request {
	if plainPush(raw) == 0 {
		return nil
	}
	r, err := http.ReadRequest(l.in)
	if err != nil { // the path, for one, has not been looked at
		return nil
	}
	r.RemoteAddr = l.remote
	return r
}

// begin notes that a request is under way; false means that the connection has been closed.
func (l *lane) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	wasIdle := l.idle
	l.idle = false
	return !(wasIdle && l.draining)
}

// end notes that a request is over; false means that there is to be no other.
func (l *lane) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = true
	return !l.draining
}

// handOver gives the connection to net/http.
func (l *lane) handOver(read []byte) {
	_ = l.conn.SetDeadline(time.Time{})
	select {
	case l.handed <- &handedOver{l.conn, bytes.Clone(read)}:
	case <-l.done:
		l.conn.Close()
	}
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
			logPanic(l.log, "the push endpoint", e)
			more = false
		}
	}()
	w := response{lane: l}
	l.handler(&w, r)
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // what is left of it is in l.in, before the next request
		return false
	}
	return w.send(l.isDraining())
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

// plainPush returns the size of the plain push that raw begins with, or 0 if it does not. Where it is in doubt, it does not:
// what passes here reads the same in every way that there is to read HTTP/1.1 (RFC 9112).
func plainPush(raw []byte) (size int) {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	line, lines, _ := bytes.Cut(raw[:end], []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("POST /")) || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || !isPrintable(line) {
		return 0
	}
	hosts, lengths := 0, 0
	for len(lines) > 0 {
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		name, value, colon := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " ")
		switch {
		case !colon || !isPrintable(line) || !isHostName(string(name)): // fewer letters than the name of a header may have
			return 0
		case is(name, "Host"):
			hosts++
			if !isHost(value) {
				return 0
			}
		case is(name, "Content-Length"):
			n, err := strconv.ParseUint(string(value), 10, 15)
			lengths++
			if err != nil {
				return 0
			}
			size = end + 4 + int(n)
		case is(name, "Connection"):
			if !is(value, "keep-alive") {
				return 0
			}
		case is(name, "Expect"), is(name, "TE"), is(name, "Trailer"), is(name, "Transfer-Encoding"), is(name, "Upgrade"):
			return 0
		}
	}
	if hosts != 1 || lengths != 1 || size > len(raw) {
		return 0
	}
	return size
}

// isHost reports whether p has nothing in it but what is in a host with its port.
func isHost(p []byte) bool {
	for _, c := range p {
		if c == '~' || !isUnreserved(c) && strings.IndexByte("[:]", c) < 0 {
			return false
		}
	}
	return len(p) > 0
}

// is compares what HTTP compares without regard to case.
func is(a []byte, b string) bool { return len(a) == len(b) && strings.EqualFold(string(a), b) }

// isPrintable reports whether p is visible ASCII and spaces.
func isPrintable(p []byte) bool {
	for _, c := range p {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
