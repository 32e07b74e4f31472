package wspush_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A breach is something that a client must not send.
type breach struct {
	name string
	raw  []byte
	code int // of the close frame that answers it
}

// plain returns a frame as it goes over the network, with a mask of zeros, which leaves the payload as it is.
func plain(first byte, payload string) []byte {
	return testutil.AppendFrame(nil, testutil.Frame{
		Fin: first&0x80 != 0, Rsv: first >> 4 & 7, Op: testutil.Opcode(first & 15), Masked: true, Payload: []byte(payload),
	}, [4]byte{})
}

// deflated compresses a message for permessage-deflate.
func deflated(text string) string { return string(testutil.Deflate([]byte(text))) }

// breachLimit is the ReadLimit of connections that breaches are sent to.
const breachLimit = 64 << 10

// breaches returns violations of RFC 6455, by section.
func breaches() (all []breach) {
	add := func(name string, code int, raws ...[]byte) {
		all = append(all, breach{name, slices.Concat(raws...), code})
	}

	// 5.1
	add("unmasked", 1002, []byte{0x81, 1, 'x'})
	add("unmasked ping", 1002, []byte{0x89, 0})
	add("unmasked pong", 1002, []byte{0x8a, 1, '1'})
	add("unmasked close", 1002, []byte{0x88, 2, 3, 0xe8})
	add("unmasked continuation", 1002, plain(0x01, "x"), []byte{0x80, 1, 'y'})
	add("unmasked and long", 1002, []byte{0x82, 126})

	// 5.2
	for op := range byte(16) {
		if op != 0 {
			add(fmt.Sprintf("RSV2, opcode %d", op), 1002, []byte{0xa0 | op})
			add(fmt.Sprintf("RSV3, opcode %d", op), 1002, []byte{0x90 | op})
		}
		if op > 2 && op < 8 || op > 10 {
			add(fmt.Sprintf("reserved opcode %d", op), 1002, []byte{0x80 | op})
			add(fmt.Sprintf("reserved opcode %d, not the last frame", op), 1002, []byte{op})
			add(fmt.Sprintf("reserved opcode %d, whole", op), 1002, plain(0x80|op, "x"))
			add(fmt.Sprintf("reserved opcode %d in a message", op), 1002, plain(0x01, "x"), plain(0x80|op, ""))
		}
		if op > 2 {
			add(fmt.Sprintf("RSV1, opcode %d", op), 1002, []byte{0xc0 | op})
			add(fmt.Sprintf("all reserved bits, opcode %d", op), 1002, plain(0xf0|op, ""))
		}
	}
	add("RSV1 in a continuation", 1002, plain(0x01, "x"), plain(0xc0, "x"))
	add("RSV2 in a continuation", 1002, plain(0x01, "x"), plain(0xa0, "x"))
	add("RSV3 in a continuation", 1002, plain(0x01, "x"), plain(0x90, "x"))
	add("length 0 in 2 bytes", 1002, []byte{0x82, 0xfe, 0, 0})
	add("length 125 in 2 bytes", 1002, []byte{0x82, 0xfe, 0, 125})
	add("length 126 in 8 bytes", 1002, []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 126})
	add("length 65535 in 8 bytes", 1002, []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff})
	add("length 1 in 8 bytes, in a message", 1002, plain(0x01, "x"), []byte{0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 1})
	add("length with the highest bit", 1002, []byte{0x82, 0xff, 0x80})
	add("length -1", 1002, []byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	add("length over the limit", 1009, []byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1})
	add("length far over the limit", 1009, []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	add("lengths over the limit together", 1009, plain(0x02, strings.Repeat("x", 60_000)), plain(0x89, ""), []byte{0x80, 0xfe, 5537 >> 8, 5537 & 0xff})

	// 5.4
	add("stray continuation", 1002, []byte{0x80})
	add("stray continuation, not the last", 1002, []byte{0x00})
	add("stray continuation, whole", 1002, plain(0x80, "x"))
	add("stray continuation behind a message", 1002, plain(0x81, "x"), plain(0x80, "y"))
	add("stray continuation behind one in frames", 1002, plain(0x01, "x"), plain(0x80, "y"), plain(0x80, "z"))
	add("text within text", 1002, plain(0x01, "x"), plain(0x81, "y"))
	add("binary within text", 1002, plain(0x01, "x"), plain(0x02, "y"))
	add("text within binary", 1002, plain(0x02, "x"), plain(0x8a, ""), plain(0x00, "y"), plain(0x81, "z"))
	add("text within an empty frame", 1002, plain(0x01, ""), plain(0x81, ""))

	// 5.5
	for name, op := range map[string]byte{"close": 8, "ping": 9, "pong": 10} {
		add(name+" in fragments", 1002, []byte{op})
		add(name+" in fragments, whole", 1002, plain(op, "\x03\xe8"))
		add(name+" in fragments, in a message", 1002, plain(0x01, "x"), plain(op, ""))
		add(name+" of 126 bytes", 1002, []byte{0x80 | op, 0xfe})
		add(name+" of 65536 bytes", 1002, []byte{0x80 | op, 0xff})
		add(name+" of 126 bytes, whole", 1002, plain(0x80|op, "\x03\xe8"+strings.Repeat("x", 124)))
	}

	// 5.5.1 and 7.4
	add("close with half a code", 1002, []byte{0x88, 0x81})
	add("close with half a code, whole", 1002, plain(0x88, "\x03"))
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535} {
		payload := string(binary.BigEndian.AppendUint16(nil, code))
		add(fmt.Sprintf("close code %d", code), 1002, plain(0x88, payload))
		add(fmt.Sprintf("close code %d, and a reason", code), 1002, plain(0x88, payload+"because"))
	}
	add("close code 1005 in a message", 1002, plain(0x01, "x"), plain(0x88, "\x03\xed"))
	for name, text := range notUTF8 {
		add("close reason with "+name, 1007, plain(0x88, "\x03\xe8"+text))
		add("close reason that ends with "+name, 1007, plain(0x88, "\x03\xe8"+strings.Repeat("x", 123-len(text))+text))
	}

	// 8.1
	for name, text := range notUTF8 {
		add(name, 1007, plain(0x81, text))
		add(name+" behind a text", 1007, plain(0x81, "ü€😀"+text))
		add(name+" behind a long text", 1007, plain(0x81, strings.Repeat("ü", 30_000)+text))
		add(name+" behind a message", 1007, plain(0x81, "ü"), plain(0x82, "\xff"), plain(0x81, text))
		for i := range len(text) {
			add(fmt.Sprintf("%s in frames, cut at %d", name, i), 1007, plain(0x01, text[:i]), plain(0x89, ""), plain(0x00, ""), plain(0x80, text[i:]))
		}
	}
	add("bad byte, and the message not at its end", 1007, plain(0x01, "a\xff"))
	add("bad byte, and the frame not at its end", 1007, []byte{0x81, 0x80 | 100, 0, 0, 0, 0, 'a', 0xff})
	add("bad byte far from the frame's end", 1007, []byte{0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0}, []byte(strings.Repeat("ü", 10_000)), []byte("\xed\xa0"))
	add("bad byte in the second frame, not at its end", 1007, plain(0x01, "a\xe2\x82"), []byte{0x80, 0x80 | 100, 0, 0, 0, 0, 'a'})
	add("HTTP", 1002, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	return all
}

