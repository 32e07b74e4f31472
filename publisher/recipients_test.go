package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// recipients is what an application may need of those of a Worker and of a Client alike.
type recipients interface {
	Push(ctx context.Context, typ wspush.MessageType, data []byte, opts ...wspush.PushOption) (wspush.Outcomes, error)
	Disconnect(ctx context.Context, code int, reason string) (closed int, err error)
	Members(ctx context.Context) iter.Seq2[wspush.Member, error]
}

var (
	_ recipients = (*wspush.Recipients)(nil)
	_ recipients = (*publisher.Recipients)(nil)
)

const bearer = "bearer-secret-that-is-long-enough-for-it"

// oddNames are names that need care on their way.
var oddNames = []string{
	"%2F", "a b", "a+b", ".", "..", "...", "a?b#c", "Zoë", "房间", `a\b"c`, "a&name=b", "a;b=c", "a%00", "@users", "@groups", "@connections",
	"~", "a,b", "'<>", "a\u2028b", "%", "\U0001f600", "name", strings.Repeat("é", 128),
}

// membersWorker is a real worker for clients of /ws?user=NAME&group=NAME…. It returns its push endpoint and where clients connect.
func membersWorker(t testing.TB, opts wspush.WorkerOptions) (w *wspush.Worker, server string) {
	t.Helper()
	opts.AuthorizePush = wspush.BearerTokens(bearer)
	w, _ = realWorker(t, opts)
	h, err := wspush.NewHandler(w, &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) { return r.URL.Query(), nil },
		User:   func(_ *http.Request, value any) string { return value.(url.Values).Get("user") },
		Groups: func(c *wspush.Conn) []string { return c.Value().(url.Values)["group"] },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	return w, testutil.Serve(t, mux)
}

// connect connects a client of membersWorker, and returns it, its ID and its address.
func connect(t testing.TB, server, user string, groups ...string) (client *testutil.Client, id, address string) {
	t.Helper()
	client = testutil.Dial(t, server+"/ws?"+url.Values{"user": {user}, "group": groups}.Encode(), testutil.Options{})
	address = client.Text()
	id, _, _ = strings.Cut(strings.TrimPrefix(address, "http://"), "@")
	return client, id, address
}

// asks makes a Client that asks these workers.
func asks(t testing.TB, workers ...string) *publisher.Client {
	t.Helper()
	return newClient(t, publisher.Options{Hosts: []string{"127.0.0.1"}, Workers: workers, Credential: bearer})
}

// ways are the two ways of a push to a user or a group.
func ways(t testing.TB, c *publisher.Client) map[string]func(*publisher.Recipients, string, ...publisher.PushOption) (publisher.Outcomes, error) {
	t.Helper()
	s := c.NewStream()
	t.Cleanup(func() { _ = s.Close() })
	return map[string]func(*publisher.Recipients, string, ...publisher.PushOption) (publisher.Outcomes, error){
		"single": func(r *publisher.Recipients, message string, opts ...publisher.PushOption) (publisher.Outcomes, error) {
			t.Helper()
			out, err := r.Push(context10(t), publisher.Text, []byte(message), opts...)
			return out, inError(t, err)
		},
		"stream": func(r *publisher.Recipients, message string, opts ...publisher.PushOption) (publisher.Outcomes, error) {
			t.Helper()
			out, err := s.PushTo(context10(t), r, publisher.Text, []byte(message), opts...)
			return out, inError(t, err)
		},
	}
}

// counts are outcomes of one worker.
func counts(o publisher.Outcomes) publisher.Outcomes {
	o.Workers, o.Answered, o.Complete = 1, 1, true
	return o
}

// expectOutcomes compares outcomes, and the error with the one that it must match; nil is none.
func expectOutcomes(t testing.TB, what string, got publisher.Outcomes, err error, want publisher.Outcomes, wantErr error) {
	t.Helper()
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || (err == nil) != (wantErr == nil) || !errors.Is(err, wantErr) {
		t.Errorf("%s: %+v, %v; want %+v, %v", what, got, err, want, wantErr)
	}
}

