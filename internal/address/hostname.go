package address

import (
	"errors"
	"strconv"
	"strings"
)

// maxHostName is the size in bytes of the longest name of a host (RFC 1035 section 2.3.4).
const maxHostName = 253

// IsHostName reports whether s is the name of a host. One that ends in a number is none: resolvers take "127.1" and "0x7f000001" for
// IPv4 addresses, and what only looks like a name must not get by as one. A dot at the end is not
// part of it: one host would have two names.
func IsHostName(s string) bool {
	if len(s) > maxHostName {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for _, c := range []byte(label) {
			if !isAlphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
		last = label
	}
	_, err := strconv.ParseUint(last, 0, 64)
	return err != nil && !errors.Is(err, strconv.ErrRange) && !isDigits(last) && !strings.EqualFold(last, "0x")
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
