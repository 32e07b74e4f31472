package address

import (
	"errors"
	"strings"
)

// CheckPath refuses escaped paths that no worker puts into an address, and those that may become another path on their way. Its errors
// do not quote the path.
func CheckPath(path string) error {
	decoded := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%':
			var ok bool
			if c, ok = unescape(path[i:]); !ok {
				return errors.New("its path has a malformed escape")
			}
			i += 2
		case !isAlphanumeric(c) && strings.IndexByte("-._~!$&'()*+;=:@/[]", c) < 0:
			return errors.New("it has characters that no address has")
		}
		if c < ' ' || c == 0x7f || c == '\\' {
			return errors.New("its path has a control character or a backslash")
		}
		decoded = append(decoded, c)
	}
	for segment := range strings.SplitSeq(string(decoded), "/") {
		// There are servers for which "..;x" is "..".
		if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
			return errors.New("its path has a dot segment")
		}
	}
	return nil
}
