package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// as connects a client as a user in groups.
func as(t testing.TB, w *wspush.Worker, server, user string, groups ...string) (*testutil.Client, *wspush.Conn) {
	t.Helper()
	path := "/ws?user=" + user
	for _, g := range groups {
		path += "&group=" + g
	}
	client := testutil.Dial(t, server, testutil.Options{Path: path})
	conn, _ := greeted(t, w, client)
	return client, conn
}

// A user's connections, and a group's, get the message, each once; others do not.
func TestRecipients(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, asQuery())
	phone, phoneConn := as(t, w, server, "ann", "room")
	laptop, laptopConn := as(t, w, server, "ann")
	bob, bobConn := as(t, w, server, "bob", "room", "other")
	nobody, _ := as(t, w, server, "")
	ctx := context.Background()
	push := func(r *wspush.Recipients, data string, want wspush.Outcomes, wantErr error, opts ...wspush.PushOption) {
		t.Helper()
		want.Workers, want.Answered, want.Complete = 1, 1, true
		got, err := r.Push(ctx, wspush.Text, []byte(data), opts...)
		if !errors.Is(err, wantErr) || wantErr == nil && err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
	push(w.User("ann"), "1", wspush.Outcomes{Written: 2}, nil)
	phone.Expect(testutil.Text, "1")
	laptop.Expect(testutil.Text, "1")
	push(w.Group("room"), "2", wspush.Outcomes{Written: 2}, nil)
	phone.Expect(testutil.Text, "2")
	bob.Expect(testutil.Text, "2")
	push(w.User("bob"), "3", wspush.Outcomes{Written: 1}, nil)
	push(w.Group("ann"), "4", wspush.Outcomes{}, wspush.ErrGone) // a user is no group
	push(w.User("Ann"), "5", wspush.Outcomes{}, wspush.ErrGone)
	push(w.Group("room").Except(phoneConn), "6", wspush.Outcomes{Written: 1, Excepted: 1}, nil)
	push(w.Group("room").Except(phoneConn, laptopConn).Except(bobConn), "7", wspush.Outcomes{Excepted: 2}, nil)
	push(w.User("ann").Except(phoneConn), "8", wspush.Outcomes{Written: 1, Excepted: 1}, nil)
	push(w.Group("other").Except(bobConn), "9", wspush.Outcomes{Excepted: 1}, nil)
	_ = phoneConn.Leave(ctx, "room")
	_ = laptopConn.Join(ctx, "room")
	push(w.Group("room"), "10", wspush.Outcomes{Written: 2}, nil)
	_ = laptopConn.Close(1000, "")
	push(w.Group("room"), "11", wspush.Outcomes{Written: 1}, nil)
	push(w.User("ann"), "12", wspush.Outcomes{Written: 1}, nil)
	for client, want := range map[*testutil.Client][]string{
		phone: {"12"}, laptop: {"8", "10"}, bob: {"3", "6", "10", "11"}, nobody: {},
	} {
		for _, data := range want {
			client.Expect(testutil.Text, data)
		}
	}
	_ = phoneConn.Close(1000, "")
	phone.AwaitClose()
	laptop.AwaitClose()
	push(w.User("ann"), "13", wspush.Outcomes{}, wspush.ErrGone)
	_ = bobConn.Close(1000, "")
	bob.AwaitClose()
	if s := w.Stats(); s.UserPushes != 6 || s.GroupPushes != 7 || s.Written != 11 || s.RefusedBy.Gone != 3 {
		t.Errorf("%+v", s)
	}
}

