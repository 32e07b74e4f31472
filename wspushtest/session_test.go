package wspushtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"

	"github.com/wspush/wspush/internal/testutil"
)

// withSessions are the options of a Server with sessions.
func withSessions(h wspush.HandlerOptions) *wspushtest.Options {
	h.ResumeWindow = 2 * time.Minute
	return &wspushtest.Options{Handler: h, Client: wspushtest.ClientOptions{Session: true}}
}

// pushed ends the test unless a push comes to this.
func pushed(t *testing.T, s *wspushtest.Server, c *wspushtest.Client, text string, want wspush.State, opts ...wspush.PushOption) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if r, err := s.Worker.Push(ctx, c.ID, wspush.Text, []byte(text), opts...); err != nil || r.State != want {
		t.Fatalf("pushing %q: %+v, %v; want %s", text, r, err, want)
	}
}

// A client gets what was pushed while it was away once and in order, after what the test has not asked for yet; it stays the same connection.
func TestSession(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client) {
		upstream := make(chan string, 1)
		s := wspushtest.New(t, withSessions(wspush.HandlerOptions{
			Subprotocols: []string{"chat"},
			OnMessage:    func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { upstream <- string(data) },
		}))
		c := connect(s, &wspushtest.ClientOptions{Session: true, Subprotocols: []string{"tea", "chat"}})
		id, address := c.ID, c.Address()
		if conn, ok := s.Worker.Conn(id); !ok || conn.Addresses()[0] != address || len(c.Greeting.Data) != 0 || c.Subprotocol() != "chat" {
			t.Fatalf("%v, %q %q, greeted with %v, %q", conn, id, address, c.Greeting, c.Subprotocol())
		}
		for round := range 3 {
			for _, text := range []string{"1", "", "\x06", "\x06p", "\x06\x06x"} {
				pushed(t, s, c, text, wspush.Received, wspush.Confirmed())
			}
			c.Expect("1")
			c.Suspend(s.Worker)
			pushed(t, s, c, "2", wspush.Buffered)
			pushed(t, s, c, "\x063", wspush.Buffered)
			if round == 1 { // also by a WebSocket that has brought nothing
				c.Reconnect()
				c.Suspend(s.Worker)
			}
			c.Reconnect()
			pushed(t, s, c, "4", wspush.Received, wspush.Confirmed())
			for _, text := range []string{"", "\x06", "\x06p", "\x06\x06x", "2", "\x063", "4"} {
				c.Expect(text)
			}
			for _, text := range []string{"a", "", "\x06", "\x06p", "\x06\x06"} {
				c.Send(text)
				if got := <-upstream; got != text {
					t.Errorf("OnMessage got %q, want %q", got, text)
				}
			}
			c.SendBinary([]byte{6, 'p'})
			if got := <-upstream; got != "\x06p" {
				t.Errorf("OnMessage got %q", got)
			}
		}
		c.ExpectNothing(0)
		if c.ID != id || c.Address() != address || c.Subprotocol() != "chat" {
			t.Errorf("%s, %s, %q", c.ID, c.Address(), c.Subprotocol())
		}
	})
}

