package console_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

// buffer is a bytes.Buffer for a Logger.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// audited makes a site with a kept log and one client, which the page shows.
func audited(t *testing.T, opts console.Options) (s *site, client *testutil.Client, id, handle string, log *buffer) {
	t.Helper()
	log = new(buffer)
	opts.Logger = slog.New(slog.NewTextHandler(log, nil))
	opts.User = func(r *http.Request) string { return r.Header.Get("X-User") }
	s = newSite(t, &opts)
	client, id = s.connect(testutil.Options{})
	p := s.open()
	p.until("the connection", func(update) bool { return len(p.order) == 1 })
	return s, client, id, p.handleOf(id), log
}

type answer struct {
	Outcome, Detail string
	RoundTripMS     float64
}

func TestPush(t *testing.T) {
	for _, tt := range []struct {
		message string
		op      testutil.Opcode
		want    string
		logged  string
	}{
		{`"text":"grüße <b>"`, testutil.Text, "grüße <b>", "type=text bytes=11"},
		{`"text":""`, testutil.Text, "", "type=text bytes=0"},
		{`"binary":"AAEC/w=="`, testutil.Binary, "\x00\x01\x02\xff", "type=binary bytes=4"},
	} {
		s, client, id, handle, log := audited(t, console.Options{})
		got := make(chan *answer)
		go func() {
			w := s.post("/push", `{"connection":"`+handle+`",`+tt.message+`}`, "X-User", "ada")
			a := new(answer)
			if err := json.Unmarshal(w.Body.Bytes(), a); err != nil || w.Code != http.StatusOK {
				t.Errorf("%d %s: %v", w.Code, w.Body, err)
			}
			got <- a
		}()
		client.Expect(tt.op, tt.want)
		select {
		case a := <-got:
			t.Errorf("answered with %v before the client has read what follows the message", a)
		default:
		}
		go client.Message() // answers the ping
		if a := <-got; a.Outcome != "received" || a.RoundTripMS <= 0 {
			t.Errorf("the answer is %+v", a)
		}
		client.Close()
		record := log.String()
		for _, want := range []string{"push", "conn=" + id[:8], tt.logged, "user=ada", "outcome=received", "remote=192.0.2.1:1234", "level=INFO"} {
			if !strings.Contains(record, want) {
				t.Errorf("not in the log: %s\n%s", want, record)
			}
		}
		if strings.Contains(record, id) {
			t.Errorf("the log has the whole ID: %s", record)
		}
	}
}

func TestDisconnect(t *testing.T) {
	s, client, id, handle, log := audited(t, console.Options{})
	w := s.post("/disconnect", `{"connection":"`+handle+`","code":1008,"reason":"spam"}`)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"closed"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if code, reason := client.AwaitClose(); code != 1008 || reason != "spam" {
		t.Errorf("the client was told %d %q", code, reason)
	}
	client.AwaitEOF()
	if record := log.String(); !strings.Contains(record, "disconnect") || !strings.Contains(record, "conn="+id[:8]) ||
		!strings.Contains(record, "code=1008 reason=spam") || strings.Contains(record, id) {
		t.Errorf("the log: %s", record)
	}
	if w := s.post("/disconnect", `{"connection":"`+handle+`","code":1008}`); w.Code != http.StatusGone {
		t.Errorf("again: %d", w.Code)
	}
}

// An invalid request gets an error and changes nothing.
func TestRefusedActions(t *testing.T) {
	s, client, id, handle, _ := audited(t, console.Options{})
	other := newSite(t, nil) // its handles mean nothing here
	_, _ = other.connect(testutil.Options{})
	foreign := other.open()
	foreign.until("the connection", func(update) bool { return len(foreign.order) == 1 })
	var foreignHandle string
	for _, r := range foreign.rows {
		foreignHandle = r.Handle
	}
	for _, tt := range []struct {
		name, path, body string
		header           []string
		want             int
		says             string
	}{
		{"an ID in place of a handle", "/push", `{"connection":"` + id + `","text":"x"}`, nil, http.StatusGone, ""},
		{"the shortened ID", "/push", `{"connection":"` + id[:8] + `","text":"x"}`, nil, http.StatusGone, ""},
		{"no handle", "/disconnect", `{"code":1000}`, nil, http.StatusGone, ""},
		{"another console's handle", "/disconnect", `{"connection":"` + foreignHandle + `","code":1000}`, nil, http.StatusGone, ""},
		{"a form", "/push", `{"connection":"` + handle + `","text":"x"}`, []string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType, ""},
		{"no JSON", "/push", `text=x`, nil, http.StatusBadRequest, ""},
		{"too much", "/push", `{"text":"` + strings.Repeat("x", 2<<20) + `"}`, nil, http.StatusRequestEntityTooLarge, ""},
		{"neither text nor binary", "/push", `{"connection":"` + handle + `"}`, nil, http.StatusOK, "failed"},
		{"a code that cannot be sent", "/disconnect", `{"connection":"` + handle + `","code":1006}`, nil, http.StatusOK, "failed"},
		{"a message that is too large", "/push", `{"connection":"` + handle + `","text":"` + strings.Repeat("x", 1<<20+1) + `"}`, nil, http.StatusOK, "failed"},
	} {
		w := s.post(tt.path, tt.body, tt.header...)
		if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		if _, live := s.worker.Conn(id); !live {
			t.Fatalf("%s has ended the connection", tt.name)
		}
	}
	if stats := s.worker.Stats(); stats.Written != 0 {
		t.Errorf("%d messages were written", stats.Written)
	}
	client.Close()
}

func TestReadOnly(t *testing.T) {
	s, client, id, handle, log := audited(t, console.Options{ReadOnly: true})
	for _, path := range []string{"/push", "/disconnect"} {
		if w := s.post(path, `{"connection":"`+handle+`","text":"x","code":1000}`); w.Code != http.StatusForbidden {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	if _, live := s.worker.Conn(id); !live || s.worker.Stats().Written != 0 {
		t.Error("the request was carried out nevertheless")
	}
	if p := s.open(); !strings.Contains(p.greeting, `"readOnly":true`) {
		t.Errorf("the page is not told: %s", p.greeting)
	}
	if log.String() != "" {
		t.Errorf("the log: %s", log)
	}
	client.Close()
}

// User is called first: if it panics, nothing is done, since the log could not say who did it.
func TestUserPanics(t *testing.T) {
	s := newSite(t, &console.Options{User: func(*http.Request) string { panic("no user") }})
	client, id := s.connect(testutil.Options{})
	p := s.open()
	p.until("the connection", func(update) bool { return len(p.order) == 1 })
	func() {
		defer func() {
			if recover() == nil { // net/http recovers and logs it
				t.Error("there was no panic, so this tests nothing")
			}
		}()
		s.post("/disconnect", `{"connection":"`+p.handleOf(id)+`","code":1000}`)
	}()
	if _, live := s.worker.Conn(id); !live {
		t.Error("the connection was closed although the log cannot say by whom")
	}
	client.Close()
}
