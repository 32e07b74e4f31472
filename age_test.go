package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// ageing connects a client that answers pings to a Handler, in a bubble, and returns a function that waits for the connection's end: after what
// time which close frame came.
func ageing(t *testing.T, w *wspush.Worker, opts *wspush.HandlerOptions) (conn *wspush.Conn, end func() (after time.Duration, what string)) {
	client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, opts)), testutil.Options{Timeout: -1})
	conn, _ = greeted(t, w, client)
	begin := conn.Info().ConnectedAt
	return conn, func() (time.Duration, string) {
		for {
			_, _, err := client.Message()
			var closed *testutil.CloseError
			if errors.As(err, &closed) {
				return time.Since(begin), fmt.Sprint(closed.Code, " ", closed.Reason)
			}
			if err != nil {
				return time.Since(begin), err.Error()
			}
		}
	}
}

// bubbleWorker makes a Worker for a testing/synctest bubble.
func bubbleWorker(t *testing.T, opts wspush.WorkerOptions) *wspush.Worker {
	opts.NoListen, opts.Advertise = true, []string{"127.0.0.1:1"}
	return newWorker(t, &opts)
}

// A connection is closed between four fifths of MaxAge and MaxAge, each at a time of its own, although it is used all the time. OnDisconnect is told so once, and
// publishers learn that the client has gone.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubbleWorker(t, wspush.WorkerOptions{})
		ages := make(map[time.Duration]bool)
		for range 20 {
			j := newJournal()
			opts := j.options()
			opts.MaxAge = time.Hour
			conn, end := ageing(t, w, opts)
			pushing := make(chan struct{})
			go func() {
				defer close(pushing)
				for outcome(conn.Push(context.Background(), wspush.Text, []byte("x"))) == nil {
					testutil.Pass(time.Minute)
				}
			}()
			after, what := end()
			<-pushing
			if after < 48*time.Minute || after > time.Hour+10*time.Millisecond || what != "3000 expired" {
				t.Errorf("%s after %v", what, after)
			}
			ages[after] = true
			reason := <-j.ended
			if reason.Cause != wspush.CauseExpired || reason.Code != 3000 || reason.Reason != "expired" || context.Cause(conn.Context()) != error(reason) {
				t.Errorf("the reason is %v", reason)
			}
			j.expect(t, "connect", "disconnect")
			if err := outcome(w.Push(context.Background(), conn.ID(), wspush.Text, nil)); !errors.Is(err, wspush.ErrGone) {
				t.Errorf("a push after that: %v", err)
			}
		}
		if len(ages) != 20 {
			t.Errorf("20 connections have had %d ages", len(ages))
		}
		if s := w.Stats(); s.Ended["expired"] != 20 || s.Connections != 0 {
			t.Errorf("%d have expired, %d are left", s.Ended["expired"], s.Connections)
		}
	})
}

// Without MaxAge and Expires, or with a login that does not expire, a connection stays.
func TestNoGreatestAge(t *testing.T) {
	for name, opts := range map[string]wspush.HandlerOptions{
		"by default":       {},
		"negative":         {MaxAge: -time.Second},
		"the zero time":    {Expires: func(*http.Request, any) time.Time { return time.Time{} }},
		"beyond any clock": {Expires: func(*http.Request, any) time.Time { return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }},
		"beyond any life":  {MaxAge: 1<<63 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, end := ageing(t, bubbleWorker(t, wspush.WorkerOptions{}), &opts)
				go end()
				testutil.Pass(30 * 24 * time.Hour)
				if conn.Context().Err() != nil {
					t.Error(context.Cause(conn.Context()))
				}
			})
		})
	}
}

