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

	"github.com/wspush/wspush/internal/origin"
	"github.com/wspush/wspush/internal/sendbuffer"
)

// Options are finished values: nothing in them is defaulted.
type Options struct {
	Outbox       *Outbox         // what is to be written: Init has been called, and nothing else
	Origins      origin.Patterns // of foreign pages that may connect
	Subprotocols []string
	Compression  bool
	ReadLimit    int64         // of one message, in bytes; negative: none
	ReadTimeout  time.Duration // of one message; negative: none
	SendBuffer   int           // of the system, in bytes; negative: what the system chooses
	WriteTimeout time.Duration // for each 16 KiB of a message; negative: none

	// Admit is called last, when nothing else can refuse the handshake any more. Accept returns its error as it is.
	Admit func() error
	// Choose is called after Admit, unless it is nil, and says which Outbox is to be that of the connection. If it is that of a session
	// whose client comes back, the socket is not yet its WebSocket: Resume makes it so, or Close says that there is none.
	Choose func() (o *Outbox, resumes bool)
	// Owner is told what happens to the socket afterwards.
	Owner Owner
}

// ErrNotHijacked means that the server, or a middleware, failed to hand the connection over after the handshake was answered with
// 101. Nothing else can be said on the connection.
var ErrNotHijacked = errors.New("hijacking the connection")

// HandshakeError is a refused handshake. Nothing has been written: the caller answers.
type HandshakeError struct {
	Status int
	Header http.Header // to be sent with the answer
	Detail string
}

func (e *HandshakeError) Error() string { return e.Detail }

// Accept does the server's half of the opening handshake (RFC 6455 section 4.2). On success the connection is hijacked, and the
// handler may return; messages are accepted after Hold, or Resume. If the error is a *HandshakeError or Admit's own, nothing has been
// written to w. Otherwise the server could not hand the connection over.
func Accept(w http.ResponseWriter, r *http.Request, opts Options) (*Socket, error) {
	s := &Socket{
		traffic:      opts.Outbox.shared.traffic.stripe(),
		owner:        opts.Owner,
		writeTimeout: opts.WriteTimeout,
		readLimit:    opts.ReadLimit,
		readTimeout:  opts.ReadTimeout,
	}
	// A pong that answers no ping (RFC 6455 section 5.5.3) may contain any number, but nobody can guess this one.
	s.pings = rand.Uint64N(math.MaxInt64)
	s.answered = s.pings
	mode := websocket.CompressionDisabled
	if opts.Compression {
		mode = websocket.CompressionNoContextTakeover
	}
	up := &upgrader{real: w, request: r, header: http.Header{}, socket: s, origins: opts.Origins, subprotocols: opts.Subprotocols, admit: opts.Admit, choose: opts.Choose, outbox: opts.Outbox, sendBuffer: opts.SendBuffer}
	_, err := websocket.Accept(up, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // hijack asks package origin, which knows more of what hosts are equal
		CompressionMode:    mode,
	})
	switch {
	case up.refused != nil:
		return nil, up.refused
	case s.conn == nil:
		return nil, up.handshakeError(err)
	}
	return s, nil
}

// upgrader is the http.ResponseWriter that coder/websocket sees. It keeps a refusal from being written, so that the caller can
// answer in its own form. When coder/websocket finds nothing wrong with the handshake, upgrader takes over: it calls Admit
// before the answer that cannot be taken back, and keeps the connection.
type upgrader struct {
	real    http.ResponseWriter
	request *http.Request
	header  http.Header
	status  int
	body    bytes.Buffer
	socket  *Socket
	outbox  *Outbox
	origins origin.Patterns
	admit   func() error
	choose  func() (*Outbox, bool)

	subprotocols []string
	sendBuffer   int
	refused      error
}

// errTakenOver is why coder/websocket gets no connection.
var errTakenOver = errors.New("the connection is taken over")

func (u *upgrader) Header() http.Header { return u.header }

func (u *upgrader) WriteHeader(status int) { u.status = status }

func (u *upgrader) Write(p []byte) (int, error) { return u.body.Write(p) }

