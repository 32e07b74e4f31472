package address

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/wire"
)

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
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		escape := strings.ToUpper(path[i : i+3])
		plain, err := url.PathUnescape(escape)
		if err == nil && isUnreserved(plain[0]) {
			escape = plain
		}
		b.WriteString(escape)
		i += 2
	}
	return b.String()
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
