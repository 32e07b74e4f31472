package wspush_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/stats"
)

// What goes over a connection is counted to the byte, and timed by the fake clock's own measure.
func TestStatsTraffic(t *testing.T) {
	opts := &wspush.HandlerOptions{PingInterval: -1, IdleTimeout: -1, OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) {}}
	bubble(t, wspush.WorkerOptions{MaxPendingAll: -1}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		greeted := w.Stats()
		if greeted.BytesWritten != uint64(2+len(conn.Addresses()[0])) || greeted.PushLatency.Count() != 0 {
			t.Errorf("after the greeting: %+v", greeted)
		}
		first, second := start(context.Background(), conn, "hello"), start(context.Background(), conn, "you")
		if s := w.Stats(); s.PendingBytes != 512+5+512+3 || conn.Info().Pending != 512+5+512+3 {
			t.Errorf("%d bytes wait, %d for the client", s.PendingBytes, conn.Info().Pending)
		}
		testutil.Pass(time.Second)
		expectFrame(t, client, testutil.Text, "hello")
		expectFrame(t, client, testutil.Text, "you")
		if err := errors.Join(returned(t, first), returned(t, second)); err != nil {
			t.Fatal(err)
		}
		receipt := confirm(context.Background(), conn, "really?")
		expectFrame(t, client, testutil.Text, "really?")
		expectFrame(t, client, testutil.Ping, "1")
		testutil.Pass(3 * time.Second)
		pong(client, "1")
		if r := <-receipt; r.err != nil {
			t.Fatal(r.err)
		}
		client.Send(testutil.Text, []byte("thanks"))
		synctest.Wait()

		s := w.Stats()
		written, read := s.BytesWritten-greeted.BytesWritten, s.BytesReceived-greeted.BytesReceived
		number := written - (2 + 5) - (2 + 3) - (2 + 7) - 2 // the length of the ping's payload, which is a number
		if number < 1 || number > 20 || read != 6+number+6+6 {
			t.Errorf("%d bytes written, and %d received", written, read)
		}
		if s.Written != 3 || s.Confirmed != 1 || s.Received != 1 || s.Pings != 1 || s.Pongs != 1 || s.PendingBytes != 0 || conn.Info().Pending != 0 {
			t.Errorf("%+v", s)
		}
		if l := s.PushLatency; l.Count() != 3 || l.Sum() != 2*time.Second || l.Quantile(0.33) != 8*time.Microsecond || l.Quantile(0.99) != 1048576*time.Microsecond {
			t.Errorf("latencies: %d in %v, p33 %v, p99 %v", l.Count(), l.Sum(), l.Quantile(0.33), l.Quantile(0.99))
		}
		if r := s.RoundTrip; r.Count() != 1 || r.Sum() != 3*time.Second {
			t.Errorf("round trips: %d in %v", r.Count(), r.Sum())
		}
	})
}

