package wire

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// MaxName is the size in bytes of the longest name of a user or a group.
const MaxName = 256

// ErrName is for what is no name of a user or a group.
var ErrName = errors.New("wspush: not a name of a user or a group")

// CheckName reports why no user and no group can have this name, or nil. Its errors match ErrName, and quote nothing of the name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: it has %d bytes, and at most %d are possible", ErrName, len(name), MaxName)
	case isPlain(name): // the usual case, at little cost
		return nil
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrName)
	}
	for _, c := range name {
		switch {
		case c == '/':
			return fmt.Errorf("%w: it has a slash", ErrName)
		case unicode.IsControl(c):
			return fmt.Errorf("%w: it has a control character", ErrName)
		}
	}
	return nil
}

// isPlain reports whether a name consists of ASCII that a name may have.
func isPlain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f || c == '/' {
			return false
		}
	}
	return true
}
