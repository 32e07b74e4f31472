package wspush_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// restart shuts the station down, and starts another one with the same options, which finds the sessions.
func (s *station) restart(worker wspush.WorkerOptions, opts *wspush.HandlerOptions) *station {
	s.t.Helper()
	if err := s.Shutdown(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return newStation(s.t, worker, opts)
}

// conn returns the only connection of the station.
func (s *station) conn() *wspush.Conn {
	s.t.Helper()
	if s.Len() != 1 {
		s.t.Fatalf("there are %d connections", s.Len())
	}
	for c := range s.Conns() {
		return c
	}
	return nil
}

// sessionFile returns the path of a session file that is not there yet.
func sessionFile(t *testing.T) string { return filepath.Join(t.TempDir(), "sessions") }

// A restart loses nothing: what has been written and not been confirmed, what was confirmed just now, what has been buffered, in order and once;
// and whatever there is to know about the session.
func TestSaved(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	opts := &wspush.HandlerOptions{
		Accept:       func(r *http.Request) (any, error) { return "value of " + r.Header.Get("User-Agent"), nil },
		User:         func(*http.Request, any) string { return "ann" },
		Groups:       func(*wspush.Conn) []string { return []string{"g1", "g2"} },
		Subprotocols: []string{"chat"},
		SaveValue:    func(value any) ([]byte, error) { return []byte(value.(string)), nil },
		LoadValue:    func(data []byte) (any, error) { return string(data) + ", saved", nil },
	}
	inStation(t, worker, opts, func(t *testing.T, s *station) {
		p := testutil.Visit(t, s.line(), testutil.Options{Header: http.Header{"User-Agent": {"browser"}}}, "", "chat")
		synctest.Wait()
		c := s.conn()
		s.push(c, "confirmed", wspush.Received, wspush.Confirmed())
		p.Want("confirmed")
		s.push(c, "unconfirmed", wspush.Written)
		p.Want("unconfirmed")
		testutil.Pass(3 * time.Second)
		p.Close()
		synctest.Wait()
		testutil.Pass(30 * time.Second)
		s.push(c, "buffered", wspush.Buffered)
		if err := c.Join(t.Context(), "g3"); err != nil {
			t.Fatal(err)
		}
		before := c.Info()
		next := s.restart(worker, opts)
		s.want("connect", "suspend lost", "disconnect moved")
		s.refused(c, "late", wspush.ErrShutdown)
		if _, err := os.Lstat(worker.SessionFile); !os.IsNotExist(err) {
			t.Errorf("the file is still there: %v", err)
		}

		d := next.conn()
		if d.ID() != c.ID() || d.Value() != "value of browser, saved" || d.Addresses()[0] != c.Addresses()[0] {
			t.Errorf("%s has the value %v", d.ID(), d.Value())
		}
		after := d.Info()
		if before.ResumableFor != window-30*time.Second {
			t.Errorf("%v", before.ResumableFor)
		}
		if after.ConnectedAt, after.LastActive = before.ConnectedAt, after.LastActive.Round(0).In(before.LastActive.Location()); !after.LastActive.Equal(before.LastActive) {
			t.Errorf("active at %v, not %v", after.LastActive, before.LastActive)
		}
		after.LastActive, after.Since = before.LastActive, before.Since
		if !reflect.DeepEqual(before, after) {
			t.Errorf("\n%+v\n%+v", before, after)
		}
		if st := next.Stats(); st.Sessions.Loaded != 1 || st.Sessions.Live != 1 || st.Sessions.Suspended != 1 || st.Sessions.Buffered != 2 || st.Connections != 1 {
			t.Errorf("%+v", st.Sessions)
		}
		if r, err := next.Group("g3").Push(t.Context(), wspush.Text, []byte("to the group")); err != nil || r.Buffered != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := next.User("ann").Push(t.Context(), wspush.Text, []byte("to the user")); err != nil || r.Buffered != 1 {
			t.Errorf("%+v, %v", r, err)
		}

		q := next.back(p.Ticket(), "chat")
		if h := q.Hello; !h.Resumed || h.Offset != 2 || h.Missed != 0 || h.Protocol != "chat" || h.Address != p.Hello.Address {
			t.Fatalf("%s", h.Raw)
		}
		q.Want("buffered", "to the group", "to the user")
		next.want("resume")
		next.push(d, "live", wspush.Received, wspush.Confirmed())
		q.Want("live")
	})
}

// A page that had not read what its endpoint has confirmed gets it again, also after a restart; and one that asks for too much is refused as ever.
func TestSavedRetained(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	inStation(t, worker, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		for i := range 5 {
			s.push(c, fmt.Sprint(i), wspush.Received, wspush.Confirmed())
		}
		p.Want("0", "1")
		ticket := p.Ticket()
		next := s.restart(worker, nil)
		if q := testutil.Visit(t, next.line(), testutil.Options{}, strings.TrimSuffix(ticket, ".2")+".6"); q.Hello.Raw != "" {
			t.Errorf("%s", q.Hello.Raw)
		}
		q := next.back(ticket)
		if q.Hello.Offset != 2 {
			t.Fatalf("%s", q.Hello.Raw)
		}
		q.Want("2", "3", "4")
		q.Close()
		synctest.Wait()
		testutil.Pass(11 * time.Second)
		ticket = q.Ticket()
		if next.conn().Info().Buffered != 3 { // which nobody has confirmed
			t.Errorf("%+v", next.conn().Info())
		}
		last := next.restart(worker, nil)
		r := last.back(ticket[:strings.LastIndex(ticket, ".")] + ".0") // what was released stays so
		if r.Hello.Offset != 2 || r.Hello.Missed != 2 {
			t.Fatalf("%s", r.Hello.Raw)
		}
		r.Want("2", "3", "4")
	})
}

