package testutil

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Browsers refuse a server that gets any of these wrong, so the client must, too.
func TestHandshakeChecksTheResponse(t *testing.T) {
	for name, test := range map[string]struct{ response, want string }{
		"status":           {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "refused with 200 OK"},
		"upgrade":          {"HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n", "with Upgrade"},
		"connection":       {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: KEY\r\n", "with Connection"},
		"no accept":        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", "with Sec-WebSocket-Accept"},
		"wrong accept":     {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: xKEY\r\n", "with Sec-WebSocket-Accept"},
		"subprotocol":      {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: c\r\n", "not asked for"},
		"subprotocols":     {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: a, b\r\n", "with subprotocols"},
		"extension":        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Extensions: e\r\n", "not asked for"},
		"not HTTP":         {"hello\r\n", "reading the response"},
		"cut short":        {"", "reading the response"},
		"body cut":         {"HTTP/1.1 403 x\r\nContent-Length: 10\r\n", "unexpected EOF"},
		"everything right": {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: b\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if test.response != "" {
					fmt.Fprintf(conn, "%s\r\n", strings.ReplaceAll(test.response, "KEY", acceptKey(r.Header.Get("Sec-WebSocket-Key"))))
				}
			})
			wantFailure(t, test.want, func(tb testing.TB) {
				Handshake(tb, Pipe(tb, h), Options{Header: http.Header{"Sec-WebSocket-Protocol": {"a", "b"}}})
			})
		})
	}
}
