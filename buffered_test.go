package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// away connects a page that speaks wspush.v1 to a server, and has it vanish. It returns what brings it back, and its connection.
func away(t *testing.T, w *wspush.Worker, server, path string) (resume string, c *wspush.Conn) {
	t.Helper()
	p := arrive(t, server, path, "")
	first, _, _ := strings.Cut(p.Hello.Address, ",")
	u, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	id := ""
	if u.User != nil {
		id = u.User.Username()
	}
	c, ok := w.Conn(id)
	if !ok {
		t.Fatalf("nobody has the address %s", first)
	}
	p.Close()
	testutil.Eventually(t, "the session to be suspended", func() bool { return c.Info().Suspended })
	return p.Ticket(), c
}

// arrive is testutil.Visit over TCP.
func arrive(t *testing.T, server, path, resume string) *testutil.Page {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	return testutil.Visit(t, conn, testutil.Options{Path: path}, resume)
}

// What a publisher is told by HTTP about a client that is away.
func TestBufferedHTTP(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: time.Hour})
	resume, c := away(t, w, server, "/ws")
	for _, address := range []string{c.Addresses()[0], c.PathAddresses()[0]} {
		for query, want := range map[string]struct {
			status int
			kind   string
		}{
			"":                               {202, ""},
			"?timeout=1s":                    {202, ""},
			"?keep=0":                        {409, "suspended"},
			"?keep=0s":                       {409, "suspended"},
			"?keep=10ms":                     {409, "suspended"},
			"?keep=1m&timeout=10ms":          {409, "suspended"},
			"?confirm=received&timeout=10ms": {409, "suspended"},
			"?confirm=received&keep=0":       {409, "suspended"},
			"?confirm=received&keep=10ms":    {409, "suspended"},
			"?keep=-1s":                      {400, "bad-request"},
			"?keep=":                         {400, "bad-request"},
			"?keep=10":                       {400, "bad-request"},
			"?keep=1s&keep=1s":               {400, "bad-request"},
			"?kep=1s":                        {400, "bad-request"},
			"?keep=99999999999999999999h&timeout=1ms": {409, "suspended"},
		} {
			resp := post(t, address+query, "", []byte("x"))
			body := text(t, resp)
			seconds, _ := strconv.Atoi(resp.Header.Get("Wspush-Buffered"))
			switch {
			case resp.StatusCode != want.status:
				t.Errorf("%s: %s %s", query, resp.Status, body)
			case want.status == 202 && (seconds < 3590 || seconds > 3600 || body != ""):
				t.Errorf("%s: buffered for %d s, %q", query, seconds, body)
			case want.status != 202 && (!strings.Contains(body, `"urn:wspush:`+want.kind+`"`) || resp.Header.Get("Wspush-Buffered") != ""):
				t.Errorf("%s: %s", query, body)
			}
		}
	}
	got := details(t, c.Addresses()[0])
	buffered, _ := got["buffered"].(map[string]any)
	if since, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["since"])); err != nil || time.Since(since) > time.Minute || got["state"] != "suspended" || buffered["messages"] != 4.0 || buffered["bytes"] != 4.0 || buffered["seconds"].(float64) < 3590 {
		t.Errorf("%v", got)
	}
	head := do(t, newRequest(t, http.MethodHead, c.PathAddresses()[0], nil))
	if head.StatusCode != 200 || head.Header.Get("Wspush-State") != "suspended" || head.Header.Get("Wspush-Buffered") == "" {
		t.Errorf("%v", head)
	}
	p := arrive(t, server, "/ws", resume)
	p.Want("x", "x", "x", "x")
	p.WantNothing()
	testutil.Eventually(t, "the messages to be confirmed", func() bool {
		resp := post(t, c.Addresses()[0]+"?confirm=received", "", []byte("y"))
		return resp.StatusCode == 204 && c.Info().Buffered == 0
	})
	head = do(t, newRequest(t, http.MethodHead, c.PathAddresses()[0], nil))
	if head.Header.Get("Wspush-State") != "connected" || head.Header.Get("Wspush-Buffered") != "" {
		t.Errorf("%v", head)
	}
	if got := details(t, c.Addresses()[0]); got["state"] != "connected" {
		t.Errorf("%v", got)
	}
	if s := w.Stats(); s.Buffered != 4 || s.RefusedBy.Suspended != 16 {
		t.Errorf("%+v", s)
	}
}

