package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// pushing pushes in a goroutine, and returns when the push waits, or has returned.
func (s *station) pushing(ctx context.Context, c *wspush.Conn, text string, opts ...wspush.PushOption) <-chan string {
	s.t.Helper()
	result := make(chan string, 1)
	go func() {
		r, err := c.Push(ctx, wspush.Text, []byte(text), opts...)
		if err != nil {
			result <- err.Error()
			return
		}
		result <- string(r.State)
	}()
	synctest.Wait()
	return result
}

// soon ends the test unless a push has this outcome by now.
func soon(t *testing.T, result <-chan string, want string) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-result:
		if got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	default:
		t.Fatalf("it waits, want %s", want)
	}
}

// waits ends the test if a push has an outcome.
func waits(t *testing.T, result <-chan string) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-result:
		t.Fatalf("%s, want it to wait", got)
	default:
	}
}

// What a push comes to while the client is away: by itself, with Keep, confirmed, and when its wait ends.
func TestSessionKeep(t *testing.T) {
	ctx := context.Background()
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.push(c, "there", wspush.Written, wspush.Keep(0))
		p.Want("there")
		p.Close()
		synctest.Wait()
		s.refused(c, "no", wspush.ErrSuspended, wspush.Keep(0))
		s.refused(c, "no", wspush.ErrSuspended, wspush.Keep(-1))
		s.refused(c, "no", wspush.ErrSuspended, wspush.Keep(0), wspush.Confirmed())
		patient := s.pushing(ctx, c, "no", wspush.Keep(10*time.Second))
		confirmed := s.pushing(ctx, c, "no", wspush.Confirmed())
		short, cancel := context.WithTimeout(ctx, 7*time.Second)
		defer cancel()
		bounded := s.pushing(short, c, "no", wspush.Keep(10*time.Second))
		testutil.Pass(5 * time.Second)
		soon(t, confirmed, wspush.ErrSuspended.Error())
		waits(t, patient)
		testutil.Pass(2 * time.Second)
		soon(t, bounded, wspush.ErrSuspended.Error())
		testutil.Pass(3 * time.Second)
		soon(t, patient, wspush.ErrSuspended.Error())
		left, cancel := context.WithCancel(ctx)
		gone := s.pushing(left, c, "no", wspush.Keep(time.Minute))
		cancel()
		soon(t, gone, context.Canceled.Error())

		// Those that wait when the client comes back are in their places.
		first := s.pushing(ctx, c, "1", wspush.Keep(10*time.Second))
		second := s.pushing(ctx, c, "2", wspush.Confirmed())
		s.push(c, "3", wspush.Buffered)
		q := s.back(p.Ticket())
		q.Want("1", "2", "3")
		soon(t, first, "written")
		soon(t, second, "received")
		if r := s.Stats(); r.RefusedBy.Suspended != 6 || r.Buffered != 1 || r.RefusedBy.Withdrawn != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A confirmed push waits across WebSockets. One that has begun is buffered when its wait ends, since it will be sent.
func TestSessionConfirmedAcross(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		header := http.Header{"Sec-WebSocket-Protocol": {"wspush.v1"}}
		dead := testutil.Visit(t, s.line(), testutil.Options{Header: header, Silent: true}, "")
		synctest.Wait()
		c := s.conns[0]
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		long := s.pushing(ctx, c, "1", wspush.Confirmed())
		short := s.pushing(context.Background(), c, "2", wspush.Confirmed())
		testutil.Pass(5 * time.Second)
		soon(t, short, "buffered") // it is written, and its client has not said that it has it
		dead.Close()
		synctest.Wait()
		waits(t, long)
		q := s.back(dead.Hello.Ticket + ".0")
		q.Want("1", "2")
		soon(t, long, "received")
	})
}

