package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// asQuery says who a client is, and where, as its query does: ?user=NAME&group=NAME&group=NAME.
func asQuery() *wspush.HandlerOptions {
	return &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) { return r.URL.Query()["group"], nil },
		User:   func(r *http.Request, _ any) string { return r.URL.Query().Get("user") },
		Groups: func(c *wspush.Conn) []string { return c.Value().([]string) },
	}
}

// A client's user and groups are those of the options from before its greeting on, and can change, but for the user.
func TestGroups(t *testing.T) {
	w := newWorker(t, nil)
	opts := asQuery()
	var user string
	var groups []string
	opts.Greeting = func(c *wspush.Conn) (wspush.MessageType, []byte) {
		user, groups = c.User(), c.Groups()
		if err := c.Join(context.Background(), "greeted"); err != nil {
			t.Error(err)
		}
		if err := c.Leave(context.Background(), "a"); err != nil {
			t.Error(err)
		}
		return wspush.Text, []byte(c.ID())
	}
	gone := make(chan []string, 1)
	opts.OnDisconnect = func(c *wspush.Conn, _ error) { gone <- c.Groups() }
	server := serve(t, w, opts)
	client := testutil.Dial(t, server, testutil.Options{Path: "/ws?user=42&group=b&group=a&group=b"})
	conn, _ := w.Conn(client.Text())
	if user != "42" || !slices.Equal(groups, []string{"a", "b"}) {
		t.Errorf("when it was greeted: %q in %q", user, groups)
	}
	if info := conn.Info(); conn.User() != "42" || info.User != "42" || !slices.Equal(info.Groups, []string{"b", "greeted"}) {
		t.Errorf("%q, %+v", conn.User(), info)
	}
	if s := w.Stats(); s.Users != 1 || s.Groups != 2 || s.Memberships != 2 {
		t.Errorf("%+v", s)
	}
	for range 2 { // again has no effect
		if err := conn.Join(context.Background(), "c"); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := conn.Leave(context.Background(), "b"); err != nil {
			t.Error(err)
		}
	}
	if got := conn.Groups(); !slices.Equal(got, []string{"c", "greeted"}) {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"", "a/b", "a\n", "\xff", strings.Repeat("x", 257)} {
		if conn.Join(context.Background(), name) == nil || conn.Leave(context.Background(), name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
	conn.Close(1000, "")
	if s := w.Stats(); s.Users != 0 || s.Groups != 0 || s.Memberships != 0 {
		t.Errorf("after the end: %+v", s)
	}
	if err := conn.Join(context.Background(), "d"); err != wspush.ErrGone {
		t.Error(err)
	}
	if err := conn.Leave(context.Background(), "c"); err != wspush.ErrGone {
		t.Error(err)
	}
	if got := conn.Groups(); conn.User() != "42" || !slices.Equal(got, []string{"c", "greeted"}) || conn.Info().User != "42" {
		t.Errorf("after the end: %q in %q", conn.User(), got)
	}
	client.AwaitClose()
	if got := <-gone; !slices.Equal(got, []string{"c", "greeted"}) {
		t.Errorf("OnDisconnect saw %q", got)
	}
	if s := w.Stats(); s.Users != 0 || s.Groups != 0 || s.Memberships != 0 {
		t.Errorf("after OnDisconnect: %+v", s)
	}
}

// A wrong name from User is as if Accept could not decide, and a panic as in Accept. Wrong groups are as a wrong greeting.
func TestBadNames(t *testing.T) {
	var buf bytes.Buffer
	log := &syncWriter{w: &buf}
	w := newWorker(t, &wspush.WorkerOptions{Logger: slog.New(slog.NewTextHandler(log, nil)), MaxGroups: 2})
	logged := func() string {
		log.mu.Lock()
		defer log.mu.Unlock()
		return buf.String()
	}
	opts := asQuery()
	opts.User = func(r *http.Request, _ any) string {
		if name := r.URL.Query().Get("user"); name != "panic" {
			return name
		}
		panic("no name")
	}
	server := serve(t, w, opts)
	for user, status := range map[string]int{"a%2Fb": 503, "%ff": 503, "%0A": 503, strings.Repeat("x", 257): 503, "panic": 500} {
		_, resp, _ := testutil.TryDial(t, server, testutil.Options{Path: "/ws?user=" + user})
		if resp == nil || resp.StatusCode != status || status == 503 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%q: %+v", user, resp)
		}
	}
	if got := logged(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "callback=User") || strings.Contains(got, "a/b") {
		t.Errorf("logged: %s", got)
	}
	for _, query := range []string{"group=a/b", "group=", "group=a&group=b&group=c", "group=a&group=a&group=b&group=" + strings.Repeat("x", 257)} {
		c := testutil.Dial(t, server, testutil.Options{Path: "/ws?user=42&" + query})
		if code, reason := c.AwaitClose(); code != 1011 || reason != "internal error" {
			t.Errorf("%s: closed with %d %q", query, code, reason)
		}
	}
	if got := logged(); strings.Count(got, "connection given up") != 4 {
		t.Errorf("logged: %s", got)
	}
	testutil.Dial(t, server, testutil.Options{Path: "/ws?group=a&group=b&group=a"}).Text()
	testutil.Eventually(t, "the others to leave", func() bool {
		s := w.Stats()
		return s.Users == 0 && s.Groups == 2 && s.Memberships == 2 && s.Handshakes.Accept == 5
	})
}

// Beyond MaxGroups, which is 1,000 by default, every group is refused. Without a limit, 100,000 are as fast each as a few are.
func TestMaxGroups(t *testing.T) {
	join := func(conn *wspush.Conn, from, to int) (joined int, err error) {
		for i := from; i < to; i++ {
			if e := conn.Join(context.Background(), fmt.Sprint("group ", i)); e != nil {
				err = e
			} else {
				joined++
			}
		}
		return joined, err
	}
	w := newWorker(t, quiet())
	_, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	joined, err := join(conn, 0, 100_000)
	if !errors.Is(err, wspush.ErrTooManyGroups) || !strings.Contains(err.Error(), "1000") || joined != 1000 || len(conn.Groups()) != 1000 {
		t.Errorf("%d joined, %v", joined, err)
	}
	if err := conn.Join(context.Background(), "group 7"); err != nil {
		t.Errorf("a group that it is in: %v", err)
	}
	_ = conn.Leave(context.Background(), "group 7")
	if err := conn.Join(context.Background(), "group 1000"); err != nil {
		t.Errorf("when it has left another: %v", err)
	}

	unlimited := quiet()
	unlimited.MaxGroups = -1
	w = newWorker(t, unlimited)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	took := make([]time.Duration, 2)
	for i, from := range []int{0, 100_000 - 5000} {
		if i > 0 {
			_, _ = join(conn, 5000, from)
		}
		begin := time.Now()
		if _, err := join(conn, from, from+5000); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(begin)
	}
	t.Logf("the first 5,000 of 100,000 groups in %v, the last in %v", took[0], took[1])
	if took[1] > 20*took[0]+50*time.Millisecond {
		t.Errorf("the first 5,000 groups in %v, the last in %v", took[0], took[1])
	}
	if s := w.Stats(); s.Groups != 100_000 || s.Memberships != 100_000 {
		t.Errorf("%d groups, %d memberships", s.Groups, s.Memberships)
	}
	conn.Close(1000, "")
	client.AwaitClose()
	if s := w.Stats(); s.Groups != 0 || s.Memberships != 0 {
		t.Errorf("%d groups, %d memberships are left", s.Groups, s.Memberships)
	}
}

// Connections join, leave and end at the same time, from several goroutines. In the end nobody is a member of anything.
func TestGroupsRace(t *testing.T) {
	w := newWorker(t, quiet())
	server := serve(t, w, asQuery())
	for range 20 {
		client := testutil.Dial(t, server, testutil.Options{Path: "/ws?user=42&group=a"})
		conn, _ := greeted(t, w, client)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for n := 0; ; n++ {
					name := fmt.Sprint(i, n%20)
					if conn.Join(context.Background(), name) != nil || n%3 > 0 && conn.Leave(context.Background(), name) != nil {
						return
					}
					_, _ = conn.Groups(), conn.User()
				}
			})
		}
		all.Go(func() {
			for range 50 {
				_ = conn.Info()
			}
			conn.Close(1000, "")
		})
		all.Wait()
	}
	if s := w.Stats(); s.Users != 0 || s.Groups != 0 || s.Memberships != 0 {
		t.Errorf("%+v", s)
	}
}

