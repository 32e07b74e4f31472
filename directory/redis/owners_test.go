package wspushredis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/directory/directorytest"
)

func claim(tb testing.TB, d directory.Directory, session string, lease, moves uint64) directory.Ownership {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	owners, err := d.(directory.Owners).Claim(ctx, []directory.Ownership{{Session: session, Lease: lease, Moves: moves}})
	if err != nil {
		tb.Fatal(err)
	}
	return owners[0]
}

func wins(tb testing.TB, d directory.Directory, session string, lease, moves uint64) {
	tb.Helper()
	if got, want := claim(tb, d, session, lease, moves), (directory.Ownership{Session: session, Lease: lease, Moves: moves}); got != want {
		tb.Fatalf("told of %+v, want %+v", got, want)
	}
}

// An owner goes after a day, unless it is claimed again by whoever it is.
func TestOwnersExpire(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := open(t, redis.NewClient(&redis.Options{Addr: s.address}), nil)
	wins(t, d, "s", 1, 1)
	keys := s.admin.Keys(context.Background(), "*").Val()
	if len(keys) != 1 || s.admin.Get(context.Background(), keys[0]).Val() != "1 1" {
		t.Fatalf("there are %q", keys)
	}
	expires := func() time.Duration { return s.admin.PTTL(context.Background(), keys[0]).Val() }
	fresh := func(when string) {
		t.Helper()
		if got := expires(); got < directory.EntryTime-time.Minute || got > directory.EntryTime {
			t.Errorf("%s, it expires after %v, want %v", when, got, directory.EntryTime)
		}
		s.do(t, "PEXPIRE", keys[0], 60_000)
	}
	fresh("claimed")
	wins(t, d, "s", 1, 1)
	fresh("claimed again")
	claim(t, d, "s", 2, 1)
	if got := expires(); got > time.Minute {
		t.Errorf("a claim that has lost made it expire after %v", got)
	}
	wins(t, d, "s", 2, 2)
	fresh("claimed by another")
	if err := d.(directory.Owners).Disclaim(context.Background(), []directory.Ownership{{Session: "s", Lease: 2, Moves: 2}}); err != nil {
		t.Fatal(err)
	}
	if got := expires(); got < directory.LeaseTime-5*time.Second || got > directory.LeaseTime {
		t.Errorf("disclaimed, it expires after %v, want %v", got, directory.LeaseTime)
	}
	s.do(t, "PEXPIRE", keys[0], 1)
	eventually(t, "nothing is known", func() error {
		owners, err := d.(directory.Owners).Owners(context.Background(), []string{"s"})
		if err == nil && owners[0].Moves != 0 {
			err = fmt.Errorf("%+v", owners)
		}
		return err
	})
	wins(t, d, "s", 1, 1)
}

// A replica may lack the latest claims: it answers nothing.
func TestOwnersAtReplica(t *testing.T) {
	t.Parallel()
	master, replica := startServer(t), startServer(t)
	replicate(t, replica, master)
	wins(t, open(t, redis.NewClient(&redis.Options{Addr: master.address}), nil), "s", 1, 1)
	d := open(t, redis.NewClient(&redis.Options{Addr: replica.address, ContextTimeoutEnabled: true}), nil).(directory.Owners)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if owners, err := d.Owners(ctx, []string{"s", "t"}); err == nil || !strings.Contains(err.Error(), "replica") {
		t.Errorf("Owners at a replica: %+v, %v", owners, err)
	}
	one := []directory.Ownership{{Session: "s", Lease: 1, Moves: 1}}
	if owners, err := d.Claim(ctx, one); err == nil {
		t.Errorf("Claim at a replica: %+v", owners)
	}
	if err := d.Disclaim(ctx, one); err == nil {
		t.Error("Disclaim at a replica: no error")
	}
}

