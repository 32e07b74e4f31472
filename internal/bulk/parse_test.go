package bulk

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/wire"
)

// A line is refused at the first thing that is wrong, in words that say what.
func TestParseErrors(t *testing.T) {
	for line, want := range map[string]string{
		`{"to":"a","text":"b","Text":"c"}`:      `there is no member "Text"`,
		`{"x":[{"":0},{"":0}`:                   `there is no member "x"`,
		`{"` + strings.Repeat("é", 100) + `":1`: `there is no member "` + strings.Repeat("é", 64) + `"`,
		`{"\u0000":1}`:                          `there is no member "\x00"`,
		`{"text":"a","\u0074ext":"b"}`:          `there is more than one text`,
		`{"text":null,"text":"b"}`:              `there is more than one text`,
		`{"to":{"a":[[[`:                        errToKind.Error(),
		`{"to":1}`:                              errToKind.Error(),
		`{"to":[["a"]]}`:                        errToKind.Error(),
		`{"to":["a",null]}`:                     errToKind.Error(),
		`{"text":[[[[[[`:                        "text must be a string",
		`{"ref":-1e9}`:                          "ref must be a string",
		`{"confirm":true}`:                      "confirm must be a string",
		`{"to":[ ],"text":"a"}`:                 "to is an empty array",
		`{"text":"a"}`:                          "the line is for nobody: it has none of to, user and group",
		`{"to":null,"text":"a"}`:                "the line is for nobody: it has none of to, user and group",
		`{"to":"a"}`:                            "a line has either text or binary",
		`{"user":null,"group":null,"text":"a"}`: "the line is for nobody: it has none of to, user and group",
		`{"user":"a","group":"b","text":"a"}`:   "a line has one of to, user and group",
		`{"user":"a","to":"b","text":"a"}`:      "a line has one of to, user and group",
		`{"to":[],"group":"b","text":"a"}`:      "a line has one of to, user and group",
		`{"user":"a","user":"b","text":"a"}`:    "there is more than one user",
		`{"user":["a"],"text":"a"}`:             "user must be a string",
		`{"group":1,"text":"a"}`:                "group must be a string",
		`{"to":"a","except":"b","text":"a"}`:    "except is for users and groups",
		`{"to":["a"],"except":[],"text":"a"}`:   "except is for users and groups",
		`{"user":"a","except":1,"text":"a"}`:    errExceptKind.Error(),
		`{"user":"a","except":[1],"text":"a"}`:  errExceptKind.Error(),
		`{"user":"a"}`:                          "a line has either text or binary",
		`{"to":"a","text":"","binary":""}`:      "a line has either text or binary",
		`{"to":"a","binary":"A"}`:               "binary is not base64 (RFC 4648 section 4)",
		`{"to":"a","binary":"AA==AAAA"}`:        "binary is not base64 (RFC 4648 section 4)",
		`{"to":"a","text":"\ud800"}`:            errSurrogate.Error(),
		`{"to":"a","text":"\udc00\ud800"}`:      errSurrogate.Error(),
		`{"to":"\ud800x","text":""}`:            errSurrogate.Error(),
		`{"to":"a","text":"","ref":"` + strings.Repeat(`\u0000`, 257) + `"}`: "ref has more than 256 bytes",
		"{\"to\":\"a\",\"text\":\"\xff\"}":                                   "the line is not valid UTF-8",
	} {
		if _, err := Parse([]byte(line)); err == nil || err.Error() != want {
			t.Errorf("%.100s: %v, want %s", line, err, want)
		}
	}
	for _, line := range []string{
		``, `{`, `[]`, `1`, `{}{}`, `{} x`, "{}\x00", "{\x00}", `{"to"}`, `{"to":}`, `{"to":"a",}`, `{,"to":"a"}`, `{"to":"a" "text":"b"}`, `{"to":nul}`,
		`{"to":nullx}`, `{"to":["a"}`, `{"to":["a",]}`, `{"to":[,"a"]}`, `{"to":["a" "b"]}`, `{to:"a"}`, `{"text":"\x"}`, `{"text":"\u00g0"}`, `{"text":"\`,
		"{\"text\":\"\t\"}", `{"text":"\u00`, `{"text":"a`, `{"text":x}`, "\ufeff{}",
	} {
		if _, err := Parse([]byte(line)); err != errNoObject {
			if _, empty := Parse([]byte(`{}`)); err == nil || err.Error() == empty.Error() {
				t.Errorf("%q: %v", line, err)
			}
		}
	}
}

// A ref is known once the line is found to be JSON with the right members.
func TestParseRefOfBadLine(t *testing.T) {
	for _, line := range []string{
		`{"ref":"<a>\n"}`, `{"to":"a","ref":"<a>\n"}`, `{"to":[],"ref":"<a>\n"}`, `{"to":"a","binary":"-","ref":"<a>\n"}`,
	} {
		push, err := Parse([]byte(line))
		if push.Ref != `"\u003ca\u003e\n"` || push.Data != nil || err == nil {
			t.Errorf("%s: %+v, %v", line, push, err)
		}
	}
}

// A line may be for a user or a group, without some connections.
func TestParseMembers(t *testing.T) {
	for line, want := range map[string]struct {
		user, group string
		except      []string
	}{
		`{"user":"a\u002fb","text":""}`:                     {user: "a/b"},
		`{"user":"","text":""}`:                             {},
		`{"group":"c","except":"d","text":"","to":null}`:    {group: "c", except: []string{"d"}},
		`{"except":["d", "\u0065"],"group":"c","text":""}`:  {group: "c", except: []string{"d", "e"}},
		`{"except":[],"user":"c","group":null,"binary":""}`: {user: "c"},
		`{"except":null,"user":"c","text":""}`:              {user: "c"},
	} {
		push, err := Parse([]byte(line))
		var except []string
		for _, id := range push.Except.All() {
			except = append(except, id)
		}
		isUser := strings.Contains(line, `"user"`)
		if err != nil || string(push.User) != want.user || string(push.Group) != want.group || !slices.Equal(except, want.except) ||
			(push.User != nil) != isUser || (push.Group != nil) == isUser {
			t.Errorf("%s: %+v, %v", line, push, err)
		}
		for range push.To.All() {
			t.Errorf("%s is for a connection", line)
		}
	}
}

// Targets that are too long for any, or empty, are none, and cost no more than others.
func TestTargets(t *testing.T) {
	long := strings.Repeat("a", MaxEscape*maxTarget+1)
	push, err := Parse([]byte(`{"to":[ "\u0031b","` + long + `" ,"","v1.a"],"text":""}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var all []string
		for i, to := range push.To.All() {
			if all = append(all, to); i != len(all)-1 {
				t.Errorf("index %d of target %d", i, len(all)-1)
			}
		}
		if got, want := strings.Join(all, " "), "1b   v1.a"; got != want || !push.To.IsList {
			t.Errorf("the targets are %q", all)
		}
	}
	for range push.To.All() {
		break
	}
}

// Base64 is decoded as package base64 does it, wherever its pieces end.
func TestDecodeBase64(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 767, 768, 769, 1536, 5000} {
		data := []byte(strings.Repeat("\x00\xfa\x7f!", size))[:size]
		text := base64.StdEncoding.EncodeToString(data)
		for _, s := range []string{text, "\r\n" + text + "\n", strings.Join(strings.SplitAfter(text, "A"), "\n"), text + "A", text + "=", "=" + text, text + text} {
			want, err := base64.StdEncoding.DecodeString(s)
			got, ok := decodeBase64([]byte(s))
			if ok != (err == nil) || ok && !bytes.Equal(got, want) {
				t.Errorf("%d bytes: %v, %d bytes; package base64 says %v", size, ok, len(got), err)
			}
		}
	}
}

