package wspush_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// quick is the timing of directories in tests: a worker is sure of what it sees after 150 ms, and a dead one is in doubt for long.
var quick = membership.Timing{Lease: 150 * time.Millisecond, Renew: 20 * time.Millisecond, Call: time.Second, Probe: 20 * time.Millisecond, Resolve: 20 * time.Millisecond, Doubt: time.Minute}

// team is several workers that know of each other.
type team struct {
	t       *testing.T
	engine  *membershiptest.Engine // nil with Peers
	clients []*membershiptest.Client
	workers []*wspush.Worker
	servers []string      // of each
	proxies []atomic.Bool // of a mortal team: whether each is out of reach
	peers   atomic.Pointer[[]string]
}

// newTeam makes workers with a directory, or with Peers.
func newTeam(t *testing.T, n int, withPeers bool, change func(i int, opts *wspush.WorkerOptions)) *team {
	t.Helper()
	m := &team{t: t}
	if !withPeers {
		m.engine = membershiptest.NewEngine(2, rand.New(rand.NewPCG(1, 2)))
	}
	m.peers.Store(new([]string))
	for i := range n {
		opts := *quiet()
		c := &wspush.Cluster{Keys: [][]byte{clusterKey}}
		c.SetTiming(quick)
		opts.Cluster, opts.AuthorizePush, opts.WriteTimeout = c, anybody, time.Minute
		if withPeers {
			c.Peers = func(context.Context) ([]string, error) {
				return *m.peers.Load(), nil
			}
		} else {
			client := m.engine.Client()
			m.clients = append(m.clients, client)
			c.Directory = client
		}
		if change != nil {
			change(i, &opts)
		}
		w := newWorker(t, &opts)
		addresses := append(slices.Clone(*m.peers.Load()), w.Addr().String())
		m.peers.Store(&addresses)
		m.workers, m.servers = append(m.workers, w), append(m.servers, serve(t, w, asQuery()))
	}
	for _, w := range m.workers {
		m.settle(w)
	}
	return m
}

// settle waits until a worker is sure who else there is.
func (m *team) settle(w *wspush.Worker) {
	m.t.Helper()
	testutil.Eventually(m.t, "the worker is sure who else there is", func() bool {
		_, err := w.User("nobody").Push(context.Background(), wspush.Text, []byte("x"))
		return errors.Is(err, wspush.ErrGone)
	})
}

func both(t *testing.T, f func(t *testing.T, withPeers bool)) {
	for _, name := range []string{"directory", "peers"} {
		t.Run(name, func(t *testing.T) { f(t, name == "peers") })
	}
}

