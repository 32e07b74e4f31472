package lane

import "testing"

func TestOpensLink(t *testing.T) {
	for raw, want := range map[string]bool{
		"GET /@link/nonce HTTP/1.1\r\nHost: x\r\n":                 true,
		"GET /workers/3/@link/nonce HTTP/1.1\r\n":                  true,
		"GET /@link/nonce?x=/y/ HTTP/1.1\r\n":                      true,
		"GET /@link/nonce HTTP/1.1":                                true,
		"POST /@link/nonce HTTP/1.1\r\n":                           false,
		"GET /@link/nonce HTTP/1.0\r\n":                            false,
		"GET /@link/ HTTP/1.1\r\n":                                 false,
		"GET /@link HTTP/1.1\r\n":                                  false,
		"GET /x@link/nonce HTTP/1.1\r\n":                           false,
		"GET /ws/@link/nonce/x HTTP/1.1\r\n":                       false,
		"GET /ws?x=/@link/nonce HTTP/1.1\r\n":                      false,
		"GET /ws HTTP/1.1\r\nX: GET /@link/nonce HTTP/1.1\r\n":     false,
		"GET /@link/n\x00nce HTTP/1.1\r\n":                         false,
		"\x16\x03\x01\x02\x00\x01\x00\x01GET /@link/nonce HTTP/1.": false,
		"": false,
	} {
		if got := OpensLink([]byte(raw)); got != want {
			t.Errorf("%q: %v", raw, got)
		}
	}
}