// Shutdown suspends the sessions that are connected, tells their clients to come back, and the time in which they cannot is not theirs.
func TestSavedWindows(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t), DrainOver: 10 * window}
	inStation(t, worker, nil, func(t *testing.T, s *station) {
		_, c := s.visit()
		gone, _ := s.visit()
		_, d := s.visit()
		gone.Close()
		synctest.Wait()
		testutil.Pass(window / 2)
		s.want("connect", "connect", "connect", "suspend lost")
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		s.turnedAway(gone.Ticket())
		testutil.Pass(3 * window)
		buffered := 0
		for _, c := range []*wspush.Conn{c, d} { // one of them is closed at once, the other one later
			r, err := c.Push(t.Context(), wspush.Text, []byte("1"))
			if err != nil || r.State == wspush.Buffered && r.BufferedFor != window {
				t.Errorf("%+v, %v", r, err)
			}
			if r.State == wspush.Buffered {
				buffered++
			}
		}
		if buffered != 1 {
			t.Errorf("%d are suspended", buffered)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		testutil.Pass(100 * window) // without a worker
		next := newStation(t, worker, nil)
		testutil.Pass(window/2 - time.Second)
		if n := next.Len(); n != 3 {
			t.Errorf("%d sessions are left", n)
		}
		testutil.Pass(time.Second)
		synctest.Wait()
		if n := next.Len(); n != 2 {
			t.Errorf("%d sessions are left", n)
		}
		testutil.Pass(window / 2)
		synctest.Wait()
		next.mu.Lock()
		slices.Sort(next.events)
		next.mu.Unlock()
		next.want("disconnect away", "disconnect away", "disconnect away 1:false")
	})
}

// Those who wait are told the truth: what has begun is the session's, and goes on; what has not was not and will not be written.
func TestSavedWaiting(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	inStation(t, worker, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		p.Close()
		synctest.Wait()
		confirmed := s.pushing(context.Background(), c, "confirmed", wspush.Confirmed())
		kept := s.pushing(context.Background(), c, "kept", wspush.Keep(time.Minute))
		waits(t, confirmed)
		waits(t, kept)
		next := s.restart(worker, nil)
		soon(t, confirmed, wspush.ErrShutdown.Error())
		soon(t, kept, wspush.ErrShutdown.Error())
		q := next.back(p.Ticket())
		next.push(next.conn(), "after", wspush.Written)
		q.Want("after")
	})
	worker.SessionFile = sessionFile(t)
	inStation(t, worker, nil, func(t *testing.T, s *station) {
		p := testutil.Handshake(t, s.line(), testutil.Options{Timeout: -1, Header: http.Header{"Sec-Websocket-Protocol": {"wspush.v1"}}})
		var hello testutil.Hello
		if err := json.Unmarshal(p.NextFrame().Payload, &hello); err != nil {
			t.Fatal(err)
		}
		p.NextFrame() // the ping behind it, which is never answered
		synctest.Wait()
		begun := s.pushing(context.Background(), s.conn(), "begun", wspush.Confirmed())
		p.Expect(testutil.Text, "begun")
		waits(t, begun)
		go io.Copy(io.Discard, p.Conn())
		next := s.restart(worker, nil)
		soon(t, begun, "buffered")
		q := next.back(hello.Ticket + ".0")
		q.Want("begun")
	})
}