// Whatever worker is asked, the members of all get the message, once, and nobody else.
func TestPushEverywhere(t *testing.T) {
	both(t, func(t *testing.T, withPeers bool) {
		m := newTeam(t, 3, withPeers, nil)
		ctx := context.Background()
		ann0, ann0Conn := as(t, m.workers[0], m.servers[0], "ann", "room")
		ann1, ann1Conn := as(t, m.workers[1], m.servers[1], "ann", "room")
		ann1b, _ := as(t, m.workers[1], m.servers[1], "ann")
		bob, _ := as(t, m.workers[2], m.servers[2], "bob", "room")
		for i, w := range m.workers {
			push := func(to *wspush.Recipients, want wspush.Outcomes, clients []*testutil.Client, opts ...wspush.PushOption) {
				t.Helper()
				data, next := fmt.Sprint(rand.Uint64()), fmt.Sprint(rand.Uint64())
				var reading sync.WaitGroup
				for _, c := range clients {
					reading.Go(func() {
						c.Expect(testutil.Text, data)
						c.Expect(testutil.Text, next) // which answers the ping of a confirmed message meanwhile
					})
				}
				o, err := to.Push(ctx, wspush.Text, []byte(data), opts...)
				if err != nil || o.Err() != nil {
					t.Error(i, err, o.Err())
				}
				want.Workers, want.Answered, want.Complete = o.Workers, o.Workers, true
				if fmt.Sprint(o) != fmt.Sprint(want) {
					t.Errorf("worker %d: %+v, want %+v", i, o, want)
				}
				if _, err := to.Push(ctx, wspush.Text, []byte(next)); err != nil {
					t.Error(err)
				}
				reading.Wait()
			}
			all := []*testutil.Client{ann0, ann1, ann1b}
			push(w.User("ann"), wspush.Outcomes{Written: 3}, all)
			push(w.User("ann"), wspush.Outcomes{Received: 3}, all, wspush.Confirmed())
			push(w.Group("room"), wspush.Outcomes{Written: 3}, []*testutil.Client{ann0, ann1, bob})
			push(w.User("bob"), wspush.Outcomes{Written: 1}, []*testutil.Client{bob})
			big := strings.Repeat("x", 100_000)
			if o, err := w.Group("room").Push(ctx, wspush.Binary, []byte(big)); o.Written != 3 || err != nil {
				t.Errorf("%+v, %v", o, err)
			}
			for _, c := range []*testutil.Client{ann0, ann1, bob} {
				c.Expect(testutil.Binary, big)
			}
			if o, err := w.User("eve").Push(ctx, wspush.Text, []byte("x")); !errors.Is(err, wspush.ErrGone) || !o.Complete {
				t.Errorf("%+v, %v", o, err)
			}
			// by HTTP
			base := "http://" + w.Addr().String()
			status, a := ask(t, base, "POST /@users/ann?except="+ann1Conn.SealedID()+"&except="+ann0Conn.SealedID(), "hello")
			if status != 200 || a.Written != 1 || a.Excepted != 2 || !a.Complete {
				t.Errorf("%d %+v", status, a)
			}
			ann1b.Expect(testutil.Text, "hello")
			status, a = ask(t, base, "POST /@users/eve", "hello")
			if status != 410 || !a.Complete || a.Workers != a.Answered {
				t.Errorf("%d %+v", status, a)
			}
			status, a = ask(t, base, "GET /@users/ann", "")
			if status != 200 || a.Total != 3 || len(a.Members) != 3 || !a.Complete {
				t.Errorf("%d %+v", status, a)
			}
			for _, member := range a.Members {
				if _, err := w.Push(ctx, member.ID, wspush.Text, []byte(member.ID)); err != nil {
					t.Error(err)
				}
			}
			for _, c := range all {
				if _, data, err := c.Message(); len(data) < 40 {
					t.Errorf("%s, %v", data, err)
				}
			}
			if status, a = ask(t, base, "GET /@groups/room?limit=1", ""); status != 200 || a.Total != 3 || len(a.Members) != 1 {
				t.Errorf("%d %+v", status, a)
			}
			if status, _ = ask(t, base, "HEAD /@groups/room", ""); status != 200 {
				t.Error(status)
			}
			if status, _ = ask(t, base, "HEAD /@groups/none", ""); status != 410 {
				t.Error(status)
			}
		}
		n, err := m.workers[2].User("ann").Except(ann0Conn).Disconnect(ctx, 4001, "bye") // another worker's Conn
		if n != 2 || err != nil {
			t.Error(n, err)
		}
		ann1.AwaitClose()
		ann1b.AwaitClose()
		status, a := ask(t, "http://"+m.workers[1].Addr().String(), "DELETE /@users/ann?close=all&code=4002", "")
		if status != 200 || a.Closed != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if code, _ := ann0.AwaitClose(); code != 4002 {
			t.Error(code)
		}
		testutil.Eventually(t, "the user is gone", func() bool {
			_, err := m.workers[1].User("ann").Push(ctx, wspush.Text, []byte("x"))
			return errors.Is(err, wspush.ErrGone)
		})
		if status, a := ask(t, "http://"+m.workers[1].Addr().String(), "DELETE /@users/ann?close=all&code=4002", ""); status != 200 || a.Closed != 0 {
			t.Errorf("%d %+v", status, a)
		}
	})
}

