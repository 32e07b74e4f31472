package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush"
)

// site is what is pushed to: a worker that wants a token, one that wants none, and something that behaves like a bad proxy.
type site struct {
	worker *wspush.Worker
	url    string // of the worker, at the path of its handler
	open   string // of the one without a token
	proxy  string
	close  func()

	mu       sync.Mutex
	requests map[string]int64 // to the proxy, by path; guarded by mu
}

func newSite(ctx context.Context) (*site, error) {
	s := &site{requests: map[string]int64{}}
	logger := slog.New(slog.DiscardHandler)
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens(token), MaxPushBytes: maxPush, MaxPending: 2 * maxPush,
		SendBuffer: 4096, WriteTimeout: 2 * time.Minute, Logger: logger})
	if err != nil {
		return nil, err
	}
	open, err := wspush.NewWorker(&wspush.WorkerOptions{Logger: logger})
	if err != nil {
		return nil, err
	}
	s.worker = worker
	serve := func(worker *wspush.Worker) (*httptest.Server, error) {
		handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
			User:         func(r *http.Request, _ any) string { return r.URL.Query().Get("user") },
			ResumeWindow: time.Minute,
		})
		if err != nil {
			return nil, err
		}
		mux := http.NewServeMux()
		mux.Handle("/ws", handler)
		mux.Handle("/ws/", worker)
		return httptest.NewServer(mux), nil
	}
	first, err := serve(worker)
	if err != nil {
		return nil, err
	}
	second, err := serve(open)
	if err != nil {
		return nil, err
	}
	proxy := httptest.NewServer(s)
	s.url, s.open, s.proxy = first.URL+"/ws", second.URL+"/ws", proxy.URL
	s.close = func() {
		for _, w := range []*wspush.Worker{worker, open} {
			_ = w.Shutdown(ctx)
		}
		first.Close()
		second.Close()
		proxy.Close()
	}
	return s, nil
}

// ServeHTTP answers as the path says.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.requests[r.URL.Path]++
	s.mu.Unlock()
	what := strings.Split(r.URL.Path, "/")[1]
	switch what {
	case "502":
		http.Error(w, "Bad Gateway", http.StatusBadGateway)
	case "413":
		http.Error(w, "Request Entity Too Large", http.StatusRequestEntityTooLarge)
	case "307":
		http.Redirect(w, r, strings.Replace(r.URL.Path, what, "followed", 1), http.StatusTemporaryRedirect)
	case "lost":
		panic(http.ErrAbortHandler)
	}
}

