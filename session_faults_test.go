package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// These are tests of what went wrong in other implementations of the same idea.

// 1: the old WebSocket's late timeout, or whatever else becomes of it, ended the session that had been resumed.
func TestSessionFaultLateEnd(t *testing.T) {
	for name, end := range map[string]func(*testutil.Page){
		"timeout":   func(*testutil.Page) { testutil.Pass(30 * time.Second) },
		"close":     func(p *testutil.Page) { p.SendClose(1000, "") },
		"lost":      func(p *testutil.Page) { p.Close() },
		"violation": func(p *testutil.Page) { p.Write([]byte{0xff, 0x80, 0, 0, 0, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			opts := &wspush.HandlerOptions{PingInterval: 5 * time.Second, IdleTimeout: 10 * time.Second}
			inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
				header := http.Header{"Sec-WebSocket-Protocol": {"wspush.v1"}}
				old := testutil.Visit(t, s.line(), testutil.Options{Header: header, Silent: true}, "")
				synctest.Wait()
				c := s.conns[0]
				q := s.back(old.Ticket())
				if name != "timeout" {
					// Its client has not answered the close frame yet.
					end(old)
				} else {
					end(nil)
				}
				synctest.Wait()
				s.want("connect")
				s.push(c, "1", wspush.Received, wspush.Confirmed())
				q.Want("1")
				if n := s.Stats().Sessions; n.Replaced != 1 || n.Suspended != 0 || n.Live != 1 {
					t.Errorf("%+v", n)
				}
			})
		})
	}
}

// 2: what was to be sent again was gone once it had been read, and the retry after a resume that failed found nothing.
func TestSessionFaultReadOnce(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		s.push(c, "1", wspush.Buffered)
		s.push(c, strings.Repeat("2", 40<<10), wspush.Buffered)
		for range 5 {
			conn := s.line() // a handshake after which the client vanishes, before the hello or after a part of what follows
			go fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: wspush.v1, wspush.resume.%s\r\n\r\n", p.Ticket())
			buf := make([]byte, 500)
			for n := 0; n < len(buf); {
				k, err := conn.Read(buf[n:])
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
			conn.Close()
			synctest.Wait()
		}
		q := s.back(p.Ticket())
		q.Want("1", strings.Repeat("2", 40<<10))
		q.WantNothing()
	})
}

// 5 and 6: two code paths counted differently, or counters began anew at a resume. Whatever is pushed, in whatever way, and however often
// the client comes back, it has each message once.
func TestSessionFaultCounts(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{Compression: true}, func(t *testing.T, s *station) {
		p, c := s.visit()
		n := 0
		var want []string
		text := func() []byte {
			n++
			data := fmt.Sprintf("%d %s", n, strings.Repeat("x", n*37%900))
			want = append(want, data)
			return []byte(data)
		}
		ctx := context.Background()
		page := p
		var got []string
		for round := range 20 {
			c.Push(ctx, wspush.Text, text())
			c.Send(ctx, wspush.Text, text(), nil)
			for _, err := range s.PushEach(ctx, slices.Values([]*wspush.Conn{c}), wspush.Text, text()) {
				if err != nil {
					t.Fatal(err)
				}
			}
			data := text()
			done := make(chan error, 1)
			go func() { done <- outcome(c.Push(ctx, wspush.Text, data, wspush.Confirmed())) }()
			synctest.Wait()
			if round%3 == 0 {
				page.Close()
				synctest.Wait()
			}
			c.Send(ctx, wspush.Text, text(), nil)
			synctest.Wait()
			for range round % 4 { // it has read some of what has come
				got = append(got, page.Next())
			}
			next := testutil.Visit(t, s.line(), testutil.Options{Header: http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; client_no_context_takeover; server_no_context_takeover"}}}, page.Ticket())
			if !next.Hello.Resumed || next.Hello.Missed > 0 || next.Hello.Offset != page.Count {
				t.Fatalf("%s", next.Hello.Raw)
			}
			page = next
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		for len(got) < len(want) {
			got = append(got, page.Next())
		}
		page.WantNothing()
		if !slices.Equal(got, want) {
			t.Errorf("got %d messages, want %d", len(got), len(want))
		}
	})
}

// 7: sessions that had been idle for longer than the window while they were connected, or never got a message, could not be resumed.
func TestSessionFaultIdle(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, _ := s.visit()
		testutil.Pass(100 * window)
		p.Close()
		synctest.Wait()
		testutil.Pass(window - time.Second)
		q := s.back(p.Ticket())
		if !q.Hello.Resumed {
			t.Fatalf("%s", q.Hello.Raw)
		}
		testutil.Pass(100 * window)
		s.want("connect", "suspend lost", "resume")
	})
}