// Send and its done, for a session whose client is away.
func TestSessionSend(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		var got []string
		send := func(text string, opts ...wspush.PushOption) {
			t.Helper()
			err := c.Send(context.Background(), wspush.Text, []byte(text), func(r wspush.Receipt, err error) {
				got = append(got, fmt.Sprint(text, " ", r.State, " ", r.BufferedFor, " ", err))
			}, opts...)
			if err != nil {
				got = append(got, text+" at once: "+err.Error())
			}
			synctest.Wait()
		}
		send("1")
		send("2", wspush.Keep(0))
		send("3", wspush.Keep(time.Second))
		send("4", wspush.Confirmed())
		testutil.Pass(2 * time.Second)
		q := s.back(p.Ticket())
		q.Want("1", "4")
		synctest.Wait()
		want := []string{
			"1 buffered 2m0s <nil>", "2 at once: " + wspush.ErrSuspended.Error(), "3  0s " + wspush.ErrSuspended.Error(), "4 received 0s <nil>",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// To several at a time: by PushEach, to a user and to a group, of whom some are there and others are away.
func TestSessionMembers(t *testing.T) {
	opts := &wspush.HandlerOptions{
		User:   func(*http.Request, any) string { return "ann" },
		Groups: func(*wspush.Conn) []string { return []string{"team"} },
	}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		p, away := s.visit()
		q, there := s.visit()
		p.Close()
		synctest.Wait()
		ctx := context.Background()
		if away.Join(ctx, "more") != nil || s.Len() != 2 || s.Stats().Sessions.Suspended != 1 || s.Stats().Memberships != 3 {
			t.Errorf("%+v", s.Stats())
		}
		for _, to := range []*wspush.Recipients{s.User("ann"), s.Group("team")} {
			out, err := to.Push(ctx, wspush.Text, []byte("1"))
			if err != nil || out.Written != 1 || out.Buffered != 1 || out.Err() != nil {
				t.Errorf("%+v, %v", out, err)
			}
			out, err = to.Push(ctx, wspush.Text, []byte("2"), wspush.Keep(0))
			if err != nil || out.Written != 1 || out.Refused[wspush.ErrSuspended] != 1 || !errors.Is(out.Err(), wspush.ErrSuspended) {
				t.Errorf("%+v, %v", out, err)
			}
			out, err = to.Push(ctx, wspush.Text, []byte("3"), wspush.Keep(time.Second))
			if err != nil || out.Written != 1 || out.Refused[wspush.ErrSuspended] != 1 {
				t.Errorf("%+v, %v", out, err)
			}
			q.Want("1", "2", "3")
			out, err = to.Except(there).Push(ctx, wspush.Text, []byte("4"))
			if err != nil || out.Buffered != 1 || out.Excepted != 1 {
				t.Errorf("%+v, %v", out, err)
			}
		}
		out, err := s.Group("more").Push(ctx, wspush.Text, []byte("5"), wspush.Keep(0))
		if !errors.Is(err, wspush.ErrSuspended) || out.Refused[wspush.ErrSuspended] != 1 {
			t.Errorf("%+v, %v", out, err)
		}
		n := 0
		for _, err := range s.PushEach(ctx, s.Conns(), wspush.Text, []byte("6")) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		q.Want("6")
		s.back(p.Ticket()).Want("1", "4", "1", "4", "6")
		if n != 2 {
			t.Errorf("%d", n)
		}
	})
}

// Rule 6: a ticket is good until the hello with its successor has been confirmed, and only at its own mount and path.
func TestSessionTickets(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, _ := s.visit()
		other := newHandler(t, s.Worker, &wspush.HandlerOptions{ResumeWindow: window})
		for name, visit := range map[string]func() *testutil.Page{
			"mount": func() *testutil.Page {
				return testutil.Visit(t, testutil.Pipe(t, other), testutil.Options{}, p.Ticket())
			},
			"path": func() *testutil.Page {
				return testutil.Visit(t, s.line(), testutil.Options{Path: "/ws/other"}, p.Ticket())
			},
		} {
			if q := visit(); q.Hello.Resumed || q.Hello.Why != "unknown" {
				t.Errorf("another %s: %s", name, q.Hello.Raw)
			}
		}
		if q := testutil.Visit(t, s.line(), testutil.Options{Path: "/ws?another=query"}, p.Ticket()); !q.Hello.Resumed {
			t.Errorf("another query: %s", q.Hello.Raw)
		} else {
			p = q
		}
		synctest.Wait()
		// Hellos that are not confirmed leave the ticket before them good.
		silent := func(resume string) *testutil.Page {
			q := testutil.Visit(t, s.line(), testutil.Options{Silent: true}, resume)
			if !q.Hello.Resumed {
				t.Fatalf("%s", q.Hello.Raw)
			}
			return q
		}
		var lost []*testutil.Page
		for range 5 {
			lost = append(lost, silent(p.Ticket()))
		}
		latest := silent(lost[4].Ticket()) // which proves that it has been received
		if q := s.back(p.Ticket()); q.Hello.Resumed {
			t.Errorf("%s", q.Hello.Raw)
		}
		q := s.back(latest.Ticket())
		testutil.Pass(11 * time.Second) // it is confirmed, and has been for long enough
		for _, old := range []*testutil.Page{p, lost[0], lost[4], latest} {
			if r := s.back(old.Ticket()); r.Hello.Resumed {
				t.Errorf("%s", r.Hello.Raw)
			}
		}
		if r := s.back(q.Ticket()); !r.Hello.Resumed {
			t.Errorf("%s", r.Hello.Raw)
		}
	})
}

