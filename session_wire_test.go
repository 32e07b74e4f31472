package wspush_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Item 1: a worker chooses wspush.v1 whenever it is offered, also where there are no sessions; the application's subprotocol is negotiated among
// the others, and told in the hello and by Info.
func TestSessionAsking(t *testing.T) {
	opts := &wspush.HandlerOptions{Subprotocols: []string{"chat", "news"}}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		p, c := s.visit("games", "news", "chat")
		if p.Hello.Protocol != "chat" || c.Info().Subprotocol != "chat" {
			t.Errorf("%s, %+v", p.Hello.Raw, c.Info())
		}
		q := s.back(p.Ticket(), "news") // by another WebSocket, which may speak another one
		if q.Hello.Protocol != "news" || !q.Hello.Resumed || c.Info().Subprotocol != "news" {
			t.Errorf("%s, %+v", q.Hello.Raw, c.Info())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"127.0.0.1:1"}})
		h := newHandler(t, w, nil) // without sessions
		p := testutil.Visit(t, testutil.Pipe(t, h), testutil.Options{}, "")
		if p.Hello.Window != 0 || p.Hello.Ticket != "" || strings.Contains(p.Hello.Raw, "ticket") || p.Hello.Address == "" {
			t.Errorf("%s", p.Hello.Raw)
		}
		for c := range w.Conns() {
			if c.Info().Session || c.Info().Subprotocol != "" {
				t.Errorf("%+v", c.Info())
			}
			if r, err := c.Push(context.Background(), wspush.Text, []byte("\x06p")); err != nil || r.State != wspush.Written {
				t.Error(r, err)
			}
		}
		p.Want("\x06\x06p")
		p.Close()
		synctest.Wait()
		if w.Len() != 0 {
			t.Error("it outlives its WebSocket")
		}
	})
}

// A client that does not offer wspush.v1 sees nothing of it, byte for byte.
func TestSessionNotAsked(t *testing.T) {
	answer := func(opts *wspush.HandlerOptions, offers string) string {
		var got string
		synctest.Test(t, func(t *testing.T) {
			w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"127.0.0.1:1"}})
			conn := testutil.Pipe(t, newHandler(t, w, opts))
			go func() {
				fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", offers)
			}()
			br := bufio.NewReader(conn)
			for !strings.HasSuffix(got, "\r\n\r\n") {
				line, err := br.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				got += line
			}
			head := make([]byte, 2)
			if _, err := io.ReadFull(br, head); err != nil {
				t.Fatal(err)
			}
			greeting := make([]byte, head[1])
			if _, err := io.ReadFull(br, greeting); err != nil {
				t.Fatal(err)
			}
			for c := range w.Conns() {
				got += strings.ReplaceAll(string(head)+string(greeting), c.ID(), "ID")
			}
			conn.Close()
			synctest.Wait()
			got += fmt.Sprint(w.Len(), w.Stats().Ended["lost"])
		})
		return got
	}
	for _, offers := range []string{"", "Sec-WebSocket-Protocol: chat\r\n", "Sec-WebSocket-Protocol: x, wspush.v2, wspush.resume.AAAA.1, chat\r\n"} {
		protocols := []string{"chat"}
		before := answer(&wspush.HandlerOptions{Subprotocols: protocols}, offers)
		with := answer(&wspush.HandlerOptions{Subprotocols: protocols, ResumeWindow: time.Hour}, offers)
		if before != with || !strings.Contains(with, "ID") {
			t.Errorf("with %q: %q, want %q", offers, with, before)
		}
	}
}

