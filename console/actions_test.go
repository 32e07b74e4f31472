package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
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
	Says            []string
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

// A push to a session says what is known of a client that is away: it has the message once it is back; it is not to have it; or its session has it.
func TestPushToSession(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(s *site, client *testutil.Page)
		outcome   string
		says      string
	}{
		"here": {func(_ *site, client *testutil.Page) { client.Want("x") }, "received", ""},
		"back in time": {func(s *site, client *testutil.Page) {
			client.Close()
			testutil.Pass(5 * time.Second)
			back, _ := s.visit(client.Ticket())
			back.Want("x")
		}, "received", ""},
		"away": {func(s *site, client *testutil.Page) { client.Close() }, "failed",
			"The client is away, and was not back within 10 s. Nothing was written, and nothing will be."},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, nil)
				client, id := s.visit("")
				synctest.Wait() // it has confirmed its greeting, or never will
				p := s.open()
				p.until("the connection", func(update) bool { return len(p.order) == 1 })
				handle := p.handleOf(id)
				p.client.Close()
				if name == "away" {
					client.Close()
					synctest.Wait()
				}
				got := make(chan *answer, 1)
				go func() {
					w := s.post("/push", `{"connection":"`+handle+`","text":"x"}`)
					a := new(answer)
					if err := json.Unmarshal(w.Body.Bytes(), a); err != nil || w.Code != http.StatusOK {
						t.Errorf("%d %s: %v", w.Code, w.Body, err)
					}
					got <- a
				}()
				tt.meanwhile(s, client)
				if a := <-got; a.Outcome != tt.outcome || strings.Join(a.Says, " ") != tt.says || (a.Detail != "") != (tt.outcome == "failed") {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

// A message that a client has left with, for all that is known, is in its session.
func TestPushBufferedBySession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		client := testutil.Handshake(t, testutil.Pipe(t, s.handler), testutil.Options{Header: http.Header{"Sec-Websocket-Protocol": {"wspush.v1"}}, Timeout: -1})
		client.Text() // the hello
		handle := ""
		for conn := range s.worker.Conns() {
			p := s.open()
			p.until("the connection", func(update) bool { return len(p.order) == 1 })
			handle = p.handleOf(conn.ID())
			p.client.Close()
		}
		got := make(chan string, 1)
		go func() { got <- s.post("/push", `{"connection":"`+handle+`","text":"x"}`).Body.String() }()
		for {
			if f := client.NextFrame(); f.Op == testutil.Text && string(f.Payload) == "x" { // and no ping is answered
				break
			}
		}
		client.Close()
		want := `{"outcome":"buffered","says":["The client has not confirmed that it has read it. ` +
			`Its session has the message: the client gets it if it is back within 110 s."]}`
		if a := strings.TrimSpace(<-got); a != want {
			t.Errorf("%s", a)
		}
	})
}

// A client that may have a message is not told of as one that has not got it: neither on the page nor in the log.
func TestPushUnknown(t *testing.T) {
	s, client, _, handle, log := audited(t, console.Options{})
	got := make(chan string, 1)
	go func() { got <- s.post("/push", `{"connection":"`+handle+`","text":"x"}`).Body.String() }()
	for {
		if f := client.NextFrame(); f.Op == testutil.Text && string(f.Payload) == "x" { // and no ping is answered
			break
		}
	}
	client.Close()
	var a answer
	if err := json.Unmarshal([]byte(<-got), &a); err != nil {
		t.Fatal(err)
	}
	says := "The message may have been written in part or in full: the connection is gone."
	if a.Outcome != "unknown" || strings.Join(a.Says, " ") != says || !strings.Contains(a.Detail, wspush.ErrUnknown.Error()) {
		t.Errorf("%+v", a)
	}
	if record := log.String(); !strings.Contains(record, "outcome=unknown") || strings.Contains(record, "failed") {
		t.Errorf("the log: %s", record)
	}
}

