package bulk

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/wire"
)

// What is read without a decoder is what a decoder reads; and no line of a bulk request does harm.
func FuzzBulkLine(f *testing.F) {
	for _, line := range []string{
		`{"to":"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed","text":"hello","ref":"a","confirm":"received","timeout":"5s"}`,
		`{ "text" : "", "to":["1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"] , "binary":"AAEC" }`,
		`{"to":"","text":"\ud83d\ude00"}`, `{"to":"\u0061"}`, `{"text":"a","text":"b"}`, `{"Text":"a"}`, `{}`, `{"to":null}`, `{"text":"\\ud800"}`,
		"{\"text\":\"\x7f\u2028\"}", `{"text":"a"}}`, `{"text":"a"} `, `{"text":"a",}`, `{,"text":"a"}`, `{"text":"\ud800"}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.TrimSpace(line)
		var p Parser
		push, err := p.Parse(line)
		if err == nil && (len(push.To) == 0 || push.Type == wire.Text && !utf8.Valid(push.Data)) {
			t.Errorf("%q: %+v", line, push)
		}
		if err == nil && !json.Valid(line) {
			t.Errorf("%q is not JSON, and was taken", line)
		}
		var plain members
		if !utf8.Valid(line) || !plain.readPlain(line) {
			return
		}
		decoded, err := p.decode(line)
		if err != nil || !plain.equal(decoded) {
			t.Errorf("%q: %+v, but a decoder says %+v %v", line, plain, decoded, err)
		}
	})
}

func (m members) equal(o members) bool {
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	return same(m.to, o.to) && same(m.text, o.text) && same(m.binary, o.binary) && same(m.ref, o.ref) &&
		same(m.confirm, o.confirm) && same(m.timeout, o.timeout) && m.list == nil && o.list == nil
}
