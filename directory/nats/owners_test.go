package wspushnats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/directory/directorytest"
)

func claim(tb testing.TB, d directory.Directory, session string, lease, moves uint64) directory.Ownership {
	tb.Helper()
	owners, err := d.(directory.Owners).Claim(context.Background(), []directory.Ownership{{Session: session, Lease: lease, Moves: moves}})
	if err != nil {
		tb.Fatal(err)
	}
	return owners[0]
}

// An owner goes with the age of its message, which a claim of whoever it is makes new, and no other claim. What has been disclaimed goes after
// 15 seconds.
func TestOwnersExpire(t *testing.T) {
	e, admin := start(t), &admin{tb: t}
	d := open(t, e.address, nil)
	if _, err := d.Renew(context.Background(), directory.Lease{Number: 1}); err != nil {
		t.Fatal(err)
	}
	stream := admin.stream(t, e.address, "wspush")
	last := func(want string) *jetstream.RawStreamMsg {
		t.Helper()
		m, err := stream.GetLastMsgForSubject(context.Background(), "wspush.o.cw")
		if err != nil || string(m.Data) != want {
			t.Fatalf("there is %+v, want %q; %v", m, want, err)
		}
		return m
	}
	claim(t, d, "s", 1, 1)
	first := last("1 1")
	claim(t, d, "s", 2, 1)
	if now := last("1 1"); now.Sequence != first.Sequence {
		t.Error("a claim that has lost was written")
	}
	claim(t, d, "s", 1, 1)
	if now := last("1 1"); now.Sequence == first.Sequence || now.Header.Get(jetstream.MsgTTLHeader) != "" {
		t.Errorf("a repeated claim has not made it new: %+v, then %+v", first, now)
	}
	if err := d.(directory.Owners).Disclaim(context.Background(), []directory.Ownership{{Session: "s", Lease: 1, Moves: 1}}); err != nil {
		t.Fatal(err)
	}
	if now := last("1 1"); now.Header.Get(jetstream.MsgTTLHeader) != "15s" {
		t.Errorf("disclaimed, it expires after %q", now.Header.Get(jetstream.MsgTTLHeader))
	}
	// Gone between a claim's reading and its writing, too: it expects what is not there then, and reads again.
	if err := stream.Purge(context.Background(), jetstream.WithPurgeSubject("wspush.o.cw")); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, d, "s", 2, 1); got.Lease != 2 {
		t.Errorf("told of %+v, and nothing was there", got)
	}
}

// Where nobody answers, for want of a stream or since its server is away, nothing is said about owners.
func TestOwnersWithoutStream(t *testing.T) {
	d := open(t, start(t).address, nil).(directory.Owners)
	one := []directory.Ownership{{Session: "s", Lease: 1, Moves: 1}}
	if owners, err := d.Owners(context.Background(), []string{"s"}); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("Owners: %+v, %v", owners, err)
	}
	if owners, err := d.Claim(context.Background(), one); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("Claim: %+v, %v", owners, err)
	}
	if err := d.Disclaim(context.Background(), one); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("Disclaim: %v", err)
	}
}

// Of three servers, those without the stream may go. When its own does, claims fail until it is back; all that was claimed is lost then.
func TestOwnersCluster(t *testing.T) {
	servers := startCluster(t)
	all := ""
	for _, e := range servers {
		all += ",nats://" + e.address
	}
	open := func(tb testing.TB) directory.Directory { return open(tb, all[len(",nats://"):], nil) }
	d := open(t)
	var leader, other *engine
	eventually(t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if _, err := d.Renew(ctx, directory.Lease{Number: 1}); err != nil {
			return err
		}
		for _, e := range servers {
			if e.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "wspush") {
				leader = e
			} else {
				other = e
			}
		}
		if leader == nil {
			return errors.New("no server has the stream")
		}
		return nil
	})
	views := directorytest.ClaimDuring(t, open, func(next func()) {
		other.kill(t)
		next()
		other.restart(t)
		next()
	})
	if views != 1 {
		t.Errorf("there were %d views while another server was away, want 1", views)
	}
	views = directorytest.ClaimDuring(t, open, func(next func()) {
		leader.kill(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if owners, err := d.(directory.Owners).Owners(ctx, []string{"s"}); err == nil {
			t.Errorf("Owners while the server with the stream is away: %+v", owners)
		}
		leader.restart(t)
		next()
	})
	if views != 2 {
		t.Errorf("there were %d views, want one before the loss and one after", views)
	}
}

// startCluster starts three servers that are a cluster.
func startCluster(t *testing.T) (servers []*engine) {
	t.Helper()
	var routes []*url.URL
	for i := range 3 {
		e := &engine{options: &server.Options{
			ServerName: fmt.Sprint("server", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: freePort(t)},
		}}
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", e.options.Cluster.Port)})
		servers = append(servers, e)
	}
	for _, e := range servers {
		e.options.Routes = routes
		e.restart(t)
		t.Cleanup(func() { e.kill(t) })
	}
	return servers
}

func freePort(tb testing.TB) int {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// eventually waits until there is no error.
func eventually(tb testing.TB, check func() error) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("still, after 30 s: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestOwnersSize measures what docs/directory.md says that an owner takes.
func TestOwnersSize(t *testing.T) {
	e, admin := start(t), &admin{tb: t}
	d := open(t, e.address, nil)
	if _, err := d.Renew(context.Background(), directory.Lease{Number: 1}); err != nil {
		t.Fatal(err)
	}
	const many = 20_000
	claims := make([]directory.Ownership, many)
	for i := range claims {
		claims[i] = directory.Ownership{Session: fmt.Sprintf("%016d", i), Lease: 1<<62 + 12345, Moves: 3}
	}
	if _, err := d.(directory.Owners).Claim(context.Background(), claims); err != nil {
		t.Fatal(err)
	}
	state := admin.stream(t, e.address, "wspush").CachedInfo().State
	one := state.Bytes / many
	t.Logf("%d bytes by the stream's account", one)
	if state.Msgs != many+2 || one > 180 {
		t.Errorf("%d owners take %d messages, and %d bytes each", many, state.Msgs, one)
	}
}