// A client that falls silent is missed when nothing has come for too long; and it can be back before that.
func TestVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards events
		var events []string
		event := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprintf(format, args...))
		}
		s := wspushtest.New(t, withSessions(wspush.HandlerOptions{
			PingInterval: 25 * time.Second, IdleTimeout: time.Minute,
			OnSuspend: func(_ *wspush.Conn, reason error) {
				var closed *wspush.CloseError
				if errors.As(reason, &closed) {
					event("suspend %s", closed.Cause)
				}
			},
			OnResume:     func(*wspush.Conn) { event("resume") },
			OnDisconnect: func(_ *wspush.Conn, reason error) { event("disconnect %v", reason) },
			OnMessage:    func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { event("%s", data) },
		}))
		c := s.Connect()
		s.PushAndExpect(c, "1")
		c.Vanish()
		c.Resume() // which is no way out of it
		c.Send("nobody hears that")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r, err := s.Worker.Push(ctx, c.ID, wspush.Text, []byte("2")); err != nil || r.State != wspush.Buffered { // it has begun
			t.Errorf("%+v, %v", r, err)
		}
		testutil.Pass(2 * time.Minute)
		c.ExpectNothing(0)
		if i := s.Worker.Stats().Sessions; i.Suspended != 1 || i.Live != 1 {
			t.Errorf("%+v", i)
		}
		s.Push(c, "3")
		c.Reconnect()
		c.Expect("2")
		c.Expect("3")
		c.Vanish()
		c.Reconnect() // before anybody has noticed
		s.PushAndExpect(c, "4")
		c.Reconnect() // without a word
		s.PushAndExpect(c, "5")
		c.Send("here")
		synctest.Wait()
		if i := s.Worker.Stats().Sessions; i.Replaced != 2 || i.Resumes.Resumed != 3 || i.Resumes.Incomplete != 0 {
			t.Errorf("%+v", i)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(events) != 3 || !strings.HasPrefix(events[0], "suspend ") || events[1] != "resume" || events[2] != "here" {
			t.Errorf("%q", events)
		}
		events = nil // of the end
	})
}

// A session that is lost gives way to a new one; how it was lost is told.
func TestNewSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, withSessions(wspush.HandlerOptions{}))
		c := s.Connect()
		old := c.ID
		c.Disconnect()
		testutil.Pass(2 * time.Minute)
		synctest.Wait()
		c.ExpectNewSession("expired")
		if c.ID == old || c.Address() == "" || strings.Contains(c.Address(), old) {
			t.Errorf("%s, and before %s", c.ID, old)
		}
		s.PushAndExpect(c, "to the new one")
		c.Suspend(s.Worker)
		testutil.Pass(4 * time.Minute)
		synctest.Wait()
		c.ExpectNewSession("unknown")
		s.PushAndExpect(c, "to the newest")
		c.Suspend(s.Worker)
		testutil.Pass(2*time.Minute - time.Nanosecond)
		s.Push(c, "in time")
		c.Reconnect()
		c.Expect("in time")
	})
}

// By which codes a client ends its session, and by which it does not.
func TestSessionClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, withSessions(wspush.HandlerOptions{}))
		for code, suspends := range map[int]bool{1000: false, 1001: true, 1011: true, 3000: false, 3901: true, 4000: false} {
			c := s.Connect()
			c.Close(code, "")
			synctest.Wait()
			if suspends {
				pushed(t, s, c, "x", wspush.Buffered)
				c.Reconnect()
				c.Expect("x")
			} else {
				c.ExpectNewSession("unknown")
			}
			c.Close(1000, "")
		}
	})
}

// What Accept says when a client comes, and when it comes back, and what is left of a session that was closed meanwhile.
func TestDismissed(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client) {
		var says atomic.Value // an error
		type answer struct{ error }
		s := wspushtest.New(t, withSessions(wspush.HandlerOptions{
			Accept: func(*http.Request) (any, error) { return nil, says.Load().(answer).error },
		}))
		says.Store(answer{})
		c := connect(s, &wspushtest.ClientOptions{Session: true})
		c.Suspend(s.Worker)
		s.Push(c, "kept")
		for _, tt := range []struct {
			err          error
			code, status int
		}{{wspush.ErrUnauthorized, 3000, 401}, {wspush.ErrForbidden, 3003, 403}, {wspush.ErrUnavailable, 1013, 503}} {
			says.Store(answer{tt.err})
			if reason := c.ExpectDismissed(tt.code); reason == "" {
				t.Errorf("%v: no reason", tt.err)
			}
			resp := wspushtest.ExpectRefused(t, s.Handler, "/ws", tt.status, &wspushtest.ClientOptions{Session: true})
			if resp.StatusCode != 101 {
				t.Errorf("%v: the handshake was answered with %s", tt.err, resp.Status)
			}
			wspushtest.ExpectRefused(t, s.Handler, "/ws", tt.status, nil)
		}
		says.Store(answer{})
		c.Reconnect()
		c.Expect("kept")
		c.Suspend(s.Worker)
		if err := s.Worker.Disconnect(t.Context(), c.ID, 4000, "enough"); err != nil {
			t.Fatal(err)
		}
		if reason := c.ExpectDismissed(4000); reason != "enough" {
			t.Errorf("%q", reason)
		}
	})
}