// A login expires at its time, to the tick of the alarms, whatever pings there are; and at its connection's age, if that comes first.
func TestExpires(t *testing.T) {
	in := func(d time.Duration) func(*http.Request, any) time.Time {
		begin := time.Now().Round(0) // as a time that was read from a token
		return func(*http.Request, any) time.Time { return begin.Add(d) }
	}
	for name, tt := range map[string]struct {
		opts     wspush.HandlerOptions
		expires  time.Duration
		from, to time.Duration
	}{
		"soon":           {wspush.HandlerOptions{}, 1500 * time.Millisecond, 1500 * time.Millisecond, 1500 * time.Millisecond},
		"late":           {wspush.HandlerOptions{}, 30 * 24 * time.Hour, 30 * 24 * time.Hour, 30 * 24 * time.Hour},
		"without timers": {wspush.HandlerOptions{PingInterval: -1, IdleTimeout: -1}, 90 * time.Minute, 90 * time.Minute, 90 * time.Minute},
		"before its age": {wspush.HandlerOptions{MaxAge: 2 * time.Hour}, time.Hour, time.Hour, time.Hour},
		"after its age":  {wspush.HandlerOptions{MaxAge: time.Hour}, 2 * time.Hour, 48 * time.Minute, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.opts.Expires = in(tt.expires)
				conn, end := ageing(t, bubbleWorker(t, wspush.WorkerOptions{}), &tt.opts)
				after, what := end()
				if after < tt.from || after > tt.to+10*time.Millisecond || what != "3000 expired" {
					t.Errorf("%s after %v", what, after)
				}
				if reason, _ := context.Cause(conn.Context()).(*wspush.CloseError); reason == nil || reason.Cause != wspush.CauseExpired {
					t.Errorf("the reason is %v", reason)
				}
			})
		})
	}
}

// Expires gets the request and what Accept has returned, after it and before User. A login that has expired is 401.
func TestExpiresAtHandshake(t *testing.T) {
	var calls []string
	note := func(callback string, r *http.Request, value any) {
		calls = append(calls, fmt.Sprint(callback, " ", r.URL.RawQuery, " ", value))
	}
	var log bytes.Buffer
	w := newWorker(t, &wspush.WorkerOptions{Logger: slog.New(slog.NewTextHandler(&syncWriter{w: &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	server := serve(t, w, &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) {
			if note("Accept", r, nil); r.URL.RawQuery == "no" {
				return nil, wspush.ErrForbidden
			}
			return "ada", nil
		},
		Expires: func(r *http.Request, value any) time.Time {
			note("Expires", r, value)
			switch r.URL.RawQuery {
			case "past":
				return time.Now().Add(-time.Nanosecond)
			case "long-past":
				return time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)
			case "epoch":
				return time.Unix(0, 0)
			case "panic":
				panic("on purpose")
			}
			return time.Now().Add(time.Hour)
		},
		User: func(r *http.Request, value any) string { note("User", r, value); return value.(string) },
	})
	for _, tt := range []struct {
		query  string
		status int
		calls  []string
	}{
		{"no", 403, []string{"Accept no <nil>"}},
		{"past", 401, []string{"Accept past <nil>", "Expires past ada"}},
		{"long-past", 401, []string{"Accept long-past <nil>", "Expires long-past ada"}},
		{"epoch", 401, []string{"Accept epoch <nil>", "Expires epoch ada"}},
		{"panic", 500, []string{"Accept panic <nil>", "Expires panic ada"}},
		{"yes", 101, []string{"Accept yes <nil>", "Expires yes ada", "User yes ada"}},
	} {
		calls = nil
		c, resp, err := testutil.TryDial(t, server, testutil.Options{Path: "/ws?" + tt.query})
		if err == nil {
			resp = c.Response()
		}
		if resp == nil || resp.StatusCode != tt.status {
			t.Errorf("%s: %v, %v", tt.query, resp, err)
		} else if challenge := resp.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
			t.Errorf("%s: %q", tt.query, challenge)
		}
		if !slices.Equal(calls, tt.calls) {
			t.Errorf("%s: %q", tt.query, calls)
		}
	}
	if err := w.Shutdown(context.Background()); err != nil { // nothing is logged any more
		t.Error(err)
	}
	if s := w.Stats(); s.Handshakes.Accept != 5 || s.Accepted != 1 {
		t.Errorf("%+v", s)
	}
	if got := log.String(); strings.Count(got, "callback=Expires") != 4 || strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "panic in a callback") {
		t.Errorf("log: %s", got)
	}
}

// A login that expires at this very moment has expired; and one that does while the greeting is made never lets a publisher in.
func TestExpiresMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubbleWorker(t, wspush.WorkerOptions{})
		if resp := handshakeStatus(t, newHandler(t, w, &wspush.HandlerOptions{Expires: func(*http.Request, any) time.Time { return time.Now() }})); resp != 401 {
			t.Errorf("a login that expires now is answered %d", resp)
		}
		j := newJournal()
		opts := j.options()
		opts.Expires = func(*http.Request, any) time.Time { return time.Now().Add(time.Second) }
		opts.Greeting = func(*wspush.Conn) (wspush.MessageType, []byte) {
			testutil.Pass(time.Minute)
			return wspush.Text, []byte("hello")
		}
		client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, opts)), testutil.Options{Timeout: -1})
		begin := time.Now()
		if f := client.NextFrame(); f.Op != testutil.Close || string(f.Payload) != "\x0b\xb8expired" || time.Since(begin) > time.Second+10*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begin), f)
		}
		if reason := <-j.ended; reason.Cause != wspush.CauseExpired || w.Len() != 0 {
			t.Errorf("%v, %d connections", reason, w.Len())
		}
		j.expect(t, "connect", "disconnect")
	})
}