// 8: a resume was not authorized. Accept is asked again, before anything is taken, and User must name the same.
func TestSessionFaultUnauthorized(t *testing.T) {
	var refuse atomic.Bool
	opts := &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) {
			if refuse.Load() {
				return nil, wspush.ErrUnauthorized
			}
			return r.Header.Get("X-User") + " " + r.Header.Get("X-Value"), nil
		},
		User: func(r *http.Request, _ any) string { return r.Header.Get("X-User") },
	}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		as := func(resume, user, value string) *testutil.Page {
			header := http.Header{"X-User": {user}, "X-Value": {value}, "User-Agent": {value}}
			p := testutil.Visit(t, s.line(), testutil.Options{Header: header}, resume)
			synctest.Wait()
			return p
		}
		p := as("", "ann", "first")
		c := s.conns[0]
		refuse.Store(true)
		if q := as(p.Ticket(), "ann", ""); q.Hello.Refused != "unauthorized" {
			t.Errorf("%s", q.Hello.Raw)
		}
		refuse.Store(false)
		for _, user := range []string{"bob", ""} {
			q := as(p.Ticket(), user, "")
			if code, _ := q.End(); q.Hello.Refused != "forbidden" || code != 3003 {
				t.Errorf("%s, %d", q.Hello.Raw, code)
			}
		}
		if c.Value() != "ann first" || c.Info().UserAgent != "first" {
			t.Errorf("%v, %+v", c.Value(), c.Info())
		}
		s.push(c, "1", wspush.Written)
		p.Want("1") // it has lost nothing by that
		before := c.Info().ConnectedAt
		testutil.Pass(time.Second)
		q := as(p.Ticket(), "ann", "second")
		if i := c.Info(); !q.Hello.Resumed || c.Value() != "ann second" || i.UserAgent != "second" || i.ConnectedAt != before || !i.Since.After(before) || i.User != "ann" {
			t.Errorf("%s, %v, %+v", q.Hello.Raw, c.Value(), i)
		}
		if out, err := s.User("ann").Push(context.Background(), wspush.Text, []byte("2")); err != nil || out.Written != 1 {
			t.Errorf("%+v, %v", out, err)
		}
		s.want("connect")
	})
}

// 9: secrets in URLs, and in logs.
func TestSessionFaultSecrets(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	worker := quiet()
	worker.Logger = loggerTo(&mu, &log)
	inStation(t, *worker, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		if strings.Contains(p.Hello.Address, p.Hello.Ticket) || strings.Contains(p.Hello.Ticket, c.ID()) {
			t.Errorf("%s", p.Hello.Raw)
		}
		p.Close()
		synctest.Wait()
		s.back(p.Ticket())
		s.back("x" + p.Ticket())
		mu.Lock()
		defer mu.Unlock()
		if text := log.String(); !strings.Contains(text, "resumed") || strings.Contains(text, p.Hello.Ticket) || strings.Contains(text, c.ID()) {
			t.Errorf("%s", text)
		}
	})
}

// 10 and 16: a client that is back before the worker has noticed that it was gone replaces its own WebSocket, which is closed with 3909,
// and its ticket is good for nothing once the client has had the next for a while.
func TestSessionFaultTakeOver(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.push(c, "1", wspush.Written)
		q := s.back(p.Ticket())
		if code, _ := p.End(); code != 3909 {
			t.Errorf("%d", code)
		}
		q.Want("1")
		testutil.Pass(11 * time.Second)
		if r := s.back(p.Ticket()); r.Hello.Resumed || r.Hello.Why != "unknown" {
			t.Errorf("%s", r.Hello.Raw)
		}
		s.want("connect", "connect")
		s.push(c, "2", wspush.Written)
		q.Want("2")
	})
}

// The new WebSocket is read at once, although the client of the old one does not answer its close frame: only a callback holds it up.
func TestSessionTakeOverAtOnce(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		old := testutil.Visit(t, s.line(), testutil.Options{Silent: true}, "")
		synctest.Wait()
		begin := time.Now()
		q := s.back(old.Ticket())
		q.Send(testutil.Text, []byte("hello"))
		s.push(s.conns[0], "1", wspush.Received, wspush.Confirmed())
		s.want("connect", "message hello")
		if took := time.Since(begin); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// 11: 1001 ended the session, although the page came back from the back-forward cache. TestSessionEnds has the codes.

// 13: some of what was missed, then new messages, then the rest.
func TestSessionFaultOrder(t *testing.T) {
	inStation(t, wspush.WorkerOptions{MaxPending: -1}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		var want []string
		for i := range 500 {
			want = append(want, fmt.Sprint(i, strings.Repeat("-", 2000)))
			s.push(c, want[i], wspush.Buffered)
		}
		stop := make(chan struct{})
		var pusher sync.WaitGroup
		last := 500
		pusher.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					testutil.Pass(time.Millisecond)
					if r, err := c.Push(context.Background(), wspush.Text, []byte(fmt.Sprint(last))); err != nil || r.State == "" {
						t.Error(err)
						return
					}
					last++
				}
			}
		})
		q := s.back(p.Ticket())
		q.Want(want...)
		testutil.Pass(100 * time.Millisecond)
		close(stop)
		pusher.Wait()
		for i := 500; i < last; i++ {
			q.Want(fmt.Sprint(i))
		}
	})
}

