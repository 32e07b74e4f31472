package wspushtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// FakeWorker is an [http.Handler] that answers pushes as a worker does, with the outcome that the test chooses, and has neither connections
// nor clients. Give package publisher its [Dialer], or serve it. It answers pushes to connections, users and groups, those of a Stream as
// well, and nothing else. The zero value answers that every message is written. It is safe for concurrent use.
type FakeWorker struct {
	mu       sync.Mutex // guards what follows
	err      error      // nil: a success
	buffered time.Duration
	pushes   []Message
}

// Refuse has the worker answer with this error from now on, which publishers then get: ErrGone, ErrBusy, ErrSuspended, ErrTooLarge,
// ErrUnavailable, ErrShutdown, ErrUnknown, ErrUnauthorized, ErrForbidden, ErrDirectory or ErrUnreachable, of package publisher or wspush. It ends the
// test if err is another one: publishers find those by themselves.
func (f *FakeWorker) Refuse(tb testing.TB, err error) {
	tb.Helper()
	if status := wire.StatusOf(err); status == 0 || status == http.StatusBadRequest || errors.Is(err, wire.ErrTooManyGroups) {
		tb.Fatalf("no worker answers a push with %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Write has the worker answer from now on that a message is written, or received where a confirmation is asked for.
func (f *FakeWorker) Write() { f.Buffer(0) }

// Buffer has the worker answer from now on that a session has the message, and waits for its client for so long, in whole seconds, rounded up.
func (f *FakeWorker) Buffer(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.buffered = nil, d
}

// Pushes returns the messages that have come, in order, whatever became of them. What PushEach sends to many connections is one.
func (f *FakeWorker) Pushes() []Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.pushes)
}

// take notes a message, and returns the answer to it.
func (f *FakeWorker) take(m Message, toMembers, confirm bool) bulk.Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pushes = append(f.pushes, m)
	seconds := math.Ceil(f.buffered.Seconds())
	switch {
	case f.err != nil:
		return bulk.Answer{Status: wire.StatusOf(f.err), Type: wire.TypePrefix + kindOf(f.err), Detail: "the test has it so"}
	case toMembers:
		zero, one, yes := 0, 1, true
		counts := bulk.Counts{Written: &zero, Received: &zero, Buffered: &zero, Refused: map[string]int{}, Unknown: &zero, Excepted: &zero, Workers: &zero, Answered: &zero, Complete: &yes}
		switch {
		case seconds > 0:
			counts.Buffered = &one
		case confirm:
			counts.Received = &one
		default:
			counts.Written = &one
		}
		return bulk.Answer{Status: http.StatusOK, Counts: &counts}
	case seconds > 0:
		return bulk.Answer{Status: http.StatusAccepted, BufferedFor: &seconds}
	}
	return bulk.Answer{Status: http.StatusNoContent}
}

// kindOf is the end of the problem's type for an error of package wire.
func kindOf(err error) string {
	for _, known := range []struct {
		err  error
		kind string
	}{
		{wspush.ErrUnreachable, "unreachable"}, {wspush.ErrForbidden, "forbidden"}, {wspush.ErrUnknown, "unknown"}, {wspush.ErrGone, "gone"},
		{wspush.ErrBusy, "busy"}, {wspush.ErrTooLarge, "too-large"}, {wspush.ErrShutdown, "shutdown"}, {wspush.ErrUnavailable, "unavailable"},
		{wspush.ErrDirectory, "directory"}, {wspush.ErrUnauthorized, "unauthorized"}, {wspush.ErrSuspended, "suspended"},
	} {
		if errors.Is(err, known.err) {
			return known.kind
		}
	}
	return "internal"
}

// ServeHTTP answers a request to push.
func (f *FakeWorker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "a FakeWorker answers only pushes", http.StatusMethodNotAllowed)
		return
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-ndjson") {
		f.serveLines(w, r)
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return // the publisher has left
	}
	query := r.URL.Query()
	m := Message{Type: wspush.Text, Data: data}
	if query.Get("type") == wspush.Binary.String() {
		m.Type = wspush.Binary
	}
	a := f.take(m, address.HasMembersMarker(r.URL.EscapedPath()), query.Get("confirm") != "")
	switch {
	case a.Status == http.StatusAccepted:
		w.Header().Set("Wspush-Buffered", strconv.Itoa(int(*a.BufferedFor)))
	case a.Status >= http.StatusBadRequest:
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(a.Status)
	if a.Status != http.StatusNoContent && a.Status != http.StatusAccepted {
		_ = json.NewEncoder(w).Encode(body(a))
	}
}

// body is the answer as JSON. A worker also says that there are no refusals.
func body(a bulk.Answer) any {
	if a.Counts == nil {
		return a
	}
	return struct {
		bulk.Answer
		Refused map[string]int `json:"refused"`
	}{a, a.Refused}
}

// serveLines answers a request of a Stream, each line as it comes.
func (f *FakeWorker) serveLines(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/x-ndjson")
	_ = rc.Flush()
	answers, n := json.NewEncoder(w), 0
	for lines := bufio.NewReader(r.Body); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		if len(line) == 1 { // it says only that the request goes on
			continue
		}
		n++
		var l struct {
			To      any
			Text    *string
			Binary  []byte // base64
			Confirm string
		}
		if json.Unmarshal(line, &l) != nil {
			return
		}
		m := Message{Type: wspush.Text}
		if l.Text != nil {
			m.Data = []byte(*l.Text)
		} else {
			m = Message{wspush.Binary, l.Binary}
		}
		a := f.take(m, l.To == nil, l.Confirm != "")
		a.Line = n
		to, isArray := l.To.([]any)
		if !isArray {
			to = []any{l.To}
		}
		for i := range to {
			if isArray {
				a.Index = &i
			}
			_ = answers.Encode(body(a))
		}
		_ = rc.Flush()
	}
	_ = answers.Encode(bulk.Answer{Lines: &n})
}
