package wspush_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// noise does not repeat, so that a byte in the wrong place is noticed.
var noise = func() []byte {
	random := rand.NewChaCha8([32]byte{})
	b := make([]byte, 256<<10)
	_, _ = random.Read(b) // never fails
	return b
}()

// deflating is the handshake header of a client that offers compression.
var deflating = http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; client_no_context_takeover; server_no_context_takeover"}}

// inPieces returns a binary message in frames of at most size bytes.
func inPieces(data []byte, size int, compressed bool) (frames []testutil.Frame) {
	first := testutil.Frame{Op: testutil.Binary, Masked: true}
	if compressed {
		data = testutil.Deflate(data)
		first.Rsv = 4
	}
	for len(data) > size {
		first.Payload, data = data[:size], data[size:]
		frames = append(frames, first)
		first = testutil.Frame{Op: testutil.Continuation, Masked: true}
	}
	first.Fin, first.Payload = true, data
	return append(frames, first)
}

// talk is a connection whose messages are checked.
type talk struct {
	*testutil.Client
	got chan []byte
}

// talks runs a test with a client on each kind of connection, with compression and without.
func talks(t *testing.T, test func(t *testing.T, c *talk, compressed bool)) {
	for name, connect := range stages {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, compressed %t", name, compressed), func(t *testing.T) {
				c := &talk{got: make(chan []byte, 10_000)}
				w := newWorker(t, quiet())
				h := newHandler(t, w, &wspush.HandlerOptions{Compression: compressed, OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { c.got <- data }})
				opts := testutil.Options{}
				if compressed {
					opts.Header = deflating
				}
				c.Client = testutil.Handshake(t, connect(t, h), opts)
				greeted(t, w, c.Client)
				go func() { // drops the pongs
					for {
						if _, err := c.ReadFrame(); err != nil {
							return
						}
					}
				}()
				test(t, c, compressed)
				if len(c.got) > 0 {
					t.Errorf("%d messages too many", len(c.got))
				}
				c.Close()
			})
		}
	}
}

// expect fails the test unless these are the next messages.
func (c *talk) expect(t *testing.T, what string, want ...[]byte) {
	t.Helper()
	for i := range want {
		got := receive(t, fmt.Sprintf("%s: message %d, of %d bytes", what, i, len(want[i])), c.got)
		if !bytes.Equal(got, want[i]) {
			t.Fatalf("%s: message %d is %d bytes %.40q, want %d bytes %.40q", what, i, len(got), got, len(want[i]), want[i])
		}
	}
}

// Messages of each size around those of the buffers (32 bytes, 16 KiB) and of the length fields (125 bytes, 64 KiB), whole and in
// pieces, arrive as they were sent.
func TestMessageSizes(t *testing.T) {
	type script struct {
		what string
		raw  [][]byte // frames
		data []byte
	}
	var sizes []int
	for n := range 50 {
		sizes = append(sizes, n)
	}
	for n := -16; n <= 16; n++ {
		sizes = append(sizes, 16<<10+n)
	}
	sizes = append(sizes, 125, 126, 32<<10-1, 32<<10, 32<<10+1, 40_000, 65_535, 65_536)
	scripts := map[bool][]script{}
	for _, compressed := range []bool{false, true} {
		for i, n := range sizes {
			data := noise[i : i+n]
			for _, size := range []int{1 << 20, 1, 7, 26, 31, 4099, 16<<10 - 8, 16<<10 + 1} {
				if size < 1<<20 && (n <= size || n/size > 100 || n > 50 && i%8 != 0) {
					continue
				}
				s := script{what: fmt.Sprint(n, " bytes in frames of ", size), data: data}
				for _, f := range inPieces(data, size, compressed && i%10 == 0) {
					s.raw = append(s.raw, wire(f))
				}
				scripts[compressed] = append(scripts[compressed], s)
			}
		}
	}
	talks(t, func(t *testing.T, c *talk, compressed bool) {
		for _, s := range scripts[compressed] {
			c.Write(bytes.Join(s.raw, nil))
			c.expect(t, s.what+", at once", s.data)
			if len(s.raw) > 1 {
				for _, raw := range s.raw {
					c.Write(raw)
				}
				c.expect(t, s.what+", each by itself", s.data)
			}
		}
	})
}

