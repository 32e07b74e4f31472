package wspush_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// exchange sends raw requests in pieces on one connection. It returns the answers until the server closes it, or there are n.
func exchange(t *testing.T, addr string, n int, pieces ...string) (answers []string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for i, piece := range pieces {
		if _, err := io.WriteString(c, piece); err != nil {
			break // it has been closed
		}
		if i < len(pieces)-1 {
			continue
		}
		for len(answers) < n {
			resp, err := http.ReadResponse(r, &http.Request{Method: strings.SplitN(piece, " ", 2)[0]})
			if err != nil {
				return append(answers, "end")
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Header.Get("Date") == "" && resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" { // net/http's own
				t.Errorf("an answer without a date: %v", resp)
			}
			resp.Header.Del("Date")
			var names []string
			for name, values := range resp.Header {
				names = append(names, fmt.Sprint(name, values))
			}
			slices.Sort(names)
			answers = append(answers, fmt.Sprint(resp.Status, names, resp.ContentLength, resp.Close, string(body)))
		}
	}
	return answers
}

// TestLane: whatever a publisher sends, and in whatever pieces it arrives, the push listener with its lane for plain pushes
// answers as net/http alone does, and the client gets the same.
func TestLane(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytes: 2000})
	server := serve(t, w, nil)
	alone := strings.TrimPrefix(testutil.Serve(t, w), "http://") // net/http alone
	lane := w.Addr().String()

	push := func(path, header, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", path, header, len(body), body)
	}
	const here, stranger = "/ws/@connections/ID", "/ws/@connections/" + unknownID
	for _, tc := range []struct {
		name   string
		n      int // answers
		pieces []string
		want   string // messages to the client
	}{
		{"one", 1, []string{push(here, "", "one")}, "one"},
		{"by its user", 1, []string{push("/ws", "Authorization: Basic USER\r\n", "two")}, "two"},
		{"empty", 1, []string{push(here, "", "")}, ""},
		{"several in one segment", 3, []string{push(here, "", "a") + push(here, "", "b") + push(here, "", "c")}, "a|b|c"},
		{"with a line break between", 3, []string{push(here, "", "a") + "\r\n" + push(here, "", "b") + "\r\n", "\n\n" + push(here, "", "c")}, "a|b|c"},
		{"with too many line breaks", 2, []string{push(here, "", "a") + "\r\n\r\n\r\n" + push(here, "", "b")}, "a"},
		{"then one that is not there in full", 2, []string{push(here, "", "a") + push(here, "", "bc")[:50], push(here, "", "bc")[50:]}, "a|bc"},
		{"header and body apart", 1, []string{strings.TrimSuffix(push(here, "", "apart"), "apart"), "apart"}, "apart"},
		{"then another method", 3, []string{push(here, "", "a") + "OPTIONS " + here + " HTTP/1.1\r\nHost: x\r\n\r\n" + push(here, "", "b")}, "a|b"},
		{"chunked", 2, []string{"POST " + here + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + push(here, "", "b")}, "hi|b"},
		{"refused, then not", 3, []string{push(stranger, "", "a") + push(here, "", "b") + push(stranger, "", "c")}, "b"},
		{"at another path", 1, []string{push("/other/@connections/ID", "", "x")}, ""},
		{"no ID", 1, []string{push("/ws", "", "x")}, ""},
		{"no UUID", 1, []string{push("/ws/@connections/12", "", "x")}, ""},
		{"not UTF-8", 2, []string{push(here, "", "\xff") + push(here+"?type=text", "", "text")}, "text"},
		{"a bad query", 3, []string{push(here+"?type=neither", "", "a") + push(here+"?confirm=read", "", "a") + push(here+"?confirm=received&timeout=soon", "", "a")}, ""},
		{"too large", 1, []string{push(here, "", strings.Repeat("x", 2001))}, ""},
		{"as large as may be", 1, []string{push(here, "", strings.Repeat("x", 2000))}, strings.Repeat("x", 2000)},
		{"not the message", 4, []string{push(here, "Content-Encoding: gzip\r\n", "a") + push(here, "Content-Type: text/plain; charset=utf-16\r\n", "a") +
			push(here, "Content-Type: multipart/mixed\r\n", "a") + push(here, "Content-Encoding: identity\r\n", "b")}, "b"},
		{"upper case", 1, []string{push("/ws/@connections/UPPER", "", "upper")}, "upper"},
		{"larger than the lane", 2, []string{push(here, "X: "+strings.Repeat("x", 4096)+"\r\n", "large") + push(here, "", "b")}, "large|b"},
		{"last", 2, []string{push(here, "Connection: close\r\n", "last") + push(here, "", "too late")}, "last"},
		{"HTTP/1.0", 2, []string{strings.Replace(push(here, "", "old"), "1.1", "1.0", 1)}, "old"},
		{"broken", 1, []string{"POST " + here + " HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 1\r\n\r\nx"}, ""},
		{"a broken path", 2, []string{push("/%zz", "", "x")}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, conn, _ := dial(t, w, server+"/ws", testutil.Options{})
			user := basic(conn.ID())
			var pieces []string
			for _, p := range tc.pieces {
				pieces = append(pieces, strings.NewReplacer("@connections/ID", "@connections/"+conn.ID(), "UPPER", strings.ToUpper(conn.ID()), "USER", user).Replace(p))
			}
			fast, plain := exchange(t, lane, tc.n, pieces...), exchange(t, alone, tc.n, pieces...)
			if !slices.Equal(fast, plain) {
				t.Errorf("on the lane  %q\nby net/http  %q", fast, plain)
			}
			if err := conn.Close(1000, ""); err != nil {
				t.Fatal(err)
			}
			var got []string
			for {
				_, data, err := client.Message()
				if err != nil {
					break
				}
				got = append(got, string(data))
			}
			want := []string{}
			if tc.want != "" || tc.name == "empty" {
				want = strings.Split(tc.want, "|")
			}
			if want = append(want, want...); !slices.Equal(got, want) {
				t.Errorf("the client got %q, want %q", got, want)
			}
		})
	}
}