// Item 2: a client that is refused is told over a WebSocket, since a browser cannot see a status.
func TestSessionRefused(t *testing.T) {
	accept := func(r *http.Request) (any, error) {
		switch r.Header.Get("X-Is") {
		case "stranger":
			return nil, wspush.ErrUnauthorized
		case "banned":
			return nil, fmt.Errorf("banned: %w", wspush.ErrForbidden)
		case "early":
			return nil, wspush.ErrUnavailable
		case "odd":
			panic("on purpose")
		}
		return nil, nil
	}
	inStation(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{Accept: accept}, func(t *testing.T, s *station) {
		p, _ := s.visit()
		for is, want := range map[string]struct {
			hello string
			code  int
		}{
			"stranger": {`{"refused":"unauthorized"}`, 3000},
			"banned":   {`{"refused":"forbidden"}`, 3003},
			"early":    {`{"refused":"retry","after":1}`, 1013},
			"odd":      {`{"refused":"retry","after":1}`, 1013},
		} {
			for _, resume := range []string{"", p.Ticket()} {
				q := testutil.Visit(t, s.line(), testutil.Options{Header: http.Header{"X-Is": {is}}}, resume)
				if q.Hello.Raw != want.hello {
					t.Errorf("%s: %s", is, q.Hello.Raw)
				}
				if code, _ := q.End(); code != want.code {
					t.Errorf("%s: closed with %d", is, code)
				}
			}
		}
		if s.Len() != 1 {
			t.Errorf("%d connections", s.Len())
		}
		// Who does not speak it gets the status.
		if _, resp, err := testutil.TryHandshake(t, s.line(), testutil.Options{Header: http.Header{"X-Is": {"stranger"}}}); err == nil || resp.StatusCode != 401 {
			t.Errorf("%v, %v", resp, err)
		}
		// Foreign origins are told nothing.
		header := http.Header{"Origin": {"https://evil.example"}, "X-Is": {"stranger"}, "Sec-WebSocket-Protocol": {"wspush.v1"}}
		if _, resp, err := testutil.TryHandshake(t, s.line(), testutil.Options{Header: header}); err == nil || resp.StatusCode != 403 {
			t.Errorf("%v, %v", resp, err)
		}
		// The session of the client that was refused meanwhile is as it was.
		s.push(s.conns[0], "1", wspush.Received, wspush.Confirmed())
		p.Want("1")
		s.want("connect")
		if h := s.Stats().Handshakes; h.Accept != 9 || h.Origin != 1 {
			t.Errorf("%+v", h)
		}
		if r := s.Stats().Sessions.Resumes; r.Refused != 4 {
			t.Errorf("%+v", r)
		}
	})
}

// At most 256 clients at a time are told over a WebSocket that they are refused. Then there are statuses.
func TestSessionRefusedMost(t *testing.T) {
	accept := func(r *http.Request) (any, error) { return nil, wspush.ErrForbidden }
	inStation(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{Accept: accept}, func(t *testing.T, s *station) {
		offer := http.Header{"Sec-WebSocket-Protocol": {"wspush.v1"}}
		for range 256 { // that do not read
			testutil.Handshake(t, s.line(), testutil.Options{Header: offer})
		}
		_, resp, err := testutil.TryHandshake(t, s.line(), testutil.Options{Header: offer})
		if err == nil || resp.StatusCode != 403 {
			t.Fatalf("%v, %v", resp, err)
		}
		testutil.Pass(30 * time.Second) // each has had its time
		synctest.Wait()
		if p := s.back(""); p.Hello.Refused != "forbidden" {
			t.Errorf("%s", p.Hello.Raw)
		}
		if n := s.Stats().Handshakes.Accept; n != 258 {
			t.Errorf("%d refused", n)
		}
	})
}

// Item 3: a message is what was pushed, and one WebSocket message is one count: neither the hello nor control nor pings count.
func TestSessionCounts(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.push(c, "123", wspush.Received, wspush.Confirmed())
		p.Send(testutil.Text, []byte("\x06p"))
		p.Want("123", "\x06p")
		s.push(c, "", wspush.Written)
		p.Want("")
		q := s.back(p.Ticket())
		if p.Count != 2 || q.Hello.Offset != 2 {
			t.Errorf("%d, %s", p.Count, q.Hello.Raw)
		}
		s.push(c, "4", wspush.Written)
		q.Want("4")
		q.WantNothing()
	})
}

// Item 4: probes are answered, other control is ignored, OnMessage sees none of it, and a text that looks like it is told from it in
// both directions.
func TestSessionControl(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		for _, text := range []string{"\x06p", "\x06", "\x06x", "\x06p2", "a\x06p", "\x06\x06p", "\x06\x06", "p"} {
			p.Send(testutil.Text, []byte(text))
		}
		p.Send(testutil.Binary, []byte("\x06p"))
		p.Want("\x06p")
		s.want("connect", "message a\x06p", "message \x06p", "message \x06", "message p", "message \x06p")
		for _, text := range []string{"\x06p", "\x06", "\x06\x06", "a\x06"} {
			s.push(c, text, wspush.Written)
		}
		if _, err := c.Push(context.Background(), wspush.Binary, []byte("\x06p")); err != nil {
			t.Error(err)
		}
		p.Want("\x06\x06p", "\x06\x06", "\x06\x06\x06", "a\x06")
		if got := p.Next(); got != "\x06p" {
			t.Errorf("%q", got)
		}
		p.WantNothing()
		if n := s.Stats().Received; n != 5 {
			t.Errorf("%d messages received", n)
		}
	})
}