// Many messages and control frames arrive as they were sent, in one segment or in segments that end anywhere.
func TestManyInOneSegment(t *testing.T) {
	raws := map[bool][]byte{}
	var want [][]byte
	for i := range 150 {
		n := i % 60
		if i%50 == 49 {
			n = 5000
		}
		data := noise[i : i+n]
		want = append(want, data)
		for _, compressed := range []bool{false, true} {
			frames := inPieces(data, 1+i%13+n/10, compressed && i%6 == 0)
			switch i % 5 {
			case 1:
				frames = slices.Insert(frames, len(frames)/2, frame(true, testutil.Ping, fmt.Sprint(i)))
			case 2:
				frames = append(frames, frame(true, testutil.Pong, fmt.Sprint(i)), frame(true, testutil.Ping, ""))
			case 3:
				frames = slices.Insert(frames, 0, frame(true, testutil.Pong, strings.Repeat("x", i%126)))
			}
			raws[compressed] = append(raws[compressed], wire(frames...)...)
		}
	}
	talks(t, func(t *testing.T, c *talk, compressed bool) {
		raw := raws[compressed]
		c.Write(raw)
		c.expect(t, "in one", want...)
		for _, size := range []int{16, 33, 1000} {
			for piece := range slices.Chunk(raw, size) {
				c.Write(piece)
			}
			c.expect(t, fmt.Sprint("in segments of ", size), want...)
		}
		for rest := raw; len(rest) > 0; {
			n := min(1+rand.IntN(100), len(rest))
			c.Write(rest[:n])
			rest = rest[n:]
		}
		c.expect(t, "in segments of any size", want...)
	})
}

// A short sequence of frames, split into two segments at each position, and into bytes, is read as one.
func TestSplitAnywhere(t *testing.T) {
	talks(t, func(t *testing.T, c *talk, compressed bool) {
		long := noise[:60]
		raw := slices.Concat(
			wire(frame(true, testutil.Pong, "1")), wire(inPieces(noise[:11], 20, compressed)...), wire(frame(true, testutil.Ping, "2")),
			wire(inPieces(long, 25, compressed)...), wire(frame(true, testutil.Pong, "3")), wire(inPieces(nil, 20, false)...), wire(inPieces(noise[:3], 20, false)...))
		want := [][]byte{noise[:11], long, nil, noise[:3]}
		for i := range raw {
			c.Write(raw[:i])
			c.Write(raw[i:])
			c.expect(t, fmt.Sprint("split at ", i), want...)
		}
		for _, b := range raw {
			c.Write([]byte{b})
		}
		c.expect(t, "byte by byte", want...)
	})
}

// What comes in one segment with the handshake is not lost, however much it is and wherever it ends.
func TestEarlyBytes(t *testing.T) {
	short := wire(frame(true, testutil.Pong, "1"), frame(true, testutil.Text, "hello"), frame(true, testutil.Pong, "2"), frame(true, testutil.Text, "world"))
	long := wire(inPieces(noise[:20_000], 3000, false)...)
	for name, connect := range stages {
		w := newWorker(t, quiet())
		got := make(chan string, 10)
		h := newHandler(t, w, &wspush.HandlerOptions{OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { got <- string(data) }})
		for _, tt := range []struct {
			raw  []byte
			want []string
			step int
		}{{short, []string{"hello", "world"}, 1}, {long, []string{string(noise[:20_000])}, 1999}} {
			for at := 0; at <= len(tt.raw); at += tt.step {
				if name != "pipe" && tt.step == 1 && at%8 > 1 { // the same again, but slower
					continue
				}
				c := testutil.Handshake(t, connect(t, h), testutil.Options{Early: tt.raw[:at]})
				c.Write(tt.raw[at:])
				for i, want := range tt.want {
					if data := receive(t, "OnMessage", got); data != want {
						t.Errorf("%s, split at %d: message %d is %d bytes %.40q", name, at, i, len(data), data)
					}
				}
				c.Close()
			}
		}
	}
}

