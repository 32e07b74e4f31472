package wspush_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// dialTo connects to a server.
func dialTo(t testing.TB, server string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// counts is the answer to a line for members.
func counts(line int, written int, more string) string {
	return fmt.Sprintf(`{"line":%d,%s"status":200,"written":%d,"received":0,"refused":{},"unknown":0,"excepted":0,"workers":1,"answered":1,"complete":true}`, line, more, written)
}

// A line to a user or a group is a push to each of its connections, with one answer.
func TestBulkMembers(t *testing.T) {
	opts := quiet()
	opts.AuthorizePush = anybody
	w := newWorker(t, opts)
	server := serve(t, w, asQuery())
	phone, phoneConn := as(t, w, server, "ann", "room")
	laptop, _ := as(t, w, server, "ann")
	bob, bobConn := as(t, w, server, "bob", "room")
	b := openBulk(t, dialPush(t, w))
	answer := func(line string) (a membersAnswer) {
		t.Helper()
		b.send(line)
		if err := json.Unmarshal([]byte(b.answer()), &a); err != nil {
			t.Error(err)
		}
		return a
	}
	b.send(`{"user":"ann","text":"1","ref":"r"}`)
	b.expect(counts(1, 2, `"ref":"r",`))
	b.send(`{"group":"room","binary":"Mg=="}`)
	b.expect(counts(2, 2, ""))
	b.send(`{"user":"bob","text":"3"}`)
	b.expect(counts(3, 1, ""))
	if a := answer(`{"group":"room","text":"4","except":"` + bobConn.ID() + `"}`); a.Status != 200 || a.Written != 1 || a.Excepted != 1 {
		t.Errorf("%+v", a)
	}
	if a := answer(`{"group":"room","text":"x","except":["` + bobConn.ID() + `","` + phoneConn.ID() + `","` + nobody + `"]}`); a.Status != 200 || a.Written != 0 || a.Excepted != 2 {
		t.Errorf("%+v", a)
	}
	if a := answer(`{"user":"carl","text":"x"}`); a.Status != 410 || a.Type != "urn:wspush:gone" || !a.Complete || a.Detail == "" {
		t.Errorf("%+v", a)
	}
	for line, want := range map[string]struct {
		status int
		detail string
	}{
		`{"user":"","text":"x"}`:                                      {400, "it is empty"},
		`{"user":"a/b","text":"x"}`:                                   {400, "slash"},
		`{"group":"a\nb","text":"x"}`:                                 {400, "control character"},
		`{"group":"` + strings.Repeat("x", 257) + `","text":"x"}`:     {400, "257 bytes"},
		`{"user":"ann","to":"x","text":"x"}`:                          {400, "one of to, user and group"},
		`{"user":"ann","text":"x","except":"ann"}`:                    {400, "except: the ID is neither"},
		`{"user":"ann","text":"x","except":["v1.abc"]}`:               {421, "no keys"},
		`{"user":"ann","text":"x","confirm":"yes"}`:                   {400, "confirm"},
		`{"user":"ann","text":"` + strings.Repeat("x", 1<<20) + `x"}`: {413, "MaxPushBytes"},
	} {
		if a := answer(line); a.Status != want.status || !strings.Contains(a.Detail, want.detail) {
			t.Errorf("%.100s: %+v", line, a)
		}
	}
	phone.Expect(testutil.Text, "1")
	phone.Expect(testutil.Binary, "2")
	phone.Expect(testutil.Text, "4")
	laptop.Expect(testutil.Text, "1")
	bob.Expect(testutil.Binary, "2")
	bob.Expect(testutil.Text, "3")
	var reading sync.WaitGroup
	for _, c := range []*testutil.Client{phone, laptop} { // which answers pings
		reading.Go(func() {
			for {
				if _, _, err := c.Message(); err != nil {
					return
				}
			}
		})
	}
	if a := answer(`{"user":"ann","text":"x","confirm":"received"}`); a.Status != 200 || a.Received != 2 || a.Written != 0 {
		t.Errorf("%+v", a)
	}
	b.end()
	b.expect(`{"lines":16}`, "")
	phone.Close()
	laptop.Close()
	reading.Wait()
	if s := w.Stats(); s.UserPushes != 4 || s.GroupPushes != 3 || s.Written != 8 || s.Confirmed != 2 {
		t.Errorf("%+v", s)
	}
}

// The lines of a request to one connection are written in their order, whomever they name.
func TestBulkMembersOrder(t *testing.T) {
	opts := quiet()
	opts.AuthorizePush = anybody
	w := newWorker(t, opts)
	server := serve(t, w, asQuery())
	const members = 70
	clients := make([]*testutil.Client, members)
	conns := make([]*wspush.Conn, members)
	for i := range clients {
		clients[i], conns[i] = as(t, w, server, fmt.Sprint(i%2), "room")
	}
	var lines, want []string
	for i := range 200 {
		text := fmt.Sprint(i)
		lines = append(lines, []string{
			`{"group":"room","text":"` + text + `"}`, `{"user":"0","text":"` + text + `"}`, textLine(conns[0].ID(), text),
		}[i%3])
		want = append(want, text)
	}
	_, answers, err := postLines(publishing(t), "http://"+w.Addr().String()+"/ws/@connections", lines...)
	if err != nil || len(answers) != len(lines)+1 {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	for _, answer := range answers[:len(lines)] {
		var a struct {
			membersAnswer
			Line int
		}
		if err := json.Unmarshal([]byte(answer), &a); err != nil {
			t.Fatal(err)
		}
		if written := []int{members, members / 2, 0}[(a.Line-1)%3]; a.Status >= 300 || a.Written != written {
			t.Error(answer)
		}
	}
	for _, text := range want {
		clients[0].Expect(testutil.Text, text)
	}
}

// Who does not read delays the answer of its own line, and of no other; a publisher that leaves has its lines withdrawn.
func TestBulkMembersSlow(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{AuthorizePush: anybody, WriteTimeout: -1, Logger: quiet().Logger}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, _ *testutil.Client) {
		_ = conn.Join(context.Background(), "room")
		reader := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, asQuery())), testutil.Options{Timeout: -1, Path: "/ws?group=room&user=ann"})
		_, _ = greeted(t, w, reader)
		var all sync.WaitGroup
		all.Go(func() {
			for {
				if _, _, err := reader.Message(); err != nil {
					return
				}
			}
		})
		defer all.Wait()
		defer reader.Close()
		b := openBulk(t, push)
		begin := time.Now()
		b.send(`{"group":"room","text":"x","timeout":"2s"}`, `{"group":"room","text":"x","timeout":"1s"}`, `{"user":"ann","text":"x"}`)
		b.expect(counts(3, 1, ""))
		if time.Since(begin) != 0 {
			t.Error("it was held up")
		}
		for i, want := range []string{`{"line":2,"status":200,"written":1,"received":0,"refused":{"busy":1},"unknown":0,`, `{"line":1,"status":200,"written":1,"received":0,"refused":{},"unknown":1,`} {
			if got := b.answer(); !strings.HasPrefix(got, want) || time.Since(begin) != time.Duration(i+1)*time.Second {
				t.Errorf("%s after %v", got, time.Since(begin))
			}
		}
		withdrawn := w.Stats().RefusedBy.Withdrawn
		b.send(`{"group":"room","text":"x"}`)
		synctest.Wait()
		push.Close()
		synctest.Wait()
		if s := w.Stats(); s.RefusedBy.Withdrawn != withdrawn+1 {
			t.Errorf("%+v", s)
		}
	})
}