// What cannot be written is the application's, as if there was no file; and a file that nobody has taken yet is not replaced.
func TestSavedNot(t *testing.T) {
	for _, name := range []string{"the directory is gone", "another worker's file"} {
		dir := filepath.Join(t.TempDir(), "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var log strings.Builder
		worker := wspush.WorkerOptions{SessionFile: filepath.Join(dir, "sessions"), Logger: loggerTo(&mu, &log)}
		inStation(t, worker, nil, func(t *testing.T, s *station) {
			p, c := s.visit()
			s.push(c, "1", wspush.Received, wspush.Confirmed())
			s.push(c, "2", wspush.Written)
			p.Want("1", "2")
			p.Close()
			synctest.Wait()
			s.push(c, "3", wspush.Buffered)
			waiting := s.pushing(context.Background(), c, "4", wspush.Confirmed())
			if name == "the directory is gone" {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(worker.SessionFile, []byte("theirs"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "could not be written") {
				t.Error(err)
			}
			s.want("connect", "suspend lost", "disconnect shutdown 2:true 3:false")
			soon(t, waiting, wspush.ErrShutdown.Error())
		})
		mu.Lock()
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "could not be written") || !strings.Contains(log.String(), "messages=3") {
			t.Errorf("%s: %s", name, log.String())
		}
		mu.Unlock()
		if content, err := os.ReadFile(worker.SessionFile); err == nil && string(content) != "theirs" {
			t.Errorf("%q", content)
		}
	}
}

// A Shutdown without time loses nothing either, whatever the callbacks do, and however often it is called.
func TestSavedCut(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		hold := make(chan struct{})
		release := sync.OnceFunc(func() { close(hold) })
		defer release()
		busy := newStation(t, wspush.WorkerOptions{SessionFile: worker.SessionFile}, &wspush.HandlerOptions{
			OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) { <-hold },
		})
		p, c := busy.visit()
		q, d := busy.visit()
		testutil.Handshake(t, busy.line(), testutil.Options{Timeout: -1, Header: http.Header{"Sec-Websocket-Protocol": {"wspush.v1"}}}) // does not read
		p.Send(testutil.Text, []byte("hello"))
		synctest.Wait()
		busy.push(c, "1", wspush.Written)
		busy.push(d, "2", wspush.Written)
		p.Want("1")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- busy.Shutdown(ended) }()
		}
		for range 2 {
			if err := <-results; err != context.Canceled {
				t.Error(err)
			}
		}
		next := newStation(t, worker, nil)
		if next.Len() != 3 { // the third one's client may have its ticket, for all that is known
			t.Fatalf("%d sessions", next.Len())
		}
		next.back(p.Ticket()).WantNothing()
		next.back(q.Ticket()).Want("2")
		release()
		synctest.Wait()
		if err := busy.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for _, id := range []string{c.ID(), d.ID()} {
			c, _ := next.Conn(id)
			next.push(c, "3", wspush.Received, wspush.Confirmed())
		}
	})
}

