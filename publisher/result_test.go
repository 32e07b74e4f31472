package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

type spanKey struct{}

// inSpan is the context of a caller who wants to know in OnPush that it is hers.
func inSpan(t testing.TB) context.Context { return context.WithValue(context10(t), spanKey{}, t) }

// told is what OnPush has been called with.
type told struct {
	t testing.TB

	mu  sync.Mutex // guards got
	got []publisher.PushResult
}

func (o *told) onPush(ctx context.Context, r publisher.PushResult) {
	if ctx.Value(spanKey{}) != o.t {
		o.t.Error("OnPush has not got the caller's context")
	}
	if age := time.Since(r.Began); r.Took < 0 || r.Took > age || age > time.Minute {
		o.t.Errorf("a push that took %v began %v ago", r.Took, age)
	}
	r.Began, r.Took = time.Time{}, 0
	for _, secret := range []string{id[:24], id2[:24], sealedID[3:20], "bearer-secret", "Ann"} {
		if strings.Contains(fmt.Sprintf("%+v", r), secret) {
			o.t.Errorf("a result has %q: %+v", secret, r)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, r)
}

// one returns the only result since the last call.
func (o *told) one() publisher.PushResult {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	got := o.got
	o.got = nil
	if len(got) != 1 {
		o.t.Fatalf("OnPush was called %d times: %+v", len(got), got)
	}
	return got[0]
}

// Every outcome has its word, and what was not sent has no attempts.
func TestOnPush(t *testing.T) {
	o := &told{t: t}
	broken := errors.New("no credential today")
	var credential error
	c := newClient(t, publisher.Options{OnPush: o.onPush, CredentialFunc: func(context.Context) (string, error) { return "", credential }})
	at := func(h http.HandlerFunc) string { return addressOf(testutil.Serve(t, h)) }
	ended, cancel := context.WithCancel(inSpan(t))
	cancel()
	closed := newClient(t, publisher.Options{OnPush: o.onPush})
	closed.Close()
	for _, tt := range []struct {
		outcome  string
		attempts int
		push     func() (publisher.Receipt, error)
	}{
		{"written", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(says(204, "", "")), publisher.Text, nil)
		}},
		{"received", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(says(204, "", "")), publisher.Text, nil, publisher.Confirmed())
		}},
		{"buffered", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Wspush-Buffered", "7")
				w.WriteHeader(202)
			}), publisher.Text, nil)
		}},
		{"unknown", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(504, "unknown")), publisher.Text, nil)
		}},
		{"gone", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(410, "gone")), publisher.Text, nil)
		}},
		{"busy", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(429, "busy")), publisher.Text, nil)
		}},
		{"suspended", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(409, "suspended")), publisher.Text, nil)
		}},
		{"unavailable", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(503, "unavailable")), publisher.Text, nil)
		}},
		{"shutdown", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(503, "shutdown")), publisher.Text, nil)
		}},
		{"unreachable", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), addressOf(nobody(t)), publisher.Text, nil)
		}},
		{"directory", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(503, "directory")), publisher.Text, nil)
		}},
		{"unauthorized", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(401, "unauthorized")), publisher.Text, nil)
		}},
		{"forbidden", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(403, "forbidden")), publisher.Text, nil)
		}},
		{"too-large", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(413, "too-large")), publisher.Text, nil)
		}},
		{"refused", 1, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), at(problem(404, "not-found")), publisher.Text, nil)
		}},
		{"invalid-utf8", 0, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), addressOf(nobody(t)), publisher.Text, []byte{0xff})
		}},
		{"address", 0, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), "http://elsewhere.test/ws/@connections/"+id, publisher.Text, nil)
		}},
		{"closed", 0, func() (publisher.Receipt, error) {
			return closed.Push(inSpan(t), addressOf(nobody(t)), publisher.Text, nil)
		}},
		{"canceled", 0, func() (publisher.Receipt, error) {
			return c.Push(ended, addressOf(nobody(t)), publisher.Text, nil)
		}},
		{"invalid", 0, func() (publisher.Receipt, error) { return c.Push(inSpan(t), addressOf(nobody(t)), 0, nil) }},
		{"credential", 0, func() (publisher.Receipt, error) {
			credential = errors.Join(broken, publisher.ErrGone, context.Canceled)
			defer func() { credential = nil }()
			return c.Push(inSpan(t), addressOf(nobody(t)), publisher.Text, nil)
		}},
		// Another address is tried, and then the one that has worked.
		{"written", 2, func() (publisher.Receipt, error) {
			return c.Push(inSpan(t), addressOf(nobody(t))+","+at(says(204, "", "")), publisher.Text, nil)
		}},
	} {
		_, err := tt.push()
		if r := o.one(); r.To != "connection" || r.Outcome != tt.outcome || r.Attempts != tt.attempts || r.Err != err || (err == nil) != (tt.attempts > 0 && slices.Contains([]string{"written", "received", "buffered"}, tt.outcome)) {
			t.Errorf("%s: %+v, want %d attempts and %v", tt.outcome, r, tt.attempts, err)
		}
	}
}

