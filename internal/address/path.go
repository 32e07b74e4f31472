package address

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/wire"
)

// MaxPath is the size in bytes of the longest escaped path at which a client may connect. A connection keeps its path for as long as it
// lives, and an address must fit into the limits of everything that a push passes.
const MaxPath = 1 << 10

// maxTarget is the size in bytes of the longest path of a request that is looked at: MaxPath with every character escaped, and what
// else an address has.
const maxTarget = 8 << 10

// Path is the path at which a client has connected.
type Path struct {
	text   string // as it stands in the connection's addresses
	normal string // the same, normalized: once, since every push compares it
}

// NewPath makes a Path of an escaped path.
func NewPath(escaped string) Path { return Path{escaped, normalize(escaped)} }

// String returns the path as it stands in an address.
func (p Path) String() string { return p.text }

// RequestPath returns the escaped path in the request line, without the query: the path that the client asked for, even if a
// handler such as http.StripPrefix has changed r.URL since. The path is a copy, so that a connection can keep it without
// keeping the query.
func RequestPath(r *http.Request) string {
	path := r.URL.EscapedPath()
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		path = u.EscapedPath()
	}
	return strings.Clone(inAddress(path))
}

// inAddress returns an escaped path as it stands in an address.
func inAddress(escaped string) string {
	if !strings.HasPrefix(escaped, "/") { // "", and "*"
		return "/"
	}
	return escapeComma(escaped)
}

// escapeComma keeps the comma free to separate addresses in the greeting.
func escapeComma(path string) string { return strings.ReplaceAll(path, ",", "%2C") }

// normalize makes paths equal that differ only in escapes that clients and proxies add or remove at will: escapes of
// characters that need none, and the case of hex digits (RFC 3986 section 6.2.2).
func normalize(path string) string {
	first := strings.IndexByte(path, '%')
	if first < 0 {
		return path
	}
	normal := append(make([]byte, 0, len(path)), path[:first]...)
	for i := first; i < len(path); i++ {
		c, ok := unescape(path[i:])
		switch {
		case !ok:
			normal = append(normal, path[i])
			continue
		case isUnreserved(c):
			normal = append(normal, c)
		default:
			normal = append(normal, '%', upperHex[c>>4], upperHex[c&15])
		}
		i += 2
	}
	if string(normal) == path {
		return path // rather than keep it twice
	}
	return string(normal)
}

const upperHex = "0123456789ABCDEF"

// unescape returns the byte for which the escape at the start of s stands. It returns false if there is none.
func unescape(s string) (c byte, ok bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, low := unhex(s[1]), unhex(s[2])
	return high<<4 | low&15, high < 16 && low < 16
}

// unhex returns the value of a hexadecimal digit, or 255.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// CutLast cuts off the last segment of a path and the slash before it.
func CutLast(path string) (rest, segment string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// LastSegment returns the last segment of the request's path, escaped.
func LastSegment(r *http.Request) string {
	_, last := CutLast(inAddress(r.URL.EscapedPath()))
	return last
}

// IsMarker reports whether a segment of an escaped path is wire.Marker, with any of its characters escaped. Clients escape
// the @. A proxy may remove escapes of the other characters, since they mean nothing (RFC 3986 section 6.2.2.2): a segment
// that would be the marker behind one proxy and not behind another would make one address mean two things.
func IsMarker(segment string) bool {
	if strings.IndexByte(segment, '%') < 0 {
		return segment == wire.Marker
	}
	plain, err := url.PathUnescape(segment)
	return err == nil && plain == wire.Marker
}

// HasMarker reports whether a segment of an escaped path is the marker.
func HasMarker(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if IsMarker(segment) {
			return true
		}
	}
	return false
}