func openFailover(tb testing.TB, sentinel string) directory.Directory {
	tb.Helper()
	return open(tb, redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "main", SentinelAddrs: []string{sentinel}, MaxRetries: -1, ContextTimeoutEnabled: true,
	}), nil)
}

// Sentinel makes a replica master while workers claim. Two win the same only if the one before the failover did not come to the replica.
func TestOwnersFailover(t *testing.T) {
	t.Parallel()
	master, replica := startServer(t), startServer(t)
	replicate(t, replica, master)
	sentinel := startSentinel(t, master)
	views := directorytest.ClaimDuring(t, func(tb testing.TB) directory.Directory { return openFailover(tb, sentinel) }, func(func()) { master.kill(t) })
	if views != 2 {
		t.Errorf("there were %d views, want one before the failover and one after", views)
	}
}

// What a failover does to a claim that has come to the replica, and to one that has not: as documented, two win it then.
func TestOwnersLostInFailover(t *testing.T) {
	t.Parallel()
	master, replica := startServer(t), startServer(t)
	replicate(t, replica, master)
	d := openFailover(t, startSentinel(t, master))
	before := renew(t, d)
	wins(t, d, "kept", 1, 2)
	wins(t, d, "lost", 1, 1)
	eventually(t, "the replica has both", func() error {
		keys, err := replica.admin.Keys(context.Background(), "wspush:{*}.owner:*").Result()
		if err == nil && len(keys) != 2 {
			err = fmt.Errorf("it has %q", keys)
		}
		return err
	})
	replica.signal(t, syscall.SIGSTOP)
	master.do(t, "CLIENT", "KILL", "TYPE", "replica") // otherwise the system has for it what it does not read
	wins(t, d, "lost", 2, 2)
	master.kill(t)
	replica.signal(t, syscall.SIGCONT)
	wantLost(t, d, before, "u:her")
	if got := claim(t, d, "kept", 2, 2); got.Lease != 1 {
		t.Errorf("told of %+v, and another had won that before the failover", got)
	}
	if got := claim(t, d, "lost", 1, 1); got.Lease != 1 {
		t.Fatalf("told of %+v: the claim has come to the replica, and this test shows nothing", got)
	}
	wins(t, d, "lost", 3, 2)
	// Whoever knows of more moves heals it.
	wins(t, d, "lost", 2, 3)
}

// In Redis Cluster a replica takes over from one of three masters while workers claim.
func TestOwnersClusterFailover(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	replica := startServer(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(t)))
	replica.do(t, "CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].args[3])
	id := nodes[0].do(t, "CLUSTER", "MYID")
	eventually(t, "the replica knows its master", func() error {
		return replica.admin.Do(context.Background(), "CLUSTER", "REPLICATE", id).Err()
	})
	eventually(t, "the replica replicates", func() error {
		info, err := replica.admin.Info(context.Background(), "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errors.New(info)
		}
		return err
	})
	eventually(t, "all know the replica", func() error {
		for _, node := range nodes {
			if known := node.admin.ClusterNodes(context.Background()).Val(); !strings.Contains(known, "slave "+id.(string)) {
				return errors.New(known)
			}
		}
		return nil
	})
	for _, node := range append(nodes, replica) {
		node.do(t, "CONFIG", "SET", "cluster-node-timeout", 500, "cluster-replica-validity-factor", 0)
	}
	views := directorytest.ClaimDuring(t, func(tb testing.TB) directory.Directory { return openCluster(t, nodes[1:]) }, func(func()) { nodes[0].kill(t) })
	if views != 2 {
		t.Errorf("there were %d views, want one before the failover and one after", views)
	}
	if role := replica.admin.Info(context.Background(), "replication").Val(); !strings.Contains(role, "role:master") {
		t.Errorf("the replica has not become master: %s", role)
	}
}

