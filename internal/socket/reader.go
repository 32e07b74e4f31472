package socket

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// A reader is coder/websocket's reading half, and nothing else of it: it reads frames from the socket that it is lent to,
// and what it writes (its own pongs and close frames, past everyone's turn) goes nowhere. It is half of what a connection
// would cost, and between two messages it knows nothing of the connection, so silent ones have none.
type reader struct {
	ws       *websocket.Conn
	in       *bufio.Reader // from the reader itself
	socket   *Socket
	guard    guard
	inflater *inflater // nil until there is something to inflate
	retired  atomic.Bool
}

// lendable is for how long a reader may have been lent to be lent again. coder/websocket gives a control frame 5 s to
// arrive, and then closes itself, in a goroutine of its own: that must not happen to the next to have the reader.
const lendable = time.Second

// keptReaders is how many readers a worker keeps that nobody has.
const keptReaders = 64

// lend gives a reader to s, with no state of anyone else's.
func (sh *Shared) lend(s *Socket) *reader {
	sh.mu.Lock()
	var r *reader
	if last := len(sh.readers) - 1; last >= 0 {
		r, sh.readers[last] = sh.readers[last], nil
		sh.readers = sh.readers[:last]
	}
	sh.mu.Unlock()
	if r == nil {
		r = newReader()
	}
	r.socket = s
	r.guard = guard{limit: s.readLimit, deflate: s.compress}
	return r
}

// inflate returns an inflater of the message.
func (r *reader) inflate(message io.Reader) *inflater {
	if r.inflater == nil {
		r.inflater = new(inflater)
	}
	r.inflater.reset(message)
	return r.inflater
}

// takeBack takes a reader that is between two messages, and has been lent for no longer than lendable. Each connection
// brings one, and at its end, which a Read finds, retires one: so none is left when the last connection of a worker has ended.
func (sh *Shared) takeBack(r *reader) {
	r.socket, r.guard = nil, guard{}
	if r.inflater != nil {
		r.inflater.in.Reset(nil) // from a message of the socket
	}
	sh.mu.Lock()
	if len(sh.readers) < keptReaders {
		sh.readers = append(sh.readers, r)
		r = nil
	}
	sh.mu.Unlock()
	if r != nil {
		r.retire()
	}
}

// retire makes the reader garbage. Its finalizer never runs, since it refers to itself: without this it is never freed.
func (r *reader) retire() {
	r.retired.Store(true)
	_ = r.ws.CloseNow()
}

// newReader makes a reader by the only way there is, a handshake: that of a client which asks for nothing.
func newReader() *reader {
	r := new(reader)
	request := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, // of RFC 6455 section 1.3
	}}
	if err := r.accept(nowhere{http.Header{}, r}, request, websocket.AcceptOptions{}); err != nil {
		panic(err) // nothing in it depends on anything
	}
	return r
}

// nowhere is the http.ResponseWriter of newReader's handshake.
type nowhere struct {
	header http.Header
	reader *reader
}

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) WriteHeader(int)             {}
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }

func (n nowhere) Hijack() (net.Conn, *bufio.ReadWriter, error) { return n.reader.handOver() }

// accept has coder/websocket do the handshake with w, whose Hijack is to return what handOver does.
func (r *reader) accept(w http.ResponseWriter, request *http.Request, opts websocket.AcceptOptions) (err error) {
	opts.OnPingReceived = func(_ context.Context, payload []byte) bool {
		r.socket.gotPing(payload)
		return false
	}
	opts.OnPongReceived = func(_ context.Context, payload []byte) { r.socket.gotPong(payload) }
	if r.ws, err = websocket.Accept(w, request, &opts); err == nil {
		r.in.Reset(r)         // drops the reader that Accept has put around it
		r.ws.SetReadLimit(-1) // it would limit what is compressed, and only when too much has come in
	}
	return err
}

// handOver is what a Hijack for coder/websocket returns.
func (r *reader) handOver() (net.Conn, *bufio.ReadWriter, error) {
	// The smallest buffers there are: input reads ahead itself, and nothing is written this way.
	r.in = bufio.NewReaderSize(r, 16)
	return r, bufio.NewReadWriter(r.in, bufio.NewWriterSize(r, 16)), nil
}

// Read is how coder/websocket reads, on the reading goroutine of the socket. The error is a *Violation if what comes next
// is one; first coder/websocket gets, and makes of it what is to be made, what comes before that.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.socket.readAhead(p)
	passed, broken := r.guard.check(p[:n])
	r.socket.input.read -= n - passed
	switch {
	case passed > 0:
		return passed, nil
	case broken != nil:
		return 0, broken
	case err == nil:
		return 0, errBeyond
	}
	return 0, err
}

// errBeyond is for a coder/websocket that reads beyond the message, which it does not.
var errBeyond = errors.New("beyond the message")

func (r *reader) Write(p []byte) (int, error) { return len(p), nil }

// Close is called when a control frame does not arrive in coder/websocket's 5 s, from another goroutine, and must end the
// Read that waits for it. It is called after a close frame, too, when nothing is read any more.
func (r *reader) Close() error {
	if r.retired.Load() {
		return nil
	}
	return r.socket.conn.SetReadDeadline(time.Unix(1, 0))
}

func (r *reader) LocalAddr() net.Addr              { return nil }
func (r *reader) RemoteAddr() net.Addr             { return nil }
func (r *reader) SetDeadline(time.Time) error      { return nil }
func (r *reader) SetReadDeadline(time.Time) error  { return nil }
func (r *reader) SetWriteDeadline(time.Time) error { return nil }