func (s *site) count(path string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

// pushCase is one push, and what must come of it.
type pushCase struct {
	what, kind, to, query, message string
	want, body                     string // the outcome, and a part of the body
}

// scene is the clients and the pushes for one language.
type scene struct {
	s     *site
	cases []pushCase
	in    *inbox
	own   string // the end of paths of the proxy
	close func()
}

const (
	maxPush = 4096
	text    = "grüße, \"世界\"\n@+%41"
	name    = "ann müller?#&+1%~."
)

func newScene(ctx context.Context, s *site) (*scene, error) {
	sc := &scene{s: s, own: "/" + uuid.NewString()}
	user := name + uuid.NewString()
	var all []*inbox
	sc.close = func() {
		for _, in := range all {
			_ = in.close()
		}
	}
	client := func(query string, protocols ...string) (*inbox, error) {
		in, err := connect(ctx, s.url, query, protocols...)
		if err == nil {
			all = append(all, in)
		}
		return in, err
	}
	var err error
	if sc.in, err = client("?user=" + escape(user)); err != nil {
		return nil, err
	}
	away, err := client("", "wspush.v1")
	if err != nil {
		return nil, err
	}
	_ = away.close()
	silent, err := stranger(s.url, false)
	if err != nil {
		return nil, err
	}
	all = append(all, silent)
	busy, err := stranger(s.url, true)
	if err != nil {
		return nil, err
	}
	all = append(all, busy)
	if err := fill(ctx, s.worker, busy.id); err != nil {
		return nil, err
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	closed.Close()
	if err := waitFor(ctx, func() bool { return stateOf(s, away) == "suspended" }); err != nil {
		return nil, err
	}
	path := "/ws/@connections/"
	nobody := uuid.NewString()
	sc.cases = []pushCase{
		{"a push to an address with a user", "to", sc.in.address, "", text, "written", ""},
		{"a push to an address with a path", "to", sc.in.path(), "?confirm=received", text, "written", ""},
		{"a binary push", "to", sc.in.path(), "?type=binary", "binary", "written", ""},
		{"a push to a user", "user", user, "", text, "counted", `"written":1`},
		{"a push to a client that is away", "to", away.address, "", "away", "buffered", ""},
		{"a push that is not to wait for it", "to", away.address, "?keep=0", "away", "suspended", `"detail":`},
		{"a push to nobody", "to", strings.Replace(sc.in.address, sc.in.id, nobody, 1), "", "nobody", "gone", `"detail":`},
		{"a push to a user who is not there", "user", "nobody", "", "nobody", "gone", `"detail":`},
		{"a push that the client does not confirm", "to", silent.address, "?confirm=received&timeout=100ms", "silent", "unconfirmed", `"detail":`},
		{"a push to a client that does not read", "to", busy.address, "?timeout=100ms", "busy", "busy", `"detail":`},
		{"a message that is too large", "to", sc.in.address, "", strings.Repeat("x", maxPush+1), "too-large", `"detail":`},
		{"a push with a wrong parameter", "to", sc.in.address, "?tpye=text", "wrong", "bad-request", `"detail":`},
		{"a push to nothing", "to", "http://" + closed.Addr().String() + path + nobody, "", "nothing", "unreachable", ""},
		{"a proxy's 502", "", s.proxy + "/502", "", "proxy", "unknown", ""},
		{"a proxy's 413", "", s.proxy + "/413", "", "proxy", "refused", ""},
		{"a redirect", "", s.proxy + "/307" + sc.own, "", "proxy", "refused", ""},
		{"a lost answer", "", s.proxy + "/lost" + sc.own, "", "proxy", "unknown", ""},
	}
	host := strings.Split(sc.in.path(), "/")[2]
	for _, address := range []string{
		"http://evil.example/ws/@connections/" + sc.in.id,
		"https://127.0.0.1/ws/@connections/" + sc.in.id,
		"http://127.0.0.1@evil.example/ws",
		"http://" + sc.in.id + "@127.0.0.1:80@evil.example/ws",
		"http://127.0.0.1.evil.example/ws/@connections/" + sc.in.id,
		"http://" + host + "/ws",
		"http://" + host + "/ws/@users/" + escape(user),
		"http://" + host + "/ws/@groups/all?x=/@connections/" + sc.in.id,
		"http://" + host + "/ws/@users/ann#/@connections/" + sc.in.id,
		"http://" + host + "/ws/@users?name=ann",
		sc.in.path() + "/@groups/all",
		sc.in.path() + "?type=binary",
		sc.in.path() + "\n",
		sc.in.path() + " ",
		"\n" + sc.in.path(),
		"http://" + host + "/ws/\r\nx/@connections/" + sc.in.id,
		sc.in.address + "," + sc.in.address,
		"javascript:alert(1)", "",
	} {
		sc.cases = append(sc.cases, pushCase{fmt.Sprintf("%q as an address", address), "to", address, "", "evil", "rejected", "not the address"})
	}
	return sc, nil
}

// received compares what has arrived with what was pushed.
func (sc *scene) received() error {
	for i, want := range []message{{"text", text}, {"text", text}, {"binary", "binary"}, {"text", text}} {
		if got, ok := sc.in.next(); !ok || got != want {
			return fmt.Errorf("message %d is %q, want %q", i, got, want)
		}
	}
	if more := sc.in.drain(); more != 0 {
		return fmt.Errorf("%d messages too many have arrived", more)
	}
	if n := sc.s.count("/lost" + sc.own); n != 1 {
		return fmt.Errorf("the push whose answer is lost was sent %d times", n)
	}
	if n := sc.s.count("/followed" + sc.own); n != 0 {
		return fmt.Errorf("a redirect was followed")
	}
	return nil
}
