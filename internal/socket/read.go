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
	r := s.shared.lend(s)
	binary, data, err = s.readMessage(r, keep)
	r.in.Reset(r)
	s.dropBuffer()
	if err == nil && s.Now()-lent < lendable {
		s.shared.takeBack(r)
	} else {
		r.retire()
	}
	if err != nil {
		s.mu.Lock()
		s.deafen()
		s.mu.Unlock()
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
	c := content{text: !binary, keep: keep, limit: s.readLimit}
	if err := s.readAll(r, message, &c); err != nil {
		return false, nil, err
	}
	return binary, c.data, nil
}

func (s *Socket) readAll(r *reader, message io.Reader, c *content) error {
	var from io.Reader = payload{s, r, message}
	if r.guard.compressed {
		from = r.inflate(from)
	}
	buf := s.shared.buffer()
	defer s.shared.release(buf)
	for {
		n, err := from.Read(*buf)
		if broken := c.add((*buf)[:n]); broken != nil {
			return broken
		}
		switch {
		case err == nil:
			continue
		case err != io.EOF:
			return err
		}
		if broken := c.end(); broken != nil {
			return broken
		}
		return nil
	}
}

// payload is that of a message's frames, as it comes in.
type payload struct {
	socket  *Socket
	reader  *reader
	message io.Reader
}

// Read does not wait for p to be full. coder/websocket does, so it is asked for no more than what is there already of the
// frame, or for one byte, which is worth waiting for.
func (m payload) Read(p []byte) (n int, err error) {
	in := &m.socket.input
	there := m.reader.in.Buffered() + int(min(m.reader.guard.left, uint64(len(in.ahead()))))
	n, err = m.message.Read(p[:min(max(1, there), len(p))])
	if err == io.EOF && in.failed != nil {
		err = io.ErrUnexpectedEOF // coder/websocket takes a message that is cut off behind a frame's header for a whole one
	}
	return n, err
}

// readFailed finds out what an error of Read means; coder/websocket has no types for most of its own.
func (s *Socket) readFailed(err error) error {
	var broken *Violation
	var closed websocket.CloseError
	switch {
	case errors.As(err, &broken):
	case errors.As(err, &closed) && !utf8.ValidString(closed.Reason):
		broken = notUTF8("a close reason")
	case errors.As(err, &closed):
		s.ended = endPeer
		return &PeerClosed{int(closed.Code), closed.Reason}
	case errors.Is(s.input.failed, os.ErrDeadlineExceeded):
		broken = violation("a control frame took more than 5 s to arrive")
	case s.input.failed != nil:
		s.ended = endLost
		return s.input.failed
	default:
		broken = &Violation{codeProtocol, "protocol error", err}
	}
	s.ended = endViolation
	return broken
}
