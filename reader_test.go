package wspush_test

import (
	"bytes"
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

// A client may take as long as it likes for a message, but only 5 s for a control frame behind its header. Other connections
// notice neither.
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
		"a message for a minute":    {wire(frame(true, testutil.Text, "hello")), 6 * time.Second, 0, 0, "hello"},
		"a ping for 5 s, nearly":    {ping, 4999 * time.Millisecond / 10, 0, 0, ""}, // 10 bytes behind the header, which may take any time
		"a ping's header":           {wire(frame(true, testutil.Ping, "")), 6 * time.Second, 0, 0, ""},
		"a ping for longer":         {ping, time.Second, 1002, 5*time.Second + 5*time.Second, ""},
		"a pong for longer":         {wire(frame(true, testutil.Pong, "0123456789")), time.Second, 1002, 10 * time.Second, ""},
		"a close frame for longer":  {wire(frame(true, testutil.Close, "\x03\xe8 bye bye")), time.Second, 1002, 10 * time.Second, ""},
		"a ping within a message":   {slices.Concat(wire(frame(false, testutil.Text, "hel"), frame(true, testutil.Ping, "12")), wire(frame(true, testutil.Continuation, "lo"))), 2 * time.Second, 0, 0, "hello"},
		"a long ping in a message":  {slices.Concat(wire(frame(false, testutil.Text, "hel")), ping), time.Second, 1002, 19 * time.Second, ""},
		"messages, and a ping last": {slices.Concat(wire(frame(true, testutil.Text, "hel"), frame(true, testutil.Text, "lo")), ping[:7]), 2 * time.Second, 1002, 49 * time.Second, "hello"},
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