// Hijack is called when coder/websocket finds nothing wrong with the handshake. It always returns an error, so that
// coder/websocket does not make a Conn, which would want to read and write itself.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if u.refused = u.hijack(); u.refused != nil {
		return nil, nil, u.refused
	}
	return nil, nil, errTakenOver
}

// hijack answers the handshake and gives the connection to the socket.
func (u *upgrader) hijack() error {
	if err := u.origins.Check(u.request); err != nil {
		return &HandshakeError{Status: http.StatusForbidden, Detail: err.Error()}
	}
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
	if chosen := Negotiate(u.subprotocols, u.request.Header); chosen != "" {
		u.header.Set("Sec-WebSocket-Protocol", chosen)
	}
	for name, values := range spelt(u.header) {
		u.real.Header().Del(name) // a middleware's, in the other spelling
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
	resumes := false
	if u.choose != nil {
		u.outbox, resumes = u.choose()
	}
	if resumes {
		u.outbox.prepare(s)
	} else {
		u.outbox.attach(s)
	}
	s.conn = conn
	s.raw = rawConn(conn)
	sendbuffer.Set(conn, u.sendBuffer)
	s.subprotocol = u.header.Get("Sec-WebSocket-Protocol")
	s.compress = u.header.Get("Sec-WebSocket-Extensions") != ""
	// The server's buffers are 8 KiB: keep what it has read ahead, and let them go.
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	s.in.ahead = bytes.Clone(early)
	s.traffic.in.Add(uint64(len(early)))
	return nil
}

// check refuses what coder/websocket accepts.
func (u *upgrader) check() error {
	wrong := func(detail string) error {
		return &HandshakeError{Status: http.StatusBadRequest, Header: spelt(http.Header{"Sec-Websocket-Version": {"13"}}), Detail: detail}
	}
	// A proxy or a middleware may have judged the request by another of them (RFC 6455 section 11.3.5, RFC 6454 section 7.3).
	for _, name := range []string{"Sec-WebSocket-Version", "Origin"} {
		if len(u.request.Header.Values(name)) > 1 {
			return wrong("WebSocket protocol violation: multiple " + name + " headers")
		}
	}
	// Frames follow the request (RFC 9110 section 7.8), so a body would be read as frames.
	if u.request.ContentLength != 0 {
		return wrong("WebSocket protocol violation: the handshake has a body")
	}
	return nil
}

// Negotiate returns the first of the server's subprotocols that the client offers in a handshake's header, or "". Their names are compared
// as they are: a browser gives up a connection whose subprotocol it has not offered in these very letters, and an application compares
// with its own.
func Negotiate(subprotocols []string, header http.Header) string {
	for _, mine := range subprotocols {
		for _, line := range header.Values("Sec-WebSocket-Protocol") {
			for offered := range strings.SplitSeq(line, ",") {
				if strings.Trim(offered, " \t") == mine {
					return mine
				}
			}
		}
	}
	return ""
}

// maxDetail is how many bytes of what coder/websocket says are passed on: it quotes headers, which may have any length.
const maxDetail = 300

// handshakeError makes an error of the answer that coder/websocket wanted to give.
func (u *upgrader) handshakeError(err error) error {
	detail := strings.TrimSpace(u.body.String())
	if detail == "" {
		detail = err.Error()
	}
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…"
	}
	u.header.Del("Content-Type")
	u.header.Del("X-Content-Type-Options")
	if u.status == http.StatusUpgradeRequired && u.request.ProtoMajor == 1 { // RFC 9110 section 15.5.22
		u.header.Set("Upgrade", "websocket")
		u.header.Set("Connection", "Upgrade")
	}
	return &HandshakeError{Status: u.status, Header: spelt(u.header), Detail: detail}
}

// spelt returns the header with the names that RFC 6455 section 11.3 defines as it spells them. Letter case means nothing in HTTP, but
// Go's spelling of them is unusual, and there are clients that compare them as they are.
func spelt(h http.Header) http.Header {
	all := make(http.Header, len(h))
	for name, values := range h {
		if rest, ok := strings.CutPrefix(name, "Sec-Websocket-"); ok {
			name = "Sec-WebSocket-" + rest
		}
		all[name] = values
	}
	return all
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
