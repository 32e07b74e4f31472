package publisher_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

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
	if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), head); !ok || l.Seq != n || fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(rest))) != l.CRC {
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
