package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	lent := s.Now()
	r := s.reader
	if r == nil {
		r = s.shared.lend(s)
	}
	r.ws.SetReadLimit(s.readLimit)
	binary, data, err = s.readMessage(r, keep)
	s.input.read -= r.in.Buffered() // which has just come from there
	r.in.Reset(r)
	s.dropBuffer()
	switch {
	case err != nil:
		r.retire()
	case s.reader == nil && s.Now()-lent < lendable:
		s.shared.takeBack(r)
	case s.reader == nil:
		r.retire()
	}
	if err != nil {
		return false, nil, s.readFailed(err)
	}
	return binary, data, nil
}

func (s *Socket) readMessage(r *reader, keep bool) (binary bool, data []byte, err error) {
	typ, message, err := r.ws.Reader(context.Background())
	if err != nil {
		return false, nil, err
	}
	binary = typ == websocket.MessageBinary
	data, err = s.readAll(r, message, keep, !binary)
	return binary, data, err
}

var errNotUTF8 = errors.New("text that is not valid UTF-8")

func (s *Socket) readAll(r *reader, message io.Reader, keep, text bool) ([]byte, error) {
	var (
		check textCheck
		data  []byte
		buf   = s.shared.buffer()
	)
	defer s.shared.release(buf)
	for {
		n, err := message.Read((*buf)[:s.readable(r)])
		if text && !check.add((*buf)[:n]) {
			return nil, errNotUTF8
		}
		if keep {
			data = append(data, (*buf)[:n]...)
		}
		switch {
		case err == io.EOF && s.input.failed != nil:
			// coder/websocket takes a compressed message that is cut off by the end of the connection for a whole one.
			return nil, s.input.failed
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
func (s *Socket) readable(r *reader) int {
	if s.compress {
		return chunkSize // an inflater in between returns what it has
	}
	return min(max(1, r.in.Buffered()+len(s.input.ahead())), chunkSize)
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
	case errors.Is(s.input.failed, os.ErrDeadlineExceeded):
		s.ended = endViolation
		return &Violation{codeProtocol, "protocol error", errors.New("a control frame took more than 5 s to arrive")}
	case s.input.failed != nil:
		s.ended = endLost
		return s.input.failed
	}
	s.ended = endViolation
	return &Violation{codeProtocol, "protocol error", err}
}