// Where there are no sessions, such a client is like any other; and a worker of a Cluster finds it by its sealed ID.
func TestSessionElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		greeting := func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte("welcome") }
		s := wspushtest.New(t, &wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: greeting}, Client: wspushtest.ClientOptions{Session: true}})
		c := s.Connect()
		c.Expect("welcome")
		for conn := range s.Worker.Conns() { // a hello says no address where there is a greeting
			c.ID = conn.ID()
		}
		s.PushAndExpect(c, "x")
		c.Disconnect()
		c.ExpectClose(1006)

		cluster := wspushtest.NewCluster(t)
		s = cluster.New(withSessions(wspush.HandlerOptions{User: func(*http.Request, any) string { return "ann" }}))
		other := cluster.New(nil)
		c = s.Connect()
		before := time.Now()
		c.Suspend(s.Worker)
		if passed := time.Since(before); passed != 0 {
			t.Errorf("%v have passed", passed)
		}
		if out, err := other.Worker.User("ann").Push(t.Context(), wspush.Text, []byte("y")); err != nil || out.Buffered != 1 {
			t.Errorf("%+v, %v", out, err)
		}
		c.Reconnect()
		c.Expect("y")

		opts := withSessions(wspush.HandlerOptions{})
		opts.Worker.PublicURL = "http://push.test"
		s = cluster.New(opts)
		c = s.Connect()
		if !strings.HasPrefix(c.ID, "v1.") {
			t.Errorf("the ID is %s", c.ID)
		}
		c.Suspend(s.Worker)
		s.Push(c, "z")
		c.Reconnect()
		c.Expect("z")
	})
}

// A client that leaves its WebSocket in the middle of a stream of messages gets each once and in order.
func TestReconnectInStream(t *testing.T) {
	s := wspushtest.New(t, withSessions(wspush.HandlerOptions{}))
	c := s.Connect()
	const all = 2000
	pushed := make(chan bool)
	go func() {
		defer close(pushed)
		for i := range all {
			s.Push(c, fmt.Sprint(i))
		}
	}()
	for isPushed := false; !isPushed; {
		c.Reconnect()
		select {
		case <-pushed:
			isPushed = true
		default:
		}
	}
	for i := range all {
		c.Expect(fmt.Sprint(i))
	}
	c.ExpectNothing(0)
}

// speaker is a server that speaks wspush.v1 in its own way: it sends these messages, and then reads.
func speaker(protocol string, messages ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for _, m := range messages {
			if ws.Write(r.Context(), websocket.MessageText, []byte(m)) != nil {
				return
			}
		}
		_, _, _ = ws.Read(context.Background())
	})
}

