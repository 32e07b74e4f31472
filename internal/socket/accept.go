package socket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// Options are finished values: nothing in them is defaulted.
type Options struct {
	Shared         *Shared
	OriginPatterns []string
	Subprotocols   []string
	Compression    bool
	ReadLimit      int64         // of one message, in bytes; negative: none
	MaxPending     int           // in bytes; negative: no limit
	WriteTimeout   time.Duration // for each write of at most 16 KiB; negative: none

	// Admit is asked when nothing else is left that could refuse the handshake; its error is returned as it is.
	Admit func() error
	// Owner is told what happens to the socket afterwards.
	Owner Owner
}

// ErrNotHijacked is the failure of a server, or of a middleware, to hand the connection over, when the handshake has been answered
// with 101: nothing else can be said on the connection any more.
var ErrNotHijacked = errors.New("hijacking the connection")

// HandshakeError is a handshake that was refused. Nothing has been written: the caller answers.
type HandshakeError struct {
	Status int
	Header http.Header // to be sent along
	Detail string
}

func (e *HandshakeError) Error() string { return e.Detail }

// Accept does the server's half of the opening handshake (RFC 6455 section 4.2). On success the connection is hijacked,
// and the handler may return; messages are taken after Hold. If the error is a *HandshakeError or Admit's own, nothing has
// been written to w; otherwise the server could not hand over the connection.
func Accept(w http.ResponseWriter, r *http.Request, opts Options) (*Socket, error) {
	s := &Socket{
		shared:       opts.Shared,
		traffic:      opts.Shared.traffic.stripe(),
		owner:        opts.Owner,
		writeTimeout: opts.WriteTimeout,
		readLimit:    opts.ReadLimit,
		unopened:     true,
		queue:        queue{max: opts.MaxPending, all: &opts.Shared.pending},
	}
	// A pong that answers nothing (RFC 6455 section 5.5.3) may say any number, but not this one.
	s.pings = rand.Uint64N(math.MaxInt64)
	s.answered = s.pings
	mode := websocket.CompressionDisabled
	if opts.Compression {
		mode = websocket.CompressionNoContextTakeover
	}
	up := &upgrader{real: w, request: r, header: http.Header{}, socket: s, reader: &reader{socket: s}, admit: opts.Admit}
	err := up.reader.accept(up, r, websocket.AcceptOptions{
		OriginPatterns:  opts.OriginPatterns,
		Subprotocols:    opts.Subprotocols,
		CompressionMode: mode,
	})
	switch {
	case up.refused != nil:
		return nil, up.refused
	case err != nil:
		return nil, up.refusal(err)
	}
	s.subprotocol = up.reader.ws.Subprotocol()
	s.compress = up.header.Get("Sec-WebSocket-Extensions") != ""
	s.shared.takeBack(up.reader)
	return s, nil
}

// upgrader is the http.ResponseWriter that coder/websocket sees. It keeps a refusal from being written, so that the caller
// can answer in its own form, and asks Admit at the last moment: after all checks, before the answer that cannot be taken
// back.
type upgrader struct {
	real    http.ResponseWriter
	request *http.Request
	header  http.Header
	status  int
	body    bytes.Buffer
	socket  *Socket
	reader  *reader
	admit   func() error
	refused error
}

func (u *upgrader) Header() http.Header { return u.header }

func (u *upgrader) WriteHeader(status int) { u.status = status }

func (u *upgrader) Write(p []byte) (int, error) { return u.body.Write(p) }

// Hijack is called when the handshake is found to be right. The error that it returns is not seen by anyone.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if u.refused = u.hijack(); u.refused != nil {
		return nil, nil, u.refused
	}
	return u.reader.handOver()
}

func (u *upgrader) hijack() error {
	inner, ok := hijacker(u.real)
	if !ok {
		return &HandshakeError{Status: http.StatusNotImplemented, Detail: fmt.Sprintf(
			"%T cannot be hijacked: a middleware hides http.Hijacker, and has no Unwrap method", u.real)}
	}
	if err := u.check(); err != nil {
		return err
	}
	if u.admit != nil {
		if err := u.admit(); err != nil {
			return err
		}
	}
	for name, values := range u.header {
		for i := range values {
			values[i] = strings.Clone(values[i]) // of the subprotocol, which is kept, and the header that it stood in is not to be
		}
		u.real.Header()[name] = values
	}
	u.real.WriteHeader(u.status)
	// gin only notes the status, and hijacks without writing it.
	if w, ok := u.real.(interface{ WriteHeaderNow() }); ok {
		w.WriteHeaderNow()
	}
	conn, rw, err := inner.Hijack()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotHijacked, err)
	}
	s := u.socket
	s.start = time.Now()
	s.conn = conn
	s.raw = newDirect(conn)
	// The server's buffers are 8 KiB; what it has read ahead is kept, and they go.
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	s.input.bytes = bytes.Clone(early)
	s.traffic.in.Add(uint64(len(early)))
	return nil
}

// check refuses what coder/websocket lets pass.
func (u *upgrader) check() error {
	wrong := func(detail string) error {
		return &HandshakeError{Status: http.StatusBadRequest, Header: http.Header{"Sec-Websocket-Version": {"13"}}, Detail: detail}
	}
	// Whoever comes before us may have looked at another of several (RFC 6455 section 11.3.5, RFC 6454 section 7.3).
	for _, name := range []string{"Sec-WebSocket-Version", "Origin"} {
		if len(u.request.Header.Values(name)) > 1 {
			return wrong("WebSocket protocol violation: multiple " + name + " headers")
		}
	}
	// Frames begin behind the request (RFC 9110 section 7.8), and a body would be read as frames.
	if u.request.ContentLength != 0 {
		return wrong("WebSocket protocol violation: the handshake has a body")
	}
	return nil
}

// refusal turns what coder/websocket wanted to answer into an error.
func (u *upgrader) refusal(err error) error {
	detail := strings.TrimSpace(u.body.String())
	if detail == "" {
		detail = err.Error()
	}
	u.header.Del("Content-Type")
	u.header.Del("X-Content-Type-Options")
	if u.status == http.StatusUpgradeRequired && u.request.ProtoMajor == 1 { // RFC 9110 section 15.5.22
		u.header.Set("Upgrade", "websocket")
		u.header.Set("Connection", "Upgrade")
	}
	return &HandshakeError{Status: u.status, Header: u.header, Detail: detail}
}

// hijacker finds the http.Hijacker in a chain of wrapped ResponseWriters, as http.ResponseController does.
func hijacker(w http.ResponseWriter) (http.Hijacker, bool) {
	for {
		switch t := w.(type) {
		case http.Hijacker:
			return t, true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil, false
		}
	}
}