// What is wrong with a push is told without trying it.
func TestRecipientsRefuse(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytes: 10})
	_, _ = as(t, w, serve(t, w, asQuery()), "ann", "room")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tt := range map[string]struct {
		ctx  context.Context
		to   *wspush.Recipients
		typ  wspush.MessageType
		data string
		want error // nil: any
	}{
		"an empty name":   {context.Background(), w.User(""), wspush.Text, "x", nil},
		"a slash":         {context.Background(), w.Group("a/b"), wspush.Text, "x", nil},
		"a long name":     {context.Background(), w.Group(strings.Repeat("x", 257)), wspush.Text, "x", nil},
		"a wrong type":    {context.Background(), w.User("ann"), 7, "x", nil},
		"too large":       {context.Background(), w.User("ann"), wspush.Text, "12345678901", wspush.ErrTooLarge},
		"not UTF-8":       {context.Background(), w.Group("room"), wspush.Text, "\xff", wspush.ErrInvalidUTF8},
		"an ended ctx":    {cancelled, w.User("ann"), wspush.Text, "x", context.Canceled},
		"too large for 0": {context.Background(), w.User("bob"), wspush.Text, "12345678901", wspush.ErrTooLarge},
	} {
		o, err := tt.to.Push(tt.ctx, tt.typ, []byte(tt.data))
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || fmt.Sprint(o) != fmt.Sprint(wspush.Outcomes{}) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	if n, err := w.User("a\x00").Disconnect(context.Background(), 1000, ""); n != 0 || err == nil {
		t.Error(n, err)
	}
	if n, err := w.User("ann").Disconnect(context.Background(), 999, ""); n != 0 || err == nil {
		t.Error(n, err)
	}
	if n, err := w.User("ann").Disconnect(cancelled, 1000, ""); n != 0 || err != context.Canceled {
		t.Error(n, err)
	}
	for _, r := range []*wspush.Recipients{w.User(""), w.Group("\n")} {
		n := 0
		for m, err := range r.Members(context.Background()) {
			if n++; err == nil || m != (wspush.Member{}) {
				t.Error(m, err)
			}
		}
		if n != 1 {
			t.Errorf("%d yielded", n)
		}
	}
	if s := w.Stats(); s.Written != 0 || s.UserPushes != 0 || s.GroupPushes != 0 {
		t.Errorf("%+v", s)
	}
}

// Members are who is there, since they are: from before the greeting, or from when they joined.
func TestRecipientsMembers(t *testing.T) {
	bubble(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: [][]byte{testutil.Key("k")}}}, asQuery(), func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, _ *testutil.Client) {
		ctx := context.Background()
		begin := time.Now()
		testutil.Pass(time.Minute)
		_ = conn.Join(ctx, "room")
		testutil.Pass(time.Minute)
		other := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, asQuery())), testutil.Options{Timeout: -1, Path: "/ws?user=ann&group=room"})
		otherConn, _ := greeted(t, w, other)
		list := func(r *wspush.Recipients) map[string]time.Time {
			all := make(map[string]time.Time)
			for m, err := range r.Members(ctx) {
				if err != nil {
					t.Error(err)
				}
				if want := map[string]string{otherConn.SealedID(): "ann"}[m.ID]; m.User != want {
					t.Errorf("%q, want %q", m.User, want)
				}
				all[m.ID] = m.Since
			}
			return all
		}
		same := func(a, b time.Time) bool { return a.Equal(b) }
		room := map[string]time.Time{conn.SealedID(): begin.Add(time.Minute), otherConn.SealedID(): begin.Add(2 * time.Minute)}
		if got := list(w.Group("room")); !maps.EqualFunc(got, room, same) {
			t.Errorf("%v, want %v", got, room)
		}
		if got := list(w.Group("room").Except(conn)); len(got) != 1 {
			t.Errorf("%v", got)
		}
		if got := list(w.User("ann")); !maps.EqualFunc(got, map[string]time.Time{otherConn.SealedID(): begin.Add(2 * time.Minute)}, same) {
			t.Errorf("%v", got)
		}
	})
}