// A client that has come back does not lose its session to handshakes that it has given up, and that come in late, one after the other.
func TestSessionTicketsOfLateHandshakes(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		for name, lose := range map[string]func(p *testutil.Page){
			"its WebSocket is lost before": func(p *testutil.Page) { p.Close() },
			"its WebSocket is replaced":    func(*testutil.Page) {},
		} {
			q := s.back(p.Ticket()) // and the hello is confirmed
			lose(q)
			synctest.Wait()
			for range 3 {
				if late := testutil.Visit(t, s.line(), testutil.Options{Silent: true}, p.Ticket()); !late.Hello.Resumed {
					t.Fatalf("%s: %s", name, late.Hello.Raw)
				}
			}
			s.push(c, name, wspush.Written)
			r := s.back(q.Ticket())
			if !r.Hello.Resumed {
				t.Fatalf("%s: %s", name, r.Hello.Raw)
			}
			r.Want(name)
			p = r
		}
	})
}

// A browser confirms the hello that its page, which is just being reloaded, never sees: the page comes back with the ticket before, however long
// that takes.
func TestSessionTicketsOfReload(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, _ := s.visit()
		p.Close()
		synctest.Wait()
		for _, away := range []time.Duration{0, time.Second, window - time.Second} {
			q := s.back(p.Ticket())
			testutil.Pass(5 * time.Second) // confirmed, and lost
			q.Close()
			synctest.Wait()
			testutil.Pass(away)
			r := s.back(p.Ticket())
			if !r.Hello.Resumed {
				t.Fatalf("away for %v: %s", away, r.Hello.Raw)
			}
			p = r
			testutil.Pass(11 * time.Second)
			p.Close()
			synctest.Wait()
			if late := s.back(q.Ticket()); late.Hello.Resumed {
				t.Errorf("a ticket that was never seen: %s", late.Hello.Raw)
			}
		}
	})
}

// Rule 9: suspended sessions count in MaxConns, and a resume is always admitted.
func TestSessionMaxConns(t *testing.T) {
	inStation(t, wspush.WorkerOptions{MaxConns: 1}, nil, func(t *testing.T, s *station) {
		p, _ := s.visit()
		for range 3 {
			p.Close()
			synctest.Wait()
			if q := testutil.Visit(t, s.line(), testutil.Options{}, ""); q.Hello.Refused != "retry" {
				t.Errorf("%s", q.Hello.Raw)
			}
			if _, resp, err := testutil.TryHandshake(t, s.line(), testutil.Options{}); err == nil || resp.StatusCode != 503 {
				t.Errorf("%v %v", resp, err)
			}
			if p = s.back(p.Ticket()); !p.Hello.Resumed {
				t.Errorf("%s", p.Hello.Raw)
			}
		}
		p.Close()
		testutil.Pass(window)
		synctest.Wait()
		if q := s.back(p.Ticket()); q.Hello.Why != "expired" || q.Hello.Ticket == "" {
			t.Errorf("%s", q.Hello.Raw)
		}
	})
}

// Rule 2: when what waits for all clients is full, new sessions get no window; nothing that was accepted is dropped.
func TestSessionFull(t *testing.T) {
	inStation(t, wspush.WorkerOptions{MaxPendingAll: 32 << 10}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		var want []string
		for i := 0; ; i++ {
			text := fmt.Sprint(i, strings.Repeat("-", 1000))
			if _, err := c.Push(context.Background(), wspush.Text, []byte(text)); err != nil {
				if !errors.Is(err, wspush.ErrBusy) {
					t.Error(err)
				}
				break
			}
			want = append(want, text)
		}
		if len(want) < 10 || len(want) > 32 {
			t.Errorf("%d messages", len(want))
		}
		q := testutil.Visit(t, s.line(), testutil.Options{}, "")
		if q.Hello.Window != 0 || q.Hello.Ticket != "" {
			t.Errorf("%s", q.Hello.Raw)
		}
		q.Close()
		synctest.Wait()
		if s.Len() != 1 {
			t.Errorf("%d connections", s.Len())
		}
		s.back(p.Ticket()).Want(want...)
		testutil.Pass(20 * time.Second)
		if r := s.back(""); r.Hello.Window == 0 {
			t.Errorf("%s", r.Hello.Raw)
		}
	})
}

// Rule 9: a suspended session has no goroutine, and no timer of its own.
func TestSessionIdleCost(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		if wspush.Lives(c) != 0 {
			t.Error("it has goroutines")
		}
	})
}

