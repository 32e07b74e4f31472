package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/directory"
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

// A panic in Peers fails those who ask, and nobody else: the next call counts.
func TestPeersPanic(t *testing.T) {
	other := newMember(t, *quiet())
	var panics atomic.Bool
	panics.Store(true)
	opts := *quiet()
	opts.AuthorizePush = anybody
	opts.Cluster = &wspush.Cluster{Peers: func(context.Context) ([]string, error) {
		if panics.Load() {
			panic("Peers")
		}
		return []string{other.ClusterAddress()}, nil
	}}
	opts.Cluster.SetTiming(quick)
	w := newMember(t, opts)
	base := "http://" + w.Addr().String()
	client := &http.Client{Timeout: 5 * time.Second}
	if resp, err := client.Post(base+"/@users/ann", "text/plain", strings.NewReader("x")); err != nil {
		t.Error(err)
	} else if resp.Body.Close(); resp.StatusCode != http.StatusServiceUnavailable {
		t.Error(resp.Status)
	}
	panics.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	testutil.Eventually(t, "the next call", func() bool {
		_, err := w.User("ann").Push(ctx, wspush.Text, []byte("x"))
		return errors.Is(err, wspush.ErrGone) || ctx.Err() != nil
	})
	if ctx.Err() != nil {
		t.Error("users cannot be pushed to any more")
	}
}

// Peers may take their time, but a push ends with its context.
func TestPeersSlow(t *testing.T) {
	for name, obeys := range map[string]bool{"obeys": true, "does not obey": false} {
		t.Run(name, func(t *testing.T) {
			end := make(chan struct{})
			defer close(end)
			opts := *quiet()
			opts.Cluster = &wspush.Cluster{Peers: func(ctx context.Context) ([]string, error) {
				if obeys {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				select {
				case <-end:
				case <-time.After(20 * time.Second):
				}
				return nil, errors.New("late")
			}}
			w := newMember(t, opts)
			for i := range 2 {
				ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
				defer cancel()
				begun := time.Now()
				_, err := w.User("ann").Push(ctx, wspush.Text, []byte("x"))
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("push %d: %v, %v", i, took, err)
				}
			}
		})
	}
}

// deafDirectory has a Find that ignores its context.
type deafDirectory struct {
	*membershiptest.Client
	hangs atomic.Bool
	end   chan struct{}
}

func (d *deafDirectory) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	if d.hangs.Load() {
		<-d.end
		return nil, errors.New("late")
	}
	return d.Client.Find(ctx, keys)
}

// A directory that ignores contexts leaves no request behind when the worker has ended.
func TestDeafDirectory(t *testing.T) {
	d := &deafDirectory{end: make(chan struct{})}
	m := newTeam(t, 1, false, func(_ int, opts *wspush.WorkerOptions) {
		d.Client = opts.Cluster.Directory.(*membershiptest.Client)
		opts.Cluster.Directory = d
	})
	defer close(d.end)
	d.hangs.Store(true)
	w := m.workers[0]
	status := make(chan error, 1)
	go func() {
		client := &http.Client{Timeout: 15 * time.Second}
		resp, err := client.Post("http://"+w.Addr().String()+"/@users/ann", "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
			err = errors.New(resp.Status)
		}
		client.CloseIdleConnections()
		status <- err
	}()
	push := make(chan error, 1)
	go func() {
		_, err := w.User("ann").Push(context.Background(), wspush.Text, []byte("x"))
		push <- err
	}()
	testutil.Pass(300 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Shutdown(ctx) }()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Error("Shutdown outlives its context")
	}
	select {
	case <-push:
	case <-time.After(15 * time.Second):
		t.Error("Push still waits")
	}
	<-status
}
