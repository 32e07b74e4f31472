package wspush

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// FuzzHandshake sends a handshake, and frames that arrive together with it and after it, to a real server, which must not
// panic, must answer with HTTP or with frames that a server may send, and must end the connection once the client has: all
// of it in bounded time, and with nothing left running.
func FuzzHandshake(f *testing.F) {
	const correct = "GET /ws HTTP/1.1\r\nHost: h.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	frame := func(first byte, payload string) []byte {
		return testutil.AppendFrame(nil, testutil.Frame{
			Fin: first&0x80 != 0, Rsv: first >> 4 & 7, Op: testutil.Opcode(first & 15), Masked: true, Payload: []byte(payload),
		}, [4]byte{1, 2, 3, 4})
	}
	for _, head := range []string{
		"", correct + "\r\n", correct + "Origin: http://evil.test\r\n\r\n", correct + "Origin: http://h.test\r\n\r\n",
		correct + "Sec-WebSocket-Protocol: v2, v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
		correct + "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8; client_max_window_bits; x=\"y\"\r\n\r\n",
		correct + "Content-Length: 5\r\n\r\n12345", correct + "Transfer-Encoding: chunked\r\n\r\n", correct + "Sec-WebSocket-Key: x\r\n\r\n", correct,
		strings.Replace(correct, "13", "8", 1) + "\r\n", strings.Replace(correct, "1.1", "1.0", 1) + "\r\n", strings.Replace(correct, "/ws", "*", 1) + "\r\n",
		strings.Replace(correct, "/ws", "/a,b/%zz?\"", 1) + "\r\n", strings.Replace(correct, "GET", "POST", 1) + "\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n", "\x00\xff", "GET", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add(head, frame(0x81, "hello"), uint16(3))
	}
	for _, frames := range [][]byte{
		frame(0x81, ""), frame(0x82, "\xff"), frame(0x81, "\xff"), append(frame(0x01, "a"), frame(0x80, "b")...), frame(0x89, "ping"), frame(0x8a, "1"),
		frame(0x88, ""), frame(0x88, "\x03"), frame(0x88, "\x03\xe8bye"), frame(0x88, "\x03\xed"), frame(0xc1, string(testutil.Deflate([]byte("hello")))),
		frame(0xc1, "\xff"), frame(0x83, ""), frame(0x80, ""), frame(0x09, ""), frame(0x82, strings.Repeat("x", 300)), {0x81, 1, 'x'},
		{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, {0x82, 0xfe, 0, 1, 0, 0, 0, 0, 'x'}, append(frame(0x88, "\x03\xe8"), frame(0x81, "late")...),
	} {
		f.Add("", frames, uint16(len(frames)))
		f.Add("", frames, uint16(1))
	}
	f.Fuzz(func(t *testing.T, head string, frames []byte, early uint16) {
		w, err := NewWorker(&WorkerOptions{NoListen: true, Advertise: []string{"push.test"}, Logger: slog.New(slog.DiscardHandler), WriteTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		connected, disconnected := make(chan struct{}, 1), make(chan error, 2)
		h, err := NewHandler(w, &HandlerOptions{
			ReadLimit: 200, Compression: true, Subprotocols: []string{"v1"},
			OnConnect:    func(*Conn) { connected <- struct{}{} },
			OnMessage:    func(c *Conn, typ MessageType, data []byte) { _, _ = c.Push(c.Context(), typ, data) },
			OnDisconnect: func(_ *Conn, reason error) { disconnected <- reason },
		})
		if err != nil {
			t.Fatal(err)
		}
		server := strings.TrimPrefix(testutil.Serve(t, h), "http://")
		at := min(int(early), len(frames))
		if head == "" {
			shakeHands(t, server, frames[:at], frames[at:])
		} else {
			talk(t, server, []byte(head), frames[:at], frames[at:])
		}
		testutil.Eventually(t, "the connection to end by itself", func() bool { return len(w.roster.all()) == 0 })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if len(connected) != len(disconnected) {
			t.Errorf("%d times connected, %d times disconnected", len(connected), len(disconnected))
		}
	})
}

// shakeHands sends frames behind a correct handshake, and checks every frame that comes back.
func shakeHands(t *testing.T, server string, early, late []byte) {
	header := http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}}
	c := testutil.Dial(t, "http://"+server, testutil.Options{Header: header, Early: early})
	if len(late) > 0 {
		_, _ = c.Conn().Write(late) // which the server may have ended
	}
	_ = c.Conn().(*net.TCPConn).CloseWrite()
	for closed := false; ; {
		frame, err := c.ReadFrame()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatal("the server does not end the connection")
		case isEnd(err):
			return
		case err != nil:
			t.Fatal(err)
		case closed:
			t.Fatalf("after the close frame: %v", frame)
		}
		closed = frame.Op == testutil.Close
	}
}

// talk sends bytes and waits for the server to end the connection.
func talk(t *testing.T, server string, pieces ...[]byte) {
	c, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		_, _ = c.Write(p)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil && !isEnd(err) {
		t.Fatalf("the server does not end the connection: %v", err)
	}
	if len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.")) {
		t.Errorf("the server answers %q", answer)
	}
}

// isEnd reports whether err is the end of a connection, orderly or not: a client that sends nonsense may be reset.
func isEnd(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &op) && !op.Timeout()
}