// Item 5: what the client's endpoint has confirmed, but the page did not get, is sent again for 10 s. After that it is told how much is lost,
// and the session goes on.
func TestSessionOffsetBehind(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.push(c, "1", wspush.Received, wspush.Confirmed())
		s.push(c, "2", wspush.Received, wspush.Confirmed())
		testutil.Pass(9 * time.Second)
		q := s.back(p.Hello.Ticket + ".0")
		if q.Hello.Offset != 0 || q.Hello.Missed != 0 {
			t.Errorf("%s", q.Hello.Raw)
		}
		q.Want("1", "2")
		testutil.Pass(20 * time.Second)
		s.push(c, "3", wspush.Written)
		r := s.back(q.Hello.Ticket + ".0")
		if !r.Hello.Resumed || r.Hello.Offset != 2 || r.Hello.Missed != 2 {
			t.Errorf("%s", r.Hello.Raw)
		}
		r.Want("3")
		if n := s.Stats().Sessions.Resumes; n.Resumed != 1 || n.Incomplete != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// Item 5: an offset above what was sent is answered with 1002 in place of the hello, and the session and its ticket stay as they were.
func TestSessionOffsetAhead(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.push(c, "1", wspush.Written)
		p.Want("1")
		for _, offset := range []string{"2", "18446744073709551615"} {
			q := s.back(p.Hello.Ticket + "." + offset)
			if code, _ := q.End(); code != 1002 || q.Hello.Raw != "" {
				t.Errorf("%s: %d, %s", offset, code, q.Hello.Raw)
			}
		}
		s.push(c, "2", wspush.Written)
		p.Want("2") // the WebSocket that it has is still its own
		s.want("connect")
		if q := s.back(p.Ticket()); !q.Hello.Resumed {
			t.Errorf("%s", q.Hello.Raw)
		}
		if n := s.Stats().Sessions.Resumes.Ahead; n != 2 {
			t.Errorf("%d", n)
		}
	})
}

// Item 5: what names no session leads to a new one, and is told so.
func TestSessionUnknown(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, _ := s.visit()
		ended, c := s.visit()
		ended.SendClose(1000, "")
		ended.End()
		synctest.Wait()
		if c.Context().Err() == nil {
			t.Fatal("it lives")
		}
		flipped := []byte(p.Hello.Ticket)
		flipped[30] ^= 1
		for _, resume := range []string{
			p.Hello.Ticket + ".-1", p.Hello.Ticket + ".x", p.Hello.Ticket + ".", p.Hello.Ticket, p.Hello.Ticket + ".01", p.Hello.Ticket + ".18446744073709551616",
			"x.0", ".0", p.Hello.Ticket[1:] + ".0", string(flipped) + ".0", ended.Ticket(), strings.Repeat("A", 2000) + ".0",
		} {
			if q := s.back(resume); q.Hello.Resumed || q.Hello.Why != "unknown" || q.Hello.Ticket == "" {
				t.Errorf("%s: %s", resume, q.Hello.Raw)
			}
		}
		if n := s.Stats().Sessions.Resumes; n.Unknown != 12 || n.Resumed != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// Item 6: a message that is 5 s old is asked about, once.
func TestSessionConfirmingPing(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		pings := s.Stats().Pings
		if pings != 1 || s.Stats().Pongs != 1 { // behind the hello
			t.Fatalf("%+v", s.Stats())
		}
		testutil.Pass(time.Minute)
		s.push(c, "1", wspush.Written)
		s.push(c, "2", wspush.Written)
		testutil.Pass(5*time.Second - time.Millisecond)
		if n := s.Stats().Pings - pings; n != 0 {
			t.Errorf("%d pings", n)
		}
		if i := c.Info(); i.Buffered != 2 {
			t.Errorf("%+v", i)
		}
		testutil.Pass(20 * time.Millisecond)
		synctest.Wait()
		if n := s.Stats().Pings - pings; n != 1 {
			t.Errorf("%d pings", n)
		}
		if i := c.Info(); i.Buffered != 0 {
			t.Errorf("%+v", i)
		}
		testutil.Pass(time.Minute)
		if n := s.Stats().Pings - pings; n != 1 {
			t.Errorf("%d pings", n)
		}
		p.Want("1", "2")
	})
}

