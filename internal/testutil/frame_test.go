package testutil

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// The examples of RFC 6455, section 5.7.
func TestAppendFrameRFC(t *testing.T) {
	for _, test := range []struct {
		frame Frame
		want  string
	}{
		{whole(Text, "Hello"), "\x81\x05Hello"},
		{Frame{Fin: true, Op: Text, Masked: true, Payload: []byte("Hello")}, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"},
		{Frame{Op: Text, Payload: []byte("Hel")}, "\x01\x03Hel"},
		{whole(Continuation, "lo"), "\x80\x02lo"},
		{whole(Ping, "Hello"), "\x89\x05Hello"},
		{whole(Binary, strings.Repeat("x", 256)), "\x82\x7e\x01\x00" + strings.Repeat("x", 256)},
		{whole(Binary, strings.Repeat("x", 65536)), "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("x", 65536)},
		{Frame{Rsv: 5, Op: Pong}, "\x5a\x00"},
	} {
		if got := AppendFrame(nil, test.frame, [4]byte{0x37, 0xfa, 0x21, 0x3d}); string(got) != test.want {
			t.Errorf("%v: got %s, want %s", test.frame, quote(got), quote([]byte(test.want)))
		}
	}
}

func TestReadFrameRefuses(t *testing.T) {
	for name, test := range map[string]struct{ raw, want string }{
		"reserved data opcode":    {"\x83\x00", "reserved opcode 0x3"},
		"reserved control opcode": {"\x8b\x00", "reserved opcode 0xb"},
		"fragmented ping":         {"\x09\x00", "a control frame is whole"},
		"long pong":               {"\x8a\x7e\x00\x7e", "a control frame is whole"},
		"16 bits for 125":         {"\x81\x7e\x00\x7d", "as few as possible"},
		"64 bits for 65535":       {"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "as few as possible"},
		"too long":                {"\x81\x7f\x00\x00\x00\x00\x04\x00\x00\x01", "limit"},
		"top bit of the length":   {"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "limit"},
		"cut after a byte":        {"\x81", io.ErrUnexpectedEOF.Error()},
		"cut in the length":       {"\x81\x7e\x01", io.ErrUnexpectedEOF.Error()},
		"cut before the mask":     {"\x81\x81", io.ErrUnexpectedEOF.Error()},
		"cut before the payload":  {"\x81\x01", io.ErrUnexpectedEOF.Error()},
		"cut in the payload":      {"\x81\x02a", io.ErrUnexpectedEOF.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readFrame(bufio.NewReader(strings.NewReader(test.raw)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
