package testutil

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

// recorder is a testing.TB that records failures instead of failing.
type recorder struct {
	testing.TB // for the methods not overridden

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Output() io.Writer { return io.Discard }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r) // runtime.Goexit would end the goroutine of the real test
}

// failure runs test and then its clean-up, and returns the failures.
func failure(t *testing.T, test func(tb testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if v := recover(); v != nil && v != r {
				panic(v)
			}
		}()
		test(r)
	}()
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return strings.Join(r.failures, "\n")
}

// wantFailure fails the test unless test fails with a message that contains want.
func wantFailure(t *testing.T, want string, test func(tb testing.TB)) {
	t.Helper()
	if got := failure(t, test); want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("failed with %q, want %q", got, want)
	}
}

// peer is the server's side of a WebSocket, driven by hand.
type peer struct {
	tb   testing.TB
	conn net.Conn
	br   *bufio.Reader
	req  *http.Request
}

// upgrade returns a handler that accepts the handshake, adds extra to the 101, runs script, and closes the connection.
func upgrade(tb testing.TB, extra string, script func(p *peer)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			tb.Errorf("hijack: %v", err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n%s\r\n", acceptKey(r.Header.Get("Sec-WebSocket-Key")), extra)
		script(&peer{tb, conn, rw.Reader, r})
	})
}

// says returns a handler that sends frames and then reads until the client is gone.
func says(tb testing.TB, frames ...Frame) http.Handler {
	return upgrade(tb, "", func(p *peer) {
		p.send(frames...)
		_, _ = io.Copy(io.Discard, p.br)
	})
}

// send sends the frames in one write, so that none depends on how the client handles the others.
func (p *peer) send(frames ...Frame) {
	var b []byte
	for _, f := range frames {
		b = AppendFrame(b, f, [4]byte{1, 2, 3, 4})
	}
	if _, err := p.conn.Write(b); err != nil {
		p.tb.Errorf("server: sending: %v", err)
	}
}

func (p *peer) want(op Opcode, payload string) {
	f, err := readFrame(p.br)
	if err != nil {
		p.tb.Errorf("server: want a %v: %v", op, err)
		return
	}
	if !f.Masked || f.Op != op || string(f.Payload) != payload {
		p.tb.Errorf("server: got a %v, want a masked %v of %q", f, op, payload)
	}
}

// whole returns an unfragmented frame as a server sends it.
func whole(op Opcode, payload string) Frame {
	return Frame{Fin: true, Op: op, Payload: []byte(payload)}
}