// Each push that is refused is counted once, for what it was refused for.
func TestStatsRefused(t *testing.T) {
	wopts := wspush.WorkerOptions{MaxPushBytes: 10, MaxPending: 300}
	bubble(t, wopts, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		stuck := start(context.Background(), conn, "1")
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		push := func(ctx context.Context, id, data string) error {
			return outcome(w.Push(ctx, id, wspush.Text, []byte(data)))
		}
		ctx := context.Background()
		for want, err := range map[error]error{
			wspush.ErrGone:        push(ctx, unknownID, "x"),
			wspush.ErrBusy:        push(ctx, conn.ID(), "0123456789"),
			wspush.ErrTooLarge:    push(ctx, conn.ID(), "0123456789x"),
			wspush.ErrInvalidUTF8: push(ctx, conn.ID(), "\xff"),
			context.Canceled:      push(ended, conn.ID(), "x"),
		} {
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		if _, err := w.Push(ctx, conn.ID(), 7, nil); err == nil {
			t.Error("a message of type 7")
		}
		client.Expect(testutil.Text, "1")
		if err := <-stuck; err != nil {
			t.Error(err)
		}
		if err := w.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := push(ctx, conn.ID(), "x"); !errors.Is(err, wspush.ErrShutdown) {
			t.Errorf("%v, want ErrShutdown", err)
		}
		want := stats.Refusals{Gone: 1, Busy: 1, Withdrawn: 1, TooLarge: 1, InvalidUTF8: 1, Shutdown: 1, Other: 1}
		if s := w.Stats(); s.RefusedBy != want || s.Refused != 7 || s.Written != 1 || s.Unknown != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Each connection's end is counted once, by its cause.
func TestStatsEnded(t *testing.T) {
	ctx := context.Background()
	tests := map[wspush.Cause]func(w *wspush.Worker, conn *wspush.Conn, client *testutil.Client){
		wspush.CauseClient:   func(_ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) { client.SendClose(1000, "") },
		wspush.CauseLost:     func(_ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) { client.Close() },
		wspush.CauseClosed:   func(_ *wspush.Worker, conn *wspush.Conn, _ *testutil.Client) { conn.Close(1000, "") },
		wspush.CauseShutdown: func(w *wspush.Worker, _ *wspush.Conn, _ *testutil.Client) { go w.Shutdown(ctx) },
		wspush.CauseIdle: func(_ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) {
			testutil.Pass(59 * time.Second)
			client.NextFrame() // a ping
			testutil.Pass(time.Second)
		},
		wspush.CauseExpired: func(_ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) {
			for range 2 { // it is not silent
				testutil.Pass(29 * time.Second)
				client.Send(testutil.Pong, nil)
			}
			testutil.Pass(20 * time.Second)
		},
		wspush.CauseNoAnswer: func(_ *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
			go func() {
				for {
					if _, err := client.ReadFrame(); err != nil { // and answers no ping
						return
					}
				}
			}()
			for range 5 { // which counts as activity, but not as the client's
				testutil.Pass(25 * time.Second)
				conn.Push(ctx, wspush.Text, nil)
			}
		},
		wspush.CauseWriteTimeout: func(_ *wspush.Worker, conn *wspush.Conn, _ *testutil.Client) {
			go conn.Push(ctx, wspush.Text, nil)
			testutil.Pass(11 * time.Second)
		},
		wspush.CauseProtocol: func(_ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) {
			client.Write([]byte{0xff, 0x80, 0, 0, 0, 0})
		},
		wspush.CauseCallback: func(_ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) {
			client.Send(testutil.Text, []byte("panic"))
		},
	}
	for cause, end := range tests {
		t.Run(string(cause), func(t *testing.T) {
			opts := &wspush.HandlerOptions{PingInterval: 59 * time.Second, IdleTimeout: time.Minute, OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) { panic("on purpose") }}
			if cause == wspush.CauseExpired {
				opts.MaxAge = 75 * time.Second
			}
			bubble(t, wspush.WorkerOptions{}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
				end(w, conn, client)
				synctest.Wait()
				client.Close()
				synctest.Wait()
				want := map[string]uint64{"away": 0, "moved": 0} // which only sessions are
				for each := range tests {
					want[string(each)] = 0
				}
				want[string(cause)] = 1
				if s := w.Stats(); !maps.Equal(s.Ended, want) || s.Connections != 0 || s.Accepted != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Each handshake that is refused is counted once, for what it was refused for.
func TestStatsHandshakes(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxConns: 1})
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(r *http.Request) (any, error) {
		switch r.URL.RawQuery {
		case "no":
			return nil, errors.New("no")
		case "panic":
			panic("on purpose")
		}
		return nil, nil
	}})
	try := func(path string, header http.Header) {
		t.Helper()
		if c, _, err := testutil.TryDial(t, server, testutil.Options{Path: path, Header: header}); err == nil {
			c.Close()
			t.Errorf("%s %v: let in", path, header)
		}
	}
	try("/ws?no", nil)
	try("/ws?panic", nil)
	try("/ws", http.Header{"Origin": {"http://evil.test"}})
	try("/ws", http.Header{"Sec-Websocket-Key": {"short"}})
	try("/ws", http.Header{"Upgrade": nil})
	client, _, _ := dial(t, w, server, testutil.Options{})
	try("/ws", nil)
	client.Close()
	if err := w.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	try("/ws", nil)
	want := stats.Handshakes{Full: 1, Shutdown: 1, Accept: 2, Origin: 1, Malformed: 2}
	if s := w.Stats(); s.Handshakes != want || s.Accepted != 1 {
		t.Errorf("%+v", s)
	}
}

// The push endpoint counts what it answers with an error, and who is connected to it.
func TestStatsPushEndpoint(t *testing.T) {
	begun, authorize := newBegun()
	w := newWorker(t, &wspush.WorkerOptions{MaxPushConns: 1, AuthorizePush: authorize})
	_, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	base, _, _ := strings.Cut(conn.PathAddresses()[0], "/ws")
	for path, status := range map[string]int{
		"/ws": 401, "/ws/@connections/12": 400, "/elsewhere/@connections/" + conn.ID(): 404, "/ws/@connections/" + unknownID: 410,
	} {
		if resp := post(t, base+path, "", []byte("x")); resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, status)
		}
		testutil.Eventually(t, "the publisher to be gone", func() bool { return w.Stats().PushConns == 0 })
	}
	if resp := post(t, address, "", []byte("x")); resp.StatusCode != http.StatusNoContent {
		t.Error(resp.Status)
	}
	testutil.Eventually(t, "the publisher to be gone", func() bool { return w.Stats().PushConns == 0 })
	halfPush(t, w, conn, begun)
	if n := w.Stats().PushConns; n != 1 {
		t.Errorf("%d publishers", n)
	}
	if resp := post(t, address, "", []byte("x")); resp.StatusCode != http.StatusServiceUnavailable {
		t.Error(resp.Status)
	}
	s := w.Stats()
	if !maps.Equal(s.Problems, map[int]uint64{400: 1, 401: 1, 404: 1, 410: 1}) || s.PushConnsRefused != 1 || s.Written != 1 || s.RefusedBy.Gone != 1 {
		t.Errorf("%+v", s)
	}
}

// A push is counted in the bucket of the time that it has taken.
func TestStatsLatency(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		before := w.Stats().PushLatency
		if q := before.Quantile(0.5); q != 0 {
			t.Errorf("the median of nothing is %v", q)
		}
		for _, wait := range []time.Duration{0, 9 * time.Microsecond, 16 * time.Microsecond, time.Minute / 7} {
			pushed := start(context.Background(), conn, "x")
			testutil.Pass(wait)
			client.Expect(testutil.Text, "x")
			if err := <-pushed; err != nil {
				t.Fatal(err)
			}
		}
		after := w.Stats().PushLatency
		var got []string
		last := time.Duration(0)
		for bound, n := range after.Buckets() {
			if len(got) > 0 && bound != 2*last && bound != math.MaxInt64 {
				t.Errorf("%v follows %v", bound, last)
			}
			last = bound
			got = append(got, fmt.Sprint(n))
		}
		if want := "1 3" + strings.Repeat(" 3", 19) + " 4 4"; strings.Join(got, " ") != want {
			t.Errorf("%q, want %q", got, want)
		}
		for bound := range after.Buckets() {
			if bound != 8*time.Microsecond {
				t.Errorf("the first bound is %v", bound)
			}
			break
		}
		if d := after.Since(before); d != after {
			t.Errorf("since the beginning: %+v", d)
		}
		if d := after.Since(after); d.Count() != 0 || d.Sum() != 0 {
			t.Errorf("since now: %+v", d)
		}
	})
}

