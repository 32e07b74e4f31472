package bulk

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// reader reads JSON (RFC 8259) from token to token. It needs no memory but what it reads: package json takes up to a hundred times
// as much for a value that nobody wants, and keeps room for the longest one.
type reader struct {
	rest []byte // what has not been read: valid UTF-8
}

// next skips white space, and returns the byte after it, or 0 if there is none.
func (r *reader) next() byte {
	for i, c := range r.rest {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			r.rest = r.rest[i:]
			return c
		}
	}
	r.rest = nil
	return 0
}

// take skips white space, and c if that is what comes next; c is not 0.
func (r *reader) take(c byte) bool {
	if (len(r.rest) == 0 || r.rest[0] != c) && r.next() != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// null reads null.
func (r *reader) null() (err error) {
	rest, ok := bytes.CutPrefix(r.rest, []byte("null"))
	if !ok {
		return errNoObject
	}
	r.rest = rest
	return nil
}

// string reads a string, and decodes it in place.
func (r *reader) string() ([]byte, error) {
	s, isEscaped, err := r.cutString()
	if isEscaped {
		s = unescape(s)
	}
	return s, err
}

// list reads an array of strings, and returns what is between the brackets, or nil if it is empty.
func (r *reader) list() ([]byte, error) {
	if !r.take('[') {
		return nil, errToKind
	}
	if r.take(']') {
		return nil, nil
	}
	all, err := r.strings(-1)
	if err == nil && !r.take(']') {
		err = errNoObject
	}
	return all, err
}

// strings reads at most so many strings with commas between them, and returns the JSON of all of them.
func (r *reader) strings(most int) ([]byte, error) {
	r.next()
	begin := r.rest
	for n := 1; ; n++ {
		if c := r.next(); c != '"' && beginsValue(c) {
			return nil, errToKind
		}
		if _, _, err := r.cutString(); err != nil {
			return nil, err
		}
		read := len(begin) - len(r.rest)
		if n == most || !r.take(',') {
			return begin[:read:read], nil
		}
	}
}

// beginsValue reports whether a value of JSON begins with c.
func beginsValue(c byte) bool {
	switch c {
	case '"', '[', '{', 't', 'f', 'n', '-':
		return true
	}
	return c >= '0' && c <= '9'
}

// cutString reads a string, finds out whether it is right, and returns it as it is written, without its quotes.
func (r *reader) cutString() (s []byte, isEscaped bool, err error) {
	if !r.take('"') {
		return nil, false, errNoObject
	}
	s = r.rest
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			r.rest = s[i+1:]
			return s[:i:i], isEscaped, nil
		case c < ' ':
			return nil, false, errNoObject
		case c == '\\':
			_, size, err := readEscape(s[i:])
			if err != nil {
				return nil, false, err
			}
			i += size - 1
			isEscaped = true
		}
	}
	return nil, false, errNoObject
}

// unescape decodes, in place, a string that cutString has returned.
func unescape(s []byte) []byte {
	to := 0
	for from := 0; from < len(s); {
		n := bytes.IndexByte(s[from:], '\\')
		if n < 0 {
			n = len(s) - from
		}
		to += copy(s[to:], s[from:from+n])
		if from += n; from == len(s) {
			break
		}
		c, size, _ := readEscape(s[from:])
		to += utf8.EncodeRune(s[to:from+size], c) // never longer than the escape
		from += size
	}
	return s[:to]
}

// readEscape reads the escape that s begins with, or both of a surrogate pair. Half a pair is an error, in place of which package
// json would put something else.
func readEscape(s []byte) (c rune, size int, err error) {
	if len(s) < 2 {
		return 0, 0, errNoObject
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2, nil
	case 'b':
		return '\b', 2, nil
	case 'f':
		return '\f', 2, nil
	case 'n':
		return '\n', 2, nil
	case 'r':
		return '\r', 2, nil
	case 't':
		return '\t', 2, nil
	}
	c, ok := readUnit(s)
	switch {
	case !ok:
		return 0, 0, errNoObject
	case !utf16.IsSurrogate(c):
		return c, unitSize, nil
	}
	low, ok := readUnit(s[unitSize:])
	if c = utf16.DecodeRune(c, low); !ok || c == utf8.RuneError {
		return 0, 0, errSurrogate
	}
	return c, 2 * unitSize, nil
}

const unitSize = len(`\u0000`)

// readUnit reads an escape of one UTF-16 code unit.
func readUnit(s []byte) (unit rune, ok bool) {
	if len(s) < unitSize || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range s[2:unitSize] {
		unit <<= 4
		switch {
		case c >= '0' && c <= '9':
			unit += rune(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			unit += rune(c|0x20-'a') + 10
		default:
			return 0, false
		}
	}
	return unit, true
}