// notUTF8 is text that is invalid UTF-8, or becomes so where it ends.
var notUTF8 = map[string]string{
	"a bad byte": "\xff", "a lone continuation": "\x80", "half a character": "\xc3", "most of a character": "\xf0\x9f\x98",
	"a character cut by another": "\xe2\x82a", "a surrogate": "\xed\xa0\x80", "an overlong slash": "\xc0\xaf", "an overlong NUL": "\xe0\x80\x80",
	"a character beyond the last": "\xf4\x90\x80\x80", "five bytes": "\xf8\x88\x80\x80\x80",
}

// deflateBreaches returns violations of RFC 7692, for connections with permessage-deflate.
func deflateBreaches() (all []breach) {
	add := func(name string, code int, raws ...[]byte) {
		all = append(all, breach{name, slices.Concat(raws...), code})
	}
	// As Flush leaves it: whole blocks, after which the message could go on.
	flushed := func(text string) string { return deflated(text) + "\x00\x00\xff\xff" }
	hello := deflated("hello, hello")

	add("RSV1 in a continuation of a compressed message", 1002, plain(0x41, hello[:3]), plain(0xc0, hello[3:]))
	add("RSV1 in a ping within a compressed message", 1002, plain(0x41, hello[:3]), []byte{0xc9})
	add("RSV2 in a compressed message", 1002, plain(0xe1, hello))
	add("a message within a compressed one", 1002, plain(0x41, hello[:3]), plain(0x81, "x"))
	add("a compressed message within another", 1002, plain(0x41, hello[:3]), plain(0xc1, hello))
	add("no deflate", 1002, plain(0xc2, "\xff"))
	add("no deflate, in an unfinished message", 1002, plain(0x42, "\xff"))
	add("no deflate, in an unfinished frame", 1002, []byte{0xc2, 0x80 | 100, 0, 0, 0, 0, 7})
	add("a stored block with a wrong length", 1002, plain(0xc2, "\x00\x05\x00\xfa\xfehello"))
	add("a match that reaches too far back", 1002, plain(0xc2, "\x4b\x04\x42\x00"))
	add("a compressed message that is cut off", 1002, plain(0xc2, hello[:len(hello)-2]))
	for n := byte(1); n < 20; n++ { // whatever a server appends to the message must not complete the block
		if n != 4 { // the sender has removed four bytes
			add(fmt.Sprintf("a final stored block that is cut by %d bytes", n), 1002, plain(0xc2, string([]byte{1, 5 + n, 0, ^(5 + n), 0xff})+"hello"))
		}
	}
	add("a cut stored block", 1002, plain(0xc2, "\x00\x05\x00\xfa\xffhel"))
	for name, text := range notUTF8 {
		add(name+", compressed", 1007, plain(0xc1, deflated(text)))
		add(name+" behind a long text, compressed", 1007, plain(0xc1, deflated(strings.Repeat("no two of them ü, 12345; ", 500)+text)))
		payload := deflated("hello" + text)
		for i := range len(payload) {
			add(fmt.Sprintf("%s, compressed, in frames, cut at %d", name, i), 1007, plain(0x41, payload[:i]), plain(0x89, ""), plain(0x80, payload[i:]))
		}
	}
	add("a bad byte, compressed, and the message not at its end", 1007, plain(0x41, flushed("hello\xff")))
	long := flushed(strings.Repeat("hello, ", 20) + "\xff")
	add("a bad byte, compressed, and the frame not at its end", 1007, []byte{0xc1, 0xfe, 0xff, 0xff, 0, 0, 0, 0}, []byte(long))
	add("a bad byte in the second frame, compressed", 1007, plain(0x41, long[:10]), []byte{0x80, 0xfe, 0xff, 0xff, 0, 0, 0, 0}, []byte(long[10:]))
	add("one byte over the limit, compressed", 1009, plain(0xc2, deflated(strings.Repeat("x", breachLimit+1))))
	add("a bomb", 1009, plain(0xc2, deflated(strings.Repeat("x", 5<<20))))
	add("a bomb, unfinished", 1009, plain(0x42, deflated(strings.Repeat("x", 5<<20))[:2000]))
	add("a bomb in many frames", 1009, plain(0x41, ""), bytes.Repeat(plain(0x00, "\x00\x00\x10\xff\xef"+strings.Repeat("0123456789abcdef", 256)), 25))
	return all
}