// pushes is how many pushes a worker has counted.
func pushes(w *wspush.Worker) uint64 {
	s := w.Stats()
	return s.Written + s.Refused + s.Unknown
}

// A push is counted once, by one worker, whichever way it comes and whatever it comes to.
func TestStatsOnce(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{MaxPushBytes: 1000}), newMember(t, wspush.WorkerOptions{MaxPushBytes: 1000})
	conn, client := connectTo(t, holder)
	ended, _ := connectTo(t, holder)
	ended.Close(1000, "")
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		for _, _, err := client.Message(); err == nil; _, _, err = client.Message() {
		}
	}()
	ctx := context.Background()
	to := map[string]struct {
		conn *wspush.Conn
		data string
	}{"written": {conn, "hello"}, "too large": {conn, strings.Repeat("x", 2000)}, "gone": {ended, "hello"}}
	for outcome, push := range to {
		for _, confirm := range []bool{false, true} {
			inProcess := func(w *wspush.Worker) {
				if confirm {
					_, _ = w.Push(ctx, push.conn.SealedID(), wspush.Text, []byte(push.data), wspush.Confirmed())
				} else {
					_, _ = w.Push(ctx, push.conn.SealedID(), wspush.Text, []byte(push.data))
				}
			}
			request := func(w *wspush.Worker, expect ...string) {
				query := ""
				if confirm {
					query = "?confirm=received"
				}
				r := newRequest(t, "POST", sealedURL(w, push.conn)+query, strings.NewReader(push.data))
				r.Header["Expect"] = expect // with which it is not for the lane
				do(t, r)
			}
			bulk := func(w *wspush.Worker) {
				b := openBulk(t, dialPush(t, w))
				if confirm {
					b.send(fmt.Sprintf(`{"to":%q,"text":%q,"confirm":"received"}`, push.conn.SealedID(), push.data))
				} else {
					b.send(fmt.Sprintf(`{"to":%q,"text":%q}`, push.conn.SealedID(), push.data))
				}
				b.end()
				for b.answer() != "" {
				}
			}
			for way, do := range map[string]func(){
				"in-process":            func() { inProcess(holder) },
				"in-process, forwarded": func() { inProcess(other) },
				"lane":                  func() { request(holder) },
				"net/http":              func() { request(holder, "100-continue") },
				"forwarded":             func() { request(other) },
				"forwarded, net/http":   func() { request(other, "100-continue") },
				"bulk":                  func() { bulk(holder) },
				"bulk, forwarded":       func() { bulk(other) },
				"PushEach": func() {
					for range holder.PushEach(ctx, slices.Values([]*wspush.Conn{push.conn}), wspush.Text, []byte(push.data)) {
					}
				},
			} {
				before := pushes(holder) + pushes(other)
				do()
				if n := pushes(holder) + pushes(other) - before; n != 1 {
					t.Errorf("%s, %s, confirmed %t: counted %d times", way, outcome, confirm, n)
				}
			}
		}
	}
	client.Close()
	<-reading
}

