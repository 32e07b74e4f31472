package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/testutil"
)

// leave makes a worker with one session that its client has left, and shuts it down. What is pushed is in the file, and so is a session that was
// closed.
func leave(t *testing.T, o wspush.WorkerOptions, pushed ...string) (c, closed *wspush.Conn, ticket, closedTicket string) {
	t.Helper()
	w := newWorker(t, &o)
	server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: window})
	ticket, c = away(t, w, server, "/ws")
	closedTicket, closed = away(t, w, server, "/ws")
	for _, text := range pushed {
		if r, err := c.Push(t.Context(), wspush.Text, []byte(text)); err != nil || r.State != wspush.Buffered {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := closed.Close(4000, "enough"); err != nil {
		t.Fatal(err)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, closed, ticket, closedTicket
}

// The addresses of a session, and its sealed ID, stay good: the next worker listens at the same port and answers to the same name, also before there
// is a Handler. A session that was closed stays so.
func TestLoaded(t *testing.T) {
	testutil.NoLeak(t)
	for _, cluster := range []*wspush.Cluster{nil, {Keys: [][]byte{clusterKey}}} {
		o := wspush.WorkerOptions{SessionFile: sessionFile(t), Cluster: cluster}
		c, _, ticket, closedTicket := leave(t, o, "1")
		if info, err := os.Stat(o.SessionFile); err != nil || info.Mode() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		w := newWorker(t, &o)
		if _, err := os.Stat(o.SessionFile); !os.IsNotExist(err) {
			t.Errorf("while the worker serves: %v", err)
		}
		resp := post(t, c.PathAddresses()[0], "text/plain", []byte("2"))
		if resp.StatusCode != 202 {
			t.Errorf("at the old address: %s", resp.Status)
		}
		if cluster != nil {
			if r, err := w.Push(t.Context(), c.SealedID(), wspush.Text, []byte("3")); err != nil || r.State != wspush.Buffered {
				t.Errorf("by the old sealed ID: %+v, %v", r, err)
			}
		}
		server := serve(t, w, &wspush.HandlerOptions{ResumeWindow: window})
		if p := arrive(t, server, "/ws", closedTicket); p.Hello.Raw != "" {
			t.Errorf("a session that was closed: %s", p.Hello.Raw)
		} else if code, reason := p.End(); code != 4000 || reason != "enough" {
			t.Errorf("%d %s", code, reason)
		}
		p := arrive(t, server, "/ws", ticket)
		if !p.Hello.Resumed {
			t.Fatalf("%s", p.Hello.Raw)
		}
		p.Want("1", "2")
		if cluster != nil {
			p.Want("3")
		}
		if resp := post(t, c.PathAddresses()[0]+"?confirm=received", "text/plain", []byte("4")); resp.StatusCode != 204 {
			t.Errorf("confirmed: %s", resp.Status)
		}
		p.Want("4")
	}
}

// A worker that cannot have what its predecessor has left says why, and leaves it where it is.
func TestLoadRefused(t *testing.T) {
	testutil.NoLeak(t)
	o := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	c, _, ticket, _ := leave(t, o, "1")
	whole, err := os.ReadFile(o.SessionFile)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(o wspush.WorkerOptions, want ...string) {
		t.Helper()
		w, err := wspush.NewWorker(&o)
		if err == nil {
			w.Shutdown(t.Context())
			t.Fatal("no error")
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v, want %q", err, part)
			}
		}
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(o.SessionFile, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, content := range [][]byte{whole[:len(whole)-1], whole[:20], nil, []byte("something else that is quite long, and no session file")} {
		write(content)
		refused(o, "SessionFile", o.SessionFile, "damaged", "remove it")
	}
	write(whole)
	taken, err := net.Listen("tcp", strings.TrimPrefix(c.PathAddresses()[0], "http://")[:len("127.0.0.1:00000")])
	if err != nil {
		t.Fatal(err)
	}
	refused(o, "push listener", "in use", o.SessionFile)
	taken.Close()
	wrong := o
	wrong.Advertise = []string{"no such host:"}
	refused(wrong, "Advertise")
	refused(wspush.WorkerOptions{SessionFile: filepath.Join(o.SessionFile, "below")}, "SessionFile", "could not be written")
	if now, err := os.ReadFile(o.SessionFile); err != nil || !bytes.Equal(now, whole) {
		t.Fatalf("the file has changed: %v", err)
	}

	w := newWorker(t, &o)
	p := arrive(t, serve(t, w, &wspush.HandlerOptions{ResumeWindow: window}), "/ws", ticket)
	p.Want("1")
}

// A port that is set is not that of the predecessor, if it differs: the session goes on, and its client learns its new address.
func TestLoadedElsewhere(t *testing.T) {
	testutil.NoLeak(t)
	o := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	c, _, ticket, _ := leave(t, o)
	var mu sync.Mutex
	var log strings.Builder
	o.Logger = loggerTo(&mu, &log)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Listener = listener
	w := newWorker(t, &o)
	p := arrive(t, serve(t, w, &wspush.HandlerOptions{ResumeWindow: window}), "/ws", ticket)
	if !p.Hello.Resumed || p.Hello.Address == strings.Join(c.Addresses(), ",") || !strings.Contains(p.Hello.Address, listener.Addr().String()) {
		t.Errorf("%s", p.Hello.Raw)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "name another port") {
		t.Errorf("%s", log.String())
	}
}

// Sessions find their Handler by its name. Without one, their callbacks wait for it, and Shutdown says so.
func TestLoadedNames(t *testing.T) {
	o := wspush.WorkerOptions{SessionFile: sessionFile(t), NoListen: true, Advertise: []string{"http://127.0.0.1:1"}}
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, &o)
		if _, err := wspush.NewHandler(w, &wspush.HandlerOptions{}); err != nil { // it has no sessions
			t.Fatal(err)
		}
		a := newHandler(t, w, &wspush.HandlerOptions{ResumeWindow: window, Name: "a"})
		b := newHandler(t, w, &wspush.HandlerOptions{ResumeWindow: window, Name: "b"})
		for name, want := range map[string]string{"": "needs one", "a": `"a"`} {
			if _, err := wspush.NewHandler(w, &wspush.HandlerOptions{ResumeWindow: window, Name: name}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", name, err)
			}
		}
		p := testutil.Visit(t, testutil.Pipe(t, a), testutil.Options{}, "")
		q := testutil.Visit(t, testutil.Pipe(t, b), testutil.Options{}, "")
		p.Close()
		q.Close()
		synctest.Wait()
		var events []string
		note := func(name string) *wspush.HandlerOptions {
			return &wspush.HandlerOptions{ResumeWindow: window, Name: name, OnDisconnect: func(c *wspush.Conn, reason error) {
				events = append(events, name+" "+string(causeOf(reason)))
			}}
		}
		if err := w.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}

		var mu sync.Mutex
		var log strings.Builder
		next := o
		next.Logger = loggerTo(&mu, &log)
		w = newWorker(t, &next)
		if w.Len() != 2 {
			t.Fatalf("%d connections", w.Len())
		}
		for c := range w.Conns() {
			if c.Value() != nil {
				t.Errorf("%v", c.Value())
			}
			if c.Close(4000, "") != nil {
				t.Error("it cannot be closed before its Handler is there")
			}
		}
		testutil.Pass(time.Hour)
		b2 := newHandler(t, w, note("b"))
		synctest.Wait()
		if strings.Join(events, ",") != "b closed" {
			t.Errorf("%q", events)
		}
		if r := testutil.Visit(t, testutil.Pipe(t, b2), testutil.Options{}, q.Ticket()); r.Hello.Why != "unknown" { // the hour was too long for its tombstone
			t.Errorf("%s", r.Hello.Raw)
		}
		if err := w.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(log.String(), "could not come back\" name=a") || strings.Contains(log.String(), "could not come back\" name=b") || !strings.Contains(log.String(), "until there is one\" name=b") {
			t.Errorf("%s", log.String())
		}
	})
}