// Shutdown ends those that are suspended at once, whatever DrainOver is, and closes the others as ever. Nobody can come back then.
func TestSessionShutdown(t *testing.T) {
	inStation(t, wspush.WorkerOptions{DrainOver: time.Minute}, nil, func(t *testing.T, s *station) {
		p, _ := s.visit()
		q, c := s.visit()
		r, _ := s.visit()
		p.Close()
		synctest.Wait()
		s.want("connect", "connect", "connect", "suspend lost")
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		s.mu.Lock()
		events := slices.Clone(s.events)
		s.events = nil
		s.mu.Unlock()
		if n := len(events); n != 2 || events[0] != "disconnect shutdown" || events[1] != events[0] { // and the first of the others
			t.Errorf("%q", events)
		}
		s.turnedAway(p.Ticket())
		left := q
		if c.Context().Err() != nil {
			left = r
		}
		left.Close() // it could only wait for a worker that ends
		s.want("disconnect lost")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, resp, err := testutil.TryHandshake(t, s.line(), testutil.Options{Header: http.Header{"Sec-WebSocket-Protocol": {"wspush.v1"}}}); err == nil || resp.StatusCode != 503 {
			t.Errorf("after it: %v, %v", resp, err)
		}
	})
}

// A client that is cut off while the worker shuts down is told to try again, and not that its connection has ended for good.
func TestSessionLostInShutdown(t *testing.T) {
	inStation(t, wspush.WorkerOptions{DrainOver: time.Minute}, nil, func(t *testing.T, s *station) {
		var left *testutil.Page
		var conn *wspush.Conn
		pages, conns := make([]*testutil.Page, 3), make([]*wspush.Conn, 3)
		for i := range pages {
			pages[i], conns[i] = s.visit()
		}
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		for i := range pages {
			if conns[i].Context().Err() == nil { // it is not its turn yet
				left, conn = pages[i], conns[i]
			}
		}
		left.Close()
		synctest.Wait()
		if conn.Context().Err() == nil {
			t.Fatal("it waits for its client")
		}
		s.turnedAway(left.Ticket())
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.want("connect", "connect", "connect", "disconnect shutdown", "disconnect lost", "disconnect shutdown")
	})
}

// Panics, and runtime.Goexit, in the callbacks of sessions end the session and nothing else.
func TestSessionPanics(t *testing.T) {
	for name, opts := range map[string]*wspush.HandlerOptions{
		"OnSuspend": {OnSuspend: func(*wspush.Conn, error) { panic("on purpose") }},
		"OnResume":  {OnResume: func(*wspush.Conn) { panic("on purpose") }},
		"exit":      {OnSuspend: func(*wspush.Conn, error) { goexit() }},
	} {
		t.Run(name, func(t *testing.T) {
			inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
				p, _ := s.visit()
				p.Close()
				synctest.Wait()
				if name == "OnResume" {
					q := s.back(p.Ticket())
					if code, _ := q.End(); code != 1011 {
						t.Errorf("%d", code)
					}
					s.want("connect", "suspend lost", "resume", "disconnect callback")
				} else {
					s.want("connect", "suspend lost", "disconnect callback")
				}
				if code, _ := s.back(p.Ticket()).End(); code != 1011 && name != "OnResume" {
					t.Errorf("%d", code)
				}
			})
		})
	}
}

// A client that comes back in a loop costs a few WebSockets, and the session is its own all the while.
func TestSessionLoop(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.push(c, "1", wspush.Written)
		resume := p.Ticket()
		for range 300 {
			q := testutil.Visit(t, s.line(), testutil.Options{Silent: true}, resume)
			if !q.Hello.Resumed {
				t.Fatalf("%s", q.Hello.Raw)
			}
			resume = q.Hello.Ticket + ".0"
			synctest.Wait()
			if n := wspush.Lives(c); n > 4 {
				t.Fatalf("%d WebSockets", n)
			}
		}
		s.back(resume).Want("1")
		s.want("connect")
	})
}

func goexit() { runtime.Goexit() }

// Shutdown does not wait for callbacks of sessions, nor for clients that are being refused, for longer than its context lasts.
func TestSessionShutdownCut(t *testing.T) {
	proceed := make(chan struct{})
	opts := &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) {
			if r.Header.Get("X-Is") == "stranger" {
				return nil, wspush.ErrUnauthorized
			}
			return nil, nil
		},
		OnSuspend: func(*wspush.Conn, error) { <-proceed },
	}
	synctest.Test(t, func(t *testing.T) {
		proceed = make(chan struct{})
		s := newStation(t, wspush.WorkerOptions{WriteTimeout: -1}, opts)
		p, _ := s.visit()
		p.Close()
		synctest.Wait()
		s.visit() // and stays
		testutil.Handshake(t, s.line(), testutil.Options{Header: http.Header{"Sec-WebSocket-Protocol": {"wspush.v1"}, "X-Is": {"stranger"}}})
		s.want("connect", "suspend lost", "connect")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begin := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		s.want("disconnect shutdown")
		close(proceed)
		s.want("disconnect shutdown")
		if s.Len() != 0 {
			t.Errorf("%d", s.Len())
		}
	})
}
