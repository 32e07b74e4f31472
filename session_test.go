package wspush_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// window is for how long the sessions of these tests wait for their clients.
const window = 2 * time.Minute

// station is a worker with one mount, at which pages come and go, in a bubble.
type station struct {
	*wspush.Worker
	t *testing.T
	h *wspush.Handler

	mu     sync.Mutex // guards what follows
	events []string   // callbacks, as they begin
	conns  []*wspush.Conn
}

// inStation runs a test in a bubble of its own. opts may be nil.
func inStation(t *testing.T, worker wspush.WorkerOptions, opts *wspush.HandlerOptions, test func(t *testing.T, s *station)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newStation(t, worker, opts)) })
}

func newStation(t *testing.T, worker wspush.WorkerOptions, opts *wspush.HandlerOptions) *station {
	t.Helper()
	worker.NoListen, worker.Advertise = true, []string{"http://127.0.0.1:1"}
	return stationOf(t, newWorker(t, &worker), opts)
}

// stationOf makes a station of a worker.
func stationOf(t *testing.T, w *wspush.Worker, opts *wspush.HandlerOptions) *station {
	t.Helper()
	s := &station{t: t, Worker: w}
	var o wspush.HandlerOptions
	if opts != nil {
		o = *opts
	}
	if o.ResumeWindow == 0 {
		o.ResumeWindow = window
	}
	onConnect, onMessage, onSuspend, onResume, onDisconnect := o.OnConnect, o.OnMessage, o.OnSuspend, o.OnResume, o.OnDisconnect
	o.OnConnect = func(c *wspush.Conn) {
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.note("connect")
		if onConnect != nil {
			onConnect(c)
		}
	}
	o.OnMessage = func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
		s.note("message " + string(data))
		if onMessage != nil {
			onMessage(c, typ, data)
		}
	}
	o.OnSuspend = func(c *wspush.Conn, reason error) {
		s.note("suspend " + string(causeOf(reason)))
		if onSuspend != nil {
			onSuspend(c, reason)
		}
	}
	o.OnResume = func(c *wspush.Conn) {
		s.note("resume")
		if onResume != nil {
			onResume(c)
		}
	}
	o.OnDisconnect = func(c *wspush.Conn, reason error) {
		text := "disconnect " + string(causeOf(reason))
		for m := range c.Unconfirmed() {
			text += fmt.Sprintf(" %s:%v", m.Data, m.Written)
		}
		s.note(text)
		if onDisconnect != nil {
			onDisconnect(c, reason)
		}
	}
	s.h = newHandler(t, s.Worker, &o)
	return s
}

func causeOf(reason error) wspush.Cause {
	closed := reason.(*wspush.CloseError)
	return closed.Cause
}

func (s *station) note(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

// want ends the test unless these are the callbacks since the last call.
func (s *station) want(events ...string) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.events, events) {
		s.t.Fatalf("callbacks %q, want %q", s.events, events)
	}
	s.events = nil
}

// line returns a connection to the mount.
func (s *station) line() net.Conn { return testutil.Pipe(s.t, s.h) }

// visit is a page that comes for the first time. It has been greeted.
func (s *station) visit(protocols ...string) (*testutil.Page, *wspush.Conn) {
	s.t.Helper()
	p := testutil.Visit(s.t, s.line(), testutil.Options{}, "", protocols...)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return p, s.conns[len(s.conns)-1]
}

// back is a page that comes back.
func (s *station) back(resume string, protocols ...string) *testutil.Page {
	s.t.Helper()
	p := testutil.Visit(s.t, s.line(), testutil.Options{}, resume, protocols...)
	synctest.Wait()
	return p
}

// turnedAway ends the test unless a page that comes back is refused because the worker shuts down.
func (s *station) turnedAway(resume string) {
	s.t.Helper()
	header := http.Header{"Sec-Websocket-Protocol": {"wspush.v1, wspush.resume." + resume}}
	_, resp, err := testutil.TryHandshake(s.t, s.line(), testutil.Options{Header: header, Timeout: -1})
	if resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		s.t.Errorf("%v, %v, want 503 with Retry-After", resp, err)
	}
}

// push pushes a text, and ends the test unless it comes to this.
func (s *station) push(c *wspush.Conn, text string, want wspush.State, opts ...wspush.PushOption) wspush.Receipt {
	s.t.Helper()
	r, err := c.Push(context.Background(), wspush.Text, []byte(text), opts...)
	if err != nil || r.State != want {
		s.t.Fatalf("pushing %q: %+v, %v; want %s", text, r, err, want)
	}
	return r
}

// refused ends the test unless a push fails with this error.
func (s *station) refused(c *wspush.Conn, text string, want error, opts ...wspush.PushOption) {
	s.t.Helper()
	if r, err := c.Push(context.Background(), wspush.Text, []byte(text), opts...); !errors.Is(err, want) {
		s.t.Fatalf("pushing %q: %+v, %v; want %v", text, r, err, want)
	}
}

