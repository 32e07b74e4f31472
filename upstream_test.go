package wspush_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// message is what OnMessage got.
type message struct {
	typ  wspush.MessageType
	data []byte
}

// upstream is a mount that hands on what its callbacks get.
type upstream struct {
	url      string
	worker   *wspush.Worker
	messages chan message
	ends     chan error
}

func newUpstream(t *testing.T, read bool) *upstream {
	t.Helper()
	u := &upstream{worker: newWorker(t, nil), messages: make(chan message, 100), ends: make(chan error, 1)}
	opts := &wspush.Options{OnDisconnect: func(_ *wspush.Conn, reason error) { u.ends <- reason }}
	if read {
		opts.OnMessage = func(_ *wspush.Conn, typ wspush.MessageType, data []byte) { u.messages <- message{typ, data} }
	}
	u.url = serve(t, u.worker, opts)
	return u
}

func (u *upstream) connect(t *testing.T) *testutil.Client {
	t.Helper()
	c, _, _ := dial(t, u.worker, u.url, testutil.Options{})
	return c
}

// end returns what OnDisconnect gets.
func (u *upstream) end(t *testing.T) *wspush.CloseError {
	t.Helper()
	select {
	case err := <-u.ends:
		closed, ok := err.(*wspush.CloseError)
		if !ok {
			t.Fatalf("OnDisconnect got %T %v", err, err)
		}
		return closed
	case <-time.After(10 * time.Second):
		t.Fatal("OnDisconnect is not called")
		return nil
	}
}

func (u *upstream) next(t *testing.T) message {
	t.Helper()
	select {
	case m := <-u.messages:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("OnMessage is not called")
		return message{}
	}
}

func frame(fin bool, op testutil.Opcode, payload string) testutil.Frame {
	return testutil.Frame{Fin: fin, Op: op, Masked: true, Payload: []byte(payload)}
}

// TestMessages: whole, in order, with their type, and for the callback to keep.
func TestMessages(t *testing.T) {
	u := newUpstream(t, true)
	c := u.connect(t)
	long := strings.Repeat("0123456789", 6000)
	type want struct {
		typ  wspush.MessageType
		data string
	}
	var wants []want
	send := func(typ wspush.MessageType, data string, frames ...testutil.Frame) {
		wants = append(wants, want{typ, data})
		for _, f := range frames {
			c.SendFrame(f)
		}
	}
	const cont = testutil.Continuation
	send(wspush.Text, "one", frame(true, testutil.Text, "one"))
	send(wspush.Binary, "\x00\xff", frame(true, testutil.Binary, "\x00\xff"))
	send(wspush.Text, "", frame(true, testutil.Text, ""))
	send(wspush.Binary, "", frame(true, testutil.Binary, ""))
	send(wspush.Text, long, frame(true, testutil.Text, long))
	send(wspush.Text, "in three pieces", frame(false, testutil.Text, "in "), frame(false, cont, "three "), frame(true, cont, "pieces"))
	send(wspush.Binary, "a", frame(false, testutil.Binary, ""), frame(false, cont, "a"), frame(false, cont, ""), frame(true, cont, ""))
	send(wspush.Text, "", frame(false, testutil.Text, ""), frame(true, cont, ""))
	send(wspush.Text, "ü€😀", frame(false, testutil.Text, "ü\xe2"), frame(false, cont, "\x82"), frame(false, cont, "\xac\xf0\x9f"), frame(true, cont, "\x98\x80"))
	send(wspush.Text, "interleaved", frame(false, testutil.Text, "inter"), frame(true, testutil.Ping, "1"), frame(true, testutil.Pong, "?"), frame(true, cont, "leaved"))
	send(wspush.Text, "last", frame(true, testutil.Text, "last"))
	var got []message
	for range wants {
		got = append(got, u.next(t))
	}
	for i, want := range wants {
		if got[i].typ != want.typ || string(got[i].data) != want.data {
			t.Errorf("message %d: got %v %.50q, want %v %.50q", i, got[i].typ, got[i].data, want.typ, want.data)
		}
	}
	c.Expect(testutil.Pong, "1")

	// Byte by byte, also within the header.
	for _, b := range testutil.AppendFrame(nil, frame(true, testutil.Text, strings.Repeat("ü", 100)), [4]byte{9, 8, 7, 6}) {
		c.Write([]byte{b})
	}
	if m := u.next(t); m.typ != wspush.Text || string(m.data) != strings.Repeat("ü", 100) {
		t.Errorf("byte by byte: got %v %q", m.typ, m.data)
	}
}

