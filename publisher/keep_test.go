package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// sessionsWorker is a real worker with sessions, for pages of /ws?user=NAME. It returns where pages connect as well.
func sessionsWorker(t *testing.T) (w *wspush.Worker, server string) {
	t.Helper()
	w, _ = realWorker(t, wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens(bearer)})
	h, err := wspush.NewHandler(w, &wspush.HandlerOptions{
		ResumeWindow: time.Hour,
		User:         func(r *http.Request, _ any) string { return r.URL.Query().Get("user") },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	return w, testutil.Serve(t, mux)
}

// visit connects a page that speaks wspush.v1. resume is what brings it back, or "".
func visit(t *testing.T, server, user, resume string) *testutil.Page {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	return testutil.Visit(t, conn, testutil.Options{Path: "/ws?user=" + user}, resume)
}

// leave has a page vanish, and waits until its session is suspended.
func leave(t *testing.T, w *wspush.Worker, p *testutil.Page) (resume string, c *wspush.Conn) {
	t.Helper()
	for conn := range w.Conns() {
		if strings.Contains(p.Hello.Address, conn.ID()) {
			c = conn
		}
	}
	if c == nil {
		t.Fatalf("nobody has the address %s", p.Hello.Address)
	}
	p.Close()
	testutil.Eventually(t, "the session to be suspended", func() bool { return c.Info().Suspended })
	return p.Ticket(), c
}

// pushWays are the ways of a push to one connection.
func pushWays(t *testing.T, c *publisher.Client) map[string]func(address, text string, opts ...publisher.PushOption) (publisher.Receipt, error) {
	s := newStream(t, c)
	return map[string]func(string, string, ...publisher.PushOption) (publisher.Receipt, error){
		"request": func(address, text string, opts ...publisher.PushOption) (publisher.Receipt, error) {
			return c.Push(context10(t), address, publisher.Text, []byte(text), opts...)
		},
		"stream": func(address, text string, opts ...publisher.PushOption) (publisher.Receipt, error) {
			return s.Push(context10(t), address, publisher.Text, []byte(text), opts...)
		},
		"send": func(address, text string, opts ...publisher.PushOption) (r publisher.Receipt, err error) {
			done := make(chan bool)
			if err := s.Send(context10(t), address, publisher.Text, []byte(text), func(got publisher.Receipt, failed error) {
				r, err = got, failed
				close(done)
			}, opts...); err != nil {
				return r, err
			}
			<-done
			return r, err
		},
	}
}

// Each way of a push to a session of a real worker comes to the same, and the page gets what it was said to get, once and in order.
func TestKeepWorker(t *testing.T) {
	w, server := sessionsWorker(t)
	c := asks(t, "http://"+w.Addr().String())
	for way, push := range pushWays(t, c) {
		p := visit(t, server, "ann", "")
		address := p.Hello.Address
		if r, err := push(address, "1", publisher.Keep(0)); inError(t, err) != nil || r != (publisher.Receipt{State: publisher.Written}) {
			t.Errorf("%s: %+v, %v", way, r, err)
		}
		if r, err := push(address, "2", publisher.Confirmed(), publisher.Keep(5*time.Second)); inError(t, err) != nil || r.State != publisher.Received || r.RoundTrip <= 0 || r.BufferedFor != 0 {
			t.Errorf("%s: %+v, %v", way, r, err)
		}
		p.Want("1", "2")
		since := time.Now()
		resume, conn := leave(t, w, p)
		for _, opts := range [][]publisher.PushOption{
			{publisher.Keep(0)}, {publisher.Keep(-time.Second)}, {publisher.Keep(10 * time.Millisecond)}, {publisher.Keep(time.Nanosecond)},
			{publisher.Confirmed(), publisher.Keep(0)}, {publisher.Keep(10 * time.Millisecond), publisher.Confirmed()}, {publisher.Keep(time.Hour), publisher.Keep(0)},
		} {
			r, err := push(address, "no", opts...)
			var e *publisher.Error
			if inError(t, err); !errors.Is(err, publisher.ErrSuspended) || !errors.Is(err, wspush.ErrSuspended) || errors.Is(err, publisher.ErrUnknown) || r != (publisher.Receipt{}) ||
				!errors.As(err, &e) || e.Status != 409 || e.Type != "urn:wspush:suspended" {
				t.Errorf("%s: %+v, %v", way, r, err)
			}
		}
		if r, err := push(address, "3"); inError(t, err) != nil || r.State != publisher.Buffered || r.BufferedFor < 59*time.Minute || r.BufferedFor > time.Hour || r.RoundTrip != 0 {
			t.Errorf("%s: %+v, %v", way, r, err)
		}
		i, err := c.Lookup(context10(t), address)
		if inError(t, err) != nil || !i.Session || !i.Suspended || i.Buffered < 1 || i.BufferedBytes < 1 || i.Since.Before(since.Add(-time.Second)) || time.Since(i.Since) > time.Minute ||
			i.ResumableFor < 59*time.Minute || i.ResumableFor > time.Hour {
			t.Errorf("%s: %+v, %v", way, i, err)
		}
		s := newStream(t, c)
		for _, err := range s.PushEach(context10(t), slices.Values([]string{address}), publisher.Text, []byte("4")) {
			if inError(t, err) != nil {
				t.Errorf("%s: %v", way, err)
			}
		}
		// One that waits for the client gets its receipt when it is there.
		waiting, late := conn.Info().Pending, make(chan error, 1)
		go func() {
			r, err := push(address, "5", publisher.Keep(time.Minute), publisher.Confirmed())
			if err == nil && r.State != publisher.Received {
				err = fmt.Errorf("%+v", r)
			}
			late <- err
		}()
		testutil.Eventually(t, "it to wait", func() bool { return conn.Info().Pending > waiting })
		q := visit(t, server, "ann", resume)
		q.Want("3", "4", "5")
		q.WantNothing()
		if err := inError(t, <-late); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		testutil.Eventually(t, "all to be confirmed", func() bool {
			i, err := c.Lookup(context10(t), address)
			return err == nil && i.Session && !i.Suspended && i.ResumableFor == 0 && i.Buffered == 0 && i.BufferedBytes == 0
		})
		q.Close()
		if err := inError(t, c.Disconnect(context10(t), address, 1000, "")); err != nil { // suspended or not
			t.Errorf("%s: %v", way, err)
		}
		if r, err := push(address, "6"); !errors.Is(inError(t, err), publisher.ErrGone) {
			t.Errorf("%s: %+v, %v", way, r, err)
		}
	}
}

// A push to a user says how many of her connections are away.
func TestKeepMembers(t *testing.T) {
	w, server := sessionsWorker(t)
	c := asks(t, "http://"+w.Addr().String())
	p := visit(t, server, "ann", "")
	resume, _ := leave(t, w, p)
	for way, push := range ways(t, c) {
		out, err := push(c.User("ann"), way)
		expectOutcomes(t, way, out, inError(t, err), counts(publisher.Outcomes{Buffered: 1}), nil)
		if out.Err() != nil {
			t.Errorf("%s: %v", way, out.Err())
		}
		out, err = push(c.User("ann"), "no", publisher.Keep(0))
		expectOutcomes(t, way, out, inError(t, err), counts(publisher.Outcomes{Refused: map[error]int{publisher.ErrSuspended: 1}}), publisher.ErrSuspended)
		out, err = push(c.User("ann"), "no", publisher.Keep(10*time.Millisecond), publisher.Confirmed())
		expectOutcomes(t, way, out, inError(t, err), counts(publisher.Outcomes{Refused: map[error]int{publisher.ErrSuspended: 1}}), publisher.ErrSuspended)
	}
	here := testutil.Dial(t, server+"/ws?user=ann", testutil.Options{})
	here.Text()
	for way, push := range ways(t, c) {
		out, err := push(c.User("ann"), way)
		expectOutcomes(t, way, out, inError(t, err), counts(publisher.Outcomes{Written: 1, Buffered: 1}), nil)
		here.Expect(testutil.Text, way)
		out, err = push(c.User("ann"), "here", publisher.Keep(0))
		expectOutcomes(t, way, out, inError(t, err), counts(publisher.Outcomes{Written: 1, Refused: map[error]int{publisher.ErrSuspended: 1}}), nil)
		if !errors.Is(out.Err(), publisher.ErrSuspended) {
			t.Errorf("%s: %v", way, out.Err())
		}
		here.Expect(testutil.Text, "here")
	}
	q := visit(t, server, "ann", resume)
	for range 2 * len(ways(t, c)) {
		if got := q.Next(); got == "no" || got == "here" {
			t.Errorf("got %q", got)
		}
	}
	q.WantNothing()
}

// What a push with Keep says to the worker, and how long it has it wait.
func TestKeepRequest(t *testing.T) {
	queries := make(chan url.Values, 1)
	server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		queries <- r.URL.Query()
		w.WriteHeader(204)
	}))
	lineServer, lines := answering(t, func(n int, _ string) string { return fmt.Sprintf(`{"line":%d,"status":204}`, n) })
	n := 0
	for _, tt := range []struct {
		timeout       time.Duration // of the Client
		opts          []publisher.PushOption
		keep, waiting string
	}{
		{0, nil, "", ""},
		{0, []publisher.PushOption{publisher.Keep(0)}, "0s", ""},
		{0, []publisher.PushOption{publisher.Keep(-1)}, "0s", ""},
		{0, []publisher.PushOption{publisher.Keep(10 * time.Second)}, "10s", ""},
		{0, []publisher.PushOption{publisher.Keep(1500 * time.Microsecond)}, "1ms", ""},
		{0, []publisher.PushOption{publisher.Keep(1)}, "1ms", ""},
		{0, []publisher.PushOption{publisher.Keep(1<<63 - 1)}, "30s", ""},
		{0, []publisher.PushOption{publisher.Keep(0), publisher.Keep(time.Second)}, "1s", ""},
		{0, []publisher.PushOption{publisher.Keep(10 * time.Second), publisher.Confirmed()}, "10s", ""},
		// Without being told, the worker would wait for 10 s, and the Client knew nothing in the end.
		{8 * time.Second, []publisher.PushOption{publisher.Keep(10 * time.Second), publisher.Confirmed()}, "10s", "7.5s"},
		{8 * time.Second, []publisher.PushOption{publisher.Keep(10 * time.Second)}, "10s", "7.5s"},
		{8 * time.Second, []publisher.PushOption{publisher.Keep(time.Second)}, "1s", ""},
		{8 * time.Second, []publisher.PushOption{publisher.Keep(0), publisher.Confirmed()}, "0s", ""},
	} {
		c := newClient(t, publisher.Options{Timeout: tt.timeout})
		if err := inError(t, outcome(c.Push(context.Background(), addressOf(server), publisher.Text, nil, tt.opts...))); err != nil {
			t.Error(err)
		}
		q := <-queries
		if q.Get("keep") != tt.keep || q.Get("timeout") != tt.waiting || q.Has("keep") != (tt.keep != "") {
			t.Errorf("%+v: %v", tt, q)
		}
		s := c.NewStream()
		if err := inError(t, outcome(s.Push(context.Background(), addressOf(lineServer), publisher.Text, nil, tt.opts...))); err != nil {
			t.Error(err)
		}
		s.Close()
		n++
		line := lines()[n-1]
		for name, value := range map[string]string{"keep": tt.keep, "timeout": tt.waiting} {
			if strings.Contains(line, `"`+name+`":`) != (value != "") || value != "" && !strings.Contains(line, fmt.Sprintf(`,%q:%q`, name, value)) {
				t.Errorf("%+v: %s", tt, line)
			}
		}
	}
}