// Connections with different limits share buffers, and each keeps its own limit.
func TestReadLimitIsTheConnections(t *testing.T) {
	w := newWorker(t, quiet())
	got := make(chan int, 10)
	join := func(limit int64) *testutil.Client {
		h := newHandler(t, w, &wspush.HandlerOptions{ReadLimit: limit, OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { got <- len(data) }})
		c := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{})
		greeted(t, w, c)
		return c
	}
	small, large, unlimited := join(10), join(1000), join(-1)
	says := func(c *testutil.Client, n int) {
		t.Helper()
		c.Send(testutil.Binary, noise[:n])
		if len := receive(t, "OnMessage", got); len != n {
			t.Errorf("got %d bytes of %d", len, n)
		}
	}
	for range 3 {
		says(unlimited, 200_000)
		says(small, 10)
		says(large, 1000)
		says(unlimited, 1001)
		says(small, 0)
	}
	for limit, c := range map[int]*testutil.Client{10: small, 1000: large} {
		for _, f := range inPieces(noise[:limit+1], limit, false) { // one byte too many, by itself
			c.SendFrame(f)
		}
		if code, _ := c.AwaitClose(); code != 1009 {
			t.Errorf("more than %d bytes: closed with %d", limit, code)
		}
		c.Close()
		says(unlimited, 100_000)
	}
	unlimited.Close()
}

// Many connections talk at once while others are broken in every way there is. They share buffers, and none sees anything of another.
func TestConnectionsAreNotMixed(t *testing.T) {
	const talkers, breakers = 8, 6
	answer := func(c *wspush.Conn, typ wspush.MessageType, data []byte) { _, _ = c.Push(c.Context(), typ, data) }
	w := newWorker(t, quiet())
	mux := http.NewServeMux()
	mux.Handle("/small", newHandler(t, w, &wspush.HandlerOptions{OnMessage: answer, ReadLimit: 100}))
	mux.Handle("/large", newHandler(t, w, &wspush.HandlerOptions{OnMessage: answer, ReadLimit: 20_000}))
	mux.Handle("/deflated", newHandler(t, w, &wspush.HandlerOptions{OnMessage: answer, ReadLimit: 20_000, Compression: true}))
	server := testutil.Serve(t, mux)

	type breaking struct {
		raw  []byte
		code int // of the close frame; 0: the client leaves
	}
	breaks := []breaking{
		{wire(frame(true, testutil.Text, "\xff")), 1007},
		{wire(frame(false, testutil.Text, "a\xe2"), frame(true, testutil.Continuation, "b")), 1007},
		{wire(frame(true, testutil.Binary, strings.Repeat("x", 101))), 1009},
		{wire(frame(true, 0x3, "")), 1002},
		{wire(frame(true, testutil.Continuation, "")), 1002},
		{wire(frame(false, testutil.Binary, "x"), frame(true, testutil.Binary, "x")), 1002},
		{wire(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true}), 1002},
		{[]byte{0x8a, 0x00}, 1002},
		{wire(frame(true, testutil.Close, "\x0b\xb8bye")), 3000},
		{wire(frame(true, testutil.Text, "incomplete"))[:9], 0},
		{wire(frame(false, testutil.Text, "incomplete")), 0},
	}
	var talking atomic.Int64
	talking.Store(talkers)
	var wg sync.WaitGroup
	for i := range talkers {
		wg.Go(func() {
			defer talking.Add(-1)
			opts, limit := testutil.Options{Path: "/large"}, 20_000
			switch i % 3 {
			case 1:
				opts.Path, limit = "/small", 100
			case 2:
				opts.Path, opts.Header = "/deflated", deflating
			}
			c, _, err := testutil.TryDial(t, server, opts)
			if err == nil {
				defer c.Close()
				_, _, err = c.Message()
			}
			for n := 0; n < 30 && err == nil; n++ {
				at, size := rand.IntN(len(noise)-limit), rand.IntN(limit+1)
				if n%4 == 0 {
					size = limit
				}
				data := noise[at : at+size]
				raw := wire(inPieces(data, 1+rand.IntN(size+1)+size/50, opts.Header != nil && n%2 == 0)...)
				for len(raw) > 0 && err == nil {
					part := min(len(raw), 1+rand.IntN(2*size+20))
					_, err = c.Conn().Write(raw[:part])
					raw = raw[part:]
				}
				var got []byte
				if err == nil {
					_, got, err = c.Message()
				}
				if err == nil && !bytes.Equal(got, data) {
					err = fmt.Errorf("%d bytes came back as %d", len(data), len(got))
				}
			}
			if err != nil {
				t.Errorf("talker %d: %v", i, err)
			}
		})
	}
	for i := range breakers {
		wg.Go(func() {
			for n := i; talking.Load() > 0; n++ {
				c, _, err := testutil.TryDial(t, server, testutil.Options{Path: "/small"})
				if err == nil {
					_, _, err = c.Message()
				}
				if err != nil {
					t.Errorf("breaker %d: %v", i, err)
					return
				}
				b := breaks[n%len(breaks)]
				if _, err := c.Conn().Write(b.raw); err != nil {
					t.Errorf("breaker %d: %v", i, err)
				}
				if b.code != 0 {
					_, data, err := c.Message()
					if closed := (*testutil.CloseError)(nil); !errors.As(err, &closed) || closed.Code != b.code {
						t.Errorf("%q is answered by %.50q, %v; want %d", b.raw, data, err, b.code)
					}
				}
				c.Close()
			}
		})
	}
	wg.Wait()
}