// TestPings are answered with their payload, in the middle of a message as well, and with OnMessage or without.
func TestPings(t *testing.T) {
	for _, read := range []bool{true, false} {
		c := newUpstream(t, read).connect(t)
		c.Send(testutil.Ping, []byte("alone"))
		c.Expect(testutil.Pong, "alone")
		c.Send(testutil.Ping, nil)
		c.Expect(testutil.Pong, "")
		c.SendFrame(frame(false, testutil.Text, "begin"))
		c.Send(testutil.Ping, bytes.Repeat([]byte{0xff}, 125))
		c.Expect(testutil.Pong, strings.Repeat("\xff", 125))
		c.Send(testutil.Pong, []byte("unasked"))
		c.SendFrame(frame(true, testutil.Continuation, "end"))
		c.Send(testutil.Ping, []byte("after"))
		c.Expect(testutil.Pong, "after")
	}
}

// TestCloseAnswered: the client closes, and gets its own code back, and the end of the stream at once.
func TestCloseAnswered(t *testing.T) {
	u := newUpstream(t, true)
	for _, tc := range []struct {
		code   int
		reason string
	}{{0, ""}, {1000, ""}, {1000, "bye"}, {1001, "ü"}, {1003, ""}, {1011, ""}, {1013, ""}, {3000, ""}, {4999, strings.Repeat("x", 123)}} {
		c := u.connect(t)
		start := time.Now()
		var raw []byte
		if tc.code != 0 {
			raw = binary.BigEndian.AppendUint16(nil, uint16(tc.code))
		}
		// What comes behind a close frame is nothing.
		raw = testutil.AppendFrame(nil, frame(true, testutil.Close, string(raw)+tc.reason), [4]byte{1, 2, 3, 4})
		raw = testutil.AppendFrame(raw, frame(true, testutil.Text, "too late"), [4]byte{1, 2, 3, 4})
		c.Write(raw)
		f := c.NextFrame()
		if f.Op != testutil.Close || tc.code == 0 && len(f.Payload) != 0 ||
			tc.code != 0 && (len(f.Payload) < 2 || int(binary.BigEndian.Uint16(f.Payload)) != tc.code) {
			t.Errorf("%d %q is answered by a %v", tc.code, tc.reason, f)
		}
		if f, err := c.ReadFrame(); err == nil { // an end, whether FIN or, since "too late" may not have been read, RST
			t.Errorf("a %v behind the close frame", f)
		}
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		want := tc.code
		if want == 0 {
			want = 1005
		}
		if end := u.end(t); end.Cause != wspush.CauseClient || end.Code != want || end.Reason != tc.reason {
			t.Errorf("%d %q: OnDisconnect got %v", tc.code, tc.reason, end)
		}
	}
	if len(u.messages) > 0 {
		t.Errorf("OnMessage got %q from behind a close frame", (<-u.messages).data)
	}
	// A close frame in the middle of a message, and nothing behind it: a FIN.
	c := u.connect(t)
	c.SendFrame(frame(false, testutil.Text, "begun"))
	c.SendClose(1000, "")
	c.Expect(testutil.Close, "\x03\xe8")
	c.AwaitEOF()
	u.end(t)
	if len(u.messages) > 0 {
		t.Errorf("OnMessage got %q, which has no end", (<-u.messages).data)
	}
}

// TestClientVanishes: a connection that ends without a close frame, in every place.
func TestClientVanishes(t *testing.T) {
	u := newUpstream(t, true)
	for name, last := range map[string][]byte{
		"between messages": nil,
		"in a header":      {0x81},
		"in a frame":       testutil.AppendFrame(nil, frame(true, testutil.Text, "incomplete"), [4]byte{})[:12],
		"in a message":     testutil.AppendFrame(nil, frame(false, testutil.Text, "incomplete"), [4]byte{}),
	} {
		c := u.connect(t)
		c.Write(last)
		c.Close()
		if end := u.end(t); end.Cause != wspush.CauseLost || end.Code != 1006 {
			t.Errorf("%s: OnDisconnect got %v", name, end)
		}
	}
	if len(u.messages) > 0 {
		t.Errorf("OnMessage got %q, which has no end", (<-u.messages).data)
	}
}