// A stream tells of each message once, whichever way it is pushed.
func TestOnPushStream(t *testing.T) {
	o := &told{t: t}
	_, server := serveWorker(t, &worker{answer: func(_, _ int, id, _ string) int {
		if id == nthID(1) {
			return 410
		}
		return 204
	}})
	c := newClient(t, publisher.Options{OnPush: o.onPush})
	for way, push := range map[string]func(s *publisher.Stream, address string, opts ...publisher.PushOption) error{
		"Push": func(s *publisher.Stream, address string, opts ...publisher.PushOption) error {
			return outcome(s.Push(inSpan(t), address, publisher.Text, nil, opts...))
		},
		"Send": func(s *publisher.Stream, address string, opts ...publisher.PushOption) error {
			done := make(chan error, 1)
			if err := s.Send(inSpan(t), address, publisher.Text, nil, func(_ publisher.Receipt, err error) { done <- err }, opts...); err != nil {
				return err
			}
			return <-done
		},
		"PushEach": func(s *publisher.Stream, address string, _ ...publisher.PushOption) (failed error) {
			for _, err := range s.PushEach(inSpan(t), slices.Values([]string{address}), publisher.Text, nil) {
				failed = err
			}
			return failed
		},
	} {
		s := c.NewStream()
		for _, tt := range []struct {
			address, outcome string
			attempts         int
			opts             []publisher.PushOption
		}{
			{connection(server, 0), "written", 1, nil},
			{connection(server, 0), "received", 1, []publisher.PushOption{publisher.Confirmed()}},
			{connection(server, 1), "gone", 1, nil},
			{addressOf(nobody(t)) + "," + connection(server, 3), "written", 2, nil},
			{addressOf(nobody(t)), "unreachable", 1, nil},
			{"http://elsewhere.test/ws/@connections/" + id, "address", 0, nil},
		} {
			if way == "PushEach" && tt.opts != nil {
				continue // which it does not take
			}
			err := push(s, tt.address, tt.opts...)
			if r := o.one(); r.To != "connection" || r.Outcome != tt.outcome || r.Attempts != tt.attempts || fmt.Sprint(r.Err) != fmt.Sprint(err) {
				t.Errorf("%s: %+v, want %s after %d attempts", way, r, tt.outcome, tt.attempts)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := push(s, connection(server, 0)); !errors.Is(err, publisher.ErrClosed) {
			t.Errorf("%s: %v", way, err)
		}
		if r := o.one(); r.Outcome != "closed" || r.Attempts != 0 {
			t.Errorf("%s: %+v after Close", way, r)
		}
	}
	// What the worker has not read is sent once more.
	_, server = serveWorker(t, &worker{answer: func(request, line int, _, _ string) int {
		if request == 1 && line == 2 {
			return end
		}
		return 204
	}})
	s := newStream(t, c)
	for attempts := 1; attempts <= 2; attempts++ {
		if err := outcome(s.Push(inSpan(t), connection(server, 0), publisher.Text, nil)); err != nil {
			t.Error(err)
		}
		if r := o.one(); r.Outcome != "written" || r.Attempts != attempts {
			t.Errorf("%+v, want %d attempts", r, attempts)
		}
	}
}

// A PushEach that is left tells of what it has yielded, and of nothing else.
func TestOnPushEachLeft(t *testing.T) {
	o := &told{t: t}
	_, server := serveWorker(t, &worker{})
	s := newStream(t, newClient(t, publisher.Options{OnPush: o.onPush}))
	addresses := []string{connection(server, 0), connection(server, 1), connection(server, 2)}
	for range s.PushEach(inSpan(t), slices.Values(addresses), publisher.Text, nil) {
		break
	}
	_ = s.Close() // when everything has its outcome
	if r := o.one(); r.Outcome != "written" {
		t.Errorf("%+v", r)
	}
}

// A push whose context ends while it is under way, and one that is still waiting then.
func TestOnPushContext(t *testing.T) {
	o := &told{t: t}
	w, server := serveWorker(t, &worker{answer: func(int, int, string, string) int { return 0 }})
	c := newClient(t, publisher.Options{OnPush: o.onPush, MaxStreamBytes: 1})
	s := c.NewStream()
	ctx, cancel := context.WithCancel(inSpan(t))
	go func() {
		testutil.Eventually(t, "the line", func() bool { lines, _ := w.count(); return lines == 1 })
		cancel()
	}()
	if _, err := s.Push(ctx, connection(server, 0), publisher.Text, nil); !errors.Is(err, publisher.ErrUnknown) {
		t.Error(err)
	}
	if r := o.one(); r.Outcome != "unknown" || r.Attempts != 1 {
		t.Errorf("%+v", r)
	}
	ctx, cancel = context.WithTimeout(inSpan(t), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Push(ctx, connection(server, 0), publisher.Text, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if r := o.one(); r.Outcome != "canceled" || r.Attempts != 0 {
		t.Errorf("%+v", r)
	}
	c.Close()
	_ = s.Close()
}

// Users and groups of a real worker: the result has what Push has returned.
func TestOnPushMembers(t *testing.T) {
	o := &told{t: t}
	w, server := membersWorker(t, wspush.WorkerOptions{})
	c := newClient(t, publisher.Options{OnPush: o.onPush, Workers: []string{"http://" + w.Addr().String()}, Credential: bearer})
	client, clientID, _ := connect(t, server, "Ann", "room")
	s := newStream(t, c)
	for way, push := range map[string]func(to *publisher.Recipients, opts ...publisher.PushOption) (publisher.Outcomes, error){
		"Push": func(to *publisher.Recipients, opts ...publisher.PushOption) (publisher.Outcomes, error) {
			return to.Push(inSpan(t), publisher.Text, []byte("m"), opts...)
		},
		"PushTo": func(to *publisher.Recipients, opts ...publisher.PushOption) (publisher.Outcomes, error) {
			return s.PushTo(inSpan(t), to, publisher.Text, []byte("m"), opts...)
		},
		"SendTo": func(to *publisher.Recipients, opts ...publisher.PushOption) (out publisher.Outcomes, err error) {
			done := make(chan bool)
			if err := s.SendTo(inSpan(t), to, publisher.Text, []byte("m"), func(got publisher.Outcomes, failed error) {
				out, err = got, failed
				close(done)
			}, opts...); err != nil {
				return out, err
			}
			<-done
			return out, err
		},
	} {
		for _, tt := range []struct {
			to          *publisher.Recipients
			kind, word  string
			attempts, n int // n messages come
			opts        []publisher.PushOption
		}{
			{c.User("Ann"), "user", "written", 1, 1, nil},
			{c.Group("room"), "group", "written", 1, 1, nil},
			{c.Group("room").Except(clientID), "group", "excepted", 1, 0, nil},
			{c.User("Bob"), "user", "gone", 1, 0, nil},
			{c.User("a/b"), "user", "invalid", 0, 0, nil},
		} {
			out, err := push(tt.to, tt.opts...)
			for range tt.n {
				if got := client.Text(); got != "m" {
					t.Errorf("%s: %q", way, got)
				}
			}
			r := o.one()
			if r.To != tt.kind || r.Outcome != tt.word || r.Attempts != tt.attempts || r.Err == nil != (err == nil) ||
				r.Outcomes.Written != out.Written || r.Outcomes.Excepted != out.Excepted || !maps.Equal(r.Outcomes.Refused, out.Refused) || out.Written != tt.n {
				t.Errorf("%s: %+v, want %s for a %s after %d attempts, as %+v, %v", way, r, tt.word, tt.kind, tt.attempts, out, err)
			}
		}
	}
}

// What only some of the members get counts as the best that one has got.
func TestOnPushBest(t *testing.T) {
	o := &told{t: t}
	for word, counts := range map[string]string{
		"received": `"written":0,"received":1,"buffered":1,"unknown":1`,
		"buffered": `"written":0,"received":0,"buffered":2,"unknown":0`,
		"excepted": `"written":0,"received":0,"buffered":0,"unknown":0`,
	} {
		server := testutil.Serve(t, says(200, "application/json", `{`+counts+`,"excepted":1,"refused":{},"workers":0,"answered":0,"complete":true}`))
		c := newClient(t, publisher.Options{OnPush: o.onPush, Workers: []string{server}})
		if _, err := c.User("Ann").Push(inSpan(t), publisher.Text, nil, publisher.Confirmed()); err != nil {
			t.Error(err)
		}
		if r := o.one(); r.Outcome != word {
			t.Errorf("%+v, want %s", r, word)
		}
	}
}