// handshakeStatus returns the status that a handshake with h is answered with.
func handshakeStatus(t *testing.T, h http.Handler) int {
	_, resp, err := testutil.TryHandshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
	if resp == nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// A callback that is under way does not keep the client: it is closed at its time, and OnDisconnect waits for the callback. What the client
// has said meanwhile is not heard.
func TestExpiresDuringCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		opts := j.options()
		record := opts.OnMessage
		opts.OnMessage = func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
			record(c, typ, data)
			testutil.Pass(time.Hour)
			if err := outcome(c.Push(context.Background(), wspush.Text, nil)); !errors.Is(err, wspush.ErrGone) {
				t.Errorf("a push by the callback: %v", err)
			}
		}
		opts.Expires = func(*http.Request, any) time.Time { return time.Now().Add(time.Minute) }
		w := bubbleWorker(t, wspush.WorkerOptions{})
		client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, opts)), testutil.Options{Timeout: -1})
		greeted(t, w, client)
		begin := time.Now()
		client.Send(testutil.Text, []byte("first"))
		go func() {
			_ = client.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte("second")})
		}()
		if f := client.NextFrame(); f.Op != testutil.Close || string(f.Payload) != "\x0b\xb8expired" || time.Since(begin) > time.Minute+10*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begin), f)
		}
		client.Close()
		if reason := <-j.ended; reason.Cause != wspush.CauseExpired || time.Since(begin) != time.Hour {
			t.Errorf("%v after %v", reason, time.Since(begin))
		}
		j.expect(t, "connect", `text "first"`, "disconnect")
	})
}

// A client that does not read is gone WriteTimeout after its login has expired, and what waited for it has an outcome: unknown for what had
// begun, gone for the rest.
func TestExpiresUnread(t *testing.T) {
	opts := &wspush.HandlerOptions{Expires: func(*http.Request, any) time.Time { return time.Now().Add(time.Minute) }}
	bubble(t, wspush.WorkerOptions{WriteTimeout: 10 * time.Second}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		testutil.Pass(time.Minute - time.Second - time.Since(conn.Info().ConnectedAt))
		begun, waiting := start(context.Background(), conn, "begun"), start(context.Background(), conn, "waiting")
		if _, err := client.Conn().Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		testutil.Pass(time.Second + 10*time.Millisecond)
		if err := returned(t, waiting); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("what had not begun: %v", err)
		}
		if reason, _ := context.Cause(conn.Context()).(*wspush.CloseError); reason == nil || reason.Cause != wspush.CauseExpired {
			t.Errorf("the reason is %v", reason)
		}
		testutil.Pass(10 * time.Second)
		if err := returned(t, begun); !errors.Is(err, wspush.ErrUnknown) {
			t.Errorf("what had begun: %v", err)
		}
		synctest.Wait()
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if s := w.Stats(); s.Ended["expired"] != 1 {
			t.Errorf("%v", s.Ended)
		}
	})
}

// A Shutdown that takes its time leaves nobody in whose login has expired; and who is closed by it before has not expired.
func TestExpiresDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubbleWorker(t, wspush.WorkerOptions{DrainOver: time.Hour})
		opts := &wspush.HandlerOptions{Expires: func(*http.Request, any) time.Time { return time.Now().Add(10 * time.Minute) }}
		ends := make(chan string, 20)
		for range 20 {
			_, end := ageing(t, w, opts)
			go func() { _, what := end(); ends <- what }()
		}
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		got := make(map[string]int)
		for range 20 {
			got[<-ends]++
		}
		if got["1012 service restart"] != 4 || got["3000 expired"] != 16 { // every 3 minutes, from the beginning on
			t.Errorf("%v", got)
		}
	})
}

// closedAfter waits until a page's WebSocket is closed for its age, which the session outlives, and returns how long that took.
func (s *station) closedAfter(c *wspush.Conn, p *testutil.Page) time.Duration {
	s.t.Helper()
	begin := time.Now()
	for !c.Info().Suspended && time.Since(begin) < 48*time.Hour {
		testutil.Pass(time.Second)
		synctest.Wait()
	}
	after := time.Since(begin)
	if code, reason := p.End(); code != 3000 || reason != "expired" {
		s.t.Fatalf("%d %s after %v", code, reason, after)
	}
	return after
}