// The body of a request is the session's from then on: other requests do not overwrite it.
func TestBufferedBody(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: time.Hour})
	resume, c := away(t, w, server, "/ws")
	var want []string
	for i := range 50 {
		want = append(want, strings.Repeat(fmt.Sprint(i%10), 1+i*700))
		if resp := post(t, c.Addresses()[0], "", []byte(want[i])); resp.StatusCode != 202 {
			t.Fatalf("%s", resp.Status)
		}
	}
	arrive(t, server, "/ws", resume).Want(want...)
}

// Lines of bulk requests say the same.
func TestBufferedBulk(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{AuthorizePush: anybody})
	server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: time.Hour, User: func(*http.Request, any) string { return "ann" }})
	resume, c := away(t, w, server, "/ws")
	b := openBulk(t, dialPush(t, w))
	send := func(line string) string {
		t.Helper()
		b.send(line)
		return strings.TrimSuffix(b.answer(), "\n")
	}
	for _, tt := range []struct{ line, want string }{
		{`{"to":"ID","text":"1"}`, `{"line":1,"status":202,"bufferedFor":3600}`},
		{`{"to":["ID"],"ref":"r","text":"2"}`, `{"line":2,"index":0,"ref":"r","status":202,"bufferedFor":3600}`},
		{`{"to":"ID","text":"3","keep":"0s"}`, `{"line":3,"status":409,"type":"urn:wspush:suspended",`},
		{`{"to":"ID","text":"4","keep":"10ms"}`, `{"line":4,"status":409,"type":"urn:wspush:suspended",`},
		{`{"to":"ID","text":"5","confirm":"received","timeout":"10ms"}`, `{"line":5,"status":409,"type":"urn:wspush:suspended",`},
		{`{"to":"ID","text":"6","keep":"x"}`, `{"line":6,"status":400,`},
		{`{"to":"ID","text":"7","keep":7}`, `{"line":7,"status":400,`},
		{`{"user":"ann","text":"8"}`, `{"line":8,"status":200,"written":0,"received":0,"buffered":1,"refused":{},"unknown":0,`},
		{`{"user":"ann","text":"9","keep":"0s"}`, `{"line":9,"status":409,"type":"urn:wspush:suspended",`},
	} {
		got := send(strings.ReplaceAll(tt.line, "ID", c.ID()))
		got = strings.ReplaceAll(got, `"bufferedFor":3599`, `"bufferedFor":3600`) // on a slow machine
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.line, got, tt.want)
		}
	}
	b.end()
	arrive(t, server, "/ws", resume).Want("1", "2", "8")
}

// A push to a user says how many are away, and its lines which.
func TestBufferedMembers(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{AuthorizePush: anybody})
	server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: time.Hour, User: func(*http.Request, any) string { return "ann" }})
	_, c := away(t, w, server, "/ws")
	plain, _, _ := dial(t, w, server, testutil.Options{})
	base := "http://" + w.Addr().String() + "/@users/ann"
	for query, want := range map[string]string{
		"":        `{"written":1,"received":0,"buffered":1,"refused":{},"unknown":0,"excepted":0,"workers":1,"answered":1,"complete":true}`,
		"?keep=0": `{"written":1,"received":0,"refused":{"suspended":1},"unknown":0,"excepted":0,"workers":1,"answered":1,"complete":true}`,
	} {
		resp := post(t, base+query, "", []byte("x"))
		if body := strings.TrimSpace(text(t, resp)); resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
		plain.Expect(testutil.Text, "x")
	}
	req := newRequest(t, "POST", base, strings.NewReader("y"))
	req.Header.Set("Accept", "application/x-ndjson")
	if body := text(t, do(t, req)); !strings.Contains(body, fmt.Sprintf(`{"id":%q,"status":202,"bufferedFor":`, c.ID())) {
		t.Errorf("%s", body)
	}
}