// Control is no message, and does not count. What is no hello is reported.
func TestSessionServers(t *testing.T) {
	const hello = `{"address":"http://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@worker.test/ws","ticket":"abc","window":1,"protocol":"","resumed":false}`
	session := &wspushtest.ClientOptions{Session: true}
	for _, tt := range []struct {
		name string
		test func(tb testing.TB)
		want string
	}{
		{"control", func(tb testing.TB) {
			c := wspushtest.Connect(tb, speaker("wspush.v1", hello, "\x06p", "a", "\x06", "\x06what comes next", "\x06\x06b"), "/ws", session)
			c.Expect("a")
			c.Expect("\x06b")
		}, ""},
		{"the offset", func(tb testing.TB) {
			var offers []string
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				offers = append(offers, r.Header.Get("Sec-Websocket-Protocol"))
				speaker("wspush.v1", hello, "\x06p", "a", "\x06", "\x06\x06b").ServeHTTP(w, r)
			})
			c := wspushtest.Connect(tb, h, "/ws", &wspushtest.ClientOptions{Session: true, Subprotocols: []string{"chat"}})
			c.Expect("a")
			c.Expect("\x06b")
			c.Disconnect()
			c.ExpectNewSession("")
			if len(offers) != 2 || offers[1] != "wspush.v1,wspush.resume.abc.2,chat" {
				tb.Errorf("offers %q", offers)
			}
		}, ""},
		{"missed", func(tb testing.TB) {
			n := 0
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n++
				again := strings.Replace(hello, `false}`, `true,"offset":7,"missed":7}`, 1)
				speaker("wspush.v1", []string{hello, again}[n-1]).ServeHTTP(w, r)
			})
			wspushtest.Connect(tb, h, "/ws", session).Reconnect()
		}, "fatal: want the session to be resumed; it is, but 7 messages are lost"},
		{"no hello", func(tb testing.TB) { wspushtest.Connect(tb, speaker("wspush.v1", "hello"), "/ws", session) },
			`fatal: connecting to /ws: the first message is not the hello of wspush.v1: "hello"`},
		{"nothing", func(tb testing.TB) { wspushtest.Connect(tb, speaker("wspush.v1"), "/ws", session) },
			"fatal: connecting to /ws: no hello of wspush.v1 has arrived within 5s"},
		{"another protocol", func(tb testing.TB) { wspushtest.Connect(tb, speaker("chat"), "/ws", session) },
			`fatal: connecting to /ws: the server does not speak wspush.v1: it has chosen the subprotocol ""`},
		{"silence", func(tb testing.TB) {
			n := 0
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n++; n > 1 {
					<-r.Context().Done()
					return
				}
				speaker("wspush.v1", hello).ServeHTTP(w, r)
			})
			wspushtest.Connect(tb, h, "/ws", session).Within(time.Second).Reconnect()
		}, "fatal: want the session to be resumed; the worker has not answered within 1s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { wantFailure(t, tt.want, tt.test) })
		})
	}
}

