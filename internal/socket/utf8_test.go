package socket

import (
	"testing"
	"unicode/utf8"
)

// However a text is cut into pieces, the verdict is that of utf8.Valid, and an invalid text is found at its first bad byte.
func FuzzTextCheck(f *testing.F) {
	for _, s := range []string{
		"", "plain", "é", "€uro", "\U0001F600", "\xff", "a\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc0\xaf", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x28\xa1", "ok\x80", "\uFFFD", "\xf0\x80",
	} {
		f.Add([]byte(s), uint64(0xA5))
	}
	f.Fuzz(func(t *testing.T, text []byte, cuts uint64) {
		var check textCheck
		valid, from := true, 0
		for i := range text {
			if cut := cuts>>(i%64)&1 == 1; cut || i == len(text)-1 {
				valid = valid && check.add(text[from:i+1])
				from = i + 1
			}
			if valid && from == i+1 && !couldGoOn(text[:i+1]) {
				t.Fatalf("%q is not found invalid", text[:i+1])
			}
		}
		if got, want := valid && check.complete(), utf8.Valid(text); got != want {
			t.Errorf("%q with cuts %x: %v, want %v", text, cuts, got, want)
		}
	})
}

// couldGoOn reports whether a valid text can begin with p.
func couldGoOn(p []byte) bool {
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			return true
		}
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size <= 1 {
			return false
		}
		p = p[size:]
	}
	return true
}