// What a line costs beside itself does not depend on what is in it.
func TestParseAllocates(t *testing.T) {
	const size = 1 << 20
	for name, line := range hostileLines(size) {
		work := []byte(line)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if push, err := Parse(work); err == nil {
			for range push.To.All() {
				break
			}
		}
		runtime.ReadMemStats(&after)
		if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 32<<10 {
			t.Errorf("%s: a line of 1 MiB costs %d bytes in addition", name, bytes)
		}
	}
}

// hostileLines are lines of about that size.
func hostileLines(size int) map[string]string {
	fill := func(begin, middle, end string) string {
		return begin + strings.Repeat(middle, (size-len(begin)-len(end))/len(middle)) + end
	}
	return map[string]string{
		"maps":              fill(`{"x":[`, `{"":0},`, `0]}`),
		"maps in to":        fill(`{"to":[`, `{"":0},`, `0]}`),
		"lists":             fill(`{"text":`, `[`, `]}`),
		"lists in to":       fill(`{"to":[`, `[],`, `0]}`),
		"objects":           fill(`{"x":`, `{"a":`, `}`),
		"numbers":           fill(`{"ref":[`, `1,`, `0]}`),
		"a number":          fill(`{"timeout":`, `1`, `}`),
		"a long name":       fill(`{"`, `a`, `":0}`),
		"an escaped name":   fill(`{"`, `\u0000`, `":0}`),
		"names":             fill(`{"to":"a",`, `"to":"a",`, `"to":"a"}`),
		"escapes":           fill(`{"to":"a","text":"`, `\u0000`, `"}`),
		"pairs":             fill(`{"to":"a","text":"`, `\ud83d\ude00`, `"}`),
		"short escapes":     fill(`{"to":"a","text":"`, `\n`, `"}`),
		"text":              fill(`{"to":"a","text":"`, `a`, `"}`),
		"binary":            fill(`{"to":"a","binary":"`, `AAAA`, `"}`),
		"lines of base64":   fill(`{"to":"a","binary":"`, `AAAA\n`, `"}`),
		"targets":           fill(`{"text":"","to":[`, `"a",`, `"b"]}`),
		"empty targets":     fill(`{"text":"","to":[`, `"",`, `""]}`),
		"escaped targets":   fill(`{"text":"","to":[`, `"\u0061",`, `"b"]}`),
		"a long target":     fill(`{"text":"","to":"`, `a`, `"}`),
		"an escaped target": fill(`{"text":"","to":"`, `\u0061`, `"}`),
		"a long ref":        fill(`{"to":"a","text":"","ref":"`, `\u0000`, `"}`),
		"a long confirm":    fill(`{"to":"a","text":"","confirm":"`, `a`, `"}`),
		"a long timeout":    fill(`{"to":"a","text":"","timeout":"`, `9`, `h"}`),
		"white space":       fill(`{"to":`, ` `, `"a","text":""}`),
		"half a line":       fill(`{"to":"a","text":"`, `\u00e9`, ``),
	}
}

