package wspush

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

const plainHead = "POST /ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed HTTP/1.1\r\nHost: 10.0.0.5:48775\r\n"

// FuzzPushRequest: whatever a publisher sends, in two pieces, the push listener with its lane answers as net/http alone does,
// AuthorizePush sees the same requests, and the client gets the same.
func FuzzPushRequest(f *testing.F) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed" // stands for the client's
	user := base64.StdEncoding.EncodeToString([]byte(id + ":"))
	seeds := []string{
		plainHead + "Content-Length: 3\r\n\r\n123",
		plainHead + "Content-Length: 1\r\n\r\na" + plainHead + "Content-Length: 1\r\n\r\nb\r\n" + plainHead + "Content-Length: 0\r\n\r\n",
		plainHead + "Content-Length: 2\r\nConnection: keep-alive\r\n\r\n\xff\xfe" + plainHead + "Content-Length: 1\r\nConnection: close\r\n\r\nb",
		"POST /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + user + "\r\nContent-Length: 1\r\n\r\nx",
		strings.Replace(plainHead, " HTTP", "?type=binary HTTP", 1) + "Content-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
		plainHead + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + plainHead + "Content-Length: 1\r\n\r\nb",
		plainHead + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + plainHead + "Content-Length: 1\r\n\r\nb",
		plainHead + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nb", plainHead + "Content-Length: +1\r\n\r\nb", plainHead + "Content-Length:\r\n 1\r\n\r\nb",
		plainHead + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nb", plainHead + "Content-Length: 2001\r\n\r\n" + strings.Repeat("b", 2001),
		plainHead + "Origin: http://evil.test\r\nContent-Length: 1\r\n\r\nb", plainHead + "Origin: http://10.0.0.5:48775\r\nContent-Length: 1\r\n\r\nb",
		plainHead + "Sec-Fetch-Site: cross-site\r\nContent-Length: 1\r\n\r\nb", strings.Replace(plainHead, "POST", "GET", 1) + "\r\n",
		strings.Replace(plainHead, "POST", "DELETE", 1) + "Content-Length: 1\r\n\r\nx", strings.Replace(plainHead, "1.1", "1.0", 1) + "Content-Length: 1\r\n\r\nx",
		strings.Replace(plainHead, "POST", "OPTIONS", 1) + "\r\n", strings.Replace(plainHead, "POST", "PUT", 1) + "Content-Length: 1\r\n\r\nx",
		"POST http://x/ws HTTP/1.1\r\nHost: y\r\nContent-Length: 0\r\n\r\n", "POST //ws HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\n",
		"POST /%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "POST /ws#x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "\r\n\r\n\r\n\r\nPOST", "",
	}
	for _, seed := range seeds {
		f.Add([]byte(seed), uint16(0))
		f.Add([]byte(seed), uint16(len(seed)-len(seed)/4))
	}

	lane, alone := &conns{next: make(chan net.Conn), done: make(chan struct{})}, &conns{next: make(chan net.Conn), done: make(chan struct{})}
	seen := &asked{}
	w, err := NewWorker(&WorkerOptions{
		Listener: lane, Advertise: []string{"push.test"}, Logger: slog.New(slog.DiscardHandler), MaxPushBytes: 2000, MaxPushConns: -1,
		AuthorizePush: func(r *http.Request) error {
			seen.add(fmt.Sprintf("%s %#v %s %q %q %q %d %v %v", r.Method, *r.URL, r.Proto, r.Header, r.Host, r.RequestURI, r.ContentLength, r.TransferEncoding, r.Close))
			return nil
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	h, err := NewHandler(w, nil)
	if err != nil {
		f.Fatal(err)
	}
	server := &http.Server{
		Handler: w, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		DisableGeneralOptionsHandler: w.server.http.DisableGeneralOptionsHandler,
	}
	var client *sink
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(alone)
	}()
	f.Cleanup(func() {
		_ = server.Close()
		<-served
		if client != nil {
			_ = client.Close() // or Shutdown waits for it to say goodbye
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			f.Errorf("Shutdown: %v", err)
		}
	})

	f.Fuzz(func(t *testing.T, raw []byte, cut uint16) {
		if bytes.Contains(raw, []byte("confirm")) { // nobody here answers a ping
			return
		}
		run := func(to *conns) (answers []string, written []byte, requests string) {
			if client == nil || w.Len() == 0 {
				client = connect(t, h)
			}
			var own string
			for c := range w.Conns() {
				own = c.ID()
			}
			before := client.len()
			mine := bytes.ReplaceAll(raw, []byte(id), []byte(own))
			mine = bytes.ReplaceAll(mine, []byte(user), []byte(base64.StdEncoding.EncodeToString([]byte(own+":"))))
			at := min(int(cut), len(mine))
			answer := talkInMemory(t, w, to, mine[:at], mine[at:])
			if w.Len() == 0 { // it has been closed
				testutil.Eventually(t, "the close frame", func() bool { return bytes.Contains(client.from(before), []byte{0x88}) })
				client.Close()
			}
			requests = strings.ReplaceAll(seen.take(), own, id)
			requests = strings.ReplaceAll(requests, base64.StdEncoding.EncodeToString([]byte(own+":")), user)
			return readAnswers(bytes.ReplaceAll(answer, []byte(own), []byte(id))), client.from(before), requests
		}
		fast, fastWritten, fastSeen := run(lane)
		plain, plainWritten, plainSeen := run(alone)
		// net/http answers a publisher that leaves after less than 4 bytes of a request only if they are the first bytes that it
		// sees.
		if i := len(fast) - 2; i > 0 && len(fast) == len(plain)+1 && strings.HasSuffix(fast[i], " true400 Bad Request") {
			fast = slices.Delete(fast, i, i+1)
		}
		if !slices.Equal(fast, plain) {
			t.Errorf("%q, cut at %d\non the lane  %q\nby net/http  %q", raw, cut, fast, plain)
		}
		if fastSeen != plainSeen {
			t.Errorf("%q, cut at %d: AuthorizePush\non the lane  %s\nby net/http  %s", raw, cut, fastSeen, plainSeen)
		}
		if !bytes.Equal(fastWritten, plainWritten) {
			t.Errorf("%q, cut at %d: to the client\non the lane  %q\nby net/http  %q", raw, cut, fastWritten, plainWritten)
		}
	})
}

// asked is what AuthorizePush has been asked.
type asked struct {
	mu  sync.Mutex // guards all
	all []string
}

func (a *asked) add(request string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, request)
}

