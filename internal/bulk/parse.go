package bulk

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/wire"
)

// Push is what a line asks for. To, Confirm and Timeout are the line's own text, not yet checked.
type Push struct {
	To      []string // at least one
	IsList  bool     // to is an array
	Type    wire.MessageType
	Data    []byte
	Ref     string // as JSON; "" if there is none
	Confirm *string
	Timeout *string
}

// members is what stands in a line; nil for what does not.
type members struct {
	to, text, binary, ref, confirm, timeout []byte
	list                                    []string // to, if it is an array
}

// Parser parses the lines of one request. It belongs to one goroutine. One decoder serves all lines that are not plain, as long
// as they are JSON, and not long: making one costs about as much as a line.
type Parser struct {
	decoder *json.Decoder
	source  lineSource
	one     [1]string
}

// Parse parses a line that has no white space around it. To is valid until the next call. If Parse fails, at most Ref is
// set.
func (p *Parser) Parse(line []byte) (push Push, err error) {
	if !utf8.Valid(line) { // a decoder would quietly put something else in its place
		return push, errors.New("the line is not valid UTF-8")
	}
	var m members
	if !m.readPlain(line) {
		if m, err = p.decode(line); err != nil {
			return push, err
		}
	}
	if m.ref != nil {
		if len(m.ref) > maxRef {
			return push, fmt.Errorf("ref has more than %d bytes", maxRef)
		}
		ref, err := json.Marshal(string(m.ref))
		if err != nil {
			panic(err) // a string
		}
		push.Ref = string(ref)
	}
	switch {
	case m.to != nil:
		p.one[0] = string(m.to)
		push.To = p.one[:]
	case len(m.list) > 0:
		push.To, push.IsList = m.list, true
	case m.list != nil:
		return push, errors.New("to is an empty array")
	default:
		return push, errors.New("the line names no connection: to is missing")
	}
	switch {
	case m.text != nil && m.binary == nil:
		push.Type, push.Data = wire.Text, bytes.Clone(m.text)
	case m.text == nil && m.binary != nil:
		push.Type = wire.Binary
		if push.Data, err = base64.StdEncoding.AppendDecode(nil, m.binary); err != nil {
			return push, errors.New("binary is not base64 (RFC 4648 section 4)")
		}
	default:
		return push, errors.New("a line has either text or binary")
	}
	push.Confirm, push.Timeout = optional(m.confirm), optional(m.timeout)
	return push, nil
}

func optional(value []byte) *string {
	if value == nil {
		return nil
	}
	s := string(value)
	return &s
}

// readPlain reads a line that is an object of strings without escapes, each of them once. That is all that most lines are, and
// takes a fifth of what a decoder takes. On anything else it returns false, also where there is something wrong.
func (m *members) readPlain(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("{"))
	for ok {
		var name, value []byte
		if name, rest, ok = cutPlain(rest); !ok {
			break
		}
		if rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " "), []byte(":")); !ok {
			break
		}
		if value, rest, ok = cutPlain(rest); !ok {
			break
		}
		member := m.member(string(name))
		if member == nil || *member != nil {
			break
		}
		*member = value
		if rest = bytes.TrimLeft(rest, " "); string(rest) == "}" {
			return true
		}
		rest, ok = bytes.CutPrefix(rest, []byte(","))
	}
	*m = members{}
	return false
}

// cutPlain cuts off a JSON string without escapes, and spaces before it.
func cutPlain(b []byte) (s, rest []byte, ok bool) {
	b = bytes.TrimLeft(b, " ")
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	b = b[1:]
	for i, c := range b {
		switch {
		case c == '"':
			return b[:i:i], b[i+1:], true
		case c == '\\' || c < ' ':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// lineSource gives a decoder one line at a time.
type lineSource struct {
	rest  []byte
	given int64
}

func (s *lineSource) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	s.given += int64(n)
	return n, nil
}

// decode reads any line. It goes from token to token, since names are to be as they are documented, each of them once, which
// package json does not ask for where it fills a struct.
func (p *Parser) decode(line []byte) (m members, err error) {
	if hasLoneSurrogate(line) { // as for what is not UTF-8
		return m, errors.New("the line has half of a surrogate pair, which is not valid UTF-8")
	}
	if p.decoder == nil {
		p.source.given = 0
		p.decoder = json.NewDecoder(&p.source)
	}
	p.source.rest = line
	if err = m.decode(p.decoder); err == nil && p.decoder.InputOffset() < p.source.given+int64(len(p.source.rest)) {
		err = errNoObject // there is more than one value
	}
	if err != nil || len(line) > maxChunk { // it keeps room for as long a line
		p.decoder = nil
	}
	if err != nil {
		return members{}, err
	}
	return m, nil
}

var errNoObject = errors.New("the line is not one JSON object")

func (m *members) decode(d *json.Decoder) error {
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return errNoObject
	}
	seen := make(map[string]bool, 6)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return errNoObject
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return errNoObject
		}
		if err := m.set(name.(string), value); err != nil {
			return err
		}
		if seen[name.(string)] {
			return fmt.Errorf("there is more than one %s", name)
		}
		seen[name.(string)] = true
	}
	if _, err := d.Token(); err != nil {
		return errNoObject
	}
	return nil
}

// set takes a member. One that is null is not there.
func (m *members) set(name string, value any) error {
	member := m.member(name)
	switch value := value.(type) {
	case nil:
	case string:
		if member != nil {
			*member = append([]byte{}, value...)
		}
	case []any:
		if name != "to" {
			break
		}
		m.list = make([]string, len(value))
		for i, v := range value {
			id, ok := v.(string)
			if !ok {
				return errToKind
			}
			m.list[i] = id
		}
		return nil
	}
	_, isString := value.(string)
	switch {
	case member == nil:
		return fmt.Errorf("there is no member %.64q", name) // an answer is short, whatever the line is
	case value == nil || isString:
		return nil
	case name == "to":
		return errToKind
	}
	return fmt.Errorf("%s must be a string", name)
}

var errToKind = errors.New("to must be a string, or an array of strings")

// member is where the value of that name goes; nil: there is no such name.
func (m *members) member(name string) *[]byte {
	switch name {
	case "to":
		return &m.to
	case "text":
		return &m.text
	case "binary":
		return &m.binary
	case "ref":
		return &m.ref
	case "confirm":
		return &m.confirm
	case "timeout":
		return &m.timeout
	}
	return nil
}

// hasLoneSurrogate reports whether JSON has an escape for half of a surrogate pair (RFC 8259 section 8.2).
func hasLoneSurrogate(line []byte) bool {
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' {
			continue
		}
		i++
		switch kind := surrogate(line[min(i-1, len(line)):]); {
		case kind == 0:
		case kind == high && surrogate(line[min(i+5, len(line)):]) == low:
			i += 10
		default:
			return true
		}
	}
	return false
}

const (
	high = 1
	low  = 2
)

// surrogate returns which half the escape is that s begins with, or 0.
func surrogate(s []byte) int {
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