// 15: memory of a fast stream to a client that confirms nothing. What is written and not confirmed is bounded, and what waits behind it
// as for every client.
func TestSessionFaultUnconfirmed(t *testing.T) {
	opts := &wspush.HandlerOptions{MaxUnconfirmed: 10 << 10, IdleTimeout: -1, PingInterval: -1}
	inStation(t, wspush.WorkerOptions{MaxPending: 20 << 10}, opts, func(t *testing.T, s *station) {
		p := testutil.Visit(t, s.line(), testutil.Options{Silent: true}, "") // reads, and answers nothing
		synctest.Wait()
		c := s.conns[0]
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		accepted := 0
		for {
			err := c.Send(ctx, wspush.Text, make([]byte, 488), func(wspush.Receipt, error) {})
			if err != nil {
				if !errors.Is(err, wspush.ErrBusy) {
					t.Error(err)
				}
				break
			}
			accepted++
		}
		if accepted < 20 || accepted > 31 {
			t.Errorf("%d messages of 1000 bytes are accepted", accepted)
		}
		synctest.Wait()
		if i := c.Info(); i.Pending > 20<<10 {
			t.Errorf("%+v", i)
		}
		_ = p
	})
}

// 18: callbacks of the old and the new WebSocket ran at once. The new one is not read until the old one's callback has returned, and what
// is unread of the old one is dropped.
func TestSessionFaultOverlap(t *testing.T) {
	var running atomic.Int32
	proceed := make(chan struct{})
	opts := &wspush.HandlerOptions{OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) {
		if running.Add(1) > 1 {
			panic("two at once")
		}
		if string(data) == "wait" {
			<-proceed
		}
		running.Add(-1)
	}}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		proceed = make(chan struct{})
		p, c := s.visit()
		p.Send(testutil.Text, []byte("wait"))
		synctest.Wait()
		go p.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte("old")})
		q := s.back(p.Ticket())
		go q.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte("new")})
		synctest.Wait()
		r := s.back(q.Ticket()) // in place of one that has never been read
		go r.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte("newer")})
		s.want("connect", "message wait")
		close(proceed)
		s.want("message newer")
		s.push(c, "1", wspush.Written)
		r.Want("1")
		if code, _ := q.End(); code != 3909 {
			t.Errorf("%d", code)
		}
	})
}

// 19: an end while the session was suspended was undone by the client's return.
func TestSessionFaultEndWhileSuspended(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		s.push(c, "1", wspush.Buffered)
		testutil.Pass(time.Minute)
		if err := c.Close(4100, "bye"); err != nil {
			t.Error(err)
		}
		s.want("connect", "suspend lost", "disconnect closed 1:false")
		if err := c.Close(4100, "bye"); !errors.Is(err, wspush.ErrGone) {
			t.Error(err)
		}
		s.refused(c, "2", wspush.ErrGone)
		for range 3 {
			q := s.back(p.Ticket())
			if code, reason := q.End(); q.Hello.Raw != "" || code != 4100 || reason != "bye" {
				t.Errorf("%s, %d %q", q.Hello.Raw, code, reason)
			}
		}
		testutil.Pass(window - time.Minute + 10*time.Second)
		if q := s.back(p.Ticket()); q.Hello.Why != "unknown" {
			t.Errorf("%s", q.Hello.Raw)
		}
		if n := s.Stats().Sessions; n.Suspended != 0 || n.Live != 1 || n.Resumes.Ended != 3 || n.Unconfirmed != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// The end comes for a session whose WebSocket has just been lost, which the session has not heard of: no WebSocket ends its outbox then.
func TestSessionEndsWhileLosing(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		_, c := s.visit()
		wspush.LoseWebSocket(c)
		confirmed := s.pushing(context.Background(), c, "1", wspush.Confirmed())
		waits(t, confirmed)
		s.push(c, "2", wspush.Buffered)
		if err := c.Close(4000, ""); err != nil {
			t.Fatal(err)
		}
		soon(t, confirmed, wspush.ErrGone.Error())
		s.want("connect", "disconnect closed 2:false")
	})
	// The goroutine of the WebSocket may be the first to come to OnDisconnect.
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		wspush.LoseWebSocket(c)
		s.push(c, "2", wspush.Buffered)
		carryOut := wspush.BeginEnd(c)
		p.Close()
		s.want("connect", "disconnect closed 2:false")
		carryOut()
		if n := s.Stats().PendingBytes; n != 0 {
			t.Errorf("%d bytes count in the end", n)
		}
	})
}