// take returns what there is, and forgets it.
func (a *asked) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := strings.Join(a.all, "\n")
	a.all = nil
	return all
}

// varying matches what differs from answer to answer.
var varying = regexp.MustCompile(`Date: [^\r]*\r\n|"(connectedAt|lastActiveAt)":"[^"]*",|Content-Length: [^\r]*\r\nContent-Type: application/json\r\n` +
	`|Content-Type: application/json\r\n(Date: [^\r]*\r\n)?Content-Length: [^\r]*\r\n`)

// readAnswers makes the answers of net/http and of the lane comparable.
func readAnswers(raw []byte) (answers []string) {
	in := bufio.NewReader(bytes.NewReader(varying.ReplaceAll(raw, nil)))
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			rest, _ := io.ReadAll(in)
			return append(answers, string(rest))
		}
		body, _ := io.ReadAll(resp.Body)
		var names []string
		for name, values := range resp.Header {
			names = append(names, fmt.Sprint(name, values))
		}
		slices.Sort(names)
		answers = append(answers, fmt.Sprint(resp.Proto, resp.Status, names, resp.ContentLength, resp.Close, string(body)))
	}
}

// connect makes a client of h that takes whatever it is sent.
func connect(t *testing.T, h *Handler) *sink {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{closed: make(chan struct{})}
	h.ServeHTTP(&sinkWriter{s, http.Header{}}, r)
	testutil.Eventually(t, "the client to be greeted", func() bool {
		for c := range h.worker.Conns() {
			_, err := c.Push(t.Context(), Text, nil)
			return err == nil
		}
		return false
	})
	return s
}