// A caller that waits for the other worker's answer may leave: that worker counts the push, and says what has become of it.
func TestStatsForwardedAndLeft(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	client, conn, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{Silent: true})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- outcome(other.Push(ctx, conn.SealedID(), wspush.Text, []byte("x"), wspush.Confirmed()))
	}()
	client.Expect(testutil.Text, "x")
	cancel()
	if err := <-done; !errors.Is(err, wspush.ErrUnknown) {
		t.Error(err)
	}
	testutil.Eventually(t, "the holder to count it", func() bool { return pushes(holder) > 0 })
	if s := other.Stats(); pushes(holder) != 1 || pushes(other) != 0 || s.ForwardsFailed != (stats.Forwards{}) {
		t.Errorf("%+v", s)
	}
}

// A body that does not come in full is no push, here or there.
func TestStatsBrokenBody(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	conn, _ := connectTo(t, holder)
	for _, length := range []int{1000, 100_000} { // which is not read before it is sent on
		for _, w := range []*wspush.Worker{holder, other} {
			push := dialPush(t, w)
			fmt.Fprintf(push, "POST /ws/@connections/%s HTTP/1.1\r\nHost: worker\r\nContent-Length: %d\r\n\r\nhello", conn.SealedID(), length)
			push.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, push)
			if s := w.Stats(); pushes(w) != 0 || s.ForwardsFailed != (stats.Forwards{}) {
				t.Errorf("%+v", s)
			}
		}
	}
}

