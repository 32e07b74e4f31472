package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// quick is the timing of directories in tests: a worker is sure of what it sees after 150 ms, and a dead one is in doubt for long.
var quick = membership.Timing{Lease: 150 * time.Millisecond, Renew: 20 * time.Millisecond, Call: time.Second, Probe: 20 * time.Millisecond, Doubt: time.Minute}

// team is several workers that know of each other.
type team struct {
	t       *testing.T
	engine  *membershiptest.Engine // nil with Peers
	clients []*membershiptest.Client
	workers []*wspush.Worker
	servers []string // of each
}

// newTeam makes workers with a directory, or with Peers.
func newTeam(t *testing.T, n int, withPeers bool, change func(i int, opts *wspush.WorkerOptions)) *team {
	t.Helper()
	m := &team{t: t}
	if !withPeers {
		m.engine = membershiptest.NewEngine(2, rand.New(rand.NewPCG(1, 2)))
	}
	var mu sync.Mutex // guards addresses
	var addresses []string
	for i := range n {
		opts := *quiet()
		c := &wspush.Cluster{Keys: [][]byte{clusterKey}}
		c.SetTiming(quick)
		opts.Cluster, opts.AuthorizePush, opts.WriteTimeout = c, anybody, time.Minute
		if withPeers {
			c.Peers = func(context.Context) ([]string, error) {
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(addresses), nil
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
		mu.Lock()
		addresses = append(addresses, w.Addr().String())
		mu.Unlock()
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