// A client may take a minute for a message, but only 5 s for a control frame. Other connections notice neither.
func TestTrickle(t *testing.T) {
	type pause = time.Duration
	ping := wire(frame(true, testutil.Ping, "0123456789"))
	tests := map[string]struct {
		raw   []byte
		pause pause
		code  int    // of the close frame; 0: none
		at    pause  // of the close frame
		want  string // messages
	}{
		"a message for 5 s":         {wire(frame(true, testutil.Text, "hello")), 500 * time.Millisecond, 0, 0, "hello"},
		"a message for a minute":    {wire(frame(true, testutil.Text, "hello")), 5999 * time.Millisecond, 0, 0, "hello"},
		"a message for longer":      {wire(frame(true, testutil.Text, "hello")), 7 * time.Second, 1008, time.Minute, ""},
		"a ping for 5 s, nearly":    {ping, 4999 * time.Millisecond / 15, 0, 0, ""},
		"a ping's header":           {wire(frame(true, testutil.Ping, "")), 2 * time.Second, 1002, 5 * time.Second, ""},
		"a ping for longer":         {ping, time.Second, 1002, 5 * time.Second, ""},
		"a pong for longer":         {wire(frame(true, testutil.Pong, "0123456789")), time.Second, 1002, 5 * time.Second, ""},
		"a close frame for longer":  {wire(frame(true, testutil.Close, "\x03\xe8 bye bye")), time.Second, 1002, 5 * time.Second, ""},
		"a ping within a message":   {slices.Concat(wire(frame(false, testutil.Text, "hel"), frame(true, testutil.Ping, "12")), wire(frame(true, testutil.Continuation, "lo"))), 700 * time.Millisecond, 0, 0, "hello"},
		"a long ping in a message":  {slices.Concat(wire(frame(false, testutil.Text, "hel")), ping), time.Second, 1002, 14 * time.Second, ""},
		"messages, and a ping last": {slices.Concat(wire(frame(true, testutil.Text, "hel"), frame(true, testutil.Text, "lo")), ping[:7]), 2 * time.Second, 1002, 39 * time.Second, "hello"},
	}
	for name, tt := range tests {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, compressed %t", name, compressed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"h"}})
					h := newHandler(t, w, &wspush.HandlerOptions{Compression: compressed, PingInterval: -1, IdleTimeout: -1, OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
						_, _ = c.Push(c.Context(), typ, data)
					}})
					join := func() *testutil.Client {
						opts := testutil.Options{Timeout: -1}
						if compressed {
							opts.Header = deflating
						}
						c := testutil.Handshake(t, testutil.Pipe(t, h), opts)
						greeted(t, w, c)
						return c
					}
					slow, other := join(), join()
					begin := time.Now()
					// A connection that is wrongly left open would keep fake time going for ever.
					defer time.AfterFunc(5*time.Minute, slow.Close).Stop()

					stop := make(chan struct{})
					var wg sync.WaitGroup
					wg.Go(func() {
						for i := 0; ; i++ {
							data := noise[i%1000 : i%1000+i%100]
							if err := other.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Binary, Masked: true, Payload: data}); err != nil {
								t.Error(err)
								return
							}
							if _, got, err := other.Message(); err != nil || !bytes.Equal(got, data) {
								t.Errorf("message %d to the other client: %d bytes, %v", i, len(got), err)
								return
							}
							select {
							case <-stop:
								return
							case <-time.After(300 * time.Millisecond):
							}
						}
					})
					wg.Go(func() {
						for _, b := range tt.raw {
							if _, err := slow.Conn().Write([]byte{b}); err != nil {
								return
							}
							select {
							case <-stop:
								return
							case <-time.After(tt.pause):
							}
						}
						if tt.code == 0 {
							slow.WriteFrame(frame(true, testutil.Text, "end"))
						}
					})
					var got strings.Builder
					for {
						_, data, err := slow.Message()
						if closed := (*testutil.CloseError)(nil); errors.As(err, &closed) {
							if at := time.Since(begin); closed.Code != tt.code || at != tt.at {
								t.Errorf("closed with %d after %v, want %d after %v", closed.Code, at, tt.code, tt.at)
							}
							break
						}
						if err != nil {
							t.Error(err)
							break
						}
						if string(data) == "end" {
							break
						}
						got.Write(data)
					}
					if got.String() != tt.want {
						t.Errorf("messages: %q, want %q", got.String(), tt.want)
					}
					<-time.After(10 * time.Second) // until nothing of it can be left
					close(stop)
					wg.Wait()
				})
			})
		}
	}
}