// AuthorizePush is asked about the request itself, and then once about each user and group that it names, with the request that a push
// to it would be. What it refuses is refused to the lines that name it, and to no others.
func TestBulkMembersAuthorize(t *testing.T) {
	for _, server := range []string{"listener", "mounted"} {
		t.Run(server, func(t *testing.T) {
			var mu sync.Mutex // guards seen
			var seen []string
			opts := quiet()
			opts.AuthorizePush = func(r *http.Request) error {
				target, err := wspush.TargetOf(r)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen = append(seen, fmt.Sprintf("%s %s %s %+v %d", r.Method, r.RequestURI, r.URL.EscapedPath(), target, r.ContentLength))
				mu.Unlock()
				if r.Body == nil || r.Header.Get("Authorization") != "Bearer ann" || r.Host != "worker" || r.RemoteAddr == "" || r.Context().Err() != nil {
					t.Errorf("%+v", r)
				}
				switch {
				case target.User == "ann", target == wspush.Target{}:
					return nil
				case target.User == "panic":
					panic("no")
				case target.User == "later":
					return wspush.ErrUnavailable
				case strings.HasPrefix(target.Group, "a "):
					return wspush.ErrUnauthorized
				}
				r.Header.Set("Authorization", "spoilt")
				return wspush.ErrForbidden
			}
			w := newWorker(t, opts)
			clients := serve(t, w, asQuery())
			client, conn := as(t, w, clients, "ann", "room")
			prefix := ""
			push := dialPush(t, w)
			if server == "mounted" {
				prefix = "/internal"
				push = dialTo(t, testutil.Serve(t, http.StripPrefix(prefix, w)))
			}
			b := &bulkRequest{t: t, conn: push}
			b.write("POST " + prefix + "/a%2Fb/@connections?X-Amz-Date=1 HTTP/1.1\r\nHost: worker\r\nAuthorization: Bearer ann\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
			b.head()
			for i, tt := range []struct {
				line   string
				status int
			}{
				{`{"user":"ann","text":"1"}`, 200},
				{`{"user":"bob","text":"x"}`, 403},
				{`{"user":"ann","text":"2"}`, 200},
				{`{"group":"ann","text":"x"}`, 403},
				{`{"group":"a b%2F?#","text":"x"}`, 401},
				{`{"group":"room","text":"x"}`, 403},
				{`{"user":"bob","text":"x"}`, 403},
				{`{"user":"panic","text":"x"}`, 500},
				{`{"user":"..","text":"x"}`, 403},
				{`{"user":"later","text":"x"}`, 503},
				{`{"user":"later","text":"x"}`, 503},
				{`{"user":"a/b","text":"x"}`, 400},
				{textLine(conn.ID(), "x"), 404},
			} {
				b.send(tt.line)
				var a struct {
					membersAnswer
					Line int
				}
				if err := json.Unmarshal([]byte(b.answer()), &a); err != nil || a.Line != i+1 || a.Status != tt.status || tt.status == 200 && a.Written != 1 {
					t.Errorf("%s: %+v, %v", tt.line, a, err)
				}
			}
			b.end()
			b.expect(`{"lines":13}`, "")
			client.Expect(testutil.Text, "1")
			client.Expect(testutil.Text, "2")
			want := []string{"POST " + prefix + "/a%2Fb/@connections?X-Amz-Date=1 /a%2Fb/@connections {ID: User: Group:} -1"}
			for _, single := range []string{
				"@users/ann {ID: User:ann Group:}", "@users/bob {ID: User:bob Group:}", "@groups/ann {ID: User: Group:ann}",
				"@groups/a%20b%252F%3F%23 {ID: User: Group:a b%2F?#}", "@groups/room {ID: User: Group:room}", "@users/panic {ID: User:panic Group:}",
				"@users/%2E%2E {ID: User:.. Group:}", "@users/later {ID: User:later Group:}", "@users/later {ID: User:later Group:}",
			} {
				path, target, _ := strings.Cut(single, " ")
				want = append(want, "POST "+prefix+"/a%2Fb/"+path+"?X-Amz-Date=1 /a%2Fb/"+path+" "+target+" 0")
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(seen, want) {
				t.Errorf("asked\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// Without AuthorizePush such lines are refused, and all others are served.
func TestBulkMembersNotAuthorized(t *testing.T) {
	w := newWorker(t, quiet())
	client, conn := as(t, w, serve(t, w, asQuery()), "ann", "room")
	_, answers, err := postLines(publishing(t), "http://"+w.Addr().String()+"/ws/@connections",
		`{"user":"ann","text":"x"}`, `{"group":"room","text":"x"}`, `{"user":"","text":"x"}`, textLine(conn.ID(), "1"))
	if err != nil || len(answers) != 5 {
		t.Fatal(answers, err)
	}
	for _, answer := range answers[:4] {
		is403 := strings.Contains(answer, `"status":403`) && strings.Contains(answer, "WorkerOptions.AuthorizePush")
		if is403 == strings.Contains(answer, `"line":4`) {
			t.Error(answer)
		}
	}
	client.Expect(testutil.Text, "1")
}

// More names in one request than are remembered are asked about again.
func TestBulkMembersManyNames(t *testing.T) {
	asked := 0
	opts := quiet()
	opts.AuthorizePush = func(r *http.Request) error { asked++; return nil }
	w := newWorker(t, opts)
	var lines []string
	for range 2 {
		for i := range 1500 {
			lines = append(lines, fmt.Sprintf(`{"user":"%d","text":"x"}`, i))
		}
	}
	_, answers, err := postLines(publishing(t), "http://"+w.Addr().String()+"/ws/@connections", lines...)
	if err != nil || len(answers) != len(lines)+1 || asked < 1501 || asked > 3001 {
		t.Errorf("%d answers, asked %d times, %v", len(answers), asked, err)
	}
	if s := w.Stats(); s.RefusedBy.Gone != 3000 || s.UserPushes != 3000 {
		t.Errorf("%+v", s)
	}
}

// A Shutdown does not wait for an AuthorizePush that is asked about a line, as for none.
func TestBulkMembersShutdown(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	opts := quiet()
	opts.AuthorizePush = func(r *http.Request) error {
		if target, _ := wspush.TargetOf(r); target.User == "" {
			return nil
		}
		close(entered)
		<-r.Context().Done() // its publisher is cut off
		<-leave
		return nil
	}
	w, err := wspush.NewWorker(opts)
	if err != nil {
		t.Fatal(err)
	}
	b := openBulk(t, dialPush(t, w))
	b.send(`{"user":"ann","text":"x"}`)
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	begin := time.Now()
	_ = w.Shutdown(ctx)
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	close(leave)
	_, _ = bufio.NewReader(b.conn).ReadString(0)
}

// Lines to users and groups reach the members of all workers, in the order of the lines, also among lines to addresses.
func TestBulkMembersEverywhere(t *testing.T) {
	both(t, func(t *testing.T, withPeers bool) {
		m := newTeam(t, 3, withPeers, nil)
		ann, annConn := as(t, m.workers[1], m.servers[1], "ann", "room")
		here, hereConn := as(t, m.workers[0], m.servers[0], "ann", "room")
		bob, _ := as(t, m.workers[2], m.servers[2], "bob", "room")
		b := openBulk(t, dialPush(t, m.workers[0]))
		const lines = 300
		reading := []<-chan struct{}{}
		var all, room []string
		for i := range lines {
			switch i % 3 {
			case 2:
				room = append(room, fmt.Sprint(i))
				fallthrough
			default:
				all = append(all, fmt.Sprint(i))
			}
		}
		reading = append(reading, expecting(ann, all...), expecting(here, all...), expecting(bob, room...))
		var sent []string
		for i := range lines {
			switch i % 3 {
			case 0:
				sent = append(sent, fmt.Sprintf(`{"user":"ann","text":"%d"}`, i))
			case 1:
				sent = append(sent, fmt.Sprintf(`{"to":[%q,%q],"text":"%d"}`, annConn.SealedID(), hereConn.SealedID(), i))
			case 2:
				sent = append(sent, fmt.Sprintf(`{"group":"room","text":"%d"}`, i))
			}
		}
		b.send(sent...)
		written := make(map[int]int)
		for range lines + lines/3 { // those of case 1 have two answers
			var a struct {
				membersAnswer
				Line int
			}
			if err := json.Unmarshal([]byte(b.answer()), &a); err != nil || a.Status >= 300 {
				t.Fatalf("%+v, %v", a, err)
			}
			written[a.Line] += a.Written
		}
		for i := range lines {
			if want := []int{2, 0, 3}[i%3]; written[1+i] != want {
				t.Errorf("line %d: %d", 1+i, written[1+i])
			}
		}
		for _, read := range reading {
			<-read
		}
		for line, want := range map[string]membersAnswer{
			`{"user":"eve","text":"x"}`: {Status: 410},
			`{"group":"room","text":"x","except":["` + annConn.SealedID() + `","` + hereConn.SealedID() + `"]}`: {Status: 200, Written: 1, Excepted: 2},
			`{"user":"ann","text":"x","except":["` + annConn.SealedID() + `","` + hereConn.SealedID() + `"]}`:   {Status: 200, Excepted: 2},
		} {
			b.send(line)
			var a membersAnswer
			if err := json.Unmarshal([]byte(b.answer()), &a); err != nil || a.Status != want.Status || a.Written != want.Written || a.Excepted != want.Excepted || !a.Complete || a.Workers != a.Answered {
				t.Errorf("%s: %+v, %v", line, a, err)
			}
		}
		if withPeers {
			return
		}
		for _, c := range m.clients {
			c.Cut(true)
		}
		testutil.Eventually(t, "the directory to fail", func() bool {
			b.send(`{"user":"ann","text":"x"}`)
			var a membersAnswer
			_ = json.Unmarshal([]byte(b.answer()), &a)
			return a.Status == 503 && a.Type == "urn:wspush:directory"
		})
		b.send(fmt.Sprintf(`{"to":%q,"text":"still"}`, annConn.SealedID()))
		if a := b.answer(); !strings.Contains(a, `"status":204`) {
			t.Error(a)
		}
	})
}