// What a user and a group add to a connection: the bytes that the documentation has, and nothing once it has ended.
func TestGroupsCost(t *testing.T) {
	const conns = 500
	w := newWorker(t, quiet())
	pairs := make([]net.Conn, 0, 2*conns)
	// cost connects clients, and returns what one of them costs once it is silent.
	cost := func(query func(i int) string, fill func(c *wspush.Conn)) int {
		opts := asQuery()
		opts.Accept, opts.Groups = nil, nil
		opts.User = func(r *http.Request, _ any) string { return strings.TrimPrefix(r.URL.RawQuery, "user=") }
		server := serve(t, w, opts)
		before := heapInUse()
		for i := range conns {
			request := "GET /ws?" + query(i) + " HTTP/1.1\r\nHost: h.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
				"Sec-WebSocket-Key: " + sampleKey + "\r\n\r\n"
			pairs = append(pairs, silentClient(t, server, request))
		}
		if fill != nil {
			for c := range w.Conns() {
				fill(c)
			}
		}
		testutil.Eventually(t, "silence", func() bool { silent, busy := lives(); return silent == conns && busy == 0 })
		cost := (heapInUse() - before) / conns
		for _, c := range pairs {
			c.Close()
		}
		pairs = pairs[:0]
		testutil.Eventually(t, "the connections to leave", func() bool { silent, busy := lives(); return silent+busy == 0 })
		if s := w.Stats(); s.Users != 0 || s.Memberships != 0 {
			t.Errorf("%+v", s)
		}
		return cost
	}
	testutil.Eventually(t, "earlier tests to leave", func() bool { silent, busy := lives(); return silent+busy == 0 })
	none := func(int) string { return "" }
	cost(none, nil)
	plain := cost(none, nil)
	user := cost(func(i int) string { return fmt.Sprintf("user=user-%06d", i) }, nil) - plain
	one := cost(none, func(c *wspush.Conn) { _ = c.Join(context.Background(), "room") }) - plain
	ten := cost(none, func(c *wspush.Conn) {
		for i := range 10 {
			_ = c.Join(context.Background(), fmt.Sprint("room ", i))
		}
	}) - plain
	t.Logf("a connection %d bytes; its user %d more; one group %d, ten %d", plain, user, one, ten)
	if user > 350 || one > 350 || ten > 2500 {
		t.Errorf("a user takes %d bytes, a group %d, ten groups %d", user, one, ten)
	}
}
