package socket

import "unicode/utf8"

// textCheck finds the first byte that makes a text invalid UTF-8, although the text arrives in pieces (RFC 6455 section 8.1).
type textCheck struct {
	part [utf8.UTFMax]byte // the first n bytes of a character that ends in a later piece
	n    int
}

// add appends p to the text, and reports whether a valid text can begin like that.
func (t *textCheck) add(p []byte) bool {
	for t.n > 0 && len(p) > 0 {
		t.part[t.n] = p[0]
		t.n++
		p = p[1:]
		if utf8.FullRune(t.part[:t.n]) {
			if r, size := utf8.DecodeRune(t.part[:t.n]); r == utf8.RuneError && size <= 1 {
				return false
			}
			t.n = 0
		}
	}
	if t.n > 0 {
		return true
	}
	// Only the last character can be incomplete: look for its start in the last three bytes.
	end := len(p)
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if utf8.RuneStart(p[len(p)-i]) {
			if !utf8.FullRune(p[len(p)-i:]) {
				end = len(p) - i
				t.n = copy(t.part[:], p[end:])
			}
			break
		}
	}
	return utf8.Valid(p[:end])
}

// complete reports whether the text may end here.
func (t *textCheck) complete() bool { return t.n == 0 }
