package bulk_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
)

func TestMain(m *testing.M) { testutil.Main(m) }

const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"

// outcome is what done was called with.
type outcome struct {
	index  int
	answer bulk.Answer
	err    error
}

// sending collects the outcomes of one line.
type sending chan outcome

func (s sending) done(index int, a bulk.Answer, err error) { s <- outcome{index, a, err} }

func newSending() sending { return make(sending, 16) }

// wait returns the next outcome.
func (s sending) wait(t *testing.T) outcome {
	t.Helper()
	select {
	case o := <-s:
		return o
	case <-time.After(8 * time.Second):
		t.Fatal("no outcome")
		panic("unreachable")
	}
}

// none fails if there is an outcome.
func (s sending) none(t *testing.T) {
	t.Helper()
	select {
	case o := <-s:
		t.Errorf("an outcome too many: %+v", o)
	default:
	}
}

// client is an http.Client whose connections the test's end closes.
func client(t *testing.T, config *tls.Config) *http.Client {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// post makes requests to a mount.
func post(url string) func(io.Reader) (*http.Request, error) {
	return func(body io.Reader) (*http.Request, error) {
		return http.NewRequest(http.MethodPost, url+"/ws/@connections", body)
	}
}

// open begins a request to a handler, which is cut when the test ends.
func open(t *testing.T, h http.HandlerFunc) *bulk.Request {
	t.Helper()
	return begin(t, client(t, nil), testutil.Serve(t, h), 1<<20)
}

// openWhole is open for a request that is known to be needed whole.
func openWhole(t *testing.T, h http.HandlerFunc) *bulk.Request {
	t.Helper()
	c := config(client(t, nil), testutil.Serve(t, h), 1<<20)
	c.Whole = true
	return beginConfig(t, c)
}

func begin(t *testing.T, c *http.Client, url string, limit int) *bulk.Request {
	t.Helper()
	return beginConfig(t, config(c, url, limit))
}

func beginConfig(t *testing.T, c bulk.Config) *bulk.Request {
	t.Helper()
	r := bulk.Open(context.Background(), c)
	t.Cleanup(func() {
		r.Close()
		wait(t, r)
	})
	return r
}

// config is for requests that go to a mount of the URL.
func config(c *http.Client, url string, limit int) bulk.Config {
	return bulk.Config{Client: c, NewRequest: post(url), Limit: limit}
}

func wait(t *testing.T, r *bulk.Request) {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(8 * time.Second):
		t.Error("the request does not end")
	}
}

// line is a line to n connections, and n as Send wants it.
func line(t *testing.T, n int, text string) ([]byte, int) {
	t.Helper()
	l := bulk.Line{Type: wire.Text, Data: []byte(text)}
	for range n {
		l.To = append(l.To, id)
	}
	b, err := appendLine(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	return b, l.Targets()
}

// send sends a line to n connections.
func send(t *testing.T, r *bulk.Request, n int, text string) sending {
	t.Helper()
	s := newSending()
	b, targets := line(t, n, text)
	if err := r.Send(context.Background(), b, targets, s.done); err != nil {
		t.Fatalf("Send: %v", err)
	}
	return s
}

// stream answers a request with a header at once, and then with what each line is answered by; an empty string is nothing,
// "cut" breaks off, "end" ends the answer before the line, and "stop" stops without saying so.
func stream(answer func(number int, line string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("Content-Type", wire.NDJSON)
		_ = rc.Flush()
		lines := bufio.NewReader(r.Body)
		for n := 1; ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				fmt.Fprintf(w, `{"lines":%d}`, n-1)
				return
			}
			if line == "\n" {
				n--
				continue
			}
			switch a := answer(n, strings.TrimSuffix(line, "\n")); a {
			case "cut":
				_ = rc.SetReadDeadline(time.Now()) // or net/http would first wait for the rest of the request
				panic(http.ErrAbortHandler)
			case "end":
				fmt.Fprintf(w, `{"lines":%d,"type":"urn:wspush:shutdown"}`, n-1)
				return
			case "stop":
				return
			default:
				_, _ = io.WriteString(w, a)
				_ = rc.Flush()
			}
		}
	}
}

// ok answers each target of a line with 204.
func ok(number int, line string) string {
	var l struct{ To any }
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return fmt.Sprintf(`{"line":%d,"status":400,"type":"urn:wspush:bad-request"}`+"\n", number)
	}
	to, isArray := l.To.([]any)
	if !isArray {
		return fmt.Sprintf(`{"line":%d,"status":204}`+"\n", number)
	}
	var all strings.Builder
	for i := range to {
		fmt.Fprintf(&all, `{"line":%d,"index":%d,"status":204}`+"\n", number, i)
	}
	return all.String()
}

// says is a handler with one fixed answer, given when a line has come.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		readLine(r)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// readLine waits until a line has been handed over.
func readLine(r *http.Request) {
	lines := bufio.NewReader(r.Body)
	for {
		if line, err := lines.ReadString('\n'); line != "\n" || err != nil {
			return
		}
	}
}

func (o outcome) String() string { return fmt.Sprintf("index %d, %+v, %v", o.index, o.answer, o.err) }

func isNotSent(o outcome) bool {
	return errors.Is(o.err, bulk.ErrNotSent) && !errors.Is(o.err, bulk.ErrLost)
}
func isLost(o outcome) bool {
	return errors.Is(o.err, bulk.ErrLost) && !errors.Is(o.err, bulk.ErrNotSent)
}

// serveH2 serves a handler over HTTP/2.
func serveH2(t *testing.T, h http.Handler) (string, *tls.Config) {
	t.Helper()
	cert, pool := testutil.NewCertificate(t)
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, &tls.Config{RootCAs: pool}
}

// appendLine appends l as JSON, without the line feed.
func appendLine(dst []byte, l bulk.Line) ([]byte, error) {
	end, err := bulk.AppendEnd(nil, l)
	if err != nil {
		return dst, err
	}
	return bulk.Address(dst, l.To, end)
}
