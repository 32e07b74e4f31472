package lane

import (
	"strings"
	"testing"
)

const plainHead = "POST /ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed HTTP/1.1\r\nHost: 10.0.0.5:48775\r\n"

func TestPlainPush(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		after     int // bytes of raw that are not the push's; -1: no plain push
	}{
		{"as curl sends it", plainHead + "User-Agent: curl/8\r\nAccept: */*\r\nContent-Length: 3\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n123", 0},
		{"no body", plainHead + "Content-Length: 0\r\n\r\n", 0},
		{"user in the header", plainHead + "Authorization: Basic MTIzOg==\r\nContent-Length: 1\r\n\r\nx", 0},
		{"names in any case", "POST / HTTP/1.1\r\nhOsT: [fd00::5]:80\r\ncontent-LENGTH:1 \r\nCONNECTION: Keep-Alive\r\n\r\nx", 0},
		{"the next one behind it", plainHead + "Content-Length: 1\r\n\r\nxPOST", 4},
		{"another method", strings.Replace(plainHead, "POST", "PUT", 1) + "Content-Length: 1\r\n\r\nx", -1},
		{"another version", strings.Replace(plainHead, "1.1", "1.0", 1) + "Content-Length: 1\r\n\r\nx", -1},
		{"a proxy's target", "POST http://x/ws HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", -1},
		{"no length", plainHead + "\r\n", -1},
		{"two lengths", plainHead + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", -1},
		{"a list of lengths", plainHead + "Content-Length: 1, 1\r\n\r\nx", -1},
		{"a signed length", plainHead + "Content-Length: +1\r\n\r\nx", -1},
		{"a length with a line break", plainHead + "Content-Length:\r\n 1\r\n\r\nx", -1},
		{"too long", plainHead + "Content-Length: 99999999999999999999\r\n\r\nx", -1},
		{"not all there", plainHead + "Content-Length: 2\r\n\r\nx", -1},
		{"half a header", plainHead + "Content-Length: 2\r\n", -1},
		{"no host", "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", -1},
		{"an empty host", "POST / HTTP/1.1\r\nHost:\r\nContent-Length: 1\r\n\r\nx", -1},
		{"two hosts", plainHead + "Host: y\r\nContent-Length: 1\r\n\r\nx", -1},
		{"a strange host", "POST / HTTP/1.1\r\nHost: a b\r\nContent-Length: 1\r\n\r\nx", -1},
		{"chunked", plainHead + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -1},
		{"chunked, with a length", plainHead + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -1},
		{"chunked, in disguise", plainHead + "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", -1},
		{"expect", plainHead + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", -1},
		{"close", plainHead + "Connection: close\r\nContent-Length: 1\r\n\r\nx", -1},
		{"hop by hop", plainHead + "Connection: keep-alive, x\r\nContent-Length: 1\r\n\r\nx", -1},
		{"no cache", plainHead + "Pragma: no-cache\r\nContent-Length: 1\r\n\r\nx", -1},
		{"upgrade", plainHead + "Upgrade: h2c\r\nContent-Length: 1\r\n\r\nx", -1},
		{"a bare line feed", plainHead + "X: y\nContent-Length: 1\r\n\r\nx", -1},
		{"a bare carriage return", plainHead + "X: y\rz\r\nContent-Length: 1\r\n\r\nx", -1},
		{"a line without a name", plainHead + ": y\r\nContent-Length: 1\r\n\r\nx", -1},
		{"a line without a colon", plainHead + "Content-Length: 1\r\nx(y\r\n\r\nx", -1},
		{"an 8-bit byte", plainHead + "X: \xe4\r\nContent-Length: 1\r\n\r\nx", -1},
		{"a client's handshake", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", -1},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01", -1},
	} {
		size := plainPush([]byte(tc.raw))
		if want := len(tc.raw) - tc.after; tc.after < 0 && size != 0 || tc.after >= 0 && size != want {
			t.Errorf("%s: %d of %d bytes", tc.name, size, len(tc.raw))
		}
	}
}