// What a client sends right behind its handshake counts as well.
func TestStatsEarlyBytes(t *testing.T) {
	w := newWorker(t, nil)
	got := make(chan struct{})
	server := serve(t, w, &wspush.HandlerOptions{OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) { close(got) }})
	frame := testutil.AppendFrame(nil, testutil.Frame{Fin: true, Masked: true, Op: testutil.Text, Payload: []byte("early")}, [4]byte{1, 2, 3, 4})
	testutil.Dial(t, server, testutil.Options{Early: frame}).Text()
	<-got
	if s := w.Stats(); s.Received != 1 || s.BytesReceived != uint64(len(frame)) {
		t.Errorf("%+v", s)
	}
}

// hijackPanics is a ResponseWriter with a mistake.
type hijackPanics struct{ http.ResponseWriter }

func (hijackPanics) Hijack() (net.Conn, *bufio.ReadWriter, error) { panic("on purpose") }

// A handshake that ends in somebody's panic has failed.
func TestStatsHijackPanics(t *testing.T) {
	w := newWorker(t, nil)
	h := newHandler(t, w, nil)
	server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		h.ServeHTTP(hijackPanics{rw}, r)
	}))
	if c, _, err := testutil.TryDial(t, server, testutil.Options{}); err == nil { // the answer was on its way
		c.Close()
	}
	if s := w.Stats(); s.Handshakes != (stats.Handshakes{Failed: 1}) || s.Accepted != 0 {
		t.Errorf("%+v", s)
	}
}

// Pushes in-process and by HTTP are counted alike.
func TestRefusalsAreCounted(t *testing.T) {
	w := newWorker(t, nil)
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	if _, err := w.Push(context.Background(), id, wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
		t.Error(err)
	}
	problem(t, post(t, "http://"+id+"@"+w.Addr().String()+"/ws", "", nil), 410, "gone", "")
	if s := w.Stats(); s.Refused != 2 {
		t.Errorf("Stats: %+v", s)
	}
}