// A message of exactly ReadLimit bytes is read, in one frame or several; one byte more closes the connection.
func TestReadLimit(t *testing.T) {
	w := newWorker(t, nil)
	for _, tc := range []struct {
		limit int64
		ok    int // the longest message; -1: any
	}{{0, 64 << 10}, {100, 100}, {1, 1}, {-1, -1}} {
		for _, read := range []bool{true, false} {
			reasons := make(chan error, 1)
			opts := wspush.HandlerOptions{ReadLimit: tc.limit, OnDisconnect: func(_ *wspush.Conn, reason error) { reasons <- reason }}
			if read {
				opts.OnMessage = echo(t)
			}
			server := serve(t, w, &opts)
			try := func(name string, n int, frames int, ok bool) {
				t.Run(fmt.Sprintf("limit %d, OnMessage %t, %s", tc.limit, read, name), func(t *testing.T) {
					c, _, _ := dial(t, w, server, testutil.Options{})
					message := bytes.Repeat([]byte("x"), n)
					for i := range frames {
						op := testutil.Continuation
						if i == 0 {
							op = testutil.Binary
						}
						part := message[i*n/frames : (i+1)*n/frames]
						if err := c.WriteFrame(testutil.Frame{Fin: i == frames-1, Op: op, Masked: true, Payload: part}); err != nil {
							break // the server has had enough
						}
					}
					if ok {
						if read {
							expect(t, c, testutil.Binary, string(message))
						}
						c.SendClose(1000, "")
						c.AwaitClose()
						<-reasons
						return
					}
					if code, _ := c.AwaitClose(); code != 1009 {
						t.Errorf("closed with %d", code)
					}
					c.AwaitEOF()
					c.Close()
					var closed *wspush.CloseError
					if err := <-reasons; !errors.As(err, &closed) || closed.Code != 1009 || closed.Cause != wspush.CauseProtocol {
						t.Errorf("OnDisconnect got %v", err)
					}
				})
			}
			if tc.ok < 0 {
				try("any", 1<<20, 1, true)
				continue
			}
			try("exactly", tc.ok, 1, true)
			try("exactly, in frames", tc.ok, 3, true)
			try("over", tc.ok+1, 1, false)
			try("over, in frames", tc.ok+3, 3, false)
			try("far over", tc.ok+1<<20, 1, false)
		}
	}
}