// Pushes to users and groups of a real worker, by a request each and over a stream: who gets them, and what is said of it.
func TestRecipientsWorker(t *testing.T) {
	w, server := membersWorker(t, wspush.WorkerOptions{MaxPushBytes: 1000})
	phone, phoneID, _ := connect(t, server, "ann", "room")
	laptop, _, laptopAddress := connect(t, server, "ann")
	bob, _, _ := connect(t, server, "bob", "room")
	c := asks(t, "http://"+w.Addr().String()+"/ignored/")
	for way, push := range ways(t, c) {
		got, err := push(c.User("ann"), way)
		expectOutcomes(t, way, got, err, counts(publisher.Outcomes{Written: 2}), nil)
		phone.Expect(testutil.Text, way)
		laptop.Expect(testutil.Text, way)

		var reading sync.WaitGroup
		for _, client := range []*testutil.Client{phone, bob} {
			reading.Go(func() {
				for _, want := range []string{"confirmed", "then"} { // the second, since a client answers pings while it waits for a message
					if _, message, err := client.Message(); string(message) != want || err != nil {
						t.Errorf("got %q, %v", message, err)
					}
				}
			})
		}
		got, err = push(c.Group("room"), "confirmed", publisher.Confirmed())
		expectOutcomes(t, way+" confirmed", got, err, counts(publisher.Outcomes{Received: 2}), nil)
		_, _ = push(c.Group("room"), "then")
		reading.Wait()

		got, err = push(c.Group("room").Except(phoneID).Except(laptopAddress), "not Ann")
		expectOutcomes(t, way+" except", got, err, counts(publisher.Outcomes{Written: 1, Excepted: 1}), nil)
		bob.Expect(testutil.Text, "not Ann")
		got, err = push(c.User("ann").Except(strings.ToUpper(phoneID), laptopAddress), "nobody")
		expectOutcomes(t, way+" except all", got, err, counts(publisher.Outcomes{Excepted: 2}), nil)

		got, err = push(c.User("nobody"), "x")
		expectOutcomes(t, way+" nobody", got, err, counts(publisher.Outcomes{}), wspush.ErrGone)
		if err := got.Err(); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("Err returns %v", err)
		}
		got, err = push(c.User("ann"), strings.Repeat("x", 1001))
		expectOutcomes(t, way+" too large", got, err, publisher.Outcomes{}, wspush.ErrTooLarge)
		// The worker refuses a sealed ID, since it has no keys: nothing was written, and there are no counts.
		var e *publisher.Error
		if got, err = push(c.User("ann").Except(sealedID), "x"); !errors.As(err, &e) || e.Status != 421 || errors.Is(err, publisher.ErrUnknown) || got.Workers != 0 {
			t.Errorf("%s: %+v, %v", way, got, err)
		}
	}

	var ids []string
	for m, err := range c.Group("room").Members(context10(t)) {
		if err != nil || time.Since(m.Since) > time.Minute || time.Since(m.Since) < -time.Second {
			t.Errorf("%+v, %v", m, err)
		}
		ids = append(ids, m.ID)
	}
	if len(ids) != 2 || !slices.Contains(ids, phoneID) {
		t.Errorf("members are %q", ids)
	}
	for m, err := range c.User("nobody").Members(context10(t)) {
		t.Errorf("nobody has %+v, %v", m, err)
	}
	if n, err := c.User("ann").Except(phoneID).Disconnect(context10(t), 4001, "logged out & away"); n != 1 || err != nil {
		t.Errorf("closed %d, %v", n, err)
	}
	if code, reason := laptop.AwaitClose(); code != 4001 || reason != "logged out & away" {
		t.Errorf("closed with %d %q", code, reason)
	}
	if n, err := c.User("nobody").Disconnect(context10(t), 1000, ""); n != 0 || err != nil {
		t.Errorf("closed %d, %v", n, err)
	}
}

