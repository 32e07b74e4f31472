package bulk

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/wire"
)

// Push is what a line asks for. All of it but Ref lies in the line, and is as good as that.
type Push struct {
	To      Targets // none if User or Group is there
	User    []byte  // a name, not yet checked; nil if there is none
	Group   []byte  // the same
	Except  Targets // perhaps none
	Type    wire.MessageType
	Data    []byte
	Ref     string // as JSON; "" if there is none
	Confirm []byte // not yet checked, like Timeout and Keep; nil if there is none
	Timeout []byte
	Keep    []byte
}

// Targets are whom a line is for, or not for. Those of To are at least one.
type Targets struct {
	IsList bool   // it is an array
	json   []byte // strings that have been found to be right, with commas between them
	single string // the only one, unless it is an array
}

// maxTarget is more than the length in bytes of any target that a worker could know.
const maxTarget = 2 << 10

// All returns the targets one by one, since a slice of them could take several times the room of the line. In place of one that is
// far too long for a target comes "".
func (t Targets) All() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		if t.json == nil {
			return
		}
		if !t.IsList {
			yield(0, t.single)
			return
		}
		r := reader{t.json}
		for i := 0; ; i++ {
			if !yield(i, r.target()) || !r.take(',') {
				return
			}
		}
	}
}

// target reads a target that has been found to be right.
func (r *reader) target() string {
	name, isEscaped, err := r.cutString()
	switch {
	case err != nil:
		panic(err)
	case len(name) > MaxEscape*maxTarget:
		return ""
	case isEscaped:
		name = unescape(append([]byte(nil), name...)) // not in place: it may be read again
	}
	return string(name)
}

// The members of a line.
const (
	memberTo = iota
	memberUser
	memberGroup
	memberExcept
	memberText
	memberBinary
	memberRef
	memberConfirm
	memberTimeout
	memberKeep
	memberCount
)

// members is what a line has, nil for what it does not have or what is null. To is in targets, and except in excepted.
type members struct {
	values   [memberCount][]byte
	has      [memberCount]bool // its name has come
	targets  Targets
	excepted Targets
}

// Parse parses a line that has no white space around it, and writes into it. It goes from token to token and ends at the first that
// is wrong, so that what it needs beside the line is bounded whatever the line is. If Parse fails, at most Ref is set.
func Parse(line []byte) (push Push, err error) {
	if !utf8.Valid(line) {
		return push, errors.New("the line is not valid UTF-8")
	}
	var m members
	if err := m.read(line); err != nil {
		return push, err
	}
	if ref := m.values[memberRef]; len(ref) > maxRef {
		return push, fmt.Errorf("ref has more than %d bytes", maxRef)
	} else if ref != nil {
		push.Ref = quote(ref)
	}
	if err := m.recipients(); err != nil {
		return push, err
	}
	push.To, push.Except = m.targets.cut(), m.excepted.cut()
	push.User, push.Group = m.values[memberUser], m.values[memberGroup]
	switch text, binary := m.values[memberText], m.values[memberBinary]; {
	case text != nil && binary == nil:
		push.Type, push.Data = wire.Text, text
	case text == nil && binary != nil:
		data, ok := decodeBase64(binary)
		if !ok {
			return Push{Ref: push.Ref}, errors.New("binary is not base64 (RFC 4648 section 4)")
		}
		push.Type, push.Data = wire.Binary, data
	default:
		return Push{Ref: push.Ref}, errors.New("a line has either text or binary")
	}
	push.Confirm, push.Timeout, push.Keep = m.values[memberConfirm], m.values[memberTimeout], m.values[memberKeep]
	return push, nil
}