// untilWrong returns raw up to the first byte that the model finds wrong.
func untilWrong(raw []byte, compression bool) []byte {
	from, to := 0, len(raw)
	for from < to {
		if middle := (from + to) / 2; testutil.Judge(raw[:middle], breachLimit, compression).Code != 0 {
			to = middle
		} else {
			from = middle + 1
		}
	}
	return raw[:to]
}

// A client that breaks the protocol gets a close frame that says how, at the first byte that is wrong. The connection then ends at
// once, whether or not the client goes on, and without a reset, which could overtake the close frame. Earlier messages arrive.
func TestViolations(t *testing.T) {
	t.Parallel()
	ways := map[string]func(c *testutil.Client, raw, least []byte){
		"in one segment": func(c *testutil.Client, raw, _ []byte) { _, _ = c.Conn().Write(raw) },
		"and more": func(c *testutil.Client, raw, _ []byte) {
			_, _ = c.Conn().Write(append(bytes.Clone(raw), make([]byte, 100_000)...))
		},
		"no more than it takes": func(c *testutil.Client, _, least []byte) { _, _ = c.Conn().Write(least) },
		"byte by byte": func(c *testutil.Client, raw, _ []byte) {
			if len(raw) > 1000 {
				_, _ = c.Conn().Write(raw[:len(raw)-500])
				raw = raw[len(raw)-500:]
			}
			for i := range raw {
				if _, err := c.Conn().Write(raw[i : i+1]); err != nil {
					return
				}
			}
		},
	}
	for _, compressed := range []bool{false, true} {
		all := breaches()
		if compressed {
			all = append(all, deflateBreaches()...)
		} else {
			all = append(all, breach{"RSV1, not negotiated", []byte{0xc1}, 1002}, breach{"RSV1, not negotiated, whole", plain(0xc2, deflated("x")), 1002})
		}
		for _, b := range all {
			want := testutil.Judge(b.raw, breachLimit, compressed)
			if want.Code != b.code && want.Maybe != b.code {
				t.Errorf("%s, compression %t: the model says %d", b.name, compressed, want.Code)
			}
			least := untilWrong(b.raw, compressed)
			for way, send := range ways {
				for _, read := range []bool{true, false} {
					if !read && way != "no more than it takes" { // messages are dropped only after the checks
						continue
					}
					t.Run(fmt.Sprintf("%s, compression %t, %s, OnMessage %t", b.name, compressed, way, read), func(t *testing.T) {
						b.test(t, compressed, read, want.Messages, func(c *testutil.Client) { send(c, b.raw, least) })
					})
				}
			}
		}
	}
}