// A user is logged out everywhere, or everywhere else.
func TestRecipientsDisconnect(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, asQuery())
	var clients []*testutil.Client
	var conns []*wspush.Conn
	for range 3 {
		client, conn := as(t, w, server, "ann", "room")
		clients, conns = append(clients, client), append(conns, conn)
	}
	ctx := context.Background()
	if n, err := w.User("ann").Except(conns[0]).Disconnect(ctx, 4001, "logged out"); n != 2 || err != nil {
		t.Error(n, err)
	}
	for _, c := range clients[1:] {
		if code, reason := c.AwaitClose(); code != 4001 || reason != "logged out" {
			t.Error(code, reason)
		}
	}
	for i, want := range []int{1, 0} {
		if n, err := w.Group("room").Disconnect(ctx, 4002, ""); n != want || err != nil {
			t.Error(i, n, err)
		}
	}
	clients[0].AwaitClose()
}

// Who does not read keeps the caller waiting, but nobody else, until ctx ends: then the message is withdrawn, or unknown.
func TestRecipientsSlow(t *testing.T) {
	bubble(t, wspush.WorkerOptions{WriteTimeout: -1}, asQuery(), func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, _ *testutil.Client) {
		bg := context.Background()
		_ = conn.Join(bg, "room") // it does not read
		reading := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, asQuery())), testutil.Options{Timeout: -1, Path: "/ws?group=room"})
		readingConn, _ := greeted(t, w, reading)
		var got atomic.Int64
		go func() {
			for {
				if _, _, err := reading.Message(); err != nil {
					return
				}
				got.Add(1)
			}
		}()
		synctest.Wait()
		push := func(r *wspush.Recipients, ctx context.Context, opts ...wspush.PushOption) (wspush.Outcomes, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return r.Push(ctx, wspush.Text, []byte("x"), opts...)
		}
		// A pipe has no buffer: the first message is begun.
		if o, err := push(w.Group("room"), bg); o.Written != 1 || o.Unknown != 1 || err != nil || !errors.Is(o.Err(), wspush.ErrUnknown) {
			t.Errorf("%+v, %v", o, err)
		}
		if o, err := push(w.Group("room"), bg); o.Written != 1 || o.Refused[context.DeadlineExceeded] != 1 || err != nil {
			t.Errorf("%+v, %v", o, err)
		}
		if o, err := push(w.Group("room").Except(readingConn), bg); o.Excepted != 1 || o.Refused[context.DeadlineExceeded] != 1 || err != context.DeadlineExceeded {
			t.Errorf("%+v, %v", o, err)
		}
		if o, err := push(w.Group("room"), bg, wspush.Confirmed()); o.Received != 1 || o.Written != 0 || o.Refused[context.DeadlineExceeded] != 1 || err != nil {
			t.Errorf("%+v, %v", o, err)
		}
		begin := time.Now() // without a deadline, a confirmation has 5 s
		o, err := w.Group("room").Push(bg, wspush.Text, []byte("x"), wspush.Confirmed())
		if o.Received != 1 || o.Refused[context.DeadlineExceeded] != 1 || err != nil || time.Since(begin) != 5*time.Second {
			t.Errorf("%+v, %v after %v", o, err, time.Since(begin))
		}
		_ = conn.Join(bg, "alone")
		begin = time.Now()
		o, err = w.Group("alone").Push(bg, wspush.Text, []byte("x"), wspush.Confirmed())
		if o.Refused[context.DeadlineExceeded] != 1 || err != context.DeadlineExceeded || time.Since(begin) != 5*time.Second {
			t.Errorf("%+v, %v after %v", o, err, time.Since(begin))
		}
		if s := w.Stats(); got.Load() != 4 || s.Confirmed != 2 || s.RefusedBy.Withdrawn != 5 || s.Unknown != 1 {
			t.Errorf("%d received, %+v", got.Load(), s)
		}
	})
}

