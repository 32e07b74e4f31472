package wspushredis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
)

// In Redis Cluster the buckets are on several nodes. The loss of one is a new generation of its buckets, and of no others.
func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	d := openCluster(t, nodes)
	one := directory.Lease{Number: 1, Name: "one"}
	var before directory.View
	eventually(t, "Renew succeeds", func() (err error) {
		before, err = d.Renew(context.Background(), one)
		return err
	})
	changes := make([]directory.Change, 5000)
	keys := make([]string, len(changes))
	for i := range changes {
		keys[i] = fmt.Sprint("u:", i)
		changes[i] = directory.Change{Key: keys[i], Present: true}
	}
	if err := d.Apply(context.Background(), 1, changes); err != nil {
		t.Fatal(err)
	}
	other := openCluster(t, nodes)
	found, err := other.Find(context.Background(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		if !slices.Equal(f.Leases, []uint64{1}) || !slices.Contains(before.Generations, f.Generation) {
			t.Fatalf("key %d: %+v", i, f)
		}
	}
	for _, node := range nodes {
		if n := node.do(t, "DBSIZE").(int64); n < 100 {
			t.Errorf("a node has %d keys: the buckets are not spread", n)
		}
	}
	nodes[1].do(t, "FLUSHALL")
	found, err = other.Find(context.Background(), keys)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for i, f := range found {
		known := slices.Contains(before.Generations, f.Generation)
		if len(f.Leases) == 0 {
			lost++
		}
		if known != (len(f.Leases) == 1) {
			t.Fatalf("key %d: leases %d, and that its generation is known: %v", i, f.Leases, known)
		}
	}
	if lost == 0 || lost == len(keys) {
		t.Fatalf("%d of %d keys were lost with one of three nodes", lost, len(keys))
	}
	after, err := d.Renew(context.Background(), one)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, generation := range after.Generations {
		if slices.Contains(before.Generations, generation) {
			kept++
		}
	}
	if kept == 0 || kept == len(before.Generations) {
		t.Fatalf("%d of %d generations are those before", kept, len(before.Generations))
	}
}

// While slots move from node to node, everything answers, and nobody is taken to be nowhere.
func TestClusterMoves(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	d := openCluster(t, nodes)
	var view directory.View
	eventually(t, "Renew succeeds", func() (err error) {
		view, err = d.Renew(context.Background(), directory.Lease{Number: 1})
		return err
	})
	keys := make([]string, 300)
	for i := range keys {
		keys[i] = fmt.Sprint("u:", i)
		join(t, d, 1, keys[i])
	}
	check := func() {
		t.Helper()
		found, err := d.Find(context.Background(), keys)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range found {
			if len(f.Leases) == 0 && slices.Contains(view.Generations, f.Generation) {
				t.Fatalf("%s is nobody", keys[i])
			}
		}
	}
	// The slot of a bucket that has some of the keys, moved key by key, as redis-cli does.
	var slot any
	var from, to *server
	for i, node := range nodes {
		if names := node.admin.Keys(context.Background(), "wspush:{*}:u:0").Val(); len(names) == 1 {
			from, to = node, nodes[(i+1)%len(nodes)]
			slot = node.do(t, "CLUSTER", "KEYSLOT", names[0])
		}
	}
	if from == nil {
		t.Fatal("u:0 is nowhere")
	}
	fromID, toID := from.do(t, "CLUSTER", "MYID"), to.do(t, "CLUSTER", "MYID")
	to.do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	check()
	for moved := 0; ; moved++ {
		some := from.do(t, "CLUSTER", "GETKEYSINSLOT", slot, 1).([]any)
		if len(some) == 0 {
			if moved < 3 {
				t.Fatalf("the slot had %d keys", moved)
			}
			break
		}
		from.do(t, "MIGRATE", "127.0.0.1", to.port, some[0], 0, 5000)
		check()
		fresh := fmt.Sprint("u:fresh", moved)
		join(t, d, 1, fresh)
		keys = append(keys, fresh)
		check()
	}
	for _, node := range []*server{to, from} {
		node.do(t, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	check()
}

// startCluster starts three masters with a third of the slots each.
func startCluster(t *testing.T) []*server {
	t.Helper()
	var nodes []*server
	for i := range 3 {
		// The bus would be on a port 10,000 higher, where systems take their own from.
		node := startServer(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(t)), "--cluster-require-full-coverage", "no")
		node.do(t, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		node.do(t, "CLUSTER", "ADDSLOTSRANGE", 16384*i/3, 16384*(i+1)/3-1)
		nodes = append(nodes, node)
	}
	for _, node := range nodes[1:] {
		nodes[0].do(t, "CLUSTER", "MEET", "127.0.0.1", node.port, node.args[3])
	}
	for _, node := range nodes {
		eventually(t, "the cluster is one", func() error {
			info, err := node.admin.ClusterInfo(context.Background()).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384")) {
				err = errors.New(info)
			}
			return err
		})
	}
	return nodes
}

func openCluster(t *testing.T, nodes []*server) directory.Directory {
	t.Helper()
	return open(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].address}, ContextTimeoutEnabled: true}), nil)
}