// A session cannot be ended any more once it is being written: it would come back from the file.
func TestSavedEnd(t *testing.T) {
	testutil.NoLeak(t)
	o := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	var c *wspush.Conn
	answers := make(chan error, 1)
	taken := make(chan struct{})
	w := newWorker(t, &o)
	server := serve(t, w, &wspush.HandlerOptions{
		ResumeWindow: window,
		Accept:       func(*http.Request) (any, error) { return "value", nil },
		SaveValue: func(any) ([]byte, error) { // while the file is made
			answers <- c.Close(4000, "")
			if _, err := c.Push(context.Background(), wspush.Text, nil); err != wspush.ErrShutdown {
				t.Errorf("%v", err)
			}
			if err := w.Disconnect(context.Background(), c.ID(), 4000, ""); err != wspush.ErrShutdown {
				t.Errorf("%v", err)
			}
			close(taken)
			return nil, nil
		},
		LoadValue: func([]byte) (any, error) { return nil, nil },
	})
	ticket, c := away(t, w, server, "/ws")
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-taken
	if err := <-answers; err != wspush.ErrShutdown {
		t.Errorf("%v", err)
	}
	if err := c.Close(4000, ""); err != wspush.ErrShutdown {
		t.Errorf("after Shutdown: %v", err)
	}
	next := newWorker(t, &o)
	if p := arrive(t, serve(t, next, &wspush.HandlerOptions{ResumeWindow: window}), "/ws", ticket); !p.Hello.Resumed {
		t.Errorf("%s", p.Hello.Raw)
	}
}

// Nor can anything else be changed: the answer says that the session goes on elsewhere, and is the same for those who ask about its user.
func TestSavedUnchangeable(t *testing.T) {
	testutil.NoLeak(t)
	o := wspush.WorkerOptions{SessionFile: sessionFile(t), AuthorizePush: func(*http.Request) error { return nil }}
	var c *wspush.Conn
	w := newWorker(t, &o)
	mounted := testutil.Serve(t, w) // the application's own server is not stopped
	asked := make(chan struct{})
	server := serve(t, w, &wspush.HandlerOptions{
		ResumeWindow: window,
		User:         func(*http.Request, any) string { return "ann" },
		Groups:       func(*wspush.Conn) []string { return []string{"in"} },
		SaveValue: func(any) ([]byte, error) { // while the file is made
			for name, ask := range map[string]func() error{
				"Join":       func() error { return c.Join(context.Background(), "late") },
				"Leave":      func() error { return c.Leave(context.Background(), "in") },
				"Disconnect": func() error { _, err := w.User("ann").Disconnect(context.Background(), 4000, ""); return err },
				"Push":       func() error { _, err := w.User("ann").Push(context.Background(), wspush.Text, nil); return err },
			} {
				if err := ask(); err != wspush.ErrShutdown {
					t.Errorf("%s: %v", name, err)
				}
			}
			for _, request := range []string{"DELETE @connections/ID", "DELETE @users/ann?close=all", "POST @users/ann", "PUT @connections/ID/@groups/late"} {
				method, path, _ := strings.Cut(strings.Replace(request, "ID", c.ID(), 1), " ")
				resp, err := try(newRequest(t, method, mounted+"/ws/"+path, nil))
				if err != nil || resp.StatusCode != 503 {
					t.Errorf("%s: %v, %v", request, resp, err)
				}
			}
			close(asked)
			return nil, nil
		},
		LoadValue: func([]byte) (any, error) { return nil, nil },
	})
	_, c = away(t, w, server, "/ws")
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-asked
	d, ok := newWorker(t, &o).Conn(c.ID())
	if !ok || !slices.Equal(d.Groups(), []string{"in"}) {
		t.Errorf("%v, groups %q", ok, d.Groups())
	}
}

// A session that is closed at any time of a Shutdown stays closed, and its client is told so however long the Shutdown takes.
func TestSavedClosed(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t), DrainOver: 10 * window}
	inStation(t, worker, nil, func(t *testing.T, s *station) {
		p, c := s.visit()
		q, d := s.visit()
		s.visit()
		s.visit() // whose turn comes late
		p.Close()
		q.Close()
		synctest.Wait()
		if err := c.Close(4001, "before"); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		testutil.Pass(2 * window)
		if err := d.Close(4002, "meanwhile"); err != nil {
			t.Fatal(err)
		}
		testutil.Pass(5 * window)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		next := newStation(t, worker, nil)
		for code, ticket := range map[int]string{4001: p.Ticket(), 4002: q.Ticket()} {
			r := testutil.Visit(t, next.line(), testutil.Options{}, ticket)
			if r.Hello.Raw != "" {
				t.Errorf("%s", r.Hello.Raw)
			} else if got, reason := r.End(); got != code {
				t.Errorf("%d %s, want %d", got, reason, code)
			}
		}
	})
}