// test has a client send the breach on a connection that has been silent.
func (b breach) test(t *testing.T, compressed, read bool, before []testutil.Message, send func(c *testutil.Client)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"h"}, Logger: quiet().Logger})
		var got []testutil.Message
		var end *wspush.CloseError
		opts := &wspush.HandlerOptions{
			Compression: compressed, ReadLimit: breachLimit,
			OnDisconnect: func(_ *wspush.Conn, reason error) { end = reason.(*wspush.CloseError) },
		}
		if read {
			opts.OnMessage = func(_ *wspush.Conn, typ wspush.MessageType, data []byte) {
				got = append(got, testutil.Message{Op: testutil.Opcode(typ), Data: data})
			}
		}
		copts := testutil.Options{Timeout: -1, Silent: true}
		if compressed {
			copts.Header = deflating
		}
		c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, opts)), copts)
		greeted(t, w, c)
		synctest.Wait() // until the connection waits for the client
		begin := time.Now()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			send(c)
		}()
		if code, _ := c.AwaitClose(); code != b.code {
			t.Errorf("closed with %d, want %d", code, b.code)
		}
		synctest.Wait()
		c.Close()
		synctest.Wait()
		<-sent
		if took := time.Since(begin); took != 0 {
			t.Errorf("the end took %v", took)
		}
		switch {
		case end == nil:
			t.Error("OnDisconnect is not called")
		case end.Cause != wspush.CauseProtocol || end.Code != b.code || end.Err == nil || !errors.Is(end, end.Err):
			t.Errorf("OnDisconnect got %v", end)
		}
		if same := slices.EqualFunc(got, before, func(a, b testutil.Message) bool { return a.Op == b.Op && bytes.Equal(a.Data, b.Data) }); read && !same {
			t.Errorf("OnMessage got %d messages, want %d", len(got), len(before))
		}
	})
}

// The same over TCP, where the stream must end with a FIN: on a silent connection and in one segment with the handshake, and
// although the client does not answer the close frame.
func TestViolationsOverTCP(t *testing.T) {
	t.Parallel()
	for _, compressed := range []bool{false, true} {
		w := newWorker(t, quiet())
		ends := make(chan error, 1)
		server := serve(t, w, &wspush.HandlerOptions{Compression: compressed, ReadLimit: breachLimit, OnDisconnect: func(_ *wspush.Conn, reason error) { ends <- reason }})
		all := breaches()
		if compressed {
			all = append(all, deflateBreaches()...)
		}
		for _, b := range all {
			for _, early := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, compression %t, with the handshake %t", b.name, compressed, early), func(t *testing.T) {
					opts := testutil.Options{Silent: true}
					if compressed {
						opts.Header = deflating
					}
					if early {
						opts.Early = b.raw
					}
					c := testutil.Dial(t, server, opts)
					if !early {
						c.Text() // the greeting
						_, _ = c.Conn().Write(b.raw)
					}
					begin := time.Now()
					if code, _ := c.AwaitClose(); code != b.code {
						t.Errorf("closed with %d, want %d", code, b.code)
					}
					if f, err := c.ReadFrame(); !errors.Is(err, io.EOF) {
						t.Errorf("after the close frame: %v, %v", f, err)
					}
					if took := time.Since(begin); took > 1500*time.Millisecond {
						t.Errorf("the end took %v", took)
					}
					c.Close()
					var end *wspush.CloseError
					if err := receive(t, "OnDisconnect", ends); !errors.As(err, &end) || end.Cause != wspush.CauseProtocol || end.Code != b.code {
						t.Errorf("OnDisconnect got %v", err)
					}
				})
			}
		}
	}
}