// The page is told of a session whether it is connected, and since when, what is buffered, and where its client is now. Rows are sorted by that.
func TestSessionRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		_, plain := s.connect(testutil.Options{})
		testutil.Pass(time.Second)
		away, awayID := s.visit("")
		testutil.Pass(time.Second)
		_, hereID := s.visit("")
		testutil.Pass(time.Minute)
		left := time.Now()
		away.Close()
		synctest.Wait()
		for _, text := range []string{"12345", "678"} {
			if _, err := s.worker.Push(context.Background(), awayID, wspush.Text, []byte(text)); err != nil {
				t.Error(err)
			}
		}
		testutil.Pass(time.Second)
		p := s.open()
		p.until("three connections", func(update) bool { return len(p.order) == 3 })
		row := func(id string) row {
			for _, r := range p.rows {
				if r.ID == id[:8] {
					return r
				}
			}
			t.Fatalf("no row for %s", id[:8])
			return row{}
		}
		if r := row(plain); r.Session != 0 || r.Suspended || r.Buffered != 0 {
			t.Errorf("%+v", r)
		}
		if r := row(awayID); r.Session != left.UnixMilli() || !r.Suspended || r.Buffered != 2 || r.BufferedBytes != 8 || r.Client != "" {
			t.Errorf("%+v", r)
		}
		if r := row(hereID); r.Session != r.Since || r.Suspended {
			t.Errorf("%+v", r)
		}
		p.ask(`{"seq":1,"sort":"session"}`)
		if got, want := p.shown(), []string{awayID[:8], hereID[:8], plain[:8]}; !slices.Equal(got, want) {
			t.Errorf("by session: %v, want %v", got, want)
		}
		p.ask(`{"seq":2,"sort":"buffered","desc":true}`)
		if got := p.shown(); got[0] != awayID[:8] {
			t.Errorf("by what is buffered: %v", got)
		}
		totals := func(u update) map[string]uint64 {
			all := make(map[string]uint64)
			for _, section := range u.Totals {
				for _, of := range section.Of {
					all[section.Title+": "+of.Name] = of.N
				}
			}
			return all
		}
		back := testutil.Visit(t, testutil.Pipe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = "192.0.2.7:1"
			s.handler.ServeHTTP(w, r)
		})), testutil.Options{}, away.Ticket())
		back.Want("12345", "678")
		u := p.until("the resume in the totals", func(u update) bool {
			return totals(u)["Clients that came back, by what they got: resumed"] == 1
		})
		if all := totals(u); all["Sessions: now"] != 2 || all["Pushes: buffered"] != 2 {
			t.Errorf("%v", all)
		}
		if r := row(awayID); r.Suspended || r.Client != "192.0.2.7:1" {
			t.Errorf("%+v", r)
		}
		p.client.Close()
	})
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

// allAnswer is the answer about a user or a group.
type allAnswer struct {
	Outcome, Detail string
	Says            []string
}

func (s *site) all(path, body string, header ...string) allAnswer {
	s.t.Helper()
	w := s.post(path, body, header...)
	var a allAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		s.t.Errorf("%s %s: %d %s: %v", path, body, w.Code, w.Body, err)
	}
	return a
}

func TestPushToAll(t *testing.T) {
	s, nobody, _, _, log := audited(t, console.Options{})
	ann, _ := s.join("ann", "room")
	also, _ := s.join("ann", "room")
	bob, _ := s.join("bob", "room")
	for _, tt := range []struct {
		kind, name string
		clients    []*testutil.Client
		says       string
	}{
		{"user", "ann", []*testutil.Client{ann, also}, "2 clients have read it."},
		{"user", "bob", []*testutil.Client{bob}, "1 client has read it."},
		{"group", "room", []*testutil.Client{ann, also, bob}, "3 clients have read it."},
	} {
		before := len(log.String())
		got := make(chan allAnswer)
		go func() { got <- s.all("/push", asJSON(tt.kind, tt.name, `,"text":"hello"`), "X-User", "ada") }()
		for _, client := range tt.clients {
			client.Expect(testutil.Text, "hello")
		}
		for _, client := range tt.clients {
			client.SendFrame(testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: client.NextFrame().Payload})
		}
		if a := <-got; a.Outcome != "received" || len(a.Says) != 1 || a.Says[0] != tt.says || a.Detail != "" {
			t.Errorf("%+v", a)
		}
		record := log.String()[before:]
		for _, want := range []string{"push", "type=text bytes=5", "user=ada", "kind=" + tt.kind + " name=" + tt.name + " ", "outcome=received",
			"received=" + strconv.Itoa(len(tt.clients)), "complete=true", "remote=192.0.2.1:1234"} {
			if !strings.Contains(record, want) {
				t.Errorf("not in the log: %s\n%s", want, record)
			}
		}
	}
	if a := s.all("/push", `{"user":"carl","text":"x"}`); a.Outcome != "failed" || a.Says[0] != "Nobody is there. Nothing was written." {
		t.Errorf("to nobody: %+v", a)
	}
	nobody.Close()
}

func TestDisconnectAll(t *testing.T) {
	s, bystander, id, _, log := audited(t, console.Options{})
	ann, _ := s.join("ann", "room")
	also, _ := s.join("ann")
	bob, bobID := s.join("bob", "room")
	a := s.all("/disconnect", `{"user":"ann","code":1008,"reason":"spam"}`, "X-User", "ada")
	if a.Outcome != "closed" || a.Says[0] != "2 connections have been closed." {
		t.Errorf("%+v", a)
	}
	for _, client := range []*testutil.Client{ann, also} {
		if code, reason := client.AwaitClose(); code != 1008 || reason != "spam" {
			t.Errorf("the client was told %d %q", code, reason)
		}
	}
	if m := s.members(`{"user":"ann"}`); m.Total != 0 {
		t.Errorf("still there: %+v", m)
	}
	if _, live := s.worker.Conn(bobID); !live {
		t.Error("another user's connection was closed")
	}
	if a := s.all("/disconnect", `{"group":"room","code":1000}`); a.Says[0] != "1 connection has been closed." {
		t.Errorf("%+v", a)
	}
	bob.AwaitClose()
	if a := s.all("/disconnect", `{"group":"room","code":1000}`); a.Outcome != "closed" || a.Says[0] != "Nobody is there: no connection has been closed." {
		t.Errorf("again: %+v", a)
	}
	if _, live := s.worker.Conn(id); !live {
		t.Error("a connection without a user was closed")
	}
	for _, want := range []string{`code=1008 reason=spam closed=2 user=ada kind=user name=ann remote=192.0.2.1:1234 outcome=closed`, "kind=group name=room"} {
		if record := log.String(); !strings.Contains(record, want) {
			t.Errorf("not in the log: %s\n%s", want, record)
		}
	}
	bystander.Close()
}