// engineLease is how long leases are in tests in which workers die.
const engineLease = 200 * time.Millisecond

// kill lets a worker vanish: others cannot reach it, and it reaches no directory.
func (m *team) kill(i int) {
	m.t.Helper()
	m.clients[i].Cut(true)
	m.proxies[i].Store(true)
}

// newMortalTeam makes workers with a directory, which can be killed.
func newMortalTeam(t *testing.T, n int, doubt time.Duration) *team {
	t.Helper()
	proxies := make([]atomic.Bool, n)
	m := newTeam(t, n, false, func(i int, opts *wspush.WorkerOptions) {
		own, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		opts.Listener = own
		timing := quick
		timing.Doubt = doubt
		opts.Cluster.SetTiming(timing)
		opts.Cluster.Directory.(*membershiptest.Client).Engine().SetLease(engineLease)
		opts.Cluster.Address = "http://" + gate(t, own.Addr().String(), &proxies[i])
	})
	m.proxies = proxies
	return m
}

// gate passes connections on until it is closed: then it accepts them, and nothing comes of them, as of a machine that is gone.
func gate(t *testing.T, to string, isClosed *atomic.Bool) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex // guards open
	var open []net.Conn
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
	}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	pass := func(from, to net.Conn) {
		defer to.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if !isClosed.Load() {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
	}
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			keep(in)
			keep(out)
			running.Go(func() { pass(in, out) })
			running.Go(func() { pass(out, in) })
		}
	})
	return l.Addr().String()
}

// While the directory does not answer, nothing is written to anybody by name, and everything else goes on.
func TestDirectoryDown(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	ctx := context.Background()
	ann, annConn := as(t, m.workers[0], m.servers[0], "ann", "room")
	for _, c := range m.clients {
		c.Cut(true)
	}
	base := "http://" + m.workers[0].Addr().String()
	testutil.Eventually(t, "the directory to fail", func() bool {
		status, _ := ask(t, base, "GET /@users/ann", "")
		return status == 503
	})
	for target, body := range map[string]string{"POST /@users/ann": "x", "POST /@groups/room": "x", "GET /@users/ann": "", "DELETE /@users/ann?close=all": ""} {
		if status, a := ask(t, base, target, body); status != 503 || a.Type != "urn:wspush:directory" || a.Detail == "" {
			t.Errorf("%s: %d %+v", target, status, a)
		}
	}
	if o, err := m.workers[0].User("ann").Push(ctx, wspush.Text, []byte("x")); !errors.Is(err, wspush.ErrDirectory) || o.Workers != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	if n, err := m.workers[0].User("ann").Disconnect(ctx, 1000, ""); !errors.Is(err, wspush.ErrDirectory) || n != 0 {
		t.Error(n, err)
	}
	for m, err := range m.workers[0].Group("room").Members(ctx) {
		if !errors.Is(err, wspush.ErrDirectory) {
			t.Error(m, err)
		}
	}
	if _, err := m.workers[1].Push(ctx, annConn.SealedID(), wspush.Text, []byte("by address")); err != nil {
		t.Error(err)
	}
	ann.Expect(testutil.Text, "by address")
	if err := annConn.Join(ctx, "other"); !errors.Is(err, wspush.ErrDirectory) || !slices.Contains(annConn.Groups(), "other") {
		t.Error(err, annConn.Groups())
	}
	if status, a := ask(t, base, "PUT /ws/@connections/"+annConn.SealedID()+"/@groups/third", ""); status != 503 || !strings.Contains(a.Detail, "has been done") {
		t.Errorf("%d %+v", status, a)
	}
	eve, _ := as(t, m.workers[1], m.servers[1], "eve", "room") // she has her greeting
	for _, c := range m.clients {
		c.Cut(false)
	}
	for i, w := range m.workers {
		testutil.Eventually(t, "everything to be known", func() bool {
			other, err := w.Group("other").Push(ctx, wspush.Text, []byte("o"))
			third, err3 := w.Group("third").Push(ctx, wspush.Text, []byte("t"))
			room, errRoom := w.Group("room").Push(ctx, wspush.Text, []byte(fmt.Sprint(i)))
			return err == nil && err3 == nil && errRoom == nil && other.Written+third.Written+room.Written == 4
		})
	}
	eve.Close()
}