// TestViolations: a client that breaks RFC 6455 is told how, then the stream ends; not by a reset, which could overtake
// the close frame; and at once, whether the client goes on or not.
func TestViolations(t *testing.T) {
	masked := func(first byte, payload string) []byte {
		return append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	}
	closing := func(code uint16, reason string) []byte {
		return masked(0x88, string(binary.BigEndian.AppendUint16(nil, code))+reason)
	}
	type test struct {
		name  string
		raw   []byte
		codes []int
	}
	tests := []test{
		{"unmasked", []byte{0x81, 1, 'x'}, []int{1002}},
		{"unmasked ping", []byte{0x89, 0}, []int{1002}},
		{"unmasked close", []byte{0x88, 2, 3, 0xe8}, []int{1002}},
		{"RSV1", masked(0xc1, "x"), []int{1002}},
		{"RSV2", masked(0xa1, "x"), []int{1002}},
		{"RSV3", masked(0x91, "x"), []int{1002}},
		{"RSV1 in a ping", masked(0xc9, "x"), []int{1002}},
		{"opcode 3", masked(0x83, "x"), []int{1002}},
		{"opcode 7", masked(0x87, "x"), []int{1002}},
		{"opcode 11", masked(0x8b, "x"), []int{1002}},
		{"opcode 15", masked(0x8f, "x"), []int{1002}},
		{"ping in pieces", masked(0x09, "x"), []int{1002}},
		{"close in pieces", masked(0x08, "\x03\xe8"), []int{1002}},
		{"long ping", testutil.AppendFrame(nil, frame(true, testutil.Ping, strings.Repeat("x", 126)), [4]byte{}), []int{1002}},
		{"long pong", testutil.AppendFrame(nil, frame(true, testutil.Pong, strings.Repeat("x", 126)), [4]byte{}), []int{1002}},
		{"long close", testutil.AppendFrame(nil, frame(true, testutil.Close, "\x03\xe8"+strings.Repeat("x", 124)), [4]byte{}), []int{1002}},
		{"stray continuation", masked(0x80, "x"), []int{1002}},
		{"stray continuation, not the last", masked(0x00, "x"), []int{1002}},
		{"text within text", append(masked(0x01, "x"), masked(0x81, "y")...), []int{1002}},
		{"binary within text", append(masked(0x01, "x"), masked(0x02, "y")...), []int{1002}},
		{"negative length", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, []int{1002, 1009}},
		{"close with half a code", masked(0x88, "\x03"), []int{1002}},
		{"close reason not UTF-8", closing(1000, "\xff"), []int{1007, 1002}},
		{"close reason cut", closing(1000, "\xc3"), []int{1007, 1002}},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []int{1002}},
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		tests = append(tests, test{fmt.Sprintf("close code %d", code), closing(code, ""), []int{1002}})
	}
	for text, at := range map[string]string{
		"a\xffb": "in the middle", "\xc3": "cut", "\xed\xa0\x80": "surrogate", "\xc0\xaf": "overlong", "\xf4\x90\x80\x80": "too high", "\xe2\x82": "cut later",
	} {
		tests = append(tests, test{"invalid UTF-8, " + at, masked(0x81, text), []int{1007}})
	}
	tests = append(tests,
		test{"invalid UTF-8, over frames", append(masked(0x01, "a\xe2\x82"), masked(0x80, "b")...), []int{1007}},
		test{"invalid UTF-8, cut over frames", append(masked(0x01, "a\xe2"), masked(0x80, "\x82")...), []int{1007}},
		test{"invalid UTF-8, cut before nothing", append(masked(0x01, "\xc3"), masked(0x80, "")...), []int{1007}},
		test{"invalid UTF-8, message not at its end", masked(0x01, "a\xff"), []int{1007}},
		test{"invalid UTF-8, frame not at its end", []byte{0x81, 0x80 | 100, 0, 0, 0, 0, 'a', 0xff}, []int{1007}},
		test{"invalid UTF-8, behind a long text", testutil.AppendFrame(nil, frame(true, testutil.Text, strings.Repeat("ü", 30_000)+"\xff"), [4]byte{5, 6, 7, 8}), []int{1007}},
	)
	for _, read := range []bool{true, false} {
		for _, tc := range tests {
			for _, more := range []int{0, 100_000} {
				t.Run(fmt.Sprintf("%s, OnMessage %t, more %d", tc.name, read, more), func(t *testing.T) {
					u := newUpstream(t, read)
					c := u.connect(t)
					start := time.Now()
					c.Write(append(bytes.Clone(tc.raw), make([]byte, more)...))
					f, err := c.ReadFrame()
					if err != nil {
						t.Fatalf("no close frame: %v", err)
					}
					code := 0
					if f.Op == testutil.Close && len(f.Payload) >= 2 {
						code = int(binary.BigEndian.Uint16(f.Payload))
					}
					ok := false
					for _, want := range tc.codes {
						ok = ok || code == want
					}
					if !ok {
						t.Errorf("got a %v, want a close frame with %d", f, tc.codes)
					}
					if f, err := c.ReadFrame(); err == nil || strings.Contains(err.Error(), "reset") {
						t.Errorf("after the close frame: %v, %v", f, err)
					}
					if took := time.Since(start); took > 1500*time.Millisecond {
						t.Errorf("the end took %v", took)
					}
					c.Close()
					end := u.end(t)
					if end.Cause != wspush.CauseProtocol || end.Code != code {
						t.Errorf("OnDisconnect got %v", end)
					}
					if !errors.Is(end, end.Err) || end.Err == nil {
						t.Errorf("OnDisconnect is not told what was wrong: %v", end)
					}
					if len(u.messages) > 0 {
						t.Errorf("OnMessage got %q", (<-u.messages).data)
					}
				})
			}
		}
	}
}
