package bulk_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

func TestAppendLine(t *testing.T) {
	for want, l := range map[string]bulk.Line{
		`{"to":"` + id + `","text":"<a href=\"x\">\n\\\u0000\b\f</a>"}`:              {To: []string{id}, Type: wire.Text, Data: []byte("<a href=\"x\">\n\\\x00\b\f</a>")},
		`{"to":["` + id + `","v1.ab-_"],"binary":"AAEC"}`:                            {To: []string{id, "v1.ab-_"}, Type: wire.Binary, Data: []byte{0, 1, 2}},
		`{"to":"v1.x","text":"","ref":"a\tb","confirm":"received","timeout":"1.5s"}`: {To: []string{"v1.x"}, Type: wire.Text, Ref: "a\tb", Confirm: true, Timeout: 1500 * time.Millisecond},
	} {
		got, err := appendLine([]byte("x"), l)
		if err != nil || string(got) != "x"+want {
			t.Errorf("got %s, %v; want x%s", got, err, want)
		}
	}
	for name, test := range map[string]struct {
		line bulk.Line
		want error
	}{
		"nobody":       {bulk.Line{Type: wire.Text}, nil},
		"no ID":        {bulk.Line{To: []string{id, `"`}, Type: wire.Text}, nil},
		"UTF-8":        {bulk.Line{To: []string{id}, Type: wire.Text, Data: []byte{0xff}}, wire.ErrInvalidUTF8},
		"type":         {bulk.Line{To: []string{id}}, wire.ErrMessageType},
		"ref":          {bulk.Line{To: []string{id}, Type: wire.Text, Ref: strings.Repeat("x", 257)}, nil},
		"ref no UTF-8": {bulk.Line{To: []string{id}, Type: wire.Text, Ref: "\xff"}, nil},
		"timeout":      {bulk.Line{To: []string{id}, Type: wire.Text, Timeout: -1}, nil},
	} {
		got, err := appendLine([]byte("x"), test.line)
		if err == nil || test.want != nil && !errors.Is(err, test.want) || string(got) != "x" {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

// A line is one line of JSON that holds the message, whatever is in it.
func FuzzAppendLine(f *testing.F) {
	f.Add([]byte("hello"), "ref")
	f.Add([]byte("\x00\x1f\x7f\"\\/\n\r\t\u2028é😀"), "\x01")
	f.Add([]byte{0xff}, "")
	f.Fuzz(func(t *testing.T, data []byte, ref string) {
		for _, typ := range []wire.MessageType{wire.Text, wire.Binary} {
			line, err := appendLine(nil, bulk.Line{To: []string{id}, Type: typ, Data: data, Ref: ref})
			if err != nil {
				if typ == wire.Text && !utf8.Valid(data) || len(ref) > 256 || !utf8.ValidString(ref) {
					continue
				}
				t.Fatal(err)
			}
			var got struct{ To, Text, Binary, Ref string }
			if err := json.Unmarshal(line, &got); err != nil || bytes.ContainsAny(line, "\n\r") {
				t.Fatalf("%s: %v", line, err)
			}
			message := []byte(got.Text)
			if typ == wire.Binary {
				if message, err = base64.StdEncoding.DecodeString(got.Binary); err != nil {
					t.Fatal(err)
				}
			}
			if got.To != id || got.Ref != ref || !bytes.Equal(message, data) {
				t.Errorf("%q became %s", data, line)
			}
		}
	})
}

func TestDurations(t *testing.T) {
	for seconds, want := range map[float64]time.Duration{1: time.Second, 0.5: 500 * time.Millisecond, -1: 0, 1e300: 0, 0: 0} {
		a := bulk.Answer{RetryAfter: seconds, RttMs: 1000 * seconds}
		if a.Wait() != want || a.RoundTrip() != want {
			t.Errorf("%v s is %v and %v", seconds, a.Wait(), a.RoundTrip())
		}
	}
}

func TestAppendMembersLine(t *testing.T) {
	end, err := bulk.AppendEnd(nil, bulk.Line{Type: wire.Text, Data: []byte("hi")})
	if err != nil {
		t.Fatal(err)
	}
	for want, test := range map[string]struct {
		isGroup bool
		name    string
		except  []string
	}{
		`{"user":"a\"\\<é","text":"hi"}`:                               {false, `a"\<é`, nil},
		`{"group":"room","except":"` + id + `","text":"hi"}`:           {true, "room", []string{id}},
		`{"group":"room","except":["` + id + `","v1.ab"],"text":"hi"}`: {true, "room", []string{id, "v1.ab"}},
	} {
		got, err := bulk.AddressMembers([]byte("x"), test.isGroup, test.name, test.except, end)
		if err != nil || string(got) != "x"+want {
			t.Errorf("got %s, %v; want x%s", got, err, want)
		}
		push, err := bulk.Parse(got[1:])
		if name := string(push.User) + string(push.Group); err != nil || name != test.name || (push.Group != nil) != test.isGroup {
			t.Errorf("a worker reads %q from %s: %v", name, want, err)
		}
	}
	for _, test := range []struct{ name, except string }{{"", id}, {"a/b", id}, {"\xff", id}, {"a\n", id}, {"a", ""}, {"a", `"`}} {
		if got, err := bulk.AddressMembers([]byte("x"), true, test.name, []string{test.except}, end); err == nil || string(got) != "x" {
			t.Errorf("%q: got %s, %v", test, got, err)
		}
	}
}
