package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// Peers may be written in whatever way Cluster.Address may. The worker itself may be among them or not.
func TestPeersAddresses(t *testing.T) {
	other := newMember(t, *quiet())
	as(t, other, serve(t, other, asQuery()), "ann")
	for name, address := range map[string]string{"host and port": other.Addr().String(), "a URL": other.ClusterAddress(), "with a slash": other.ClusterAddress() + "/"} {
		for _, withItself := range []bool{true, false} {
			var own string
			opts := *quiet()
			opts.Cluster = &wspush.Cluster{Peers: func(context.Context) ([]string, error) {
				if withItself {
					return []string{own, address, address}, nil
				}
				return []string{address}, nil
			}}
			w := newMember(t, opts)
			own = w.Addr().String()
			if o, err := w.User("ann").Push(context.Background(), wspush.Text, []byte("x")); err != nil || o.Workers != 2 || o.Answered != 2 {
				t.Errorf("%s: %+v, %v", name, o, err)
			}
			if o, err := w.User("eve").Push(context.Background(), wspush.Text, []byte("x")); !errors.Is(err, wspush.ErrGone) || o.Workers != 2 {
				t.Errorf("%s: %+v, %v", name, o, err)
			}
		}
	}
	for _, bad := range []string{"", "a b", "ftp://a", "http://a/?b"} {
		opts := *quiet()
		opts.Cluster = &wspush.Cluster{Peers: func(context.Context) ([]string, error) { return []string{bad}, nil }}
		w := newMember(t, opts)
		if o, err := w.User("ann").Push(context.Background(), wspush.Text, []byte("x")); !errors.Is(err, wspush.ErrDirectory) || o.Workers != 0 {
			t.Errorf("%q: %+v, %v", bad, o, err)
		}
	}
}

// Who has her greeting is found through any worker, and so is who has joined a group; who has left is not.
func TestGreetedIsFound(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	m.engine.Set(membershiptest.Faults{Latency: 20 * time.Millisecond})
	ctx := context.Background()
	for i := range 20 {
		name := fmt.Sprint("ann", i)
		_, conn := as(t, m.workers[i%2], m.servers[i%2], name, name)
		other := m.workers[1-i%2]
		push := func(to *wspush.Recipients) error {
			_, err := to.Push(ctx, wspush.Text, []byte("x"))
			return err
		}
		if err := push(other.User(name)); err != nil {
			t.Error(err)
		}
		if err := push(other.Group(name)); err != nil {
			t.Error(err)
		}
		if err := errors.Join(conn.Join(ctx, name+"b"), push(other.Group(name+"b"))); err != nil {
			t.Error(err)
		}
		if err := conn.Leave(ctx, name); err != nil {
			t.Error(err)
		}
		if err := push(other.Group(name)); !errors.Is(err, wspush.ErrGone) {
			t.Error(err)
		}
	}
}

// A directory that does not answer keeps a greeting for no longer than 250 ms, and none at all once it is known to be down.
func TestGreetingDoesNotWaitLong(t *testing.T) {
	engine := membershiptest.NewEngine(1, rand.New(rand.NewPCG(1, 2)))
	client := engine.Client()
	opts := *quiet()
	opts.Cluster = &wspush.Cluster{Directory: client}
	opts.Cluster.SetTiming(quick)
	w := newMember(t, opts)
	server := serve(t, w, asQuery())
	client.Cut(true)
	as(t, w, server, "ann") // within the client's patience
	testutil.Eventually(t, "the directory to be known to be down", func() bool {
		begun := time.Now()
		as(t, w, server, "ann")
		return time.Since(begun) < 200*time.Millisecond
	})
}