// Through another worker, and by its users and PushEachID, outcomes are the same.
func TestBufferedElsewhere(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	w, other := m.workers[0], m.workers[1]
	server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: time.Hour, User: func(*http.Request, any) string { return "ann" }})
	resume, c := away(t, w, server, "/ws")
	if !strings.HasPrefix(resume, "") || len(resume) < 64 {
		t.Errorf("the ticket is not sealed: %s", resume)
	}
	ctx := context.Background()
	push := func(data string, opts ...wspush.PushOption) (wspush.Receipt, error) {
		return other.Push(ctx, c.SealedID(), wspush.Text, []byte(data), opts...)
	}
	if r, err := push("1"); err != nil || r.State != wspush.Buffered || r.BufferedFor < 59*time.Minute || r.BufferedFor > time.Hour {
		t.Errorf("%+v, %v", r, err)
	}
	for _, opts := range [][]wspush.PushOption{{wspush.Keep(0)}, {wspush.Keep(10 * time.Millisecond)}, {wspush.Keep(10 * time.Millisecond), wspush.Confirmed()}} {
		if r, err := push("no", opts...); !errors.Is(err, wspush.ErrSuspended) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	through := "http://" + other.Addr().String() + "/ws/@connections/" + c.SealedID()
	if resp := post(t, through, "", []byte("2")); resp.StatusCode != 202 || resp.Header.Get("Wspush-Buffered") == "" {
		t.Errorf("%s", resp.Status)
	}
	if resp := post(t, through+"?keep=0", "", []byte("no")); resp.StatusCode != 409 {
		t.Errorf("%s", resp.Status)
	}
	if head := do(t, newRequest(t, http.MethodHead, through, nil)); head.Header.Get("Wspush-State") != "suspended" || head.Header.Get("Wspush-Buffered") == "" {
		t.Errorf("%v", head)
	}
	for _, err := range other.PushEachID(ctx, slices.Values([]string{c.SealedID()}), wspush.Text, []byte("3")) {
		if err != nil {
			t.Error(err)
		}
	}
	b := openBulk(t, dialPush(t, other))
	b.send(fmt.Sprintf(`{"to":%q,"text":"4"}`, c.SealedID()))
	if got := b.answer(); !strings.Contains(got, `"status":202,"bufferedFor":`) {
		t.Errorf("%s", got)
	}
	b.send(fmt.Sprintf(`{"to":%q,"text":"no","keep":"0s"}`, c.SealedID()))
	if got := b.answer(); !strings.Contains(got, `"status":409,"type":"urn:wspush:suspended"`) {
		t.Errorf("%s", got)
	}
	b.end()
	testutil.Eventually(t, "the other worker to know the user", func() bool {
		out, err := other.User("ann").Push(ctx, wspush.Text, []byte("no"), wspush.Keep(0))
		return errors.Is(err, wspush.ErrSuspended) && out.Refused[wspush.ErrSuspended] == 1
	})
	if out, err := other.User("ann").Push(ctx, wspush.Text, []byte("5")); err != nil || out.Buffered != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	req := newRequest(t, "POST", "http://"+other.Addr().String()+"/@users/ann", strings.NewReader("6"))
	req.Header.Set("Accept", "application/x-ndjson")
	if body := text(t, do(t, req)); !strings.Contains(body, `"status":202,"bufferedFor":3`) || !strings.Contains(body, `"buffered":1`) {
		t.Errorf("%s", body)
	}
	arrive(t, server, "/ws", resume).Want("1", "2", "3", "4", "5", "6")
}
