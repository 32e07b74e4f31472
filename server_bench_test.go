package wspush

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// replay is a publisher's connection on which the same request arrives again and again, one at a time.
type replay struct {
	sink
	request string
	left    int
}

func (c *replay) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	c.left--
	return copy(p, c.request), nil
}

func (c *replay) Write(p []byte) (int, error) { return len(p), nil }

// hijacked is the http.ResponseWriter of a handshake on any connection.
type hijacked struct {
	sinkWriter
	conn net.Conn
}

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// reader makes a client's connection over TCP, whose other end takes whatever comes.
func reader(b *testing.B) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		defer client.Close()
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, client, make([]byte, 256<<10))
	}()
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return server
}

// What a POST costs between two system calls, with AuthorizePush and without, and to a user with one connection.
func BenchmarkLane(b *testing.B) {
	for name, authorize := range map[string]func(*http.Request) error{
		"open": nil, "authorized": func(*http.Request) error { return nil }, "user": func(*http.Request) error { return nil }, "BearerTokens": BearerTokens("another", "mF9-B5f-41JqM-Zr7Yq0u2Kx4hV8sT1d"),
	} {
		b.Run(name, func(b *testing.B) {
			l := &conns{next: make(chan net.Conn), done: make(chan struct{})}
			w, err := NewWorker(&WorkerOptions{Listener: l, Advertise: []string{"push.test"}, Logger: slog.New(slog.DiscardHandler), AuthorizePush: authorize})
			if err != nil {
				b.Fatal(err)
			}
			h, err := NewHandler(w, &HandlerOptions{User: func(*http.Request, any) string { return "42" }})
			if err != nil {
				b.Fatal(err)
			}
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")))
			if err != nil {
				b.Fatal(err)
			}
			h.ServeHTTP(&hijacked{sinkWriter{nil, http.Header{}}, reader(b)}, r)
			id := ""
			for id == "" { // until it is greeted
				for c := range w.Conns() {
					if _, err := c.Push(b.Context(), Text, nil); err == nil {
						id = c.ID()
					}
				}
			}
			header, path := "", "@connections/"+id
			if name == "user" {
				path = "@users/42"
			}
			if name == "BearerTokens" {
				header = "Authorization: Bearer mF9-B5f-41JqM-Zr7Yq0u2Kx4hV8sT1d\r\n"
			}
			publisher := &replay{left: b.N, request: "POST /ws/" + path + " HTTP/1.1\r\nHost: push.test\r\n" + header +
				"Content-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("x", 100)}
			publisher.closed = make(chan struct{})
			b.ReportAllocs()
			b.ResetTimer()
			l.next <- publisher
			<-publisher.closed
			b.StopTimer()
			if written := w.Stats().Written; written < uint64(b.N) {
				b.Errorf("%d of %d are written", written, b.N)
			}
			if err := w.Shutdown(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}