// Another goroutine can wait for messages while the client comes and goes, and gets each once.
func TestSessionGoroutines(t *testing.T) {
	s := wspushtest.New(t, withSessions(wspush.HandlerOptions{}))
	c := s.Connect()
	const rounds = 20
	var want, got []string
	done := make(chan bool)
	go func() {
		defer close(done)
		for len(got) < 2*rounds {
			m, err := c.Receive(t.Context())
			var end *wspushtest.CloseError
			switch {
			case errors.As(err, &end): // until it is back
				runtime.Gosched()
			case err != nil:
				t.Error(err)
				return
			default:
				got = append(got, string(m.Data))
			}
		}
	}()
	for i := range rounds {
		for range 2 {
			want = append(want, fmt.Sprint(len(want)))
			s.Push(c, want[len(want)-1])
			if i%2 == 0 {
				c.Disconnect()
			}
		}
		c.Reconnect()
	}
	<-done
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Each expectation that is not met fails the test, and says how.
func TestSessionFailures(t *testing.T) {
	const none = "the client has no session: ClientOptions.Session is not set, or the handler has no ResumeWindow"
	expired := func(tb testing.TB) (*wspushtest.Server, *wspushtest.Client) {
		s := wspushtest.New(tb, withSessions(wspush.HandlerOptions{}))
		c := s.Connect()
		c.Disconnect()
		testutil.Pass(3 * time.Minute)
		synctest.Wait()
		return s, c
	}
	session := func(tb testing.TB) (*wspushtest.Server, *wspushtest.Client) {
		s := wspushtest.New(tb, withSessions(wspush.HandlerOptions{}))
		return s, s.Connect()
	}
	for _, tt := range []struct {
		name string
		test func(tb testing.TB)
		want string
	}{
		{"suspending what is no session", func(tb testing.TB) {
			s := wspushtest.New(tb, nil)
			s.Connect().Suspend(s.Worker)
		}, "fatal: suspending the session: " + none},
		{"suspending elsewhere", func(tb testing.TB) {
			_, c := session(tb)
			c.Suspend(wspushtest.NewWorker(tb, nil))
		}, "fatal: suspending the session: the worker does not hold the client's connection"},
		{"resuming what is no session", func(tb testing.TB) { wspushtest.New(tb, nil).Connect().Reconnect() }, "fatal: want the session to be resumed; " + none},
		{"resuming without a window", func(tb testing.TB) {
			s := wspushtest.New(tb, &wspushtest.Options{Client: wspushtest.ClientOptions{Session: true}})
			s.Connect().Reconnect()
		}, "fatal: want the session to be resumed; " + none},
		{"too late", func(tb testing.TB) {
			_, c := expired(tb)
			c.Reconnect()
		}, "fatal: want the session to be resumed; it is lost (expired), and the client has a new one"},
		{"otherwise too late", func(tb testing.TB) {
			_, c := expired(tb)
			c.ExpectNewSession("unknown")
		}, "fatal: want a new session (unknown); got one (expired)"},
		{"in time after all", func(tb testing.TB) {
			_, c := session(tb)
			c.ExpectNewSession("expired")
		}, "fatal: want a new session (expired); the former one is resumed"},
		{"not dismissed", func(tb testing.TB) {
			_, c := session(tb)
			c.ExpectDismissed(3000)
		}, "fatal: want the client to be dismissed with 3000; its session is resumed"},
		{"not dismissed, but too late", func(tb testing.TB) {
			_, c := expired(tb)
			c.ExpectDismissed(3000)
		}, "fatal: want the client to be dismissed with 3000; it has a new session (expired)"},
		{"closed meanwhile", func(tb testing.TB) {
			s, c := session(tb)
			c.Suspend(s.Worker)
			_ = s.Worker.Disconnect(tb.Context(), c.ID, 4000, "enough")
			c.Reconnect()
		}, `fatal: want the session to be resumed; the connection was closed with 4000 "enough"`},
		{"closed otherwise", func(tb testing.TB) {
			s, c := session(tb)
			c.Suspend(s.Worker)
			_ = s.Worker.Disconnect(tb.Context(), c.ID, 4000, "enough")
			c.ExpectDismissed(4001)
		}, `fatal: want the client to be dismissed with 4001; the connection was closed with 4000 "enough"`},
		{"refused at once", func(tb testing.TB) {
			opts := withSessions(wspush.HandlerOptions{Accept: func(*http.Request) (any, error) { return nil, wspush.ErrForbidden }})
			wspushtest.New(tb, opts).Connect()
		}, `fatal: connecting to /ws: the connection was closed with 3003 "forbidden"`},
		{"refused otherwise", func(tb testing.TB) {
			opts := withSessions(wspush.HandlerOptions{Accept: func(*http.Request) (any, error) { return nil, wspush.ErrForbidden }})
			wspushtest.ExpectRefused(tb, wspushtest.New(tb, opts).Handler, "/ws", 401, &opts.Client)
		}, `fatal: want the client to be refused with status 401; the connection was closed with 3003 "forbidden"`},
		{"let in", func(tb testing.TB) {
			opts := withSessions(wspush.HandlerOptions{})
			wspushtest.ExpectRefused(tb, wspushtest.New(tb, opts).Handler, "/ws", 401, &opts.Client)
		}, `fatal: want the handshake to be refused with status 401; the client is connected`},
		{"the end of everything", func(tb testing.TB) {
			s, c := session(tb)
			_ = s.Worker.Shutdown(tb.Context())
			c.Reconnect()
		}, `fatal: want the session to be resumed; the handshake was refused with status 503 Service Unavailable: ` +
			`"{\"type\":\"urn:wspush:shutdown\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"the worker is shutting down\"}"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { wantFailure(t, tt.want, tt.test) })
		})
	}
}
