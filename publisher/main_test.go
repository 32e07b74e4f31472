package publisher_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

func TestMain(m *testing.M) { testutil.Main(m) }

const (
	id       = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	id2      = "0f8fad5b-d9cb-469f-a165-70867728950e"
	sealedID = "v1.c2VhbGVkLXRva2VuLW9mLWEtY29ubmVjdGlvbg"
)

// A publisher needs nothing of what a worker is made of.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	ours := map[string]bool{
		"github.com/wspush/wspush/publisher": true, "github.com/wspush/wspush/internal/wire": true, "github.com/wspush/wspush/internal/bulk": true,
		"github.com/wspush/wspush/internal/sent": true, "github.com/wspush/wspush/internal/address": true,
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		if first, _, _ := strings.Cut(pkg, "/"); strings.Contains(first, ".") && !ours[pkg] {
			t.Errorf("it depends on %s", pkg)
		}
	}
}

// newClient makes a Client that may push to the test's own servers, unless opts say otherwise, and that the test's end stops.
func newClient(t testing.TB, opts publisher.Options) *publisher.Client {
	t.Helper()
	if opts.Hosts == nil && opts.Prefixes == nil && opts.Allow == nil {
		opts.Hosts = []string{"127.0.0.1"}
	}
	c, err := publisher.New(&opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// outcome returns the error of a push, for tests to which its receipt does not matter.
func outcome(_ publisher.Receipt, err error) error { return err }

// addressOf is the address of a connection at a server, in the path form.
func addressOf(server string) string { return server + "/ws/@connections/" + id }

// context10 lasts for 10 s, so that a test fails rather than hangs.
func context10(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// push pushes a text to the address.
func push(t testing.TB, c *publisher.Client, address string) error {
	t.Helper()
	return inError(t, outcome(c.Push(context10(t), address, publisher.Text, []byte("hello"))))
}

// inError fails if the error, or any in it, tells an ID, sealed or not, or a secret, and returns it.
func inError(t testing.TB, err error) error {
	t.Helper()
	if err == nil {
		return nil
	}
	texts := []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)}
	var e *publisher.Error
	if errors.As(err, &e) {
		texts = append(texts, fmt.Sprintf("%+v", *e), fmt.Sprintf("%#v", *e))
		for _, inner := range e.Unwrap() {
			texts = append(texts, inner.Error(), fmt.Sprintf("%#v", inner))
		}
	}
	for _, text := range texts {
		for _, secret := range []string{id[:24], id[12:], id2[:24], sealedID[3:20], "bearer-secret", "wspush: wspush"} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
				t.Errorf("an error tells %q: %s", secret, text)
			}
		}
	}
	return err
}

// says answers every request in the same way.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// problem is a worker's answer.
func problem(status int, kind string) http.HandlerFunc {
	return says(status, "application/problem+json", fmt.Sprintf(`{"type":"urn:wspush:%s","status":%d,"detail":"words about %s"}`, kind, status, id))
}

