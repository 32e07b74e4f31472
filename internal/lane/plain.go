package lane

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/wire"
)

// plainPush returns the size of the plain push at the start of raw, or 0 if there is none. In doubt there is none: what passes
// here has one meaning in every reading of HTTP/1.1 (RFC 9112).
func plainPush(raw []byte) (size int) {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	line, lines, _ := bytes.Cut(raw[:end], []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("POST /")) || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || !isPrintable(line) {
		return 0
	}
	if isBulkLine(line) { // its answer begins before the request has ended
		return 0
	}
	hosts, lengths := 0, 0
	for len(lines) > 0 {
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		name, value, colon := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " ")
		switch {
		case !colon || !isPrintable(line) || !isHeaderName(name):
			return 0
		case is(name, "Host"):
			hosts++
			if !address.IsHost(value) {
				return 0
			}
		case is(name, "Content-Length"):
			n, err := strconv.ParseUint(string(value), 10, 15)
			lengths++
			if err != nil {
				return 0
			}
			size = end + 4 + int(n)
		case is(name, "Connection"):
			if !is(value, "keep-alive") {
				return 0
			}
		case is(name, "Accept") && bytes.Contains(value, []byte("ndjson")): // lines, which are written as they come
			return 0
		case is(name, "Expect"), is(name, "TE"), is(name, "Trailer"), is(name, "Transfer-Encoding"), is(name, "Upgrade"),
			is(name, "Pragma"): // of which net/http makes a Cache-Control
			return 0
		}
	}
	if hosts != 1 || lengths != 1 || size > len(raw) {
		return 0
	}
	return size
}

// isBulkLine reports whether a request line is that of a bulk request.
func isBulkLine(line []byte) bool {
	path, _, _ := bytes.Cut(line[len("POST "):len(line)-len(" HTTP/1.1")], []byte("?"))
	last := path[bytes.LastIndexByte(path, '/')+1:]
	if bytes.IndexByte(last, '%') < 0 {
		return string(last) == wire.Marker
	}
	return address.IsMarker(string(last))
}

// isHeaderName reports whether p can only be the name of a header. Names may have other characters, but usual names do not.
func isHeaderName(p []byte) bool {
	for _, c := range p {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return len(p) > 0
}

// is compares without regard to case, as HTTP compares names.
func is(a []byte, b string) bool { return len(a) == len(b) && strings.EqualFold(string(a), b) }

// isPrintable reports whether p consists of visible ASCII characters and spaces.
func isPrintable(p []byte) bool {
	for _, c := range p {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
