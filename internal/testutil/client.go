package testutil

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

// Client is a WebSocket client that shows each frame it receives and sends anything it is told to, valid or not. It judges the
// server as strictly as a browser does.
//
// One goroutine may read while others write. Methods that return no error end the test on failure, so only the test's own
// goroutine may call them. After a read has failed, do not read again.
type Client struct {
	tb       testing.TB
	conn     net.Conn
	br       *bufio.Reader
	response *http.Response
	timeout  time.Duration // 0 means none
	silent   bool

	// turn is held while writing. A sync.Mutex would not do: waiting for one stops fake time in a testing/synctest bubble, and
	// with it the deadline that would release it.
	turn      chan struct{}
	closeSent atomic.Bool

	// pings is the number in the first ping, less 1; 0 before that. A server may start counting its pings anywhere; frames read
	// and written here count from 1.
	pings atomic.Uint64
}

// CloseError is the close frame that a read ended with.
type CloseError struct {
	Code   int // 1005 if the frame had none
	Reason string
}

// Error describes the close frame.
func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the server: %d %q", e.Code, e.Reason)
}

// Conn returns the connection, for its addresses, half-closing and the like. Do not read from it: the client may have buffered
// some of the stream.
func (c *Client) Conn() net.Conn { return c.conn }

// Response returns the server's 101 response.
func (c *Client) Response() *http.Response { return c.response }

// Close closes the connection without a close frame. It may be called more than once, from any goroutine.
func (c *Client) Close() { _ = c.conn.Close() }

// ReadFrame reads one frame and does not react to it: pings and closes are not answered. Numbered pings count from 1. The error
// is io.EOF only if the stream ended between two frames. A frame that no server may send is an error.
func (c *Client) ReadFrame() (Frame, error) {
	c.setReadDeadline()
	f, err := readFrame(c.br)
	if err == nil && f.Masked {
		err = fmt.Errorf("masked frame from the server: %v", f)
	}
	if n, ok := number(f.Payload); ok && f.Op == Ping {
		if c.pings.Load() == 0 {
			c.pings.Store(n - 1)
		}
		f.Payload = strconv.AppendUint(nil, n-c.pings.Load(), 10)
	}
	return f, err
}

// number parses a payload that is a decimal number as the server writes it.
func number(payload []byte) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(payload), 10, 64)
	return n, err == nil && string(strconv.AppendUint(nil, n, 10)) == string(payload)
}

// NextFrame is [Client.ReadFrame], but ends the test on an error.
func (c *Client) NextFrame() Frame {
	c.tb.Helper()
	f, err := c.ReadFrame()
	if err != nil {
		c.tb.Fatalf("reading a frame: %v", err)
	}
	return f
}

// Message reads the next message and returns it in one piece, inflated if it was compressed (see [Inflate]; offer
// permessage-deflate with server_no_context_takeover). Meanwhile it answers pings and skips pongs. It answers a close frame
// with the same code, unless the client has sent a close frame already, and returns it as a [*CloseError].
func (c *Client) Message() (Opcode, []byte, error) {
	first, err := c.dataFrame()
	if err != nil {
		return 0, nil, err
	}
	if first.Op == Continuation {
		return 0, nil, fmt.Errorf("nothing to continue: %v", first)
	}
	message := first.Payload
	for fin := first.Fin; !fin; {
		f, err := c.dataFrame()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, nil, err
		}
		if f.Op != Continuation || f.Rsv != 0 {
			return 0, nil, fmt.Errorf("in the middle of a message: %v", f)
		}
		message, fin = append(message, f.Payload...), f.Fin
	}
	if first.Rsv != 0 {
		if first.Rsv != 4 || len(tokens(c.response.Header, "Sec-WebSocket-Extensions")) == 0 {
			return 0, nil, fmt.Errorf("reserved bits that no extension allows: %v", first)
		}
		if message, err = Inflate(message); err != nil {
			return 0, nil, err
		}
	}
	if first.Op == Text && !utf8.Valid(message) {
		return 0, nil, fmt.Errorf("text message that is not UTF-8: %s", quote(message))
	}
	return first.Op, message, nil
}

// dataFrame reads the next frame of a message and handles the control frames before it.
func (c *Client) dataFrame() (Frame, error) {
	for {
		f, err := c.ReadFrame()
		if err != nil || !f.Op.control() {
			return f, err
		}
		if f.Rsv != 0 {
			return f, fmt.Errorf("reserved bits in a control frame: %v", f)
		}
		switch f.Op {
		case Ping:
			// If the pong cannot be sent, the next read will say why, after anything that came before.
			if !c.silent {
				_ = c.WriteFrame(Frame{Fin: true, Op: Pong, Masked: true, Payload: f.Payload})
			}
		case Close:
			closed, err := parseClose(f.Payload)
			if err != nil {
				return f, err
			}
			if !c.silent && !c.closeSent.Load() {
				_ = c.WriteFrame(Frame{Fin: true, Op: Close, Masked: true, Payload: f.Payload[:min(2, len(f.Payload))]})
			}
			return f, closed
		}
	}
}