// nobody is a server's URL where nothing listens.
func nobody(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// raw serves each connection with a function, which the test's end waits for.
func raw(t testing.TB, serve func(n int, conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			serve(n, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}

// worker is a fake that serves bulk requests by the contract (docs/push-api.md), and no others.
type worker struct {
	t *testing.T

	// answer, if it is not nil, decides about each target: the status, 0 for no answer, end to end the answer cleanly before
	// the line, cut to break it off.
	answer func(request, line int, id, message string) int
	// whole has the answer wait for the whole request, as some proxies do.
	whole bool

	mu       sync.Mutex // guards what follows
	requests []string   // their paths
	lines    int
	got      []string // "ID message", in order
	open     int      // requests that have not ended
}

const (
	end = -1
	cut = -2
)

type bulkLine struct {
	Seq          int
	CRC          string
	To           any
	Text, Binary *string
	Confirm      string
	Timeout      string
}

func (w *worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(rw)
	_ = rc.EnableFullDuplex()
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/@connections") || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-ndjson; check=crc32") {
		problem(404, "not-found")(rw, r)
		return
	}
	w.mu.Lock()
	w.requests = append(w.requests, r.URL.EscapedPath())
	request := len(w.requests)
	w.open++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.open--
		w.mu.Unlock()
	}()
	rw.Header().Set("Content-Type", "application/x-ndjson")
	lines := bufio.NewReaderSize(r.Body, 1<<20)
	var answers strings.Builder
	flush := func() {
		_, _ = io.WriteString(rw, answers.String())
		answers.Reset()
		_ = rc.Flush()
	}
	if !w.whole {
		flush()
	}
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if line == "\n" {
			n--
			continue
		}
		if err != nil {
			fmt.Fprintf(&answers, `{"lines":%d}`, n-1)
			break
		}
		switch w.line(request, n, line, &answers) {
		case end:
			fmt.Fprintf(&answers, `{"lines":%d,"type":"urn:wspush:shutdown"}`, n-1)
			flush()
			return
		case cut:
			flush()
			_ = rc.SetReadDeadline(time.Now())
			panic(http.ErrAbortHandler)
		}
		if !w.whole && lines.Buffered() == 0 {
			flush()
		}
	}
	flush()
}

// line answers a line.
func (w *worker) line(request, n int, line string, answers *strings.Builder) int {
	var l bulkLine
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil || (l.Text == nil) == (l.Binary == nil) {
		w.t.Errorf("a line that is none: %s", line)
	}
	head := fmt.Sprintf(`{"seq":%d,"crc":%q,`, l.Seq, l.CRC)
	if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), head); !ok || l.Seq != n || fmt.Sprintf("%08x", crc32.ChecksumIEEE(fmt.Append([]byte(rest), n))) != l.CRC {
		w.t.Errorf("the check of line %d is wrong: %s", n, line)
	}
	message := ""
	if l.Text != nil {
		message = *l.Text
	} else {
		raw, err := base64.StdEncoding.DecodeString(*l.Binary)
		if err != nil {
			w.t.Error(err)
		}
		message = "binary:" + string(raw)
	}
	to, isArray := l.To.([]any)
	if !isArray {
		to = []any{l.To}
	}
	w.mu.Lock()
	w.lines++
	w.mu.Unlock()
	for i := range to {
		id := to[i].(string)
		status := 204
		if w.answer != nil {
			status = w.answer(request, n, id, message)
		}
		if status < 0 {
			return status
		}
		w.mu.Lock()
		w.got = append(w.got, id+" "+message)
		w.mu.Unlock()
		if status == 0 {
			continue
		}
		fmt.Fprintf(answers, `{"line":%d`, n)
		if isArray {
			fmt.Fprintf(answers, `,"index":%d`, i)
		}
		fmt.Fprintf(answers, `,"status":%d`, status)
		switch {
		case status == 429:
			answers.WriteString(`,"type":"urn:wspush:busy","retryAfter":3`)
		case status == 410:
			answers.WriteString(`,"type":"urn:wspush:gone","detail":"no ` + id + `"`)
		case status != 204:
			answers.WriteString(`,"type":"urn:wspush:other"`)
		case l.Confirm != "":
			answers.WriteString(`,"rttMs":12.5`)
		}
		answers.WriteString("}\n")
	}
	return 0
}

func (w *worker) messages() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.got...)
}

func (w *worker) paths() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.requests...)
}

func (w *worker) count() (lines, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines, w.open
}

// serveWorker serves a fake worker, and returns it and its URL.
func serveWorker(t *testing.T, w *worker) (*worker, string) {
	t.Helper()
	w.t = t
	return w, testutil.Serve(t, w)
}

// connection is the address of the n-th of many connections at a server.
func connection(server string, n int) string { return server + "/ws/@connections/" + nthID(n) }

func nthID(n int) string { return fmt.Sprintf("1b9d6bcd-bbfd-4b2d-9b5d-%012d", n) }