// Once Shutdown has ended, nobody is there, and it is known why.
func TestRecipientsShutdown(t *testing.T) {
	w, err := wspush.NewWorker(quiet())
	if err != nil {
		t.Fatal(err)
	}
	client, _ := as(t, w, serve(t, w, asQuery()), "ann")
	go client.AwaitClose()
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := w.User("ann").Push(context.Background(), wspush.Text, []byte("x")); err != wspush.ErrShutdown {
		t.Error(err)
	}
	if _, err := w.User("ann").Disconnect(context.Background(), 1000, ""); err != wspush.ErrShutdown {
		t.Error(err)
	}
	for _, err := range w.User("ann").Members(context.Background()) {
		if err != wspush.ErrShutdown {
			t.Error(err)
		}
	}
}

// The outcomes are true while connections come, join, leave and end: clients count what they get. Nothing comes twice, whoever was
// counted as written has it, and nobody else but whoever was counted as unknown.
func TestRecipientsTruth(t *testing.T) {
	const pushers, pushes, room = 3, 150, 90 // beyond 64, several goroutines push
	w := newWorker(t, quiet())
	server := serve(t, w, asQuery())
	var mu sync.Mutex // guards received
	received := make(map[string]int)
	var reading sync.WaitGroup
	connect := func() *wspush.Conn {
		client := testutil.Dial(t, server, testutil.Options{Path: "/ws?user=ann&group=room"})
		conn, _ := greeted(t, w, client)
		reading.Go(func() {
			got := make(map[string]bool)
			for {
				_, data, err := client.Message()
				if err != nil {
					break
				}
				if got[string(data)] {
					t.Errorf("%s came twice", data)
				}
				got[string(data)] = true
			}
			mu.Lock()
			defer mu.Unlock()
			for data := range got {
				received[data]++
			}
		})
		return conn
	}
	conns := make([]*wspush.Conn, room)
	for i := range conns {
		conns[i] = connect()
	}
	ctx := context.Background()
	type told struct{ written, unknown int }
	outcomes := make(map[string]told)
	var pushing sync.WaitGroup
	for p := range pushers {
		pushing.Go(func() {
			for n := range pushes {
				to, opts := w.Group("room"), []wspush.PushOption(nil)
				switch {
				case n%5 == 0:
					to = w.User("ann")
				case n%5 == 1:
					opts = append(opts, wspush.Confirmed())
				}
				data := fmt.Sprint(p, " ", n)
				o, err := to.Push(ctx, wspush.Text, []byte(data), opts...)
				if (err == nil) != (o.Written+o.Received > 0) || o.Written > 0 && o.Received > 0 || !o.Complete {
					t.Errorf("%+v, %v", o, err)
				}
				mu.Lock()
				outcomes[data] = told{o.Written + o.Received, o.Unknown}
				mu.Unlock()
			}
		})
	}
	over := make(chan struct{})
	go func() {
		pushing.Wait()
		close(over)
	}()
	random := rand.New(rand.NewPCG(3, 4))
	for isOver := false; !isOver; {
		select {
		case <-over:
			isOver = true
		default:
		}
		if i := random.IntN(room); random.IntN(10) == 0 {
			_ = conns[i].Close(1000, "")
			conns[i] = connect()
		} else {
			_ = conns[i].Leave(ctx, "room")
			_ = conns[(i+1)%room].Join(ctx, "room")
		}
	}
	for _, c := range conns {
		_ = c.Close(1000, "")
	}
	reading.Wait()
	total := 0
	for data, o := range outcomes {
		got := received[data]
		total += got
		if got < o.written || got > o.written+o.unknown {
			t.Errorf("%s: written to %d, unknown at %d, received by %d", data, o.written, o.unknown, got)
		}
	}
	t.Logf("%d messages received", total)
	if total < pushers*pushes {
		t.Errorf("%d messages received", total)
	}
	if s := w.Stats(); s.Users != 0 || s.Groups != 0 || s.Memberships != 0 {
		t.Errorf("%+v", s)
	}
	if got := slices.Collect(w.Conns()); len(got) != 0 {
		t.Errorf("%d connections are left", len(got))
	}
}