// As soon as a suspended session has its reason to end, nothing is accepted for it.
func TestSessionRefusesFromTheEnd(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		carryOut := wspush.BeginEnd(c)
		s.refused(c, "1", wspush.ErrGone)
		carryOut()
		s.want("connect", "suspend lost", "disconnect closed")
	})
}

// 20: a bound for all was reached because of clients that had read everything, and were never asked. A pong takes what they have out of it.
func TestSessionFaultNeverPinged(t *testing.T) {
	inStation(t, wspush.WorkerOptions{MaxPendingAll: 64 << 10}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		for i := range 500 {
			s.push(c, fmt.Sprint(i, strings.Repeat("-", 1000)), wspush.Written)
			synctest.Wait()
		}
		for i := range 500 {
			p.Want(fmt.Sprint(i, strings.Repeat("-", 1000)))
		}
	})
}

// A session ends while its client is coming back, before the application has heard of that: what is on its way to the client, and does not get
// there, is unconfirmed, as anything else that was accepted.
func TestSessionEndOnTheWayBack(t *testing.T) {
	hold := make(chan struct{}, 1)
	opts := &wspush.HandlerOptions{OnSuspend: func(*wspush.Conn, error) { <-hold }}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		hold = make(chan struct{}, 1)
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		text := strings.Repeat("x", 100_000)
		s.push(c, text, wspush.Buffered)
		conn := s.line()
		go fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: wspush.v1, wspush.resume.%s\r\n\r\n", p.Ticket())
		if _, err := io.CopyN(io.Discard, conn, 1500); err != nil { // the hello, and some of the text
			t.Fatal(err)
		}
		synctest.Wait()
		if err := c.Close(4000, ""); err != nil {
			t.Fatal(err)
		}
		hold <- struct{}{}
		synctest.Wait()
		conn.Close()
		s.want("connect", "suspend lost", "disconnect closed "+text+":false")
	})
}

// Several WebSockets by which a client comes back at once, with different subprotocols: each is told its own, unless it is replaced before. It is
// for the race detector above all.
func TestSessionBackAtOnce(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{Subprotocols: []string{"chat", "news"}}, func(t *testing.T, s *station) {
		p, _ := s.visit()
		for range 40 {
			var wait sync.WaitGroup
			for i := range 8 {
				protocol := []string{"chat", "news"}[i%2]
				conn := s.line()
				header := http.Header{"Sec-Websocket-Protocol": {"wspush.v1, wspush.resume." + p.Ticket() + ", " + protocol}}
				wait.Go(func() {
					c, _, err := testutil.TryHandshake(t, conn, testutil.Options{Header: header, Timeout: -1})
					if err != nil {
						return // cut off to make room
					}
					if _, hello, err := c.Message(); err == nil && !strings.Contains(string(hello), `"protocol":"`+protocol+`"`) {
						t.Errorf("%s is told %s", protocol, hello)
					}
				})
			}
			wait.Wait()
			p = s.back(p.Ticket())
		}
	})
}

// A client gives up a handshake that takes too long, and comes back by another one. When the first is done after all, it must not take the session
// from its successor, whose client would take that for the end.
func TestSessionLateHandshake(t *testing.T) {
	hold := make(chan struct{})
	opts := &wspush.HandlerOptions{Accept: func(r *http.Request) (any, error) {
		if r.Header.Get("Slow") != "" {
			<-hold
		}
		return nil, nil
	}}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		hold = make(chan struct{})
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		resume := p.Ticket()
		ended := make(chan error)
		conn := s.line()
		go func() {
			header := http.Header{"Slow": {"1"}, "Sec-Websocket-Protocol": {"wspush.v1, wspush.resume." + resume}}
			slow, _, err := testutil.TryHandshake(t, conn, testutil.Options{Header: header, Timeout: -1})
			if err == nil {
				_, _, err = slow.Message()
			}
			ended <- err
		}()
		testutil.Pass(10 * time.Second)
		q := s.back(resume)
		testutil.Pass(time.Second)
		close(hold)
		if closed := (*testutil.CloseError)(nil); !errors.As(<-ended, &closed) || closed.Code != 3909 {
			t.Errorf("the late one gets %v", closed)
		}
		s.push(c, "1", wspush.Received, wspush.Confirmed())
		q.Want("1")
		if n := s.Stats().Sessions; n.Replaced != 1 || n.Live != 1 || n.Suspended != 0 {
			t.Errorf("%+v", n)
		}
	})
}
