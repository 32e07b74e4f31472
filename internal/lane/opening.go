package lane

import (
	"bytes"

	"github.com/wspush/wspush/internal/address"
)

// OpensLink reports whether a request whose header begins with raw asks to open a link: GET, with address.LinkMarker as the segment
// before the last one of its path. It proves nothing. It only decides which of the connections that find no place among publishers
// are turned away, and which are let in for this one request.
func OpensLink(raw []byte) bool {
	line, _, _ := bytes.Cut(raw, []byte("\r\n"))
	target, isGet := bytes.CutPrefix(line, []byte("GET /"))
	target, isHTTP1 := bytes.CutSuffix(target, []byte(" HTTP/1.1"))
	if !isGet || !isHTTP1 || !isPrintable(line) {
		return false
	}
	path, _, _ := bytes.Cut(target, []byte("?"))
	last := bytes.LastIndexByte(path, '/')
	if last < 0 || last == len(path)-1 {
		return false
	}
	path = path[:last]
	return string(path[bytes.LastIndexByte(path, '/')+1:]) == address.LinkMarker
}

// isPartOfOpening reports whether raw is the beginning of a header that may turn out to open a link.
func isPartOfOpening(raw []byte) bool {
	if !bytes.Contains(raw, []byte("\r\n")) {
		return bytes.HasPrefix(raw, []byte("GET /"))
	}
	return OpensLink(raw) && !hasHeader(raw)
}

// hasHeader reports whether the whole header of the first request is in raw.
func hasHeader(raw []byte) bool { return bytes.Contains(raw, []byte("\r\n\r\n")) }