// What an operator sees of the links: which there are, and what is under way on them.
func TestStatsLinks(t *testing.T) {
	m := newTeam(t, 2, true, nil)
	ctx := context.Background()
	left, right := m.workers[0], m.workers[1]
	as(t, right, m.servers[1], "ann")
	if o, err := left.User("ann").Push(ctx, wspush.Text, []byte("x")); err != nil || o.Written != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	if from, to := left.Stats().Links, right.Stats().Links; from.Opened != 1 || to.Accepted == 0 {
		t.Errorf("links from %+v to %+v", from, to)
	}
	testutil.Eventually(t, "nothing to be under way", func() bool {
		from, to := left.Stats().Links, right.Stats().Links
		return from.Asked == 0 && from.Taken == 0 && to.Asked == 0 && to.Taken == 0
	})
	slow := testutil.Handshake(t, dialSmall(t, serveSmall(t, newHandler(t, right, asQuery()), nil)), testutil.Options{Path: "/ws?user=slow"})
	conn, _ := greeted(t, right, slow)
	standStill(t, conn)
	waiting, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		_, err := left.User("slow").Push(waiting, wspush.Text, []byte("x"))
		ended <- err
	}()
	testutil.Eventually(t, "a push to be under way", func() bool { return left.Stats().Links.Asked == 1 && right.Stats().Links.Taken == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	testutil.Eventually(t, "nothing to be under way", func() bool { return left.Stats().Links.Asked == 0 && right.Stats().Links.Taken == 0 })
	slow.Close()
}

// What an operator sees of the directory, while all is well and while it is not. Each push that comes to ErrDirectory is
// counted once, in whatever way it came.
func TestStatsDirectory(t *testing.T) {
	m := newMortalTeam(t, 2, time.Minute)
	ctx := context.Background()
	left, right := m.workers[0], m.workers[1]
	as(t, right, m.servers[1], "ann", "room")
	await := func(what string, w *wspush.Worker, want stats.Directory) {
		t.Helper()
		testutil.Eventually(t, what, func() bool { return w.Stats().Directory == want })
	}
	await("the directory to have been told", right, stats.Directory{Workers: 1})
	await("the other worker to be known", left, stats.Directory{Workers: 1})

	// refuse pushes in each of the ways that there are, and returns by how much the counts have grown.
	refuse := func(w *wspush.Worker) (refused, byDirectory, named uint64) {
		t.Helper()
		before := w.Stats()
		if _, err := w.User("ann").Push(ctx, wspush.Text, []byte("x")); !errors.Is(err, wspush.ErrDirectory) {
			t.Error(err)
		}
		if status, a := ask(t, "http://"+w.Addr().String(), "POST /@groups/room", "x"); status != 503 || a.Type != "urn:wspush:directory" {
			t.Errorf("%d %+v", status, a)
		}
		b := openBulk(t, dialPush(t, w))
		b.send(`{"user":"ann","text":"x"}`)
		if answer := b.answer(); !strings.Contains(answer, `"status":503,"type":"urn:wspush:directory"`) {
			t.Error(answer)
		}
		after := w.Stats()
		return after.Refused - before.Refused, after.RefusedBy.Directory - before.RefusedBy.Directory,
			after.UserPushes + after.GroupPushes - before.UserPushes - before.GroupPushes
	}
	m.kill(1)
	testutil.Eventually(t, "the directory to fail", func() bool { return right.Stats().Directory.Failing })
	if refused, byDirectory, named := refuse(right); refused != 3 || byDirectory != 3 || named != 0 {
		t.Errorf("the directory fails: %d refused, %d of them for the directory, %d counted as tried", refused, byDirectory, named)
	}
	as(t, right, m.servers[1], "bob", "room")
	testutil.Eventually(t, "something to be pending", func() bool { return right.Stats().Directory.Pending > 0 })
	await("the other worker to have vanished", left, stats.Directory{Vanished: 1})
	if refused, byDirectory, named := refuse(left); refused != 3 || byDirectory != 3 || named != 3 {
		t.Errorf("a worker is silent: %d refused, %d of them for the directory, %d counted as tried", refused, byDirectory, named)
	}
	m.proxies[1].Store(false)
	m.clients[1].Cut(false)
	await("all to be well again", left, stats.Directory{Workers: 1})
	await("all to be well again", right, stats.Directory{Workers: 1})
}

// Of Peers there is to be seen only whether they can be had, and of a worker without either, nothing.
func TestStatsPeers(t *testing.T) {
	var failing atomic.Bool
	opts := *quiet()
	opts.Cluster = &wspush.Cluster{Peers: func(context.Context) ([]string, error) {
		if failing.Load() {
			return nil, errors.New("no such host")
		}
		return nil, nil
	}}
	opts.Cluster.SetTiming(quick)
	with, without := newMember(t, opts), newWorker(t, nil)
	for _, isFailing := range []bool{false, true, false} {
		failing.Store(isFailing)
		want := stats.Directory{Failing: isFailing}
		testutil.Eventually(t, fmt.Sprint("Failing to be ", isFailing), func() bool {
			_, _ = with.User("ann").Push(context.Background(), wspush.Text, []byte("x"))
			return with.Stats().Directory == want
		})
	}
	if s := without.Stats(); s.Directory != (stats.Directory{}) || s.Links != (stats.Links{}) {
		t.Errorf("%+v, %+v", s.Directory, s.Links)
	}
}

// Stats follows a session: live, suspended, what is buffered for it, what its clients get who come back, and what is left in the end.
func TestStatsSessions(t *testing.T) {
	inStation(t, wspush.WorkerOptions{}, nil, func(t *testing.T, s *station) {
		want := func(when string, want stats.Sessions) {
			t.Helper()
			synctest.Wait()
			if got := s.Stats().Sessions; got != want {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		p, c := s.visit()
		want("connected", stats.Sessions{Live: 1})
		s.push(c, "12345", wspush.Written)
		p.Want("12345")
		want("written", stats.Sessions{Live: 1, Buffered: 1, BufferedBytes: 5})
		s.push(c, "67", wspush.Received, wspush.Confirmed())
		p.Want("67")
		want("confirmed", stats.Sessions{Live: 1})
		p.Close()
		synctest.Wait()
		s.push(c, "890", wspush.Buffered)
		want("suspended", stats.Sessions{Live: 1, Suspended: 1, Buffered: 1, BufferedBytes: 3})
		q := s.back(p.Ticket())
		q.Want("890")
		testutil.Pass(10 * time.Second)
		want("resumed", stats.Sessions{Live: 1, Resumes: stats.Resumes{Resumed: 1}})
		r := s.back(q.Ticket())
		want("taken over", stats.Sessions{Live: 1, Resumes: stats.Resumes{Resumed: 2}, Replaced: 1})
		r.Close()
		synctest.Wait()
		s.push(c, "left", wspush.Buffered)
		s.push(c, "over", wspush.Buffered)
		testutil.Pass(window)
		want("expired", stats.Sessions{Resumes: stats.Resumes{Resumed: 2}, Replaced: 1, Unconfirmed: 2})
		s.back(r.Ticket())
		want("too late", stats.Sessions{Live: 1, Resumes: stats.Resumes{Resumed: 2, Expired: 1}, Replaced: 1, Unconfirmed: 2})
		if got := s.Stats(); got.Ended["away"] != 1 || got.Buffered != 3 {
			t.Errorf("%+v", got)
		}
	})
}

// The limits are those that the worker has been given, the defaults, or -1.
func TestStatsLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		opts wspush.WorkerOptions
		want stats.Limits
	}{
		"the defaults": {
			wspush.WorkerOptions{},
			stats.Limits{
				MaxConns: -1, MaxPushConns: 1024, MaxPending: 1 << 20, MaxPendingAll: 256 << 20, MaxPushBytes: 1 << 20, MaxPushBytesAll: 64 << 20,
				MaxGroups: 1000, MaxAsked: 1024,
			},
		},
		"set": {
			wspush.WorkerOptions{MaxConns: 1, MaxPushConns: 2, MaxPending: 3, MaxPendingAll: 4, MaxPushBytes: 5, MaxPushBytesAll: 6, MaxGroups: 7},
			stats.Limits{MaxConns: 1, MaxPushConns: 2, MaxPending: 3, MaxPendingAll: 4, MaxPushBytes: 5, MaxPushBytesAll: 6, MaxGroups: 7, MaxAsked: 1024},
		},
		"none": {
			wspush.WorkerOptions{MaxConns: -7, MaxPushConns: -6, MaxPending: -5, MaxPendingAll: -4, MaxPushBytes: -3, MaxPushBytesAll: -2, MaxGroups: -1},
			stats.Limits{MaxConns: -1, MaxPushConns: -1, MaxPending: -1, MaxPendingAll: -1, MaxPushBytes: -1, MaxPushBytesAll: -1, MaxGroups: -1, MaxAsked: 1024},
		},
		"without a push listener": {
			wspush.WorkerOptions{NoListen: true, Advertise: []string{"http://worker.test"}, MaxConns: 1},
			stats.Limits{
				MaxConns: 1, MaxPushConns: -1, MaxPending: 1 << 20, MaxPendingAll: 256 << 20, MaxPushBytes: 1 << 20, MaxPushBytesAll: 64 << 20,
				MaxGroups: 1000, MaxAsked: 1024,
			},
		},
	} {
		w, err := wspush.NewWorker(&tt.opts)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := w.Stats().Limits; got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
		if err := w.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