// Item 2 of the wire: what the hello says, and an application's greeting is the first message of a new session, and only of that.
func TestSessionHello(t *testing.T) {
	greeting := func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte("welcome") }
	inStation(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{Greeting: greeting}, func(t *testing.T, s *station) {
		p, c := s.visit()
		if h := p.Hello; h.Address != "" || h.Ticket == "" || h.Window != 120 || h.Resumed || h.Why != "" {
			t.Fatalf("%s", h.Raw)
		}
		p.Want("welcome")
		s.push(c, "123", wspush.Written)
		p.Want("123")
		s.want("connect")
		p.Close()
		s.want("suspend lost")
		q := s.back(p.Ticket())
		if h := q.Hello; !h.Resumed || h.Offset != 2 || h.Missed != 0 || h.Ticket == p.Hello.Ticket || h.Window != 120 || h.Address != p.Hello.Address {
			t.Fatalf("%s", h.Raw)
		}
		s.want("resume")
		s.push(c, "456", wspush.Written)
		q.Want("456")
	})
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		if h := p.Hello; h.Address != strings.Join(c.Addresses(), ",") {
			t.Fatalf("%s", h.Raw)
		}
		p.Close()
		s.want("connect", "suspend lost")
		if q := s.back(p.Ticket()); q.Hello.Address != p.Hello.Address {
			t.Fatalf("%s", q.Hello.Raw)
		}
	})
}

// A client that is told no address does not learn one by offering wspush.v1, whether there are sessions or not.
func TestSessionHelloWithoutAddress(t *testing.T) {
	nothing := func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, nil }
	for _, d := range []time.Duration{-1, window} {
		inStation(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{Greeting: nothing, ResumeWindow: d}, func(t *testing.T, s *station) {
			p, c := s.visit()
			id := uuid.MustParse(c.ID())
			ticket, err := base64.RawURLEncoding.DecodeString(p.Hello.Ticket)
			if p.Hello.Address != "" || strings.Contains(p.Hello.Raw, c.ID()) || err != nil || bytes.Contains(ticket, id[:]) {
				t.Errorf("%s: %v", p.Hello.Raw, err)
			}
			s.push(c, "123", wspush.Written)
			p.Want("123")
			if d < 0 {
				return
			}
			p.Close()
			synctest.Wait()
			if q := s.back(p.Ticket()); !q.Hello.Resumed || q.Hello.Address != "" {
				t.Errorf("%s", q.Hello.Raw)
			}
		})
	}
}

// What is pushed while the client is away is buffered, and comes exactly once and in order.
func TestSessionBuffers(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		s.push(c, "1", wspush.Written)
		p.Want("1")
		p.Close()
		synctest.Wait()
		testutil.Pass(10 * time.Second)
		for _, text := range []string{"2", "3"} {
			if r := s.push(c, text, wspush.Buffered); r.BufferedFor != window-10*time.Second {
				t.Errorf("%v", r.BufferedFor)
			}
		}
		if i := c.Info(); !i.Session || !i.Suspended || i.Buffered != 3 || i.BufferedBytes != 3 || time.Since(i.Since) != 10*time.Second {
			t.Errorf("%+v", i)
		}
		q := s.back(p.Ticket())
		q.Want("2", "3")
		s.push(c, "4", wspush.Received, wspush.Confirmed())
		q.Want("4")
		s.want("connect", "suspend lost", "resume")
	})
}

// A session whose client does not come back ends when its window is over, and says what the client has not got.
func TestSessionExpires(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		s.push(c, "1", wspush.Buffered)
		testutil.Pass(window - time.Millisecond)
		s.want("connect", "suspend lost")
		testutil.Pass(time.Millisecond)
		s.want("disconnect away 1:false")
		s.refused(c, "2", wspush.ErrGone)
		q := s.back(p.Ticket())
		if q.Hello.Resumed || q.Hello.Why != "expired" {
			t.Errorf("%s", q.Hello.Raw)
		}
		testutil.Pass(window + time.Second)
		if r := s.back(p.Ticket()); r.Hello.Resumed || r.Hello.Why != "unknown" {
			t.Errorf("%s", r.Hello.Raw)
		}
		var closed *wspush.CloseError
		if !errors.As(context.Cause(c.Context()), &closed) || closed.Cause != wspush.CauseAway {
			t.Errorf("%v", context.Cause(c.Context()))
		}
	})
}

// lockedWriter is a log that is read while it is written.
type lockedWriter struct {
	mu *sync.Mutex
	to *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func loggerTo(mu *sync.Mutex, to *strings.Builder) *slog.Logger {
	return slog.New(slog.NewTextHandler(lockedWriter{mu, to}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// textFrame is a message of a client.
func textFrame(text string) testutil.Frame {
	return testutil.Frame{Fin: true, Op: testutil.Text, Masked: true, Payload: []byte(text)}
}