// Compressed messages that are valid though no ordinary client makes them, and some that are invalid but can be understood.
func TestDeflatedMessages(t *testing.T) {
	u := newUpstream(t, true)
	u.url = serve(t, u.worker, &wspush.HandlerOptions{Compression: true, OnMessage: func(_ *wspush.Conn, typ wspush.MessageType, data []byte) { u.messages <- message{typ, data} }})
	c, _, _ := dial(t, u.worker, u.url, testutil.Options{Header: deflating})
	const final = "\xf3\x48\xcd\xc9\xc9\x07\x00" // "Hello" in a block that is marked as the final one
	empty := "\x00\x00\x00\xff\xff"
	long := strings.Repeat("Hello", 10_000)
	for name, tt := range map[string]struct{ payload, want string }{
		"RFC 7692 section 7.2.3.1": {"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		"7.2.3.3, no compression":  {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
		"7.2.3.4, BFINAL":          {final + "\x00", "Hello"},
		"7.2.3.5, two blocks":      {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
		"7.2.3.6, empty":           {"\x00", ""},
		"BFINAL twice":             {final + final + "\x00", "HelloHello"},
		// Some senders leave out the empty block that section 7.2.3.4 has behind a final one. Nothing else can follow.
		"BFINAL at the end":                  {final, "Hello"},
		"BFINAL twice, at the end":           {final + final, "HelloHello"},
		"BFINAL at the end, without content": {"\x03\x00", ""},
		"BFINAL at the end, stored":          {"\x01\x05\x00\xfa\xffHello", "Hello"},
		"BFINAL at the end, of a long text":  {finished(long), long},
		"blocks without content":             {strings.Repeat(empty, 20_000) + "\x00", ""},
		"a long text":                        {deflated(long), long},
	} {
		for range 2 { // the first leaves nothing behind for the second
			c.Write(plain(0xc1, tt.payload))
			if m := u.next(t); m.typ != wspush.Text || string(m.data) != tt.want {
				t.Errorf("%s: got %v %.50q, want %.50q", name, m.typ, m.data, tt.want)
			}
			c.Send(testutil.Text, []byte("plain"))
			if m := u.next(t); string(m.data) != "plain" {
				t.Errorf("behind %s: got %.50q", name, m.data)
			}
			cut := len(tt.payload) / 2
			c.Write(plain(0x42, tt.payload[:cut]))
			c.Write(plain(0x89, "between"))
			c.Write(plain(0x80, tt.payload[cut:]))
			c.Expect(testutil.Pong, "between")
			if m := u.next(t); m.typ != wspush.Binary || string(m.data) != tt.want {
				t.Errorf("%s, in frames: got %v %.50q, want %.50q", name, m.typ, m.data, tt.want)
			}
		}
	}
}

// finished compresses a message into blocks of which the last is marked as the final one, with nothing behind it.
func finished(message string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		panic(err) // only an unknown level is an error
	}
	// Writing to a bytes.Buffer never fails.
	_, _ = w.Write([]byte(message))
	_ = w.Close()
	return b.String()
}

// A bomb costs no more memory than ReadLimit allows, whether the message is wanted or not.
func TestBombMemory(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	bomb := plain(0xc2, deflated(strings.Repeat("x", 100<<20)))
	for _, read := range []bool{true, false} {
		w := newWorker(t, quiet())
		opts := &wspush.HandlerOptions{Compression: true}
		if read {
			opts.OnMessage = func(*wspush.Conn, wspush.MessageType, []byte) { t.Error("OnMessage is called") }
		}
		c, _, _ := dial(t, w, serve(t, w, opts), testutil.Options{Header: deflating})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.Write(bomb)
		if code, _ := c.AwaitClose(); code != 1009 {
			t.Errorf("closed with %d", code)
		}
		c.AwaitEOF()
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("OnMessage %t: %d bytes were allocated", read, used)
		}
	}
}