// What is read is what package json reads, and no line of a bulk request does harm.
func FuzzBulkLine(f *testing.F) {
	for _, line := range []string{
		`{"to":"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed","text":"hello","ref":"a","confirm":"received","timeout":"5s"}`,
		`{ "text" : "", "to":["1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"] , "binary":"AAEC" }`,
		`{"to":"","text":"\ud83d\ude00"}`, `{"to":"\u0061"}`, `{"text":"a","text":"b"}`, `{"Text":"a"}`, `{}`, `{"to":null}`, `{"text":"\\ud800"}`,
		"{\"text\":\"\x7f\u2028\"}", `{"text":"a"}}`, `{"text":"a"} `, `{"text":"a",}`, `{,"text":"a"}`, `{"text":"\ud800"}`,
		`{"to":["a","\u0062",""],"binary":"AA\nEC","ref":"<\u0000>","timeout":null}`, "{\"to\":\"a\",\"text\":\"b\"}\x00", `{"to":"a","text":"\uDBFF\uDFFF\/\b"}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.TrimSpace(line)
		want, wantErr := parseWithJSON(line)
		push, err := Parse(bytes.Clone(line))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, but package json says %v", line, err, wantErr)
		}
		if err != nil {
			return
		}
		var to []string
		for _, one := range push.To.All() {
			to = append(to, one)
		}
		if fmt.Sprint(to) != fmt.Sprint(want.to) || push.To.IsList != want.isList || push.Type != want.typ || !bytes.Equal(push.Data, want.data) ||
			push.Ref != want.ref || !same(push.Confirm, want.confirm) || !same(push.Timeout, want.timeout) {
			t.Errorf("%q: %+v %q, but package json says %+v", line, push, to, want)
		}
	})
}

func same(got []byte, want *string) bool {
	return (got == nil) == (want == nil) && (want == nil || string(got) == *want)
}

// parsed is what parseWithJSON returns.
type parsed struct {
	to               []string
	isList           bool
	typ              wire.MessageType
	data             []byte
	ref              string
	confirm, timeout *string
}

// parseWithJSON is Parse with package json, whatever it costs.
func parseWithJSON(line []byte) (p parsed, err error) {
	bad := errors.New("bad")
	if !utf8.Valid(line) || hasLoneSurrogate(line) {
		return p, bad
	}
	d := json.NewDecoder(bytes.NewReader(line))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return p, bad
	}
	members := map[string]any{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return p, bad
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return p, bad
		}
		if _, twice := members[name.(string)]; twice {
			return p, bad
		}
		members[name.(string)] = value
	}
	if token, err := d.Token(); err != nil || token != json.Delim('}') {
		return p, bad
	}
	if _, err := d.Token(); err != io.EOF {
		return p, bad
	}
	texts := map[string]*string{}
	for name, value := range members {
		switch value := value.(type) {
		case nil:
		case string:
			texts[name] = &value
		case []any:
			if name != "to" || len(value) == 0 {
				return p, bad
			}
			p.isList = true
			for _, v := range value {
				s, ok := v.(string)
				if !ok {
					return p, bad
				}
				if len(s) > MaxEscape*maxTarget {
					s = ""
				}
				p.to = append(p.to, s)
			}
		default:
			return p, bad
		}
		switch name {
		case "to", "text", "binary", "ref", "confirm", "timeout":
		default:
			return p, bad
		}
	}
	if to := texts["to"]; to != nil {
		p.to = []string{*to}
		if len(*to) > MaxEscape*maxTarget {
			p.to[0] = ""
		}
	}
	text, binary := texts["text"], texts["binary"]
	if len(p.to) == 0 || (text == nil) == (binary == nil) {
		return p, bad
	}
	if p.typ = wire.Text; text != nil {
		p.data = []byte(*text)
	} else if p.typ = wire.Binary; true {
		if p.data, err = base64.StdEncoding.DecodeString(*binary); err != nil {
			return p, bad
		}
	}
	if ref := texts["ref"]; ref != nil {
		quoted, _ := json.Marshal(*ref)
		if p.ref = string(quoted); len(*ref) > maxRef {
			return p, bad
		}
	}
	p.confirm, p.timeout = texts["confirm"], texts["timeout"]
	return p, nil
}

// hasLoneSurrogate reports whether JSON has an escape for half of a surrogate pair (RFC 8259 section 8.2), in the place of which
// package json puts something else.
func hasLoneSurrogate(line []byte) bool {
	const high, low = 1, 2
	half := func(s []byte) int {
		if len(s) < 6 || s[0] != '\\' || s[1] != 'u' || s[2]|0x20 != 'd' {
			return 0
		}
		switch c := s[3] | 0x20; {
		case c == '8' || c == '9' || c == 'a' || c == 'b':
			return high
		case c >= 'c' && c <= 'f':
			return low
		}
		return 0
	}
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' {
			continue
		}
		i++
		switch kind := half(line[min(i-1, len(line)):]); {
		case kind == 0:
		case kind == high && half(line[min(i+5, len(line)):]) == low:
			i += 10
		default:
			return true
		}
	}
	return false
}