// buffers answers 202 with this Wspush-Buffered, if there is one.
func buffers(values ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Wspush-Buffered"] = values
		w.WriteHeader(202)
	}
}

// An answer that says in no way that makes sense that a session has the message is no worker's: what became of the message is unknown.
func TestKeepNonsense(t *testing.T) {
	c := newClient(t, publisher.Options{Workers: []string{"http://127.0.0.1:1"}})
	for _, opts := range [][]publisher.PushOption{nil, {publisher.Confirmed()}} {
		for value, want := range map[string]time.Duration{"0": 0, "1": time.Second, "86400": 24 * time.Hour} {
			r, err := c.Push(context10(t), addressOf(testutil.Serve(t, buffers(value))), publisher.Text, nil, opts...)
			if inError(t, err) != nil || r != (publisher.Receipt{State: publisher.Buffered, BufferedFor: want}) {
				t.Errorf("%s: %+v, %v", value, r, err)
			}
			server, _ := answering(t, func(n int, _ string) string {
				return fmt.Sprintf(`{"line":%d,"status":202,"bufferedFor":%s}`, n, value)
			})
			r, err = newStream(t, c).Push(context10(t), addressOf(server), publisher.Text, nil, opts...)
			if inError(t, err) != nil || r != (publisher.Receipt{State: publisher.Buffered, BufferedFor: want}) {
				t.Errorf("%s in a line: %+v, %v", value, r, err)
			}
		}
	}
	for _, value := range []string{"", "-1", "x", "1.5", "99999999999999999999", "1e3"} {
		r, err := c.Push(context10(t), addressOf(testutil.Serve(t, buffers(value))), publisher.Text, nil)
		if !errors.Is(inError(t, err), publisher.ErrUnknown) || r != (publisher.Receipt{}) {
			t.Errorf("%q: %+v, %v", value, r, err)
		}
	}
	for _, more := range []string{``, `,"bufferedFor":-1`, `,"bufferedFor":1e99`, `,"bufferedFor":null`} {
		server, _ := answering(t, func(n int, _ string) string { return fmt.Sprintf(`{"line":%d,"status":202%s}`, n, more) })
		s := newStream(t, c)
		r, err := s.Push(context10(t), addressOf(server), publisher.Text, nil)
		if !errors.Is(inError(t, err), publisher.ErrUnknown) || r != (publisher.Receipt{}) {
			t.Errorf("%q: %+v, %v", more, r, err)
		}
	}
	// Other calls have no use for it.
	server := testutil.Serve(t, buffers("10"))
	for name, err := range map[string]error{
		"Disconnect": c.Disconnect(context10(t), addressOf(server), 1000, ""), "Join": c.Join(context10(t), addressOf(server), "g"),
		"User": outcomeOf(asks(t, server).User("ann").Push(context10(t), publisher.Text, nil)),
	} {
		if !errors.Is(inError(t, err), publisher.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	counted := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Wspush-Buffered", "10")
		says(202, "application/json", "{"+outcomesJSON(1, 0, "", 0, 0, 1, 1, true)+"}")(w, r)
	}
	out, err := asks(t, testutil.Serve(t, http.HandlerFunc(counted))).User("ann").Push(context10(t), publisher.Text, nil)
	expectOutcomes(t, "202 with counts", out, inError(t, err), publisher.Outcomes{}, publisher.ErrUnknown)
	// Nor does a line to a user.
	lineServer, _ := answering(t, func(n int, _ string) string { return fmt.Sprintf(`{"line":%d,"status":202,"bufferedFor":10}`, n) })
	workers := asks(t, lineServer)
	if out, err := newStream(t, workers).PushTo(context10(t), workers.User("ann"), publisher.Text, nil); !errors.Is(inError(t, err), publisher.ErrUnknown) || out.Buffered != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	for name, err := range map[string]error{
		"409 of a proxy": outcome(c.Push(context10(t), addressOf(testutil.Serve(t, says(409, "", ""))), publisher.Text, nil)),
		"409 of another": outcome(c.Push(context10(t), addressOf(testutil.Serve(t, problem(409, "conflict"))), publisher.Text, nil)),
	} {
		if inError(t, err) == nil || errors.Is(err, publisher.ErrSuspended) || errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func outcomeOf(_ publisher.Outcomes, err error) error { return err }

// Counts with those that are buffered agree with their status, or the outcome is unknown.
func TestKeepCounts(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   publisher.Outcomes
		err    error
	}{
		{200, `"buffered":2,` + outcomesJSON(0, 0, ``, 0, 0, 1, 1, true), counts(publisher.Outcomes{Buffered: 2}), nil},
		{200, `"buffered":0,` + outcomesJSON(1, 0, `"suspended":2`, 0, 0, 1, 1, true), counts(publisher.Outcomes{Written: 1, Refused: map[error]int{publisher.ErrSuspended: 2}}), nil},
		{409, outcomesJSON(0, 0, `"suspended":2,"gone":1`, 0, 0, 1, 1, true), counts(publisher.Outcomes{Refused: map[error]int{publisher.ErrSuspended: 2, publisher.ErrGone: 1}}), publisher.ErrSuspended},
		{200, `"buffered":-1,` + outcomesJSON(1, 0, ``, 0, 0, 1, 1, true), publisher.Outcomes{}, publisher.ErrUnknown},
		{200, `"buffered":2147483647,` + outcomesJSON(1, 0, ``, 0, 0, 1, 1, true), publisher.Outcomes{}, publisher.ErrUnknown},
		{200, `"buffered":0,` + outcomesJSON(0, 0, `"suspended":2`, 0, 0, 1, 1, true), publisher.Outcomes{}, publisher.ErrUnknown},
		{409, `"buffered":1,` + outcomesJSON(0, 0, `"suspended":2`, 0, 0, 1, 1, true), publisher.Outcomes{}, publisher.ErrUnknown},
		{504, `"buffered":1,` + outcomesJSON(0, 0, ``, 1, 0, 1, 1, true), publisher.Outcomes{}, publisher.ErrUnknown},
	} {
		media, kind := "application/json", ""
		if tt.status != 200 {
			media, kind = "application/problem+json", `"type":"urn:wspush:suspended",`
		}
		got, err := asks(t, testutil.Serve(t, says(tt.status, media, "{"+kind+tt.body+"}"))).User("ann").Push(context10(t), publisher.Text, nil)
		expectOutcomes(t, fmt.Sprint(tt.status, tt.body), got, inError(t, err), tt.want, tt.err)
	}
}

// A worker of an earlier version, which knows no sessions, refuses Keep as it refuses all that it does not know, and nothing is written.
func TestKeepEarlierWorker(t *testing.T) {
	server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("keep") {
			says(400, "application/problem+json", `{"type":"urn:wspush:bad-request","status":400,"detail":"unknown query parameter \"keep\": this request takes type, confirm, timeout"}`)(w, r)
			return
		}
		w.WriteHeader(204)
	}))
	lineServer, _ := answering(t, func(n int, line string) string {
		if strings.Contains(line, `"keep":`) {
			return fmt.Sprintf(`{"line":%d,"status":400,"type":"urn:wspush:bad-request","detail":"unknown member \"keep\""}`, n)
		}
		return fmt.Sprintf(`{"line":%d,"status":204}`, n)
	})
	c := newClient(t, publisher.Options{})
	s := newStream(t, c)
	for name, push := range map[string]func(...publisher.PushOption) (publisher.Receipt, error){
		"request": func(opts ...publisher.PushOption) (publisher.Receipt, error) {
			return c.Push(context10(t), addressOf(server), publisher.Text, nil, opts...)
		},
		"line": func(opts ...publisher.PushOption) (publisher.Receipt, error) {
			return s.Push(context10(t), addressOf(lineServer), publisher.Text, nil, opts...)
		},
	} {
		if r, err := push(); err != nil || r.State != publisher.Written {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		_, err := push(publisher.Keep(0))
		var e *publisher.Error
		if !errors.As(inError(t, err), &e) || e.Status != 400 || errors.Is(err, publisher.ErrUnknown) || errors.Is(err, publisher.ErrSuspended) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
