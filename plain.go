package wspush

import (
	"bytes"
	"strconv"
	"strings"
)

// plainPush returns the size of the plain push that raw begins with, or 0 if it does not. Where it is in doubt, it does not:
// what passes here reads the same in every way that there is to read HTTP/1.1 (RFC 9112).
func plainPush(raw []byte) (size int) {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	line, lines, _ := bytes.Cut(raw[:end], []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("POST /")) || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || !isPrintable(line) {
		return 0
	}
	if isBulkLine(line) { // its answer begins before it has ended
		return 0
	}
	hosts, lengths := 0, 0
	for len(lines) > 0 {
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		name, value, colon := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " ")
		switch {
		case !colon || !isPrintable(line) || !isHostName(string(name)): // fewer letters than the name of a header may have
			return 0
		case is(name, "Host"):
			hosts++
			if !isHost(value) {
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
		case is(name, "Expect"), is(name, "TE"), is(name, "Trailer"), is(name, "Transfer-Encoding"), is(name, "Upgrade"):
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
	return len(last) <= len(marker)+2 && isMarker(string(last))
}

// isHost reports whether p has nothing in it but what is in a host with its port.
func isHost(p []byte) bool {
	for _, c := range p {
		if c == '~' || !isUnreserved(c) && strings.IndexByte("[:]", c) < 0 {
			return false
		}
	}
	return len(p) > 0
}

// is compares what HTTP compares without regard to case.
func is(a []byte, b string) bool { return len(a) == len(b) && strings.EqualFold(string(a), b) }

// isPrintable reports whether p is visible ASCII and spaces.
func isPrintable(p []byte) bool {
	for _, c := range p {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