func TestCompression(t *testing.T) {
	w := newWorker(t, nil)
	offer := http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}}
	long := strings.Repeat("compress me, ", 50_000)

	t.Run("off by default", func(t *testing.T) {
		c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{Header: offer})
		if got := c.Response().Header.Get("Sec-WebSocket-Extensions"); got != "" {
			t.Errorf("negotiated %q", got)
		}
		pushed := make(chan error, 1)
		go func() { pushed <- outcome(conn.Push(context.Background(), wspush.Text, []byte(long[:1000]))) }()
		if f := c.NextFrame(); f.Rsv != 0 || string(f.Payload) != long[:1000] {
			t.Errorf("got a %v", f)
		}
		if err := <-pushed; err != nil {
			t.Error(err)
		}
	})

	server := serve(t, w, &wspush.HandlerOptions{Compression: true, ReadLimit: int64(len(long)), OnMessage: echo(t)})
	t.Run("not offered", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{})
		c.Send(testutil.Text, []byte(long[:1000]))
		if f := c.NextFrame(); f.Rsv != 0 || string(f.Payload) != long[:1000] {
			t.Errorf("got a %v", f)
		}
	})
	t.Run("both ways", func(t *testing.T) {
		c, conn, _ := dial(t, w, server, testutil.Options{Header: offer})
		if got := c.Response().Header.Get("Sec-WebSocket-Extensions"); !strings.Contains(got, "permessage-deflate") ||
			!strings.Contains(got, "server_no_context_takeover") || !strings.Contains(got, "client_no_context_takeover") {
			t.Errorf("negotiated %q", got)
		}
		for range 3 { // no context is carried over
			payload := testutil.Deflate([]byte(long))
			c.SendFrame(testutil.Frame{Rsv: 4, Op: testutil.Text, Masked: true, Payload: payload[:100]})
			c.SendFrame(testutil.Frame{Fin: true, Op: testutil.Continuation, Masked: true, Payload: payload[100:]})
			f := c.NextFrame()
			message, err := testutil.Inflate(f.Payload)
			if err != nil || f.Rsv != 4 || !f.Fin || f.Op != testutil.Text || string(message) != long || len(f.Payload) > len(long)/10 {
				t.Fatalf("got a %v of %d bytes: %v", f, len(message), err)
			}
		}
		c.Send(testutil.Text, []byte("short, and not compressed"))
		if f := c.NextFrame(); f.Rsv != 0 || string(f.Payload) != "short, and not compressed" {
			t.Errorf("got a %v", f)
		}
		// An empty message, compressed, is a single zero byte (RFC 7692 section 7.2.3.6).
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true, Payload: []byte{0}})
		c.Expect(testutil.Binary, "")
		// These bytes cannot be compressed.
		random := make([]byte, 10_000)
		for i := range random {
			random[i] = byte(i * i * 7919 >> 3)
		}
		pushed := make(chan error, 1)
		go func() { pushed <- outcome(conn.Push(context.Background(), wspush.Binary, random)) }()
		c.Expect(testutil.Binary, string(random))
		if err := <-pushed; err != nil {
			t.Error(err)
		}
	})
	t.Run("bomb", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{Header: offer})
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true, Payload: testutil.Deflate(make([]byte, len(long)+1))})
		if code, _ := c.AwaitClose(); code != 1009 {
			t.Errorf("closed with %d", code)
		}
		c.AwaitEOF()
	})
	t.Run("no deflate", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{Header: offer})
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true, Payload: []byte{0xff, 0xff, 0xff}})
		if code, _ := c.AwaitClose(); code != 1002 && code != 1007 {
			t.Errorf("closed with %d", code)
		}
		c.AwaitEOF()
	})
	t.Run("invalid UTF-8 inside", func(t *testing.T) {
		c, _, _ := dial(t, w, server, testutil.Options{Header: offer})
		c.SendFrame(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Text, Masked: true, Payload: testutil.Deflate([]byte("a\xff"))})
		if code, _ := c.AwaitClose(); code != 1007 {
			t.Errorf("closed with %d", code)
		}
		c.AwaitEOF()
	})
}
