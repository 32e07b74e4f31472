package wspush_test

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// sampleKey is the key of the example in RFC 6455 section 1.3, and sampleAccept the answer to it.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// handshakeWith returns a correct handshake with some headers replaced. A value with "\n" in it becomes several header lines, and an
// empty value removes the header.
func handshakeWith(line string, headers map[string]string) string {
	all := map[string]string{
		"Host": "h.test", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": sampleKey,
	}
	for name, value := range headers {
		all[name] = value
	}
	request := line + "\r\n"
	for name, value := range all {
		for one := range strings.SplitSeq(value, "\n") {
			if value != "" {
				request += name + ": " + one + "\r\n"
			}
		}
	}
	return request + "\r\n"
}

// answerTo sends a request on a connection of its own, and returns the server's answer.
func answerTo(t *testing.T, server, request string) (*http.Response, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp, r
}

// Every handshake that RFC 6455 section 4.2.1 allows is answered as section 4.2.2 demands. Every other one is refused, and Accept is
// not called.
func TestHandshakes(t *testing.T) {
	const get = "GET /ws HTTP/1.1"
	type headers = map[string]string
	tests := []struct {
		name    string
		line    string
		headers headers
		status  []int // any of them
	}{
		{"ordinary", get, nil, []int{101}},
		{"Upgrade in upper case", get, headers{"Upgrade": "WEBSOCKET"}, []int{101}},
		{"Upgrade in mixed case", get, headers{"Upgrade": "WebSocket", "Connection": "uPGRADe"}, []int{101}},
		{"Upgrade in a list", get, headers{"Upgrade": "h2c, websocket"}, []int{101}},
		{"Upgrade in two headers", get, headers{"Upgrade": "h2c\nwebSocket"}, []int{101}},
		{"Connection in a list", get, headers{"Connection": "keep-alive, Upgrade"}, []int{101}},
		{"Connection in a list, upper case", get, headers{"Connection": "Keep-Alive,UPGRADE"}, []int{101}},
		{"Connection in an odd list", get, headers{"Connection": ",, keep-alive ,\tupgrade , "}, []int{101}},
		{"Connection in two headers", get, headers{"Connection": "keep-alive\nUpgrade"}, []int{101}},
		{"names in odd cases", get, headers{"Host": "", "hOST": "h.test", "Upgrade": "", "UPGRADE": "websocket", "Sec-WebSocket-Key": "", "sec-websocket-KEY": sampleKey}, []int{101}},
		{"key in white space", get, headers{"Sec-WebSocket-Key": " \t" + sampleKey + "  "}, []int{101}},
		{"a whole URL", "GET http://h.test/ws HTTP/1.1", nil, []int{101}},
		{"a query", "GET /ws?a=b HTTP/1.1", nil, []int{101}},
		{"its own origin", get, headers{"Origin": "http://h.test"}, []int{101}},
		{"its own origin in another case", get, headers{"Origin": "https://H.TEST"}, []int{101}},
		{"extensions that nobody knows", get, headers{"Sec-WebSocket-Extensions": "foo, bar; baz=1; q=\"x\"\nx-webkit-deflate-frame"}, []int{101}},
		{"subprotocols that nobody speaks", get, headers{"Sec-WebSocket-Protocol": "chat, superchat"}, []int{101}},
		{"a body of no bytes", get, headers{"Content-Length": "0"}, []int{101}},

		{"HTTP/1.0", "GET /ws HTTP/1.0", nil, []int{426}},
		{"HTTP/0.9", "GET /ws HTTP/0.9", nil, []int{400, 426, 505}},
		{"HTTP/2", "GET /ws HTTP/2.0", nil, []int{400, 426, 505}},
		{"no Host", get, headers{"Host": ""}, []int{400}},
		{"two Hosts", get, headers{"Host": "h.test\nh.test"}, []int{400}},
		{"a malformed Host", get, headers{"Host": "h test"}, []int{400}},
		{"HEAD", "HEAD /ws HTTP/1.1", nil, []int{405}},
		{"POST", "POST /ws HTTP/1.1", headers{"Content-Length": "0"}, []int{405}},
		{"CONNECT", "CONNECT h.test:80 HTTP/1.1", nil, []int{404, 405}},
		{"a body", get, headers{"Content-Length": "5"}, []int{400}},
		{"a chunked body", get, headers{"Transfer-Encoding": "chunked"}, []int{400}},

		{"no Upgrade", get, headers{"Upgrade": ""}, []int{426}},
		{"no Connection", get, headers{"Connection": ""}, []int{426}},
		{"neither", get, headers{"Upgrade": "", "Connection": ""}, []int{426}},
		{"Upgrade to h2c", get, headers{"Upgrade": "h2c"}, []int{426}},
		{"Upgrade to something longer", get, headers{"Upgrade": "websockets"}, []int{426}},
		{"Upgrade to a version", get, headers{"Upgrade": "websocket/13"}, []int{426}},
		{"Upgrade to two words", get, headers{"Upgrade": "web socket"}, []int{426}},
		{"Connection: keep-alive", get, headers{"Connection": "keep-alive"}, []int{426}},
		{"Connection: close", get, headers{"Connection": "close"}, []int{426}},
		{"Connection: Upgraded", get, headers{"Connection": "Upgraded, xUpgrade"}, []int{426}},

		{"no version", get, headers{"Sec-WebSocket-Version": ""}, []int{400}},
		{"two versions", get, headers{"Sec-WebSocket-Version": "13\n8"}, []int{400}},
		{"two versions, the wrong one first", get, headers{"Sec-WebSocket-Version": "8\n13"}, []int{400}},
		{"the version twice", get, headers{"Sec-WebSocket-Version": "13\n13"}, []int{400}},

		{"no key", get, headers{"Sec-WebSocket-Key": ""}, []int{400}},
		{"the key twice", get, headers{"Sec-WebSocket-Key": sampleKey + "\n" + sampleKey}, []int{400}},
		{"two keys", get, headers{"Sec-WebSocket-Key": sampleKey + "\nAAAAAAAAAAAAAAAAAAAAAA=="}, []int{400}},

		{"foreign origin", get, headers{"Origin": "https://evil.test"}, []int{403}},
		{"foreign port", get, headers{"Origin": "https://h.test:8443"}, []int{403}},
		{"null origin", get, headers{"Origin": "null"}, []int{403}},
		{"two origins", get, headers{"Origin": "http://h.test\nhttps://evil.test"}, []int{400}},
		{"two origins, in one header", get, headers{"Origin": "http://h.test https://evil.test"}, []int{400, 403}},
	}
	for _, version := range []string{"0", "7", "8", "12", "14", "013", "13.0", "+13", "13 13", "13, 8", "8, 13", "13;", "thirteen"} {
		tests = append(tests, struct {
			name, line string
			headers    headers
			status     []int
		}{"version " + version, get, headers{"Sec-WebSocket-Version": version}, []int{400}})
	}
	for name, key := range map[string]string{
		"one byte": "eA==", "15 bytes": "AAAAAAAAAAAAAAAAAAAA", "17 bytes": "AAAAAAAAAAAAAAAAAAAAAAA=", "24 bytes": strings.Repeat("A", 32), "64 KB": strings.Repeat("A", 64<<10),
		"no padding": "AAAAAAAAAAAAAAAAAAAAAA", "too much padding": "AAAAAAAAAAAAAAAAAAAAAA===", "padding only": "====",
		"the alphabet of URLs": "____________________-w==", "hexadecimal": "0123456789abcdef0123456789abcdef", "a space": "AAAAAAAAAA AAAAAAAAAAAA==", "a list": sampleKey + ", " + sampleKey,
	} {
		tests = append(tests, struct {
			name, line string
			headers    headers
			status     []int
		}{"a key of " + name, get, headers{"Sec-WebSocket-Key": key}, []int{400}})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorker(t, quiet())
			asked := make(chan struct{}, 1)
			server := testutil.Serve(t, newHandler(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) {
				asked <- struct{}{}
				return nil, nil
			}}))
			resp, r := answerTo(t, server, handshakeWith(tt.line, tt.headers))
			if !slices.Contains(tt.status, resp.StatusCode) {
				t.Fatalf("got %s, want %d", resp.Status, tt.status)
			}
			if resp.StatusCode != http.StatusSwitchingProtocols {
				if len(asked) > 0 || w.Len() > 0 {
					t.Errorf("Accept is asked: %d, connections: %d", len(asked), w.Len())
				}
				if resp.StatusCode == http.StatusUpgradeRequired && resp.Header.Get("Upgrade") != "websocket" {
					t.Errorf("426 without Upgrade: %v", resp.Header)
				}
				if _, version := tt.headers["Sec-WebSocket-Version"]; version && resp.Header.Get("Sec-WebSocket-Version") != "13" {
					t.Errorf("the answer does not name the version: %v", resp.Header)
				}
				if resp.Header.Get("Sec-WebSocket-Accept") != "" {
					t.Errorf("refused, and accepted: %v", resp.Header)
				}
				return
			}
			for name, want := range map[string]string{
				"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": sampleAccept, "Sec-Websocket-Protocol": "", "Sec-Websocket-Extensions": "",
			} {
				if got := strings.Join(resp.Header[name], "\n"); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if first, err := r.ReadByte(); err != nil || first != 0x81 { // the greeting
				t.Errorf("the first byte is %#x, %v", first, err)
			}
		})
	}
}