// What the application does wrong with Values costs the Values and nothing else.
func TestLoadedValues(t *testing.T) {
	panics := func() { panic("oh") }
	fails := errors.New("it fails")
	for name, change := range map[string]func(o *wspush.HandlerOptions){
		"neither":     func(o *wspush.HandlerOptions) { o.SaveValue, o.LoadValue = nil, nil },
		"save fails":  func(o *wspush.HandlerOptions) { o.SaveValue = func(any) ([]byte, error) { return []byte("x"), fails } },
		"save panics": func(o *wspush.HandlerOptions) { o.SaveValue = func(any) ([]byte, error) { panics(); return nil, nil } },
		"load fails":  func(o *wspush.HandlerOptions) { o.LoadValue = func([]byte) (any, error) { return "x", fails } },
		"load panics": func(o *wspush.HandlerOptions) { o.LoadValue = func([]byte) (any, error) { panics(); return "x", nil } },
	} {
		worker := wspush.WorkerOptions{SessionFile: sessionFile(t), Logger: noLog}
		opts := &wspush.HandlerOptions{
			Accept:    func(*http.Request) (any, error) { return "value", nil },
			SaveValue: func(value any) ([]byte, error) { return []byte(value.(string)), nil },
			LoadValue: func(data []byte) (any, error) { return string(data), nil },
		}
		change(opts)
		inStation(t, worker, opts, func(t *testing.T, s *station) {
			p, c := s.visit()
			s.push(c, "1", wspush.Written)
			p.Want("1")
			next := s.restart(worker, opts)
			if next.conn().Value() != nil {
				t.Errorf("%s: %v", name, next.conn().Value())
			}
			next.push(next.conn(), "2", wspush.Buffered)
			q := next.back(p.Ticket())
			q.Want("2")
			if next.conn().Value() != "value" {
				t.Errorf("%s: %v", name, next.conn().Value())
			}
		})
	}
	w := newWorker(t, nil)
	if _, err := wspush.NewHandler(w, &wspush.HandlerOptions{SaveValue: func(any) ([]byte, error) { return nil, nil }}); err == nil {
		t.Error("SaveValue alone is no error")
	}
}