// Item 7: which ends of a WebSocket end the session, and which only suspend it.
func TestSessionEnds(t *testing.T) {
	opts := func() *wspush.HandlerOptions {
		return &wspush.HandlerOptions{
			PingInterval: 50 * time.Second, IdleTimeout: time.Minute,
			OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) {
				if string(data) == "panic" {
					panic("on purpose")
				}
			},
		}
	}
	code := func(code int) func(*station, *testutil.Page, *wspush.Conn) {
		return func(_ *station, p *testutil.Page, _ *wspush.Conn) { p.SendClose(code, "") }
	}
	for _, tt := range []struct {
		name     string
		end      func(*station, *testutil.Page, *wspush.Conn)
		suspends wspush.Cause // "": it ends the session
		ends     wspush.Cause
		told     int // the code for a client that comes back; 0: its session is unknown
	}{
		{name: "1000", end: code(1000), ends: wspush.CauseClient},
		{name: "no code", end: code(0), ends: wspush.CauseClient},
		{name: "3000", end: code(3000), ends: wspush.CauseClient},
		{name: "4999", end: code(4999), ends: wspush.CauseClient},
		{name: "3901", end: code(3901), suspends: wspush.CauseClient},
		{name: "1001", end: code(1001), suspends: wspush.CauseClient},
		{name: "1011", end: code(1011), suspends: wspush.CauseClient},
		{name: "no close frame", end: func(_ *station, p *testutil.Page, _ *wspush.Conn) { p.Close() }, suspends: wspush.CauseLost},
		{name: "a violation", end: func(_ *station, p *testutil.Page, _ *wspush.Conn) { p.Write([]byte{0xff, 0x80, 0, 0, 0, 0}) }, ends: wspush.CauseProtocol, told: 1002},
		{name: "a panic", end: func(_ *station, p *testutil.Page, _ *wspush.Conn) { p.Send(testutil.Text, []byte("panic")) }, ends: wspush.CauseCallback, told: 1011},
		{name: "Close", end: func(_ *station, _ *testutil.Page, c *wspush.Conn) { c.Close(4321, "enough") }, ends: wspush.CauseClosed, told: 4321},
		{name: "Disconnect", end: func(s *station, _ *testutil.Page, c *wspush.Conn) {
			s.Disconnect(context.Background(), c.ID(), 1000, "")
		}, ends: wspush.CauseClosed, told: 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inStation(t, wspush.WorkerOptions{}, opts(), func(t *testing.T, s *station) {
				p, c := s.visit()
				tt.end(s, p, c)
				synctest.Wait()
				p.Close()
				synctest.Wait()
				events := []string{"connect"}
				if tt.name == "a panic" {
					events = append(events, "message panic")
				}
				if tt.suspends != "" {
					s.want(append(events, "suspend "+string(tt.suspends))...)
					if q := s.back(p.Ticket()); !q.Hello.Resumed {
						t.Errorf("%s", q.Hello.Raw)
					}
					return
				}
				s.want(append(events, "disconnect "+string(tt.ends))...)
				testutil.Pass(window - time.Second)
				q := s.back(p.Ticket())
				switch {
				case tt.told == 0 && q.Hello.Why == "unknown":
				case tt.told != 0 && q.Hello.Raw == "":
					if code, _ := q.End(); code != tt.told {
						t.Errorf("closed with %d", code)
					}
				default:
					t.Errorf("%s", q.Hello.Raw)
				}
				testutil.Pass(2 * time.Second)
				if q := s.back(p.Ticket()); q.Hello.Why != "unknown" {
					t.Errorf("at last: %s", q.Hello.Raw)
				}
			})
		})
	}
}

// Item 7: timers and a client that does not read suspend the session, too.
func TestSessionTimers(t *testing.T) {
	opts := &wspush.HandlerOptions{PingInterval: 50 * time.Second, IdleTimeout: time.Minute}
	inStation(t, wspush.WorkerOptions{}, opts, func(t *testing.T, s *station) {
		header := http.Header{"Sec-WebSocket-Protocol": {"wspush.v1"}}
		c := testutil.Handshake(t, s.line(), testutil.Options{Header: header, Silent: true, Timeout: -1})
		c.Text()
		go io.Copy(io.Discard, c.Conn())
		testutil.Pass(time.Minute)
		s.want("connect")
		testutil.Pass(time.Second)
		c.Send(testutil.Text, []byte("late")) // in place of an answer to the close frame
		testutil.Pass(time.Second)
		s.want("suspend idle")
		testutil.Pass(window - 2*time.Second)
		s.want("disconnect away")
	})
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		header := http.Header{"Sec-WebSocket-Protocol": {"wspush.v1"}}
		c := testutil.Handshake(t, s.line(), testutil.Options{Header: header, Timeout: -1})
		c.Text() // and nothing more, not even the ping behind it
		synctest.Wait()
		conn := s.conns[0]
		if r, err := conn.Push(context.Background(), wspush.Text, []byte("1")); err != nil || r.State != wspush.Buffered {
			t.Errorf("%+v, %v", r, err)
		}
		s.want("connect", "suspend write-timeout")
		testutil.Pass(window)
		s.want("disconnect away 1:false")
	})
}