// parseClose reads a close frame's payload (RFC 6455, sections 5.5.1 and 7.4).
func parseClose(p []byte) (*CloseError, error) {
	if len(p) == 0 {
		return &CloseError{Code: 1005}, nil
	}
	if len(p) == 1 {
		return nil, fmt.Errorf("close frame with half a code: %#x", p)
	}
	code, reason := int(binary.BigEndian.Uint16(p)), string(p[2:])
	defined := code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006
	if !defined && (code < 3000 || code > 4999) {
		return nil, fmt.Errorf("close frame with code %d, which must not be sent", code)
	}
	if !utf8.ValidString(reason) {
		return nil, fmt.Errorf("close frame with a reason that is not UTF-8: %q", reason)
	}
	return &CloseError{Code: code, Reason: reason}, nil
}

// Text returns the next message, and ends the test unless it is a text message.
func (c *Client) Text() string {
	c.tb.Helper()
	op, message, err := c.Message()
	if err != nil {
		c.tb.Fatalf("reading a text message: %v", err)
	}
	if op != Text {
		c.tb.Fatalf("got a %v message of %s, want a text message", op, quote(message))
	}
	return string(message)
}

// Expect ends the test unless the next message (see [Client.Message]) is this one. For a control opcode it is the very next
// frame that counts (see [Client.NextFrame]).
func (c *Client) Expect(op Opcode, payload string) {
	c.tb.Helper()
	var got Frame
	var err error
	if op.control() {
		got, err = c.ReadFrame()
	} else {
		got.Op, got.Payload, err = c.Message()
	}
	if err != nil {
		c.tb.Fatalf("want a %v of %s: %v", op, quote([]byte(payload)), err)
	}
	if got.Op != op || string(got.Payload) != payload {
		c.tb.Fatalf("got a %v of %s, want a %v of %s", got.Op, quote(got.Payload), op, quote([]byte(payload)))
	}
}

// AwaitClose reads until the close frame, skipping messages, and answers control frames as [Client.Message] does. It ends the
// test if anything else ends the stream. The code is 1005 if the frame had none.
func (c *Client) AwaitClose() (code int, reason string) {
	c.tb.Helper()
	for {
		_, err := c.dataFrame()
		if closed := (*CloseError)(nil); errors.As(err, &closed) {
			return closed.Code, closed.Reason
		}
		if err != nil {
			c.tb.Fatalf("waiting for a close frame: %v", err)
		}
	}
}

// AwaitEOF waits for the server to end the stream (with a FIN, over TCP), and ends the test on anything else: another frame, a
// reset, a timeout.
func (c *Client) AwaitEOF() {
	c.tb.Helper()
	f, err := c.ReadFrame()
	switch {
	case errors.Is(err, io.EOF):
	case IsReset(err):
		c.tb.Fatalf("waiting for the end: the server reset the connection (RST) instead of ending it (FIN)")
	case err != nil:
		c.tb.Fatalf("waiting for the end: %v", err)
	default:
		c.tb.Fatalf("waiting for the end: got a %v", f)
	}
}

// Send sends a message or a control frame in one masked frame, and ends the test on an error.
func (c *Client) Send(op Opcode, payload []byte) {
	c.tb.Helper()
	c.SendFrame(Frame{Fin: true, Op: op, Masked: true, Payload: payload})
}

// SendClose sends a close frame with any code; 0 sends one without code and reason. It does not wait for the answer.
func (c *Client) SendClose(code int, reason string) {
	c.tb.Helper()
	var payload []byte
	if code != 0 {
		payload = append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
	}
	c.Send(Close, payload)
}

// SendFrame is [Client.WriteFrame], but ends the test on an error.
func (c *Client) SendFrame(f Frame) {
	c.tb.Helper()
	if err := c.WriteFrame(f); err != nil {
		c.tb.Fatalf("sending a %v: %v", f, err)
	}
}

// Write sends raw bytes, such as those of [AppendFrame], in one write, and ends the test on an error.
func (c *Client) Write(raw []byte) {
	c.tb.Helper()
	if err := c.write(raw); err != nil {
		c.tb.Fatalf("sending %d raw bytes: %v", len(raw), err)
	}
}

// WriteFrame sends f as it is, masked with a random key if f.Masked. A pong to a numbered ping must carry the number that
// ReadFrame returned. It may be called from any goroutine.
func (c *Client) WriteFrame(f Frame) error {
	if n, ok := number(f.Payload); ok && f.Op == Pong && n < 1<<20 {
		f.Payload = strconv.AppendUint(nil, c.pings.Load()+n, 10)
	}
	var mask [4]byte
	_, _ = rand.Read(mask[:]) // never fails
	if f.Op == Close {
		c.closeSent.Store(true)
	}
	return c.write(AppendFrame(nil, f, mask))
}

// write sends all of raw, one caller at a time.
func (c *Client) write(raw []byte) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.timeout > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(raw)
	return err
}

// setReadDeadline sets the next read's deadline. It may fail on a closed connection, but then so does the read.
func (c *Client) setReadDeadline() {
	if c.timeout > 0 {
		_ = c.conn.SetReadDeadline(time.Now().Add(c.timeout))
	}
}