// Nothing is sent that is wrong in itself.
func TestRecipientsRefused(t *testing.T) {
	var asked atomic.Int64
	server := testutil.Serve(t, counting(&asked, says(200, "", "")))
	c := asks(t, server)
	s := c.NewStream()
	defer s.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	bg := t.Context()
	check := func(what string, want error, errs ...error) {
		t.Helper()
		for i, err := range errs {
			if inError(t, err) == nil || want != nil && !errors.Is(err, want) || errors.Is(err, publisher.ErrUnknown) {
				t.Errorf("%s: %d: %v", what, i, err)
			}
		}
	}
	all := func(ctx context.Context, r *publisher.Recipients, typ publisher.MessageType, data string, code int) []error {
		_, push := r.Push(ctx, typ, []byte(data))
		_, pushTo := s.PushTo(ctx, r, typ, []byte(data))
		sendTo := s.SendTo(ctx, r, typ, []byte(data), func(publisher.Outcomes, error) { t.Error("done was called") })
		if typ != publisher.Text || data != "" {
			return []error{push, pushTo, sendTo}
		}
		_, disconnect := r.Disconnect(ctx, code, "")
		errs := []error{push, pushTo, sendTo, disconnect}
		for _, err := range r.Members(ctx) {
			errs = append(errs, err)
		}
		if len(errs) != 5 {
			t.Error("Members has yielded no error")
		}
		return errs
	}
	for _, name := range []string{"", "a/b", "/", "a\nb", "a\x00", "\x7f", "\xff", strings.Repeat("x", 257), strings.Repeat("é", 128) + "x"} {
		check(fmt.Sprintf("%q", name), nil, all(bg, c.User(name), publisher.Text, "", 1000)...)
		check(fmt.Sprintf("%q", name), nil, all(bg, c.Group(name), publisher.Text, "", 1000)...)
		check(fmt.Sprintf("%q", name), nil, c.Join(bg, addressOf(server), name), c.Leave(bg, addressOf(server), name))
	}
	check("ctx", context.Canceled, all(ended, c.User("a"), publisher.Text, "", 1000)...)
	check("UTF-8", publisher.ErrInvalidUTF8, all(bg, c.User("a"), publisher.Text, "\xff", 1000)...)
	check("type", nil, all(bg, c.User("a"), 3, "", 1000)...)
	for _, except := range []string{"", "x", "http://127.0.0.1/ws", id + "x", id + ","} {
		check("except "+except, publisher.ErrAddress, all(bg, c.User("a").Except(id2, except), publisher.Text, "", 1000)...)
	}
	many := make([]string, 2000)
	for i := range many {
		many[i] = nthID(i)
	}
	check("too many excepted", nil, all(bg, c.User("a").Except(many...), publisher.Text, "", 1000)...)
	_, err := c.User("a").Disconnect(bg, 1005, "")
	_, err2 := c.User("a").Disconnect(bg, 1000, strings.Repeat("x", 124))
	check("close", nil, err, err2)

	none := newClient(t, publisher.Options{})
	_, err = none.User("a").Push(bg, publisher.Text, nil)
	_, err2 = none.User("a").Disconnect(bg, 1000, "")
	check("no workers", nil, err, err2, outcome(none.Push(bg, id, publisher.Text, nil)))
	for _, err := range none.User("a").Members(bg) {
		check("no workers", nil, err)
	}
	closed := asks(t, server)
	closed.Close()
	_, err = closed.User("a").Push(bg, publisher.Text, nil)
	check("closed", publisher.ErrClosed, err)
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// Names arrive as they are, also behind a proxy that writes paths anew, and in bulk lines.
func TestRecipientsNames(t *testing.T) {
	w, server := membersWorker(t, wspush.WorkerOptions{MaxGroups: -1})
	direct := "http://" + w.Addr().String()
	// What routers in Go do to a path, and then what others do: unescape it, clean it, and escape it again.
	mux := http.NewServeMux()
	target, _ := url.Parse(direct)
	mux.Handle("/ws/", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.URL.RawPath = ""
	}})
	proxy := testutil.Serve(t, mux)
	for where, base := range map[string]string{"direct": direct + "/ws", "proxy": proxy + "/ws"} {
		for _, name := range append(oddNames, "plain-Name_1.2~") {
			client, clientID, _ := connect(t, server, name)
			c := asks(t, base)
			for way, push := range ways(t, c) {
				if where == "proxy" && way == "stream" {
					continue // as any stream, tested in stream_test.go
				}
				got, err := push(c.User(name), way)
				expectOutcomes(t, fmt.Sprintf("%s: %s: %q", where, way, name), got, err, counts(publisher.Outcomes{Written: 1}), nil)
				client.Expect(testutil.Text, way)
				if err := inError(t, c.Join(context10(t), clientID, name)); err != nil {
					t.Errorf("%s: %q: %v", where, name, err)
				}
				got, err = push(c.Group(name), "group")
				expectOutcomes(t, fmt.Sprintf("%s: %s: group %q", where, way, name), got, err, counts(publisher.Outcomes{Written: 1}), nil)
				client.Expect(testutil.Text, "group")
				if err := inError(t, c.Leave(context10(t), clientID, name)); err != nil {
					t.Errorf("%s: %q: %v", where, name, err)
				}
				got, err = push(c.Group(name), "group")
				expectOutcomes(t, fmt.Sprintf("%s: %s: left %q", where, way, name), got, err, counts(publisher.Outcomes{}), publisher.ErrGone)
			}
			n := 0
			for m, err := range c.User(name).Members(context10(t)) {
				if n++; err != nil || m.ID != clientID {
					t.Errorf("%q: %+v, %v", name, m, err)
				}
			}
			if closed, err := c.User(name).Disconnect(context10(t), 1000, ""); n != 1 || closed != 1 || err != nil {
				t.Errorf("%s: %q: %d members, %d closed, %v", where, name, n, closed, err)
			}
			client.AwaitClose()
		}
	}
}

