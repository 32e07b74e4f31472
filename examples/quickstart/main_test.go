package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// start runs the program with these arguments on its own port. It returns the program's URL, and a stop that acts like a
// signal, waits for run to return, and returns its error.
func start(t *testing.T, args ...string) (url string, stop func() error) {
	t.Helper()
	testutil.NoLeak(t)
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = run(ctx, append([]string{"-listen", "0"}, args...), w)
		w.CloseWithError(err)
	}()
	stop = func() error {
		cancel()
		select {
		case <-ended:
			return err
		case <-time.After(20 * time.Second):
			return fmt.Errorf("run does not return")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	line, readErr := bufio.NewReader(r).ReadString('\n')
	if _, err := fmt.Sscanf(line, "Open %s", &url); err != nil {
		t.Fatalf("the first line is %q (%v)", line, readErr)
	}
	return strings.TrimSuffix(url, "/"), stop
}

// connect connects a client, and returns its address, which is the whole greeting.
func connect(t *testing.T, url string) (*testutil.Client, string) {
	t.Helper()
	c := testutil.Dial(t, url, testutil.Options{})
	return c, c.Text()
}

// pathForm converts an address to the form with the ID in the path.
func pathForm(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	id := u.User.Username()
	u.User = nil
	return u.String() + "/@connections/" + id
}

// push pushes to an address in either form, and ends the test unless the answer is 204.
func push(t *testing.T, address, contentType, body string) {
	t.Helper()
	resp, err := http.Post(address, contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		answer, _ := io.ReadAll(resp.Body)
		t.Fatalf("POST %s is answered %s: %s", address, resp.Status, answer)
	}
}

func TestPage(t *testing.T) {
	for _, path := range []string{"/ws", "/live/you&me", "/it's%20%7Bhere%7D"} {
		t.Run(path, func(t *testing.T) {
			url, _ := start(t, "-path", path)
			resp, err := http.Get(url + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("GET / is answered %s, %s", resp.Status, resp.Header.Get("Content-Type"))
			}
			csp := resp.Header.Get("Content-Security-Policy")
			for _, want := range []string{"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"} {
				if !strings.Contains(csp, want) {
					t.Errorf("Content-Security-Policy %q does not have %q", csp, want)
				}
			}
			_, rest, _ := strings.Cut(string(body), `<meta name="wspush-path" content="`)
			content, _, _ := strings.Cut(rest, `"`)
			if got := html.UnescapeString(content); got != path {
				t.Errorf("the page connects to %q, want %q", got, path)
			}
			if strings.Contains(string(body), "{{") {
				t.Error("the page has an unreplaced placeholder")
			}
			c, address := connect(t, url+path)
			push(t, address, "text/plain", "123")
			c.Expect(testutil.Text, "123")
		})
	}
}

func TestPush(t *testing.T) {
	for _, push6 := range []bool{false, true} {
		listen, host := "127.0.0.1:0", "@127.0.0.1:"
		if push6 {
			listen, host = "[::1]:0", "@[::1]:"
		}
		t.Run(listen, func(t *testing.T) {
			if l, err := net.Listen("tcp", listen); err != nil {
				t.Skipf("this machine has no such address: %v", err)
			} else {
				l.Close()
			}
			url, _ := start(t, "-push", listen)
			c, address := connect(t, url+"/ws")
			other, otherAddress := connect(t, url+"/ws")
			if !strings.HasPrefix(address, "http://") || !strings.Contains(address, host) || !strings.HasSuffix(address, "/ws") {
				t.Fatalf("the greeting is %q", address)
			}
			push(t, address, "application/x-www-form-urlencoded", "123") // as curl -d does
			c.Expect(testutil.Text, "123")
			push(t, pathForm(t, address), "image/png", "\x89PNG")
			c.Expect(testutil.Binary, "\x89PNG")
			push(t, otherAddress, "text/plain", "to the other")
			other.Expect(testutil.Text, "to the other")
		})
	}
}

func TestEcho(t *testing.T) {
	url, _ := start(t, "-echo")
	c, _ := connect(t, url+"/ws")
	c.Send(testutil.Text, []byte("zwölf"))
	c.Expect(testutil.Text, "zwölf")
	c.Send(testutil.Binary, []byte("\xff\x00"))
	c.Expect(testutil.Binary, "\xff\x00")
	c.Send(testutil.Text, nil)
	c.Expect(testutil.Text, "")
}

func TestNoEcho(t *testing.T) {
	url, _ := start(t)
	c, address := connect(t, url+"/ws")
	c.Send(testutil.Text, []byte("up"))
	c.Send(testutil.Ping, []byte("x"))
	c.Expect(testutil.Pong, "x") // so that has been read
	push(t, address, "text/plain", "down")
	c.Expect(testutil.Text, "down")
}

func TestTimers(t *testing.T) {
	for _, args := range [][]string{
		{"-ping", "1s", "-idle", "3s"},
		{"-ping", "3s"},
		{"-idle", "3s"},
	} {
		url, stop := start(t, args...)
		c, _ := connect(t, url+"/ws")
		c.SendClose(1000, "")
		c.AwaitClose()
		if err := stop(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	// Both options reach the library: a ping ends the first silence, and a client that answers none is closed.
	url, _ := start(t, "-ping", "50ms", "-idle", "1s")
	c := testutil.Dial(t, url+"/ws", testutil.Options{Silent: true})
	c.Text()
	if f := c.NextFrame(); f.Op != testutil.Ping {
		t.Errorf("after some silence there is %v, want a ping", f)
	}
	if code, reason := c.AwaitClose(); code != 1001 || reason != "idle timeout" {
		t.Errorf("after more silence the close frame is %d %q, want 1001 %q", code, reason, "idle timeout")
	}
}

// A page that comes back has what was pushed while it was away; without -resume it has a new address. The script that pages use is there.
func TestResume(t *testing.T) {
	for resume, resumed := range map[string]bool{"2m": true, "0s": false} {
		url, _ := start(t, "-resume", resume)
		resp, err := http.Get(url + "/wspush.js")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if typ := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(typ, "text/javascript") {
			t.Errorf("%s %s", resp.Status, typ)
		}
		dial := func() net.Conn {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		page := testutil.Visit(t, dial(), testutil.Options{}, "")
		address := page.Hello.Address
		push(t, address, "text/plain", "1")
		page.Want("1")
		if !resumed {
			if page.Hello.Ticket != "" || page.Hello.Window != 0 {
				t.Errorf("%+v", page.Hello)
			}
			continue
		}
		page.Close()
		testutil.Eventually(t, "the push to be buffered", func() bool {
			resp, err := http.Post(address, "text/plain", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusAccepted
		})
		if page = testutil.Visit(t, dial(), testutil.Options{}, page.Ticket()); !page.Hello.Resumed || page.Hello.Address != address {
			t.Errorf("%+v", page.Hello)
		}
		page.Want("x")
	}
}

func TestStop(t *testing.T) {
	url, stop := start(t)
	var clients []*testutil.Client
	for range 3 {
		c, _ := connect(t, url+"/ws")
		clients = append(clients, c)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for _, c := range clients {
		if code, reason := c.AwaitClose(); code != 1012 {
			t.Errorf("a client is closed with %d %q, want 1012", code, reason)
		}
	}
	if err := <-stopped; err != nil {
		t.Errorf("run: %v", err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

func TestBadArguments(t *testing.T) {
	testutil.NoLeak(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // ends the program at once if it is not refused
	for _, tt := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{"-nonsense"}, "nonsense"},
		{[]string{"-ping", "often"}, "ping"},
		{[]string{"argument"}, `unexpected argument "argument"`},
		{[]string{"-ping", "3s", "-idle", "1s"}, "PingInterval (3s) must be less than IdleTimeout (1s)"},
		{[]string{"-ping", "3s", "-idle", "3s"}, "must be less than"},
		{[]string{"-listen", "127.0.0.1:99999"}, "99999"},
		{[]string{"-push", "127.0.0.1:99999"}, "99999"},
		{[]string{"-path", ""}, `-path ""`},
		{[]string{"-path", "/"}, `-path "/"`},
		{[]string{"-path", "ws"}, `-path "ws"`},
		{[]string{"-path", "/wspush.js"}, "the client is there"},
		{[]string{"-path", "GET /ws"}, `-path "GET /ws"`},
		{[]string{"-path", "example.com/ws"}, "slash"},
		{[]string{"-path", "/w s"}, "as in a URL"},
		{[]string{"-path", "/ws\t"}, "as in a URL"},
		{[]string{"-path", "/ws\n"}, "as in a URL"},
		{[]string{"-path", "/{id}"}, "as in a URL"},
		{[]string{"-path", "/{$}"}, "as in a URL"},
		{[]string{"-path", "/{"}, "as in a URL"},
		{[]string{"-path", "/ws?x=1"}, "as in a URL"},
		{[]string{"-path", "/ws?"}, "as in a URL"},
		{[]string{"-path", "/ws#top"}, "as in a URL"},
		{[]string{"-path", "/wß"}, "as in a URL"},
		{[]string{"-path", "/%zz"}, "as in a URL"},
		{[]string{"-path", "/ws/"}, "end with a slash"},
		{[]string{"-path", "//ws"}, "empty segments"},
		{[]string{"-path", "/a/../ws"}, ".."},
		{[]string{"-path", "/."}, ".."},
	} {
		args := append([]string{"-listen", "0"}, tt.args...)
		if err := run(ctx, args, io.Discard); err == nil {
			t.Errorf("%q is accepted", tt.args)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: the error is %q, want %q in it", tt.args, err, tt.want)
		}
	}
	if err := run(ctx, []string{"-h"}, io.Discard); err != flag.ErrHelp {
		t.Errorf("-h: %v", err)
	}
}

// With -session-file, a page keeps its address over a restart, and misses nothing.
func TestSessionFile(t *testing.T) {
	args := []string{"-session-file", filepath.Join(t.TempDir(), "sessions")}
	visit := func(server, resume string) *testutil.Page {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return testutil.Visit(t, conn, testutil.Options{}, resume)
	}
	server, stop := start(t, args...)
	p := visit(server, "")
	push(t, pathForm(t, p.Hello.Address), "text/plain", "before")
	p.Want("before")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if code, reason := p.End(); code != 1012 {
		t.Errorf("closed with %d %s", code, reason)
	}
	server, _ = start(t, args...)
	resp, err := http.Post(pathForm(t, p.Hello.Address), "text/plain", strings.NewReader("after"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("pushed to the page that is not back: %s", resp.Status)
	}
	q := visit(server, p.Ticket())
	if !q.Hello.Resumed || q.Hello.Address != p.Hello.Address {
		t.Fatalf("%s", q.Hello.Raw)
	}
	q.Want("after")
}