func basic(user string) string {
	r, _ := http.NewRequest("GET", "http://x/", nil)
	r.SetBasicAuth(user, "")
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

// A plain push waits like any other for a client that does not read, and is withdrawn when its publisher leaves. A publisher
// that has sent its next request has not left.
func TestLaneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		w := newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"http://push.test"}})
		client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, nil)), testutil.Options{Timeout: -1})
		conn, _ := greeted(t, w, client)
		synctest.Wait() // until the greeting is accounted for
		send := func(body string) net.Conn {
			publisher, server := net.Pipe()
			l.conns <- server
			fmt.Fprintf(publisher, "POST /ws/@connections/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", conn.ID(), len(body), body)
			synctest.Wait()
			return publisher
		}
		first, leaves, stays := send("first"), send("leaves"), send("stays")
		defer first.Close()
		defer stays.Close()
		leaves.Close()
		synctest.Wait()
		if s := w.Stats(); s.Refused != 1 || s.Written != 0 || s.Unknown != 0 {
			t.Errorf("one has left, two wait: %+v", s)
		}
		fmt.Fprintf(stays, "GET /ws/@connections/%s HTTP/1.1\r\nHost: x\r\n\r\n", conn.ID())
		synctest.Wait()
		client.Expect(testutil.Text, "first")
		client.Expect(testutil.Text, "stays")
		r := bufio.NewReader(stays)
		for _, want := range []int{204, 200} {
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("%v, %v; want %d", resp, err, want)
			}
			io.Copy(io.Discard, resp.Body)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || resp.StatusCode != 204 {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// angry is a slog.Handler that panics, or ends the goroutine. That is the application's fault, but neither may end the process
// or leave the connection open.
type angry struct {
	slog.Handler
	do func()
}

func (angry) Enabled(context.Context, slog.Level) bool { return true }
func (h angry) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "refused") {
		h.do()
	}
	return h.Handler.Handle(ctx, r)
}

func TestLanePanic(t *testing.T) {
	log := testLanePanic(t, func() { panic("angry") })
	if strings.Count(log, `level=ERROR msg="wspush: panic in the push endpoint" panic=angry stack=`) != 2 || strings.Contains(log, "callback") {
		t.Errorf("the log is\n%s", log)
	}
	testLanePanic(t, runtime.Goexit)
}

