package wspush_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// halfCloser is a publisher that has sent everything, and closed its side of the connection.
type halfCloser struct {
	net.Conn
	r        *bufio.Reader
	interims int
}

// sendAll sends raw requests and closes the publisher's side.
func sendAll(t *testing.T, conn net.Conn, requests string) *halfCloser {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, requests); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return &halfCloser{Conn: conn, r: bufio.NewReader(conn)}
}

// answer returns the next final answer.
func (h *halfCloser) answer(t *testing.T) (*http.Response, string) {
	t.Helper()
	for {
		resp, err := http.ReadResponse(h.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusContinue {
			h.interims++
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
}

// interim waits until the publisher is asked whether it is there.
func (h *halfCloser) interim(t *testing.T) {
	t.Helper()
	if resp, err := http.ReadResponse(h.r, nil); err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("%v, %v", resp, err)
	}
}

// readPing reads a ping and answers it.
func readPing(t *testing.T, client *testutil.Client) {
	t.Helper()
	f := client.NextFrame()
	if f.Op != testutil.Ping {
		t.Fatalf("got %v", f)
	}
	if err := client.WriteFrame(testutil.Frame{Fin: true, Masked: true, Op: testutil.Pong, Payload: f.Payload}); err != nil {
		t.Fatal(err)
	}
}

// halfPath is a way for raw requests to reach a worker.
type halfPath struct {
	worker *wspush.Worker // with the connection
	conn   *wspush.Conn
	client *testutil.Client
	dial   func() net.Conn
	name   string // the connection's, in requests
	tells  bool   // the worker can tell a publisher that has left from one that has closed its side
}

var halfPaths = []string{"lane", "net/http", "authorized", "TLS", "TLS, net/http", "forwarded", "forwarded, net/http", "mounted"}

func newHalfPath(t *testing.T, name string, dialClient func(w *wspush.Worker) (*testutil.Client, *wspush.Conn)) *halfPath {
	t.Helper()
	if runtime.GOOS == "windows" && name != "mounted" {
		t.Skip("a reset is not known of on this system before something is written")
	}
	p := &halfPath{tells: true}
	opts := wspush.WorkerOptions{PushTimeout: time.Minute, WriteTimeout: time.Minute} // its clients do not read for as long as a slow machine takes
	addr := func() string { return p.worker.Addr().String() }
	secure := (*tls.Config)(nil)
	switch {
	case name == "authorized":
		opts.AuthorizePush = func(r *http.Request) error {
			if r.Header.Get("Slow") != "" {
				select {
				case <-r.Context().Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
			return r.Context().Err()
		}
	case strings.HasPrefix(name, "TLS"):
		certificate, pool := testutil.NewCertificate(t)
		opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		secure = &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	case name == "mounted":
		p.tells = false
	}
	if strings.HasPrefix(name, "forwarded") {
		p.worker = newMember(t, opts)
		other := newMember(t, opts)
		addr = func() string { return other.Addr().String() }
	} else {
		p.worker = newWorker(t, &opts)
	}
	if name == "mounted" {
		base := strings.TrimPrefix(testutil.Serve(t, p.worker), "http://")
		addr = func() string { return base }
	}
	p.client, p.conn = dialClient(p.worker)
	p.name = p.conn.ID()
	if strings.HasPrefix(name, "forwarded") {
		p.name = p.conn.SealedID()
	}
	p.dial = func() net.Conn {
		if secure != nil {
			conn, err := tls.Dial("tcp", addr(), secure)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		conn, err := net.Dial("tcp", addr())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return p
}

// push returns a raw push, which net/http serves if the path's name says so.
func (p *halfPath) push(path, query, body string) string {
	head := "POST /ws/@connections/" + p.name + query + " HTTP/1.1\r\nHost: x\r\n"
	if strings.HasSuffix(path, "net/http") || path == "mounted" {
		return head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	if path == "authorized" && body == "pipelined 0" {
		head += "Slow: 1\r\n"
	}
	return head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

// A publisher that closes its side of the connection behind its requests, as nc -N does, gets the answer to each, and the answer is true.
func TestHalfClose(t *testing.T) {
	for _, name := range halfPaths {
		t.Run(name, func(t *testing.T) {
			p := newHalfPath(t, name, func(w *wspush.Worker) (*testutil.Client, *wspush.Conn) {
				client, conn, _ := dial(t, w, serve(t, w, nil)+"/ws", testutil.Options{})
				return client, conn
			})

			// Many at once.
			requests := ""
			for i := range 20 {
				requests += p.push(name, "", fmt.Sprint("pipelined ", i))
			}
			h := sendAll(t, p.dial(), requests)
			for i := range 20 {
				resp, body := h.answer(t)
				if !p.tells && resp.StatusCode == 429 && strings.Contains(body, "closed its side of the connection") {
					continue // the worker was slow to write, and says so; the message does not come
				}
				if resp.StatusCode != 204 {
					t.Errorf("push %d: %s %s", i, resp.Status, body)
				}
				p.client.Expect(testutil.Text, fmt.Sprint("pipelined ", i))
			}
			if h.interims > 2 { // on a machine that is very slow
				t.Errorf("%d interim answers to pushes that have nothing to wait for", h.interims)
			}
			if _, err := h.r.ReadByte(); err != io.EOF {
				t.Errorf("after the last answer: %v", err)
			}

			// Confirmed, by a client that takes its time.
			h = sendAll(t, p.dial(), p.push(name, "?confirm=received", "one")+p.push(name, "?confirm=received", "two"))
			if p.tells {
				h.interim(t)
				p.client.Expect(testutil.Text, "one")
				readPing(t, p.client)
				if resp, body := h.answer(t); resp.StatusCode != 204 || resp.Header.Get("Wspush-Rtt") == "" {
					t.Errorf("confirmed: %s %s", resp.Status, body)
				}
				p.client.Expect(testutil.Text, "two")
				readPing(t, p.client)
				if resp, body := h.answer(t); resp.StatusCode != 204 || resp.Header.Get("Wspush-Rtt") == "" {
					t.Errorf("confirmed, the second: %s %s", resp.Status, body)
				}
			} else {
				for range 2 {
					resp, body := h.answer(t)
					if resp.StatusCode != 504 || !strings.Contains(body, "the publisher left, or closed its side of the connection, before the client confirmed") || !strings.Contains(body, `"open"`) {
						t.Errorf("confirmed: %s %s", resp.Status, body)
					}
				}
				p.client.Expect(testutil.Text, "one")
				readPing(t, p.client)
				p.client.Expect(testutil.Text, "two")
				readPing(t, p.client)
			}

			// Not confirmed: the answer comes when it is due, and not before.
			h = sendAll(t, p.dial(), p.push(name, "?confirm=received&timeout=300ms", "three"))
			start := time.Now()
			if p.tells {
				resp, body := h.answer(t)
				if resp.StatusCode != 504 || !strings.Contains(body, "has not confirmed the message in time") || time.Since(start) < 250*time.Millisecond {
					t.Errorf("not confirmed: %s %s after %v", resp.Status, body, time.Since(start))
				}
			} else {
				h.answer(t)
			}
			p.client.Expect(testutil.Text, "three")
			readPing(t, p.client)

			// Other methods.
			h = sendAll(t, p.dial(), "GET /ws/@connections/"+p.name+" HTTP/1.1\r\nHost: x\r\n\r\nHEAD /ws/@connections/"+unknownID+" HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp, body := h.answer(t); resp.StatusCode != 200 {
				t.Errorf("GET: %s %s", resp.Status, body)
			}
			if resp, err := http.ReadResponse(h.r, &http.Request{Method: "HEAD"}); err != nil || resp.StatusCode != 410 {
				t.Errorf("HEAD: %v, %v", resp, err)
			}

			// A bulk request.
			line := `{"to":"` + p.name + `","text":"bulk","confirm":"received"}` + "\n"
			h = sendAll(t, p.dial(), fmt.Sprintf("POST /ws/@connections HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(line), line))
			if !p.tells {
				return
			}
			resp, err := http.ReadResponse(h.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, first); err != nil || first[0] != ' ' {
				t.Errorf("bulk: the publisher is not asked whether it is there: %q, %v", first, err)
			}
			p.client.Expect(testutil.Text, "bulk")
			readPing(t, p.client)
			body, err := io.ReadAll(resp.Body)
			if text := string(body); err != nil || !strings.Contains(text, `{"line":1,"status":204,"rttMs":`) || !strings.HasSuffix(text, "{\"lines\":1}\n") {
				t.Errorf("bulk: %v, %s", err, text)
			}
			if s := p.worker.Stats(); s.Confirmed != 3 || s.Unknown != 1 || s.Refused != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A publisher that speaks HTTP/1.0 knows no interim answers, so that it cannot be asked: one that closes its side has left, as far as
// anyone can know, and is told so.
func TestHalfCloseHTTP10(t *testing.T) {
	p := newHalfPath(t, "net/http", func(w *wspush.Worker) (*testutil.Client, *wspush.Conn) {
		client, conn, _ := dial(t, w, serve(t, w, nil)+"/ws", testutil.Options{})
		return client, conn
	})
	head := " HTTP/1.0\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
	h := sendAll(t, p.dial(), "POST /ws/@connections/"+p.name+head)
	if resp, body := h.answer(t); resp.StatusCode != 204 || h.interims != 0 {
		t.Errorf("%s %s", resp.Status, body)
	}
	h = sendAll(t, p.dial(), "POST /ws/@connections/"+p.name+"?confirm=received"+head)
	resp, body := h.answer(t)
	if resp.StatusCode != 504 || h.interims != 0 || !strings.Contains(body, "the publisher left, or closed its side of the connection, before the client confirmed") {
		t.Errorf("%d interim answers, then %s %s", h.interims, resp.Status, body)
	}
}

// One that has left looks the same at first, but its push does not wait for as long as it may: it is withdrawn.
func TestHalfCloseLeft(t *testing.T) {
	for _, name := range halfPaths {
		t.Run(name, func(t *testing.T) {
			p := newHalfPath(t, name, func(w *wspush.Worker) (*testutil.Client, *wspush.Conn) {
				client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, nil)), testutil.Options{}) // a pipe buffers nothing
				conn, _ := greeted(t, w, client)
				return client, conn
			})
			first := make(chan error, 1)
			go func() {
				_, err := p.conn.Push(context.Background(), wspush.Text, []byte("first"))
				first <- err
			}()
			waiting := func(more int64) {
				t.Helper()
				testutil.Eventually(t, "a message to wait", func() bool { return p.worker.Stats().PendingBytes > more })
			}
			waiting(0)
			line := `{"to":"` + p.name + `","text":"leaves"}` + "\n"
			for i, request := range []string{
				p.push(name, "", "leaves"), p.push(name, "?confirm=received&timeout=30s", "leaves"),
				fmt.Sprintf("POST /ws/@connections HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(line), line),
			} {
				before := p.worker.Stats().PendingBytes
				publisher := p.dial()
				if _, err := io.WriteString(publisher, request); err != nil {
					t.Fatal(err)
				}
				waiting(before)
				publisher.Close()
				start := time.Now()
				testutil.Eventually(t, "the message to be withdrawn", func() bool { return p.worker.Stats().Refused == uint64(i+1) })
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("request %d: withdrawn after %v", i, took)
				}
			}
			go p.conn.Push(context.Background(), wspush.Text, []byte("last"))
			for _, want := range []string{"first", "last"} {
				p.client.Expect(testutil.Text, want)
			}
			if err := <-first; err != nil {
				t.Error(err)
			}
		})
	}
}