// recipients refuses a line that does not name one kind of whom it is for.
func (m *members) recipients() error {
	kinds := 0
	for _, has := range []bool{m.targets.json != nil || m.targets.IsList, m.values[memberUser] != nil, m.values[memberGroup] != nil} {
		if has {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		return errors.New("the line is for nobody: it has none of to, user and group")
	case kinds > 1:
		return errors.New("a line has one of to, user and group")
	case m.targets.IsList && m.targets.json == nil:
		return errors.New("to is an empty array")
	case m.targets.json != nil && (m.excepted.json != nil || m.excepted.IsList):
		return errors.New("except is for users and groups")
	}
	return nil
}

// cut returns the targets, with the only one read.
func (t Targets) cut() Targets {
	if t.json != nil && !t.IsList {
		r := reader{t.json}
		t.single = r.target()
	}
	return t
}

var (
	errNoObject   = errors.New("the line is not one JSON object")
	errToKind     = errors.New("to must be a string, or an array of strings")
	errExceptKind = errors.New("except must be a string, or an array of strings")
	errSurrogate  = errors.New("the line has half of a surrogate pair, which is not valid UTF-8")
)

// read reads all members of a line. Names are to be as they are documented, each of them once.
func (m *members) read(line []byte) error {
	r := reader{line}
	if !r.take('{') {
		return errNoObject
	}
	for isFirst := true; !r.take('}'); isFirst = false {
		if !isFirst && !r.take(',') {
			return errNoObject
		}
		name, err := r.string()
		if err != nil {
			return err
		}
		if !r.take(':') {
			return errNoObject
		}
		member := memberOf(name)
		switch {
		case member < 0:
			return fmt.Errorf("there is no member %.64q", name[:min(len(name), maxTarget)]) // an answer is short, whatever the line is
		case m.has[member]:
			return fmt.Errorf("there is more than one %s", name)
		}
		m.has[member] = true
		if err := m.readValue(member, name, &r); err != nil {
			return err
		}
	}
	if r.next(); len(r.rest) > 0 {
		return errNoObject // there is more than one value
	}
	return nil
}

// readValue reads the value of a member. One that is null is not there.
func (m *members) readValue(member int, name []byte, r *reader) (err error) {
	targets := &m.targets
	if member == memberExcept {
		targets = &m.excepted
	}
	takesTargets := member == memberTo || member == memberExcept
	switch c := r.next(); {
	case c == 'n':
		return r.null()
	case c == '"' && takesTargets:
		targets.json, err = r.strings(1)
	case c == '"':
		m.values[member], err = r.string()
	case c == '[' && takesTargets:
		targets.IsList = true
		targets.json, err = r.list()
	case !beginsValue(c):
		return errNoObject
	case takesTargets:
		err = errToKind
	default:
		return fmt.Errorf("%s must be a string", name)
	}
	if err == errToKind && member == memberExcept {
		err = errExceptKind
	}
	return err
}

// memberOf returns which member has that name, or -1.
func memberOf(name []byte) int {
	switch string(name) {
	case "to":
		return memberTo
	case "user":
		return memberUser
	case "group":
		return memberGroup
	case "except":
		return memberExcept
	case "text":
		return memberText
	case "binary":
		return memberBinary
	case "ref":
		return memberRef
	case "confirm":
		return memberConfirm
	case "timeout":
		return memberTimeout
	case "keep":
		return memberKeep
	}
	return -1
}

// quote returns a string as JSON.
func quote(s []byte) string {
	for _, c := range s {
		if c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(string(s))
			if err != nil {
				panic(err) // a string
			}
			return string(quoted)
		}
	}
	return `"` + string(s) + `"`
}

// decodeBase64 decodes in place.
func decodeBase64(s []byte) (data []byte, ok bool) {
	text := s
	if bytes.ContainsAny(s, "\r\n") { // which package base64 ignores; without them, pieces can be decoded one by one
		text = s[:0]
		for _, c := range s {
			if c != '\n' && c != '\r' {
				text = append(text, c)
			}
		}
	}
	const piece = 1024
	var decoded [piece / 4 * 3]byte
	data = text[:0]
	for len(text) > 0 {
		next := text[:min(piece, len(text))]
		text = text[len(next):]
		n, err := base64.StdEncoding.Decode(decoded[:], next)
		if err != nil || n < len(decoded) && len(text) > 0 { // padding is only at the end
			return nil, false
		}
		data = append(data, decoded[:n]...) // behind what has been read
	}
	return data, true
}