func testLanePanic(t *testing.T, do func()) string {
	log := &lockedBuffer{}
	w := newWorker(t, &wspush.WorkerOptions{Logger: slog.New(angry{slog.NewTextHandler(log, nil), do})})
	request := "POST /ws/@connections/" + unknownID + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	for range 2 {
		if got := exchange(t, w.Addr().String(), 1, request); !slices.Equal(got, []string{"end"}) {
			t.Errorf("got %q", got)
		}
	}
	return log.String()
}

// foreign is an application's listener, whose connections are of its own type.
type foreign struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l foreign) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// shy has no address until its other end has sent something, as behind a proxy that announces its clients.
type shy struct{ net.Conn }

func (c shy) RemoteAddr() net.Addr {
	_, _ = c.Conn.Read(make([]byte, 1))
	return nil
}

// A connection that takes long to tell its address blocks neither others nor Shutdown.
func TestLaneForeignConn(t *testing.T) {
	l := foreign{listenTCP(t), func(c net.Conn) net.Conn { return shy{c} }}
	w := newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"http://push.test"}})
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	request := "POST /ws/@connections/" + unknownID + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	for range 2 {
		if got := exchange(t, l.Addr().String(), 1, "!"+request); !strings.HasPrefix(got[0], "410") {
			t.Errorf("got %q", got)
		}
	}
	if err := w.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// A listener that serves TLS by itself may have agreed on HTTP/2.
func TestLaneForeignTLS(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	l := tls.NewListener(listenTCP(t), &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
	newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"https://push.test"}})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for range 2 {
		resp, err := client.Post("https://127.0.0.1:"+port+"/ws/@connections/"+unknownID, "", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusGone {
			t.Errorf("got %s %s", resp.Proto, resp.Status)
		}
	}
}

// failing is a listener that fails when it is told to.
type failing struct {
	net.Listener
	err chan error
}

func (l failing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	select {
	case err := <-l.err:
		if c != nil {
			c.Close()
		}
		return nil, err
	default:
		return c, err
	}
}

// exhausted is the system's error when too many files are open.
type exhausted struct{ error }

func (exhausted) Timeout() bool   { return false }
func (exhausted) Temporary() bool { return true }

// Whether the listener fails for a moment or for good, connected publishers get their answers, and Shutdown does not wait for
// the listener.
func TestListenerFails(t *testing.T) {
	for name, authorize := range map[string]func(*http.Request) error{"anyone": nil, "authorized": func(*http.Request) error { return nil }} {
		t.Run(name, func(t *testing.T) { listenerFails(t, authorize) })
	}
}

func listenerFails(t *testing.T, authorize func(*http.Request) error) {
	l := failing{listenTCP(t), make(chan error, 1)}
	records := &recorder{}
	w := newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"http://push.test"}, Logger: slog.New(records), AuthorizePush: authorize})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	ask := func(c net.Conn, method string) {
		t.Helper()
		fmt.Fprintf(c, "%s /ws/@connections/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", method, unknownID)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 410 {
			t.Errorf("%s: %v, %v", method, resp, err)
		}
	}
	first := dial()
	ask(first, "POST")
	l.err <- exhausted{errors.New("too many open files")}
	dial()
	testutil.Eventually(t, "a warning", func() bool { return records.has("cannot accept a connection; trying again") })
	second := dial() // which works again
	ask(second, "POST")
	l.err <- fmt.Errorf("broken: %w", net.ErrClosed) // the only error that is for good
	dial()
	testutil.Eventually(t, "an error", func() bool { return records.has("the push listener has failed") })
	ask(first, "POST")
	ask(first, "GET") // which is net/http's
	ask(second, "DELETE")
	if err := w.Failed(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Failed: %v", err)
	}
	if err := w.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// recorder keeps what is logged.
type recorder struct {
	slog.Handler
	mu  sync.Mutex // guards all
	all []string
}

func (*recorder) Enabled(context.Context, slog.Level) bool { return true }

func (h *recorder) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, r.Message)
	return nil
}

// warnings is a recorder of records from Warn upwards.
type warnings struct{ *recorder }

func (warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (h warnings) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *recorder) has(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.all, func(s string) bool { return strings.Contains(s, text) })
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
