package wspush_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// message is a message that OnMessage got.
type message struct {
	typ  wspush.MessageType
	data []byte
}

// upstream is a mount that passes on what its callbacks get.
type upstream struct {
	url      string
	worker   *wspush.Worker
	messages chan message
	ends     chan error
}

func newUpstream(t *testing.T, read bool) *upstream {
	t.Helper()
	u := &upstream{worker: newWorker(t, nil), messages: make(chan message, 100), ends: make(chan error, 1)}
	opts := &wspush.HandlerOptions{OnDisconnect: func(_ *wspush.Conn, reason error) { u.ends <- reason }}
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

// end waits for OnDisconnect, and returns the reason that it got.
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

// OnMessage gets messages whole, in order and with their type, and may keep them.
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

	// Every byte of the frame, its header included, arrives by itself.
	for _, b := range testutil.AppendFrame(nil, frame(true, testutil.Text, strings.Repeat("ü", 100)), [4]byte{9, 8, 7, 6}) {
		c.Write([]byte{b})
	}
	if m := u.next(t); m.typ != wspush.Text || string(m.data) != strings.Repeat("ü", 100) {
		t.Errorf("byte by byte: got %v %q", m.typ, m.data)
	}
}

// Pings are answered with their payload, even in the middle of a message, with OnMessage and without it.
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

// A client that closes gets its own code back, and the end of the stream at once. It may send every code that RFC 6455 section 7.4
// and the registry let an endpoint send, also 1010, which a server must not send.
func TestCloseAnswered(t *testing.T) {
	u := newUpstream(t, true)
	for _, tc := range []struct {
		code   int
		reason string
	}{{0, ""}, {1000, ""}, {1000, "bye"}, {1001, "ü"}, {1003, ""}, {1010, "no extension"}, {1011, ""}, {1012, ""}, {1013, ""}, {1014, ""}, {3000, ""}, {4999, strings.Repeat("x", 123)}} {
		c := u.connect(t)
		start := time.Now()
		var raw []byte
		if tc.code != 0 {
			raw = binary.BigEndian.AppendUint16(nil, uint16(tc.code))
		}
		// Whatever follows a close frame is ignored.
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
	// A close frame in the middle of a message, with nothing behind it, is answered, and the stream ends with a FIN.
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

// A connection may end without a close frame anywhere in the stream.
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