// Another worker is asked where nothing was written and it may know better, and nowhere else.
func TestRecipientsWorkers(t *testing.T) {
	const done = `{"written":1,"received":0,"refused":{},"unknown":0,"excepted":0,"workers":2,"answered":2,"complete":true}`
	lost := func(w http.ResponseWriter, r *http.Request) { hijacked(w, r).Close() }
	for name, test := range map[string]struct {
		first http.HandlerFunc
		next  bool
		want  error
	}{
		"nobody": {nil, true, nil}, "401": {problem(401, "unauthorized"), true, nil}, "403": {problem(403, "forbidden"), true, nil},
		"404": {problem(404, "not-found"), true, nil}, "502": {problem(502, "unreachable"), true, nil},
		"503 directory": {problem(503, "directory"), true, nil}, "503 shutdown": {problem(503, "shutdown"), true, nil}, "503 full": {problem(503, "full"), true, nil},
		"410": {problem(410, "gone"), false, publisher.ErrGone}, "429": {problem(429, "busy"), false, publisher.ErrBusy},
		"504": {problem(504, "unknown"), false, publisher.ErrUnknown}, "500": {problem(500, "internal"), false, publisher.ErrUnknown},
		"502 of a proxy": {says(502, "", ""), false, publisher.ErrUnknown}, "503 of a proxy": {says(503, "", ""), false, publisher.ErrUnknown},
		"200 without counts": {says(200, "application/json", "{}"), false, publisher.ErrUnknown},
		"lost":               {lost, false, publisher.ErrUnknown}, "redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusTemporaryRedirect) }, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var asked [2]atomic.Int64
			first := nobody(t)
			if test.first != nil {
				first = testutil.Serve(t, counting(&asked[0], test.first))
			}
			c := asks(t, first, testutil.Serve(t, counting(&asked[1], says(200, "application/json", done))))
			out, err := c.User("ann").Push(context10(t), publisher.Text, nil)
			switch {
			case test.next && (inError(t, err) != nil || out.Written != 1 || asked[1].Load() != 1):
				t.Errorf("%+v, %v", out, err)
			case !test.next && (inError(t, err) == nil || test.want != nil && !errors.Is(err, test.want) || asked[1].Load() != 0 || asked[0].Load() != 1):
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
	// With no other, the error is what the one has said, and it is as the statuses mean.
	for kind, want := range map[string]error{"503 directory": publisher.ErrDirectory, "503 shutdown": publisher.ErrShutdown, "503 unavailable": publisher.ErrUnavailable, "502 unreachable": publisher.ErrUnreachable} {
		var status int
		var typ string
		_, _ = fmt.Sscan(kind, &status, &typ)
		c := asks(t, testutil.Serve(t, problem(status, typ)))
		if _, err := c.Group("g").Push(context10(t), publisher.Text, nil); !errors.Is(inError(t, err), want) || want == publisher.ErrDirectory && !errors.Is(err, wspush.ErrDirectory) {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := c.Group("g").Disconnect(context10(t), 1000, ""); !errors.Is(inError(t, err), want) {
			t.Errorf("%s: %v", kind, err)
		}
		for _, err := range c.Group("g").Members(context10(t)) {
			if !errors.Is(inError(t, err), want) {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

// What makes no sense in the answers to the other requests is an error, and never a number.
func TestRecipientsNonsense(t *testing.T) {
	for _, body := range []string{
		"", "x", "{}", "null", "[]", `{"closed":-1,"workers":1,"answered":1,"complete":true}`, `{"closed":1,"workers":1,"complete":true}`, `{"workers":1,"answered":1,"complete":true}`,
		`{"closed":1,"workers":1,"answered":2,"complete":true}`, `{"closed":1,"workers":2,"answered":1,"complete":true}`, `{"closed":1e99,"workers":1,"answered":1,"complete":true}`,
		`{"closed":"1","workers":1,"answered":1,"complete":true}`, `{"closed":1,"workers":1,"answered":1}`,
	} {
		c := asks(t, testutil.Serve(t, says(200, "application/json", body)))
		if n, err := c.User("ann").Disconnect(context10(t), 1000, ""); n != 0 || !errors.Is(inError(t, err), publisher.ErrUnknown) {
			t.Errorf("%s: %d, %v", body, n, err)
		}
	}
	c := asks(t, testutil.Serve(t, says(200, "application/json", `{"closed":3,"workers":2,"answered":1,"complete":false}`)))
	if n, err := c.User("ann").Disconnect(context10(t), 1000, ""); n != 3 || !errors.Is(inError(t, err), publisher.ErrDirectory) || errors.Is(err, publisher.ErrUnknown) {
		t.Errorf("%d, %v", n, err)
	}

	for closed, want := range map[int]int{3: 3, -3: 0} {
		c = asks(t, testutil.Serve(t, says(503, "application/problem+json", fmt.Sprintf(`{"type":"urn:wspush:directory","closed":%d,"workers":2,"answered":1,"complete":false}`, closed))))
		if n, err := c.User("ann").Disconnect(context10(t), 1000, ""); n != want || !errors.Is(inError(t, err), publisher.ErrDirectory) {
			t.Errorf("%d, %v", n, err)
		}
	}

	const member, whole = `{"id":"` + id + `","since":"2026-11-25T20:57:33.1Z"}`, `"workers":1,"answered":1,"complete":true}`
	for _, body := range []string{
		"", "{", "{}", "null", `{"members":[],"total":0}`, `{"members":null,"total":0,` + whole, `{"members":[` + member + `],"total":0,` + whole, `{"members":[` + member + `],"total":-1,` + whole,
		`{"members":[{"id":"x"}],"total":1,` + whole, `{"members":[{"id":"` + id + `","since":"yesterday"}],"total":1,` + whole, `{"total":0,` + whole,
		`{"members":[` + strings.Repeat(member+",", 1000) + member + `],"total":1001,` + whole, `{"members":["` + strings.Repeat("x", 2<<20) + `"],"total":1,` + whole,
	} {
		c := asks(t, testutil.Serve(t, says(200, "application/json", body)))
		n := 0
		for m, err := range c.User("ann").Members(context10(t)) {
			if n++; !errors.Is(inError(t, err), publisher.ErrUnreachable) || errors.Is(err, publisher.ErrUnknown) {
				t.Errorf("%.200s: %+v, %v", body, m, err)
			}
		}
		if n != 1 {
			t.Errorf("%.200s: %d", body, n)
		}
	}
	c = asks(t, testutil.Serve(t, says(200, "application/json", `{"members":[`+strings.Repeat(member+",", 999)+member+`],"total":1000,`+whole)))
	n := 0
	for m, err := range c.User("ann").Members(context10(t)) {
		if n++; err != nil || m.ID != id {
			t.Fatalf("%+v, %v", m, err)
		}
	}
	if n != 1000 {
		t.Errorf("%d members", n)
	}
	// Those that are told of come before the error that there are more.
	for body, want := range map[string]error{
		`{"members":[` + member + `],"total":5,` + whole:                                   nil,
		`{"members":[` + member + `],"total":1,"workers":2,"answered":1,"complete":false}`: publisher.ErrDirectory,
	} {
		c := asks(t, testutil.Serve(t, says(200, "application/json", body)))
		var errs []error
		for m, err := range c.User("ann").Members(context10(t)) {
			if errs = append(errs, inError(t, err)); (err == nil) != (m.ID == id) {
				t.Errorf("%+v, %v", m, err)
			}
		}
		if len(errs) != 2 || errs[0] != nil || errs[1] == nil || want != nil && !errors.Is(errs[1], want) {
			t.Errorf("%s: %v", body, errs)
		}
		for range c.User("ann").Members(context10(t)) {
			break
		}
	}
	endlessly := asks(t, testutil.Serve(t, endless(200)))
	if _, err := endlessly.User("ann").Disconnect(context10(t), 1000, ""); !errors.Is(inError(t, err), publisher.ErrUnknown) {
		t.Errorf("endless: %v", err)
	}
}

// A push that its context ends is unknown once it is under way.
func TestRecipientsContext(t *testing.T) {
	under := make(chan bool, 2)
	server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		under <- true
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-under
		cancel()
	}()
	out, err := asks(t, server).User("ann").Push(ctx, publisher.Text, nil)
	if !errors.Is(inError(t, err), publisher.ErrUnknown) || !errors.Is(err, context.Canceled) || out.Workers != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}