// No bytes are a Value, too, and not the same as none.
func TestLoadedEmptyValue(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	opts := &wspush.HandlerOptions{
		Accept:    func(*http.Request) (any, error) { return "", nil },
		SaveValue: func(value any) ([]byte, error) { return []byte(value.(string)), nil },
		LoadValue: func(data []byte) (any, error) { return string(data), nil },
	}
	inStation(t, worker, opts, func(t *testing.T, s *station) {
		s.visit()
		next := s.restart(worker, opts)
		if value := next.conn().Value(); value != "" {
			t.Errorf("%v", value)
		}
	})
}

// While LoadValue takes its time, the worker can be shut down again, and loses nothing: neither sessions nor what is left of their Values.
func TestLoadedSlowly(t *testing.T) {
	worker := wspush.WorkerOptions{SessionFile: sessionFile(t), NoListen: true, Advertise: []string{"http://127.0.0.1:1"}}
	opts := &wspush.HandlerOptions{
		Accept:    func(*http.Request) (any, error) { return "value", nil },
		SaveValue: func(value any) ([]byte, error) { return []byte(value.(string)), nil },
		LoadValue: func(data []byte) (any, error) { return string(data), nil },
	}
	inStation(t, worker, opts, func(t *testing.T, s *station) {
		s.visit()
		s.visit()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		next := newWorker(t, &worker)
		var ended *wspush.Conn
		for c := range next.Conns() {
			ended = c
		}
		hold := make(chan struct{})
		slow := *opts
		slow.ResumeWindow = window
		slow.LoadValue = func(data []byte) (any, error) { <-hold; return string(data), nil }
		disconnected := make(chan string, 2)
		slow.OnDisconnect = func(c *wspush.Conn, reason error) { disconnected <- string(causeOf(reason)) }
		go func() {
			if _, err := wspush.NewHandler(next, &slow); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if err := ended.Close(4000, ""); err != nil { // its OnDisconnect waits for the Handler
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := next.Shutdown(ctx); err != context.DeadlineExceeded || time.Since(begin) > time.Minute+5*time.Second {
			t.Errorf("%v, after %v", err, time.Since(begin))
		}
		close(hold)
		synctest.Wait()
		if a, b := <-disconnected, <-disconnected; a+b != "closedmoved" && a+b != "movedclosed" {
			t.Errorf("%s, %s", a, b)
		}
		last := newStation(t, worker, opts)
		if c := last.conn(); c.Value() != "value" || c.ID() == ended.ID() {
			t.Errorf("%v", c.Value())
		}
	})
}

// A file that is whole, but cannot be a worker's, is refused rather than served.
func TestLoadImpossible(t *testing.T) {
	testutil.NoLeak(t)
	o := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	leave(t, o, "1")
	for name, change := range map[string]func(f *sessionfile.File){
		"no time":       func(f *sessionfile.File) { f.Sessions[0].Window = 0 },
		"negative time": func(f *sessionfile.File) { f.Sessions[0].Window = -1 },
		"no ID":         func(f *sessionfile.File) { f.Sessions[0].ID = "x" },
		"wrong path":    func(f *sessionfile.File) { f.Sessions[0].Path = "/a b" },
		"wrong user":    func(f *sessionfile.File) { f.Sessions[0].User = "a/b" },
		"wrong group":   func(f *sessionfile.File) { f.Sessions[0].Groups = []string{"a", "a/b"} },
		"wrong code":    func(f *sessionfile.File) { f.Tombstones[0].Code = 1005 },
		"wrong reason":  func(f *sessionfile.File) { f.Tombstones[0].Reason = strings.Repeat("x", 124) },
		"wrong key":     func(f *sessionfile.File) { f.Start.TicketKey = []byte("short") },
	} {
		f, err := sessionfile.Read(o.SessionFile)
		if err != nil {
			t.Fatal(err)
		}
		change(f)
		changed := o
		changed.SessionFile = sessionFile(t)
		if err := sessionfile.Write(changed.SessionFile, f); err != nil {
			t.Fatal(err)
		}
		if w, err := wspush.NewWorker(&changed); err == nil {
			w.Shutdown(t.Context())
			t.Errorf("%s is no error", name)
		}
		if _, err := os.Stat(changed.SessionFile); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A path that is relative is so to where the process was when the worker was started.
func TestSavedElsewhere(t *testing.T) {
	o := wspush.WorkerOptions{SessionFile: "sessions", NoListen: true, Advertise: []string{"http://127.0.0.1:1"}}
	dir := t.TempDir()
	t.Chdir(dir)
	w := newWorker(t, &o)
	t.Chdir(t.TempDir())
	testutil.Visit(t, testutil.Pipe(t, newHandler(t, w, &wspush.HandlerOptions{ResumeWindow: window})), testutil.Options{}, "")
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sessions")); err != nil {
		t.Error(err)
	}
}

// Two workers at a time cannot have the same file, and the one that is refused has no effect on the sessions of the other one.
func TestSessionFileIsLocked(t *testing.T) {
	testutil.NoLeak(t)
	o := wspush.WorkerOptions{SessionFile: sessionFile(t)}
	w := newWorker(t, &o)
	if _, err := wspush.NewWorker(&o); err == nil || !strings.Contains(err.Error(), "another worker uses it") {
		t.Fatalf("a second worker: %v", err)
	}
	ticket, _ := away(t, w, serve(t, w, &wspush.HandlerOptions{ResumeWindow: window}), "/ws")
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	wrong := o
	wrong.Listen = taken.Addr().String()
	for range 2 { // which lets go of the lock
		if _, err := wspush.NewWorker(&wrong); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("its port is taken: %v", err)
		}
	}
	next := newWorker(t, &o)
	if p := arrive(t, serve(t, next, &wspush.HandlerOptions{ResumeWindow: window}), "/ws", ticket); !p.Hello.Resumed {
		t.Errorf("%s", p.Hello.Raw)
	}
}