// SaveValue that does not return, or ends its goroutine, costs Values and nothing else.
func TestSavedValueStuck(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	for _, name := range []string{"blocks", "ends its goroutine"} {
		inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
			hold := make(chan struct{})
			defer close(hold)
			var log strings.Builder
			var mu sync.Mutex
			o := worker
			o.Logger = loggerTo(&mu, &log)
			stuck := newStation(t, o, &wspush.HandlerOptions{
				SaveValue: func(any) ([]byte, error) {
					if name == "blocks" {
						<-hold
					}
					runtime.Goexit()
					return nil, nil
				},
				LoadValue: func([]byte) (any, error) { t.Error("there is nothing to load"); return nil, nil },
			})
			p, c := stuck.visit()
			stuck.visit()
			p.Close()
			synctest.Wait()
			stuck.push(c, "1", wspush.Buffered)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begin := time.Now()
			if err := stuck.Shutdown(ctx); err != nil && name != "blocks" {
				t.Error(err)
			}
			if took := time.Since(begin); took > time.Minute+5*time.Second {
				t.Errorf("it took %v", took)
			}
			mu.Lock()
			if isLate := strings.Contains(log.String(), "SaveValue took too long"); isLate != (name == "blocks") {
				t.Errorf("%s: %s", name, log.String())
			}
			mu.Unlock()
			next := newStation(t, worker, nil)
			if next.Len() != 2 {
				t.Errorf("%d sessions", next.Len())
			}
			next.back(p.Ticket()).Want("1")
			if err := os.Remove(worker.SessionFile); err == nil {
				t.Error("the file is still there")
			}
			if err := next.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if err := os.Remove(worker.SessionFile); err != nil {
				t.Error(err)
			}
		})
	}
}

// While a worker is restarted again and again under fire, every push that was accepted arrives exactly once and in order, and no other.
func TestSavedStress(t *testing.T) {
	testutil.NoLeak(t)
	o := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	const clients, restarts = 8, 4
	var accepted [clients][]string
	var tickets [clients]string
	var got [clients][]string
	var ids [clients]string
	for round := range restarts + 1 {
		w := newWorker(t, &o)
		server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: window, Groups: func(*wspush.Conn) []string { return []string{"all"} }})
		var pages [clients]*testutil.Page
		for i := range clients {
			pages[i] = arrive(t, server, "/ws", tickets[i])
			if round == 0 {
				address := pages[i].Hello.Address
				ids[i] = strings.TrimPrefix(address[:strings.Index(address, "@")], "http://")
			} else if h := pages[i].Hello; !h.Resumed || h.Missed > 0 {
				t.Fatalf("%s", h.Raw)
			}
		}
		if round == restarts {
			for i, p := range pages {
				for len(got[i]) < len(accepted[i]) {
					got[i] = append(got[i], p.Next())
				}
				if !slices.Equal(got[i], accepted[i]) {
					t.Errorf("client %d has %q, and %q were accepted", i, got[i], accepted[i])
				}
				p.WantNothing()
			}
			return
		}
		var publishers sync.WaitGroup
		begun := make(chan struct{}, clients)
		for i := range clients {
			publishers.Go(func() {
				for n := 0; ; n++ {
					text := fmt.Sprintf("%d.%d %s", round, n, strings.Repeat("x", n%3*700))
					var opts []wspush.PushOption
					switch n % 4 {
					case 1:
						opts = append(opts, wspush.Confirmed())
					case 2:
						opts = append(opts, wspush.Keep(0))
					}
					_, err := w.Push(context.Background(), ids[i], wspush.Text, []byte(text), opts...)
					switch {
					case err == nil:
						accepted[i] = append(accepted[i], text)
					case errors.Is(err, wspush.ErrShutdown):
						return
					case errors.Is(err, wspush.ErrSuspended) && n%4 == 2:
					case errors.Is(err, wspush.ErrUnknown):
						t.Errorf("%v", err)
					}
					if n == 20 {
						begun <- struct{}{}
					}
				}
			})
		}
		for range clients {
			<-begun
		}
		// Some leave in the middle, and everybody reads only some of what comes.
		for i, p := range pages {
			for range 5 {
				got[i] = append(got[i], p.Next())
			}
			if i%2 == 0 {
				p.Close()
			}
			tickets[i] = p.Ticket()
		}
		if err := w.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		publishers.Wait()
	}
}
