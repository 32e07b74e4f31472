package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Close codes of RFC 6455 section 7.4.1 that Read decides on.
const (
	codeProtocol = 1002
	codeNoStatus = 1005
	codeInvalid  = 1007
	codeTooBig   = 1009
)

// PeerClosed is Read's error when the client has sent a close frame. Code is 1005 if it named none.
type PeerClosed struct {
	Code   int
	Reason string
}

func (e *PeerClosed) Error() string {
	return fmt.Sprintf("closed by the client: %d %q", e.Code, e.Reason)
}

// Violation is Read's error when the client has broken the protocol or exceeded a limit; Code and Reason are what to tell it.
type Violation struct {
	Code   int
	Reason string
	Err    error
}

func (e *Violation) Error() string { return e.Reason + ": " + e.Err.Error() }
func (e *Violation) Unwrap() error { return e.Err }

// ending is how reading ended.
type ending int

const (
	endLost      ending = iota // no byte more will come
	endPeer                    // with the client's close frame
	endViolation               // with bytes that nobody can make sense of
)

// Read waits for the client's next message and returns it, or reads past its content if keep is false. Pings are answered
// and pongs noted on the way. The error is a *PeerClosed, a *Violation, or the connection's own; after one, call Close or
// Cut, and then Finish. Only one goroutine may read.
func (s *Socket) Read(keep bool) (binary bool, data []byte, err error) {
	typ, r, err := s.ws.Reader(context.Background())
	if err != nil {
		return false, nil, s.readFailed(err)
	}
	binary = typ == websocket.MessageBinary
	data, err = s.readAll(r, keep, !binary)
	if err != nil {
		return false, nil, s.readFailed(err)
	}
	return binary, data, nil
}

var errNotUTF8 = errors.New("text that is not valid UTF-8")

func (s *Socket) readAll(r io.Reader, keep, text bool) ([]byte, error) {
	var (
		check textCheck
		data  []byte
		buf   = s.shared.buffer()
	)
	defer s.shared.release(buf)
	for {
		n, err := r.Read((*buf)[:s.readable()])
		if text && !check.add((*buf)[:n]) {
			return nil, errNotUTF8
		}
		if keep {
			data = append(data, (*buf)[:n]...)
		}
		switch {
		case err == io.EOF && s.readErr != nil:
			// coder/websocket takes a compressed message that is cut off by the end of the connection for a whole one.
			return nil, s.readErr
		case err == io.EOF && text && !check.complete():
			return nil, errNotUTF8
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, err
		}
	}
}

// readable is how much to ask coder/websocket for. It reads until it has all that it was asked for, so what is there
// already is the most that does not wait, and one byte is what is worth waiting for.
func (s *Socket) readable() int {
	if s.compress {
		return chunkSize // an inflater in between returns what it has
	}
	return min(max(1, s.in.Buffered()), chunkSize)
}

// readFailed finds out what an error of coder/websocket means; it has no types for most of them.
func (s *Socket) readFailed(err error) error {
	var closed websocket.CloseError
	switch {
	case errors.Is(err, errNotUTF8):
		s.ended = endViolation
		return &Violation{codeInvalid, "invalid UTF-8", err}
	case errors.As(err, &closed) && !utf8.ValidString(closed.Reason):
		s.ended = endViolation
		return &Violation{codeInvalid, "invalid UTF-8", errors.New("close reason that is not valid UTF-8")}
	case errors.As(err, &closed):
		s.ended = endPeer
		return &PeerClosed{int(closed.Code), closed.Reason}
	case errors.Is(err, websocket.ErrMessageTooBig):
		s.ended = endViolation
		return &Violation{codeTooBig, "message too big", err}
	case errors.Is(s.readErr, os.ErrDeadlineExceeded):
		s.ended = endViolation
		return &Violation{codeProtocol, "protocol error", errors.New("a control frame took more than 5 s to arrive")}
	case s.readErr != nil:
		s.ended = endLost
		return s.readErr
	}
	s.ended = endViolation
	return &Violation{codeProtocol, "protocol error", err}
}

// wire is the connection as coder/websocket sees it: it reads through it, but what it writes (its own pongs and close
// frames, past everyone's turn) goes nowhere, and it cannot close it.
type wire struct{ *Socket }

func (w wire) Read(p []byte) (int, error) {
	s := w.Socket
	if len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	s.early = nil
	n, err := 0, s.nextErr
	if err == nil {
		n, err = s.conn.Read(p)
	}
	if n > 0 {
		s.received.Store(int64(s.Now()))
		s.nextErr = err // TLS, for one, may have both: the bytes come first
		return n, nil
	}
	s.readErr = err
	return 0, err
}

func (w wire) Write(p []byte) (int, error) { return len(p), nil }

// Close is called when a control frame does not arrive in coder/websocket's 5 s, and must end the Read that waits for it.
// After a close frame, and from Finish, it has nothing more to do.
func (w wire) Close() error { return w.conn.SetReadDeadline(time.Unix(1, 0)) }

func (w wire) LocalAddr() net.Addr              { return w.conn.LocalAddr() }
func (w wire) RemoteAddr() net.Addr             { return w.conn.RemoteAddr() }
func (w wire) SetDeadline(time.Time) error      { return nil }
func (w wire) SetReadDeadline(time.Time) error  { return nil }
func (w wire) SetWriteDeadline(time.Time) error { return nil }