// A session's WebSocket that has reached its age is closed with 3000, and the session suspended: it has lost nothing when its client is back, and
// the age of the new WebSocket is its own, while the session's clock goes on.
func TestMaxAgeOfSession(t *testing.T) {
	opts := &wspush.HandlerOptions{MaxAge: time.Hour}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.want("connect")
		for range 5 {
			if age := s.closedAfter(c, p); age < 48*time.Minute || age > time.Hour+time.Second {
				t.Errorf("closed after %v", age)
			}
			s.want("suspend expired")
			s.push(c, "meanwhile", wspush.Buffered)
			testutil.Pass(window / 2)
			p = s.back(p.Ticket())
			if !p.Hello.Resumed {
				t.Fatalf("%s", p.Hello.Raw)
			}
			p.Want("meanwhile")
			s.want("resume")
		}
		if age := time.Since(c.Info().ConnectedAt); age < 4*time.Hour {
			t.Errorf("the session is %v old", age)
		}
		if got := s.Stats(); got.Ended["expired"] != 0 || got.Sessions.Resumes.Resumed != 5 || got.Connections != 1 {
			t.Errorf("%+v", got)
		}
		s.closedAfter(c, p)
		s.want("suspend expired")
		testutil.Pass(window)
		s.want("disconnect away")
		var cause *wspush.CloseError
		if err := context.Cause(c.Context()).(*wspush.CloseError); !errors.As(err.Err, &cause) || cause.Cause != wspush.CauseExpired {
			t.Errorf("%v", err)
		}
	})
}

// A newer WebSocket that replaces one has all of its age before it: the age of the one before is nothing to it.
func TestMaxAgeOfReplaced(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{MaxAge: time.Hour}, func(t *testing.T, s *station) {
		p, c := s.visit()
		testutil.Pass(45 * time.Minute)
		q := s.back(p.Ticket())
		if code, _ := p.End(); code != 3909 {
			t.Errorf("%d", code)
		}
		if age := s.closedAfter(c, q); age < 48*time.Minute {
			t.Errorf("closed after %v", age)
		}
		s.want("connect", "suspend expired")
	})
}

// Expires is asked at each resume, and is about the WebSocket of that request: a login that has been renewed goes on, and one that has expired
// is refused, while the session waits for a better one.
func TestExpiresOfSession(t *testing.T) {
	var asked []string
	opts := &wspush.HandlerOptions{
		ResumeWindow: 30 * time.Minute,
		Accept:       func(r *http.Request) (any, error) { return r.Header.Get("X-Until"), nil },
		Expires: func(_ *http.Request, value any) time.Time {
			asked = append(asked, value.(string))
			until, err := time.Parse(time.RFC3339, value.(string))
			if err != nil {
				return time.Time{} // never
			}
			return until
		},
	}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		as := func(resume, until string) *testutil.Page {
			p := testutil.Visit(t, s.line(), testutil.Options{Header: http.Header{"X-Until": {until}}}, resume)
			synctest.Wait()
			return p
		}
		in := func(d time.Duration) string { return time.Now().UTC().Add(d).Format(time.RFC3339) }
		first := in(10 * time.Minute)
		p := as("", first)
		c := s.conns[0]
		if after := s.closedAfter(c, p); after < 10*time.Minute-time.Second || after > 10*time.Minute+time.Second {
			t.Errorf("closed after %v", after)
		}
		s.want("connect", "suspend expired")
		s.push(c, "1", wspush.Buffered)
		refused := as(p.Ticket(), first)
		if code, _ := refused.End(); refused.Hello.Refused != "unauthorized" || code != 3000 {
			t.Errorf("%s, %d", refused.Hello.Raw, code)
		}
		s.want()

		q := as(p.Ticket(), in(time.Hour))
		q.Want("1")
		s.want("resume")
		testutil.Pass(50 * time.Minute)
		s.push(c, "2", wspush.Written) // the first login's time is over and means nothing
		r := as(q.Ticket(), "never")
		r.Want("2") // which q has not counted
		testutil.Pass(24 * time.Hour)
		s.push(c, "3", wspush.Written)
		r.Want("3")
		s.want()
		if len(asked) != 4 {
			t.Errorf("asked %q", asked)
		}
	})
}