// What a push comes to if a worker that has members is not reached, or does not answer.
func TestPushElsewhereFails(t *testing.T) {
	t.Run("a dead peer", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		dead := l.Addr().String()
		l.Close()
		m := newTeam(t, 2, true, nil)
		m.peers.Store(&[]string{m.workers[0].Addr().String(), m.workers[1].Addr().String(), dead})
		bob, _ := as(t, m.workers[1], m.servers[1], "bob")
		w := m.workers[0]
		testutil.Eventually(t, "the list to be renewed", func() bool {
			o, err := w.User("eve").Push(context.Background(), wspush.Text, []byte("x"))
			return errors.Is(err, wspush.ErrUnreachable) && !o.Complete && o.Workers == 3 && o.Answered == 2 && errors.Is(o.Err(), wspush.ErrDirectory)
		})
		base := "http://" + w.Addr().String()
		if status, a := ask(t, base, "POST /@users/eve", "x"); status != 502 || a.Complete {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := ask(t, base, "POST /@users/bob", "hello"); status != 200 || a.Complete || a.Written != 1 || a.Refused["unreachable"] != 1 {
			t.Errorf("%d %+v", status, a)
		}
		bob.Expect(testutil.Text, "hello")
		if status, a := ask(t, base, "GET /@users/bob", ""); status != 200 || a.Complete || a.Total != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := ask(t, base, "GET /@users/eve", ""); status != 503 {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := ask(t, base, "DELETE /@users/bob?close=all", ""); status != 200 || a.Complete || a.Closed != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := ask(t, base, "DELETE /@users/eve?close=all", ""); status != 503 {
			t.Errorf("%d %+v", status, a)
		}
		for member, err := range w.User("eve").Members(context.Background()) {
			if !errors.Is(err, wspush.ErrDirectory) {
				t.Error(member, err)
			}
		}
	})
	for name, after := range map[string]bool{"a link that is lost before the question": false, "a link that is lost before the answer": true} {
		t.Run(name, func(t *testing.T) {
			other := behindCutter(t, after)
			as(t, other, serve(t, other, asQuery()), "ann")
			opts := *quiet()
			opts.Cluster, opts.AuthorizePush = &wspush.Cluster{Peers: func(context.Context) ([]string, error) {
				return []string{other.ClusterAddress()}, nil
			}}, anybody
			w := newMember(t, opts)
			o, err := w.User("ann").Push(context.Background(), wspush.Text, []byte("x"))
			// The asker cannot tell the two apart.
			if !errors.Is(err, wspush.ErrUnknown) || o.Unknown != 1 || o.Complete || o.Answered != 1 || o.Workers != 2 {
				t.Errorf("%+v, %v", o, err)
			}
			if status, a := ask(t, "http://"+w.Addr().String(), "POST /@users/ann", "x"); status != 504 || a.Unknown != 1 {
				t.Errorf("%d %+v", status, a)
			}
		})
	}
}

// The user of a worker that has vanished is not gone, but nobody knows: nothing is written, and it takes no longer than a second.
func TestDoubt(t *testing.T) {
	m := newMortalTeam(t, 3, time.Minute)
	ctx := context.Background()
	as(t, m.workers[1], m.servers[1], "ann")
	bob, _ := as(t, m.workers[2], m.servers[2], "bob")
	m.kill(1)
	w := m.workers[0]
	testutil.Eventually(t, "the worker to vanish", func() bool {
		begun := time.Now()
		o, err := w.User("ann").Push(ctx, wspush.Text, []byte("x"))
		return errors.Is(err, wspush.ErrDirectory) && o.Unknown == 0 && o.Workers == 2 && o.Answered == 1 && time.Since(begun) < 10*time.Second
	})
	if status, a := ask(t, "http://"+w.Addr().String(), "POST /@users/ann", "x"); status != 503 || a.Type != "urn:wspush:directory" {
		t.Errorf("%d %+v", status, a)
	}
	o, err := w.User("bob").Push(ctx, wspush.Text, []byte("hello"))
	if err != nil || o.Written != 1 || o.Complete || !errors.Is(o.Err(), wspush.ErrDirectory) {
		t.Errorf("%+v, %v", o, err)
	}
	bob.Expect(testutil.Text, "hello")
}

// A worker that only the directory does not hear of is asked, and its members get what is theirs.
func TestDoubtIsAsked(t *testing.T) {
	const doubt = 3 * time.Second
	m := newMortalTeam(t, 3, doubt)
	testutil.Pass(doubt) // a worker that has just started might not know of all that the others doubt
	ctx := context.Background()
	ann, _ := as(t, m.workers[1], m.servers[1], "ann")
	m.clients[1].Cut(true)
	w := m.workers[0]
	testutil.Eventually(t, "the lease to lapse", func() bool {
		return !m.clients[1].IsHeld()
	})
	testutil.Pass(2 * quick.Renew) // and the others to see that
	// A worker that has stood still for as long as a lease, because the machine did, is not sure of anybody for a moment.
	push := func(user, text string) (o wspush.Outcomes, err error) {
		testutil.Eventually(t, "the worker to be sure", func() bool {
			o, err = w.User(user).Push(ctx, wspush.Text, []byte(text))
			if o.Written > 0 {
				ann.Expect(testutil.Text, text)
			}
			return o.Complete
		})
		return o, err
	}
	for range 3 {
		if o, err := push("ann", "hello"); err != nil || o.Written != 1 || o.Answered != 2 {
			t.Errorf("%+v, %v", o, err)
		}
	}
	if o, err := push("eve", "x"); !errors.Is(err, wspush.ErrGone) || o.Workers != 2 || o.Answered != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}

// A worker that shuts down leaves no doubt.
func TestLeavesInOrder(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	client, _ := as(t, m.workers[1], m.servers[1], "ann")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go client.AwaitClose()
	if err := m.workers[1].Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if o, err := m.workers[0].User("ann").Push(ctx, wspush.Text, []byte("x")); !errors.Is(err, wspush.ErrGone) || !o.Complete {
		t.Errorf("%+v, %v", o, err)
	}
	if n := m.engine.Entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// A group's message goes to each worker once.
func TestOneMessageEach(t *testing.T) {
	m := newTeam(t, 3, false, nil)
	for i := range 12 {
		as(t, m.workers[i%3], m.servers[i%3], "", "room")
	}
	before := m.workers[0].Stats().Forwarded
	o, err := m.workers[0].Group("room").Push(context.Background(), wspush.Text, []byte("x"))
	if n := m.workers[0].Stats().Forwarded - before; err != nil || o.Written != 12 || n != 2 {
		t.Errorf("%+v, %v, %d messages", o, err, n)
	}
}

// A line for each member says which it is, whatever worker has it.
func TestLinesEverywhere(t *testing.T) {
	both(t, func(t *testing.T, withPeers bool) {
		m := newTeam(t, 3, withPeers, nil)
		want := make(map[string]bool)
		for i := range 6 {
			_, conn := as(t, m.workers[i%3], m.servers[i%3], "", "room")
			want[conn.SealedID()] = true
		}
		req := newRequest(t, "POST", "http://"+m.workers[0].Addr().String()+"/@groups/room", strings.NewReader("x"))
		req.Header.Set("Accept", "application/x-ndjson")
		lines := strings.Split(strings.TrimSpace(text(t, do(t, req))), "\n")
		for _, line := range lines[:len(lines)-1] {
			var a membersAnswer
			if err := json.Unmarshal([]byte(line), &a); err != nil || a.Status != 204 || !want[a.ID] {
				t.Errorf("%s, %v", line, err)
			}
			delete(want, a.ID)
		}
		if len(want) > 0 || !strings.Contains(lines[len(lines)-1], `"written":6`) {
			t.Errorf("%d are missing, %s", len(want), lines[len(lines)-1])
		}
	})
}

// A push ends with its caller, or its publisher, also if another worker's member does not read: it is withdrawn there.
func TestWithdrawnElsewhere(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	address := serveSmall(t, newHandler(t, m.workers[1], asQuery()), nil)
	slow := testutil.Handshake(t, dialSmall(t, address), testutil.Options{Path: "/ws?user=ann"})
	conn, _ := greeted(t, m.workers[1], slow)
	standStill(t, conn)
	w := m.workers[0]
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if o, err := w.User("ann").Push(ctx, wspush.Text, []byte("x")); !errors.Is(err, context.DeadlineExceeded) || !o.Complete || o.Refused[context.DeadlineExceeded] != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	if o, err := w.User("ann").Push(ctx, wspush.Text, []byte("x")); !errors.Is(err, context.Canceled) || !o.Complete {
		t.Errorf("%+v, %v", o, err)
	}
	if status, a := ask(t, "http://"+w.Addr().String(), "POST /@users/ann?timeout=100ms", "x"); status != 429 || a.Refused["busy"] != 1 || !a.Complete {
		t.Errorf("%d %+v", status, a)
	}
	before := m.workers[1].Stats().RefusedBy.Withdrawn
	push, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(push, "POST /@users/ann?timeout=20s HTTP/1.1\r\nHost: h.test\r\nContent-Length: 1\r\n\r\nx")
	testutil.Pass(200 * time.Millisecond)
	push.Close()
	testutil.Eventually(t, "the push to be withdrawn", func() bool { return m.workers[1].Stats().RefusedBy.Withdrawn == before+1 })
	slow.Close()
}

// A Conn that is not there is left out, whoever else there is: Worker.Conn returns nil for an ID that has ended.
func TestExceptNobody(t *testing.T) {
	both(t, func(t *testing.T, withPeers bool) {
		m := newTeam(t, 2, withPeers, nil)
		ann, _ := as(t, m.workers[1], m.servers[1], "ann")
		to := m.workers[0].User("ann").Except(nil)
		if o, err := to.Push(context.Background(), wspush.Text, []byte("x")); err != nil || o.Written != 1 {
			t.Errorf("%+v, %v", o, err)
		}
		ann.Expect(testutil.Text, "x")
		n := 0
		for _, err := range to.Members(context.Background()) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Error(n)
		}
		if n, err := to.Disconnect(context.Background(), 1000, ""); n != 1 || err != nil {
			t.Error(n, err)
		}
	})
}

// An ID that is not sealed leaves a connection out, too, whichever worker has it.
func TestExceptBareID(t *testing.T) {
	both(t, func(t *testing.T, withPeers bool) {
		m := newTeam(t, 2, withPeers, nil)
		_, conn := as(t, m.workers[1], m.servers[1], "ann", "room")
		bob, _ := as(t, m.workers[1], m.servers[1], "bob", "room")
		base := "http://" + m.workers[0].Addr().String()
		if status, a := ask(t, base, "POST /@groups/room?except="+conn.ID(), "x"); status != 200 || a.Written != 1 || a.Excepted != 1 {
			t.Errorf("%d %+v", status, a)
		}
		bob.Expect(testutil.Text, "x")
		_, answers, err := postLines(publishing(t), base+"/ws/@connections", `{"group":"room","text":"y","except":"`+strings.ToUpper(conn.ID())+`"}`)
		if err != nil || !strings.Contains(answers[0], `"written":1,"received":0,"refused":{},"unknown":0,"excepted":1`) {
			t.Error(answers, err)
		}
		bob.Expect(testutil.Text, "y")
		if status, a := ask(t, base, "DELETE /@groups/room?close=all&except="+conn.ID(), ""); status != 200 || a.Closed != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if code, _ := bob.AwaitClose(); code == 0 {
			t.Error(code)
		}
	})
}

// A thousand connections of other workers can be left out, and more are refused before anything is done.
func TestExceptMany(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	_, ann := as(t, m.workers[1], m.servers[1], "ann", "room")
	eve, _ := as(t, m.workers[1], m.servers[1], "eve", "room")
	ctx := context.Background()
	room := m.workers[0].Group("room").Except(slices.Repeat([]*wspush.Conn{ann}, 1000)...)
	if o, err := room.Push(ctx, wspush.Text, []byte("x")); err != nil || o.Written != 1 || o.Excepted != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	eve.Expect(testutil.Text, "x")
	if n, err := room.Disconnect(ctx, 1000, strings.Repeat("\xc3\xa4", 61)); n != 1 || err != nil {
		t.Error(n, err)
	}
	room = room.Except(ann)
	if o, err := room.Push(ctx, wspush.Text, []byte("x")); err == nil || !strings.Contains(err.Error(), "at most 1000 connections") || o.Workers != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	if n, err := room.Disconnect(ctx, 1000, ""); n != 0 || err == nil {
		t.Error(n, err)
	}
	own, _ := as(t, m.workers[0], m.servers[0], "", "here")
	ids := slices.Repeat([]string{ann.SealedID()}, 1001)
	b := openBulk(t, dialPush(t, m.workers[0]))
	b.send(`{"group":"here","text":"x","except":["` + strings.Join(ids, `","`) + `"]}`)
	if a := b.answer(); !strings.Contains(a, `"status":400`) || !strings.Contains(a, "at most 1000") {
		t.Error(a)
	}
	own.Close()
}

// A connection that has ended with the message unwritten does not let a user be gone who has another one, since opened.
func TestMovedIsNotGone(t *testing.T) {
	for name, at := range map[string]int{"to the worker asked": 0, "to the same worker": 1, "to a third worker": 2} {
		t.Run(name, func(t *testing.T) {
			m := newTeam(t, 3, false, nil)
			address := serveSmall(t, newHandler(t, m.workers[1], asQuery()), nil)
			slow := testutil.Handshake(t, dialSmall(t, address), testutil.Options{Path: "/ws?user=ann"})
			conn, _ := greeted(t, m.workers[1], slow)
			standStill(t, conn)
			before := conn.Info().Pending
			result := make(chan error, 1)
			go func() {
				o, err := m.workers[0].User("ann").Push(context.Background(), wspush.Text, []byte("hello"))
				result <- fmt.Errorf("%w: %+v", err, o)
			}()
			testutil.Eventually(t, "the message to wait", func() bool { return conn.Info().Pending > before })
			ann, _ := as(t, m.workers[at], m.servers[at], "ann")
			_ = conn.Close(4000, "replaced")
			err := <-result
			if errors.Is(err, wspush.ErrGone) {
				t.Errorf("ann is connected, and has her greeting: %v", err)
			} else {
				ann.Expect(testutil.Text, "hello")
			}
			slow.Close()
		})
	}
}

// An empty message is a message, by HTTP, too, whether the request says that it is empty or has no body.
func TestEmptyEverywhere(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	ann, _ := as(t, m.workers[0], m.servers[0], "ann")
	other, _ := as(t, m.workers[1], m.servers[1], "ann")
	for i := range 3 { // the first has a buffer that nobody has used
		if status, a := ask(t, "http://"+m.workers[0].Addr().String(), "POST /@users/ann", ""); status != 200 || a.Written != 2 || !a.Complete {
			t.Errorf("%d: %d %+v", i, status, a)
		}
		ann.Expect(testutil.Text, "")
		other.Expect(testutil.Text, "")
	}
}