// An invalid request about a user or a group gets an error, changes nothing, and is not logged at length.
func TestRefusedToAll(t *testing.T) {
	s, client, _, handle, log := audited(t, console.Options{})
	ann, annID := s.join("ann", "ann")
	for _, tt := range []struct {
		name, path, body string
		header           []string
		want             int
		says             string
	}{
		{"an empty user", "/disconnect", `{"user":"","code":1000}`, nil, http.StatusBadRequest, "empty"},
		{"an empty group", "/members", `{"group":""}`, nil, http.StatusBadRequest, "empty"},
		{"a slash", "/push", `{"user":"a/b","text":"x"}`, nil, http.StatusBadRequest, "slash"},
		{"a newline", "/push", `{"group":"a\nb","text":"x"}`, nil, http.StatusBadRequest, "control"},
		{"a long name", "/members", `{"user":"` + strings.Repeat("x", 257) + `"}`, nil, http.StatusBadRequest, "257 bytes"},
		{"a very long name", "/disconnect", `{"user":"` + strings.Repeat("x", 1<<20) + `","code":1000}`, nil, http.StatusBadRequest, ""},
		{"a user and a group", "/disconnect", `{"user":"ann","group":"ann","code":1000}`, nil, http.StatusBadRequest, "several"},
		{"a connection and a user", "/disconnect", `{"connection":"` + handle + `","user":"ann","code":1000}`, nil, http.StatusBadRequest, "several"},
		{"a connection and a group", "/push", `{"connection":"` + handle + `","group":"ann","text":"x"}`, nil, http.StatusBadRequest, "several"},
		{"null is no name", "/disconnect", `{"user":null,"group":null,"code":1000}`, nil, http.StatusGone, ""},
		{"an array", "/disconnect", `{"user":["ann"],"code":1000}`, nil, http.StatusBadRequest, ""},
		{"members of a connection", "/members", `{"connection":"` + handle + `"}`, nil, http.StatusBadRequest, "neither"},
		{"members of nothing", "/members", `{}`, nil, http.StatusGone, ""},
		{"a form", "/members", `{"user":"ann"}`, []string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType, ""},
		{"a foreign page", "/members", `{"user":"ann"}`, []string{"Origin", "https://evil.example"}, http.StatusForbidden, ""},
		{"a foreign page that pushes", "/push", `{"user":"ann","text":"x"}`, []string{"Origin", "https://evil.example"}, http.StatusForbidden, ""},
		{"a foreign page that disconnects", "/disconnect", `{"user":"ann","code":1000}`, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, http.StatusForbidden, ""},
		{"neither text nor binary", "/push", `{"user":"ann"}`, nil, http.StatusOK, "neither text"},
		{"a code that cannot be sent", "/disconnect", `{"user":"ann","code":1006}`, nil, http.StatusOK, `{"outcome":"failed","detail":"`},
		{"a message that is too large", "/push", `{"group":"ann","text":"` + strings.Repeat("x", 1<<20+1) + `"}`, nil, http.StatusOK, "Nothing was written."},
	} {
		w := s.post(tt.path, tt.body, tt.header...)
		if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		if _, live := s.worker.Conn(annID); !live {
			t.Fatalf("%s has ended the connection", tt.name)
		}
	}
	if stats := s.worker.Stats(); stats.Written != 0 {
		t.Errorf("%d messages were written", stats.Written)
	}
	if n := len(log.String()); n > 2000 {
		t.Errorf("%d bytes in the log", n)
	}
	client.Close()
	ann.Close()
}

// Who is there may be asked of a console that is read-only; nothing else.
func TestReadOnlyMembers(t *testing.T) {
	s := newSite(t, &console.Options{ReadOnly: true})
	_, id := s.join("ann")
	if m := s.members(`{"user":"ann"}`); m.Total != 1 {
		t.Errorf("%+v", m)
	}
	for path, body := range map[string]string{"/push": `{"user":"ann","text":"x"}`, "/disconnect": `{"user":"ann","code":1000}`} {
		if w := s.post(path, body); w.Code != http.StatusForbidden {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	if _, live := s.worker.Conn(id); !live || s.worker.Stats().Written != 0 {
		t.Error("the request was carried out nevertheless")
	}
}
