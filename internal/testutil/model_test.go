package testutil

import (
	"fmt"
	"testing"
)

func TestJudge(t *testing.T) {
	masked := func(first byte, payload string) string {
		return string(AppendFrame(nil, Frame{
			Fin: first&0x80 != 0, Rsv: first >> 4 & 7, Op: Opcode(first & 15), Masked: true, Payload: []byte(payload),
		}, [4]byte{1, 2, 3, 4}))
	}
	hello := string(Deflate([]byte("hello")))
	for name, tt := range map[string]struct{ raw, messages, end string }{
		"nothing":                      {"", "[]", "0 <nil>"},
		"messages":                     {masked(0x81, "a") + masked(0x02, "b") + masked(0x89, "") + masked(0x80, "c"), "[{text a} {binary bc}]", "0 <nil>"},
		"compressed":                   {masked(0xc1, hello) + masked(0x42, hello[:3]) + masked(0x80, hello[3:]), "[{text hello} {binary hello}]", "0 <nil>"},
		"a message that is not whole":  {masked(0x81, "hello")[:8], "[]", "0 <nil>"},
		"a close frame":                {masked(0x81, "a") + masked(0x88, "\x03\xe8bye") + masked(0x83, ""), "[{text a}]", "0 closed by the server: 1000 \"bye\""},
		"a reserved opcode":            {masked(0x81, "a") + "\x83", "[{text a}]", "1002 <nil>"},
		"unmasked":                     {"\x81\x00", "[]", "1002 <nil>"},
		"too long":                     {"\x82\x8b", "[]", "1009 <nil>"},
		"too long when inflated":       {masked(0xc2, string(Deflate(make([]byte, 11)))), "[]", "1009 <nil>"},
		"no UTF-8":                     {masked(0x01, "a\xff"), "[]", "1007 <nil>"},
		"half a character":             {masked(0x81, "\xc3"), "[]", "1007 <nil>"},
		"no deflate":                   {masked(0xc2, "\xff"), "[]", "1002 <nil>"},
		"not the end of a compression": {masked(0xc2, hello[:3]), "[]", "1002 <nil>"},
	} {
		got := Judge([]byte(tt.raw), 10, true)
		messages := "["
		for i, m := range got.Messages {
			if i > 0 {
				messages += " "
			}
			messages += fmt.Sprintf("{%v %s}", m.Op, m.Data)
		}
		end := fmt.Sprint(got.Code, " <nil>")
		if got.Closed != nil {
			end = fmt.Sprint(got.Code, " ", got.Closed)
		}
		if messages += "]"; messages != tt.messages || end != tt.end {
			t.Errorf("%s: %s, %s; want %s, %s", name, messages, end, tt.messages, tt.end)
		}
	}
}
