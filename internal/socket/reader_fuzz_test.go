package socket

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// Whatever a client sends, and however it is cut into pieces, a Socket reads from it what the model does: the same messages, and
// the same end.
func FuzzFrames(f *testing.F) {
	frame := func(first byte, payload string) []byte {
		return testutil.AppendFrame(nil, testutil.Frame{
			Fin: first&0x80 != 0, Rsv: first >> 4 & 7, Op: testutil.Opcode(first & 15), Masked: true, Payload: []byte(payload),
		}, [4]byte{})
	}
	random := make([]byte, 150)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	hello, noise, bomb := string(testutil.Deflate([]byte("hello, hello, hello"))), string(testutil.Deflate(random)), string(testutil.Deflate(make([]byte, 100_000)))
	long := string(testutil.Deflate([]byte(strings.Repeat("a text with an ü; ", 10))))
	for _, raw := range [][]byte{
		nil, frame(0x81, "hello"), frame(0x82, "\xff"), frame(0x81, "\xff"), frame(0x81, "ü"), frame(0x81, "\xc3"), frame(0x81, "ü\xffü")[:9],
		slices.Concat(frame(0x01, "a\xe2"), frame(0x89, "ping"), frame(0x00, ""), frame(0x80, "\x82\xac"), frame(0x81, "b")),
		slices.Concat(frame(0x01, "a\xe2"), frame(0x80, "b")), slices.Concat(frame(0x8a, "1"), frame(0x89, ""), frame(0x82, "x"), frame(0x8a, "1"), frame(0x82, "y")),
		frame(0x88, ""), frame(0x88, "\x03"), slices.Concat(frame(0x88, "\x03\xe8bye"), frame(0x83, "")), frame(0x88, "\x03\xed"), frame(0x88, "\x03\xe8\xff"),
		slices.Concat(frame(0x01, "a"), frame(0x88, "\x0b\xb8")), frame(0x83, ""), frame(0x8b, ""), frame(0x80, ""), frame(0x09, ""), frame(0x91, ""), frame(0xa1, ""), frame(0xc9, ""),
		slices.Concat(frame(0x01, ""), frame(0x01, "")), slices.Concat(frame(0x01, ""), frame(0xc0, "")), frame(0x82, string(random)), frame(0x82, strings.Repeat("x", 200)), frame(0x82, strings.Repeat("x", 201)),
		slices.Concat(frame(0x02, strings.Repeat("x", 100)), frame(0x80, strings.Repeat("x", 101))), {0x81, 1, 'x'}, {0x89}, {0x8a, 0x83, 0, 0}, {0xff}, {0x8a, 0x03}, {0x89, 0xfe, 0, 126},
		{0x82, 0xff, 0xff}, {0x82, 0xff, 0, 0, 0, 0, 0, 1, 0}, {0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0}, {0x82, 0xfe, 0, 125, 0, 0, 0, 0}, {0x82, 0xfe, 0, 126, 0, 0, 0, 0, 'x'}, {0x88, 0x82, 1, 2, 3, 4, 5},
		frame(0xc1, hello), frame(0xc2, noise), frame(0xc2, bomb), frame(0xc1, "\xff"), frame(0xc1, ""), frame(0xc1, "\x00"), frame(0xc1, long), frame(0xc1, long[:len(long)/2]),
		frame(0xc1, string(testutil.Deflate([]byte("a\xff")))), frame(0xc1, string(testutil.Deflate([]byte("hello, hello\xc3")))),
		slices.Concat(frame(0x41, hello[:4]), frame(0x89, ""), frame(0x80, hello[4:]), frame(0xc2, noise), frame(0x82, "x"), frame(0xc1, hello)),
		slices.Concat(frame(0x41, string(testutil.Deflate([]byte("hello, hello, \xff hello")))[:11])),
		slices.Concat(frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00"), frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00")),
		frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00"), frame(0xc2, "\x01\x05\x00\xfa\xffhello"), frame(0xc2, "\x01\x09\x00\xf6\xffhello"), frame(0xc2, "\x03\x00"), frame(0xc2, "\x03"),
	} {
		for flags := range byte(4) {
			f.Add(raw, uint64(0), flags)
			f.Add(raw, uint64(0xffffffffffffffff), flags)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, cuts uint64, flags byte) {
		const limit = 200
		compression, keep := flags&1 != 0, flags&2 != 0
		var pieces [][]byte
		from := 0
		for i := range raw {
			if cuts>>(i%64)&1 == 1 || i == len(raw)-1 {
				pieces = append(pieces, raw[from:i+1])
				from = i + 1
			}
		}
		want := testutil.Judge(raw, limit, compression)
		sh := new(Shared)
		for _, pieces := range [][][]byte{pieces, {raw}} { // with the same buffers and inflaters
			messages, err := hear(sh, pieces, limit, compression, keep)
			same := slices.EqualFunc(messages, want.Messages, func(got, want testutil.Message) bool {
				return got.Op == want.Op && (bytes.Equal(got.Data, want.Data) || !keep && len(got.Data) == 0)
			})
			if !same {
				t.Errorf("in %d pieces, got the messages %.300q, want %.300q", len(pieces), messages, want.Messages)
			}
			var broken *Violation
			var closed *PeerClosed
			switch {
			case errors.As(err, &broken):
				if broken.Code != want.Code && broken.Code != want.Maybe {
					t.Errorf("in %d pieces: %v, want %+v", len(pieces), err, want)
				}
			case errors.As(err, &closed):
				if want.Closed == nil || *want.Closed != (testutil.CloseError{Code: closed.Code, Reason: closed.Reason}) {
					t.Errorf("in %d pieces: %v, want %+v", len(pieces), err, want)
				}
			case !errors.Is(err, io.EOF):
				t.Errorf("in %d pieces: %v", len(pieces), err)
			case want.Code != 0 || want.Closed != nil:
				t.Errorf("in %d pieces: %v, want %+v", len(pieces), err, want)
			}
		}
	})
}

// script is a connection whose client sends the pieces, and then leaves.
type script struct {
	net.Conn
	pieces [][]byte
}

func (c *script) Read(p []byte) (n int, err error) {
	for len(c.pieces) > 0 && n == 0 {
		n = copy(p, c.pieces[0])
		if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
			c.pieces = c.pieces[1:]
		}
	}
	if n == 0 {
		err = io.EOF
	}
	return n, err
}

func (c *script) Write(p []byte) (int, error)      { return len(p), nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) Close() error                     { return nil }

// hear has a Socket of sh read what the client sends, as package wspush does.
func hear(sh *Shared, pieces [][]byte, limit int64, compression, keep bool) (messages []testutil.Message, err error) {
	s := newSocket(nil)
	s.conn, s.outbox.shared, s.readLimit, s.compress = &script{pieces: pieces}, sh, limit, compression
	for {
		s.Await()
		if s.TakePings(); s.Idle() {
			continue
		}
		binary, data, err := s.Read(keep)
		if err != nil {
			s.Cut()
			s.Finish()
			return messages, err
		}
		op := testutil.Text
		if binary {
			op = testutil.Binary
		}
		messages = append(messages, testutil.Message{Op: op, Data: data})
	}
}