// 64 KB of headers are accepted where net/http's limit allows them, and are not kept in memory; elsewhere they get 431.
func TestLargeHandshakes(t *testing.T) {
	const size = 64 << 10
	large := strings.Repeat("x", size)
	parts := map[string]http.Header{
		"one header":      {"Cookie": {large}},
		"many headers":    {"X-Many": slices.Repeat([]string{large[:60]}, size/60)},
		"a subprotocol":   {"Sec-WebSocket-Protocol": {"v1, " + large}},
		"an origin":       {"Origin": {"http://h.test/" + large}, "Host": {"h.test"}},
		"extensions":      {"Sec-WebSocket-Extensions": {"permessage-deflate; client_no_context_takeover; server_no_context_takeover, " + large}},
		"a query":         {},
		"a known header":  {"Connection": {"Upgrade, " + large}},
		"a known header'": {"Upgrade": {"websocket, " + large}},
	}
	w := newWorker(t, quiet())
	h := newHandler(t, w, &wspush.HandlerOptions{Subprotocols: []string{"v1"}, Compression: true})
	server := testutil.Serve(t, h)
	strict := &http.Server{Handler: h, MaxHeaderBytes: 16 << 10}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- strict.Serve(l) }()
	defer func() {
		strict.Close()
		<-served
	}()
	for name, header := range parts {
		t.Run(name, func(t *testing.T) {
			opts := testutil.Options{Header: header}
			if name == "a query" {
				opts.Path = "/ws?" + large
			}
			const conns = 20
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range conns {
				c, conn, _ := dial(t, w, server, opts)
				if name == "a subprotocol" && conn.Info().Subprotocol != "v1" {
					t.Errorf("the subprotocol is %q", conn.Info().Subprotocol)
				}
				defer c.Close()
			}
			// The clients use memory, too, but do not keep the headers.
			testutil.Eventually(t, "the headers to be freed", func() bool {
				runtime.GC()
				runtime.ReadMemStats(&after)
				return int64(after.HeapAlloc)-int64(before.HeapAlloc) < conns*size/2
			})
			var request strings.Builder
			fmt.Fprintf(&request, "GET %s HTTP/1.1\r\nHost: h.test\r\n", cmp.Or(opts.Path, "/ws"))
			for name, values := range header {
				for _, value := range values {
					if name != "Host" {
						fmt.Fprintf(&request, "%s: %s\r\n", name, value)
					}
				}
			}
			resp, _ := answerTo(t, "http://"+l.Addr().String(), request.String()+"\r\n")
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("more than the server allows: %s", resp.Status)
			}
		})
	}
}

// Bytes that arrive in one segment with the handshake are read as frames, valid or not, even if the request was large.
func TestFramesWithHandshake(t *testing.T) {
	messages := make(chan string, 10)
	w := newWorker(t, quiet())
	server := testutil.Serve(t, newHandler(t, w, &wspush.HandlerOptions{OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { messages <- string(data) }}))
	for _, padding := range []int{0, 1, 3900, 4000, 4090, 8000, 70_000} {
		header := http.Header{"X-Padding": {strings.Repeat("x", padding)}}
		c := testutil.Dial(t, server, testutil.Options{Header: header, Early: slices.Concat(plain(0x89, "1"), plain(0x81, "hello"), plain(0x82, "x"), plain(0x83, ""))})
		for _, want := range []string{"hello", "x"} { // no greeting, maybe: it is not written when the end is faster
			if got := receive(t, "OnMessage", messages); got != want {
				t.Errorf("padding %d: got %q, want %q", padding, got, want)
			}
		}
		if code, _ := c.AwaitClose(); code != 1002 {
			t.Errorf("padding %d: closed with %d", padding, code)
		}
		c.AwaitEOF()
		c.Close()
	}
}
