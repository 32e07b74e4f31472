package wspush_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A publisher that is refused while it is still sending gets its answer at once, and can go on sending for some seconds: to
// close the connection under it would reset it, and the publisher might never see the answer.
func TestLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"http://push.test"}})
		publisher, server := net.Pipe()
		defer publisher.Close()
		l.conns <- server
		start := time.Now()
		go io.WriteString(publisher, "POST /ws/@connections/"+unknownID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\na")
		r := bufio.NewReader(publisher)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusGone || !resp.Close {
			t.Fatalf("%+v, %v", resp, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the answer took %v", took)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			<-time.After(2 * time.Second)
			if _, err := io.WriteString(publisher, "b"); err != nil {
				t.Errorf("sending on after %v: %v", time.Since(start), err)
			}
		}
		// The last byte never comes.
		if _, err := r.ReadByte(); err == nil {
			t.Error("there is something after the answer")
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the connection lasts %v", took)
		}
	})
}

// A publisher over HTTP/2 that sends everything before it reads anything gets its refusal too, and the connection stays good.
func TestLingersOverHTTP2(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	authorize := func(r *http.Request) error {
		return map[string]error{"no": wspush.ErrUnauthorized, "never": wspush.ErrForbidden, "later": wspush.ErrUnavailable}[r.Header.Get("x-case")]
	}
	w := newWorker(t, &wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, AuthorizePush: authorize})
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	c := dialHTTP2(t, w, pool)
	const long = 3 << 20
	one, bulk := "/ws/@connections/"+conn.ID(), "/ws/@connections"
	for _, tc := range []struct {
		method, path, which string
		size                int
		want                int
	}{
		{"POST", "/ws/@connections/" + unknownID, "", long, 410},
		{"POST", one, "", long, 413},
		{"POST", one, "announced", long, 413},
		{"POST", one, "no", long, 401},
		{"POST", one, "never", long, 403},
		{"POST", one, "later", long, 503},
		{"POST", one + "?x=1", "", long, 400},
		{"POST", "/ws/@connections/x", "", long, 400},
		{"POST", "/ws/" + unknownID, "", long, 401},
		{"PUT", one, "", long, 405},
		{"POST", bulk, "", long, 415},
		{"POST", bulk, "no", long, 401},
		{"DELETE", "/ws/@connections/" + unknownID, "", long, 410},
		{"GET", one, "", long, 0},       // 200
		{"GET", "/@ready", "", long, 0}, // likewise
		{"POST", "/ws/@connections/" + unknownID, "", 1, 410},
	} {
		if got := c.sendThenRead(t, tc.method, tc.path, tc.which, tc.size); got != tc.want {
			t.Errorf("%s %s %q with %d bytes: answered %d, want %d", tc.method, tc.path, tc.which, tc.size, got, tc.want)
		}
	}
	if resp, err := postBy(t, keeping(t, &tls.Config{RootCAs: pool}, true), conn.PathAddresses()[0], "afterwards"); err != nil || resp.StatusCode != 204 {
		t.Errorf("%v, %v", resp, err)
	}
	client.Expect(testutil.Text, "afterwards")
}

// A publisher that never stops sending is not read for ever.
func TestLingersOverHTTP2Bounded(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	w := newWorker(t, &wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	c := dialHTTP2(t, w, pool)
	if got := c.sendThenRead(t, "POST", "/ws/@connections/"+unknownID, "", 20<<20); got != -1 {
		t.Errorf("20 MiB were read: answered %d", got)
	}
	if got := c.sendThenRead(t, "POST", "/ws/@connections/"+unknownID, "", 2<<20); got != 410 {
		t.Errorf("after that, answered %d", got)
	}
}

// http2Client is a client of HTTP/2 that sends all of a body before it looks at the answer, as httpx does. Meanwhile it minds
// nothing but flow control.
type http2Client struct {
	conn   net.Conn
	in     *bufio.Reader
	stream uint32
	window int // the connection's
	first  int // a stream's
}

func dialHTTP2(t *testing.T, w *wspush.Worker, pool *x509.CertPool) *http2Client {
	t.Helper()
	conn, err := tls.Dial("tcp", w.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, preface+string(http2Frame(frameSettings, 0, 0, nil)))
	return &http2Client{conn: conn, in: bufio.NewReader(conn), window: 65535, first: 65535}
}

// frame reads a frame, and does what every client does with it.
func (c *http2Client) frame(t *testing.T) (kind, flags byte, stream uint32, payload []byte) {
	t.Helper()
	var head [9]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		t.Fatal(err)
	}
	payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(c.in, payload); err != nil {
		t.Fatal(err)
	}
	kind, flags, stream = head[3], head[4], binary.BigEndian.Uint32(head[5:])
	switch {
	case kind == frameSettings && flags == 0:
		for p := payload; len(p) > 0; p = p[6:] {
			if binary.BigEndian.Uint16(p) == 4 { // INITIAL_WINDOW_SIZE
				c.first = int(binary.BigEndian.Uint32(p[2:]))
			}
		}
		c.conn.Write(http2Frame(frameSettings, 1, 0, nil))
	case kind == frameWindow && stream == 0:
		c.window += int(binary.BigEndian.Uint32(payload))
	}
	return kind, flags, stream, payload
}

// sendThenRead sends a request, and returns the status that the problem in its answer names: 0 for any other answer. -1 means
// that the stream was reset before everything was sent.
func (c *http2Client) sendThenRead(t *testing.T, method, path, which string, size int) (status int) {
	t.Helper()
	if c.stream == 0 { // the server's settings come first
		c.frame(t)
		c.stream = 1
	} else {
		c.stream += 2
	}
	fields := []string{":method", method, ":scheme", "https", ":authority", "x", ":path", path, "x-case", which}
	if which == "announced" {
		fields = append(fields, "content-length", strconv.Itoa(size))
	}
	c.conn.Write(http2Frame(frameHeaders, endHeaders, c.stream, http2Fields(fields...)))
	var answer []byte
	window, ended := c.first, false
	read := func() (reset bool) {
		kind, flags, stream, payload := c.frame(t)
		if stream != c.stream {
			return false
		}
		switch kind {
		case frameWindow:
			window += int(binary.BigEndian.Uint32(payload))
		case frameData:
			answer = append(answer, payload...)
			fallthrough
		case frameHeaders:
			ended = ended || flags&endStream != 0
		}
		return kind == frameReset
	}
	for left := size; left > 0; {
		for c.window == 0 || window == 0 {
			if read() {
				return -1
			}
		}
		n := min(left, c.window, window, 16<<10)
		left, c.window, window = left-n, c.window-n, window-n
		flags := byte(0)
		if left == 0 {
			flags = endStream
		}
		c.conn.Write(http2Frame(frameData, flags, c.stream, make([]byte, n)))
	}
	for !ended {
		if read() {
			t.Fatal("the stream is reset")
		}
	}
	var p struct{ Status int }
	_ = json.Unmarshal(answer, &p)
	return p.Status
}

// A publisher of Go's over HTTP/2 that is refused has the whole answer at once, although it may not have sent its body when it comes.
func TestRefusedAtOnceOverHTTP2(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	w := newWorker(t, &wspush.WorkerOptions{Logger: noLog, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	client := keeping(t, &tls.Config{RootCAs: pool}, true)
	for i := range 50 {
		began := time.Now()
		resp, err := postBy(t, client, "https://"+w.Addr().String()+"/ws/@connections/"+nobody, "short")
		if err != nil || resp.StatusCode != 410 || resp.ProtoMajor != 2 {
			t.Fatal(resp, err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Fatalf("push %d: answered after %v", i, took)
		}
	}
}