// While a slot moves, whoever claims a session in it is told the truth, and no owner is forgotten.
func TestOwnersClusterMoves(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	d := openCluster(t, nodes)
	eventually(t, "Renew succeeds", func() error {
		_, err := d.Renew(context.Background(), directory.Lease{Number: 1})
		return err
	})
	sessions := make([]string, 300)
	for i := range sessions {
		sessions[i] = fmt.Sprint("s", i)
		wins(t, d, sessions[i], 1, 1)
	}
	var slot any
	var from, to *server
	for i, node := range nodes {
		if n := node.do(t, "DBSIZE").(int64); n < 50 {
			t.Errorf("a node has %d keys: sessions are not spread", n)
		}
		if names := node.admin.Keys(context.Background(), "wspush:{*}.owner:s0").Val(); len(names) == 1 {
			from, to = node, nodes[(i+1)%len(nodes)]
			slot = node.do(t, "CLUSTER", "KEYSLOT", names[0])
		}
	}
	if from == nil {
		t.Fatal("s0 is nowhere")
	}
	moves := uint64(1)
	check := func() {
		t.Helper()
		owners, err := d.(directory.Owners).Owners(context.Background(), sessions)
		if err != nil {
			t.Fatal(err)
		}
		for _, owner := range owners {
			if owner.Lease != 1+(moves-1)%2 || owner.Moves != moves {
				t.Fatalf("%+v, and it has moved %d times", owner, moves)
			}
		}
		claims := make([]directory.Ownership, len(sessions))
		for i, session := range sessions {
			claims[i] = directory.Ownership{Session: session, Lease: 3, Moves: moves}
		}
		told, err := d.(directory.Owners).Claim(context.Background(), claims)
		if err != nil {
			t.Fatal(err)
		}
		moves++
		for i, owner := range told {
			if owner != owners[i] {
				t.Fatalf("told of %+v, and the owner is %+v", owner, owners[i])
			}
			claims[i].Lease, claims[i].Moves = 1+(moves-1)%2, moves
		}
		if told, err = d.(directory.Owners).Claim(context.Background(), claims); err != nil {
			t.Fatal(err)
		}
		for i, owner := range told {
			if owner != claims[i] {
				t.Fatalf("told of %+v, want %+v", owner, claims[i])
			}
		}
	}
	fromID, toID := from.do(t, "CLUSTER", "MYID"), to.do(t, "CLUSTER", "MYID")
	to.do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	check()
	moved := 0
	for ; ; moved++ {
		some := from.do(t, "CLUSTER", "GETKEYSINSLOT", slot, 1).([]any)
		if len(some) == 0 {
			break
		}
		from.do(t, "MIGRATE", "127.0.0.1", to.port, some[0], 0, 5000)
		check()
	}
	if moved < 3 {
		t.Fatalf("the slot had %d keys", moved)
	}
	for _, node := range []*server{to, from} {
		node.do(t, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	check()
}

// TestOwnersSize measures what docs/directory.md says that an owner takes.
func TestOwnersSize(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := open(t, redis.NewClient(&redis.Options{Addr: s.address}), nil)
	before := usedMemory(t, &directorytest.Engine{Address: s.address})
	const many = 50_000
	claims := make([]directory.Ownership, many)
	for i := range claims {
		claims[i] = directory.Ownership{Session: fmt.Sprintf("%016d", i), Lease: 1<<62 + 12345, Moves: 3}
	}
	if _, err := d.(directory.Owners).Claim(context.Background(), claims); err != nil {
		t.Fatal(err)
	}
	key := s.admin.Keys(context.Background(), "wspush:{*}.owner:0000000000000007").Val()[0]
	one := s.do(t, "MEMORY", "USAGE", key).(int64)
	all := (usedMemory(t, &directorytest.Engine{Address: s.address}) - before) / many
	t.Logf("%d bytes by MEMORY USAGE, %d in a table of %d, encoded as %s", one, all, many, s.do(t, "OBJECT", "ENCODING", key))
	if one > 180 || all > 250 {
		t.Errorf("an owner takes %d bytes by MEMORY USAGE, and %d in a table of many", one, all)
	}
}