// sink is a connection to a client that says nothing and takes everything at once.
type sink struct {
	once   sync.Once
	closed chan struct{}

	mu  sync.Mutex // guards all
	all []byte
}

func (s *sink) Read([]byte) (int, error) {
	<-s.closed
	return 0, net.ErrClosed
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p...)
	return len(p), nil
}

func (s *sink) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

func (s *sink) from(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.all[n:])
}

func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (*sink) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "here", Net: "memory"} }
func (*sink) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "there", Net: "memory"} }
func (*sink) SetDeadline(time.Time) error      { return nil }
func (*sink) SetReadDeadline(time.Time) error  { return nil }
func (*sink) SetWriteDeadline(time.Time) error { return nil }

// sinkWriter is the http.ResponseWriter of a handshake on a sink.
type sinkWriter struct {
	sink   *sink
	header http.Header
}

func (w *sinkWriter) Header() http.Header         { return w.header }
func (w *sinkWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *sinkWriter) WriteHeader(int)             {}
func (w *sinkWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.sink, bufio.NewReadWriter(bufio.NewReader(w.sink), bufio.NewWriter(w.sink)), nil
}

// conns is a listener for connections in memory.
type conns struct {
	next chan net.Conn
	once sync.Once
	done chan struct{} // closed by Close
}

func (l *conns) Accept() (net.Conn, error) {
	select {
	case c := <-l.next:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *conns) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *conns) Addr() net.Addr { return &net.UnixAddr{Name: "here", Net: "memory"} }

// talkInMemory sends pieces, and then the end, and returns all that is answered.
func talkInMemory(t *testing.T, w *Worker, to *conns, pieces ...[]byte) []byte {
	c := &script{lane: to == w.listener, handlers: &w.server.handlers, pieces: pieces, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	to.next <- c
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second):
		t.Error("the connection does not end")
	}
	return c.from(0)
}

// script is a publisher's connection whose bytes are all known beforehand.
type script struct {
	sink     // what is answered
	pieces   [][]byte
	handlers *tally
	changed  chan struct{}
	lane     bool // it is on one; guarded by mu, as is expired
	expired  bool
	ended    chan struct{}
	end      sync.Once
}

func (c *script) Read(p []byte) (int, error) {
	for {
		c.mu.Lock()
		for len(c.pieces) > 0 && len(c.pieces[0]) == 0 {
			c.pieces = c.pieces[1:]
		}
		switch {
		case c.expired:
			c.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(c.pieces) > 0:
			n := copy(p, c.pieces[0])
			c.pieces[0] = c.pieces[0][n:]
			c.mu.Unlock()
			return n, nil
		}
		watched := len(p) == 1 || c.lane && c.handlers.n.Load() > 0
		c.mu.Unlock()
		// While a request is being answered, the lane reads on, and net/http reads a single byte, to notice a publisher that
		// leaves. This publisher does not leave yet. If another reader asks for a single byte, the end comes all the same.
		if !watched {
			return 0, io.EOF
		}
		select {
		case <-c.changed:
		case <-c.ended:
			return 0, net.ErrClosed
		case <-time.After(time.Second):
			return 0, io.EOF
		}
	}
}

func (c *script) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.expired = !t.IsZero() && t.Before(time.Now())
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return nil
}

// SetDeadline is called by a lane when it hands over.
func (c *script) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.lane = false
	c.mu.Unlock()
	return c.SetReadDeadline(t)
}

// CloseWrite is called by net/http half a second before it closes a connection with unread bytes.
func (c *script) CloseWrite() error { return c.Close() }

func (c *script) Close() error {
	c.end.Do(func() { close(c.ended) })
	return nil
}
