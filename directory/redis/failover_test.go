package wspushredis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
	wspushredis "github.com/wspush/wspush/directory/redis"
)

func join(tb testing.TB, d directory.Directory, lease uint64, key string) {
	tb.Helper()
	if err := d.Apply(context.Background(), lease, []directory.Change{{Key: key, Present: true}}); err != nil {
		tb.Fatal(err)
	}
}

func renew(tb testing.TB, d directory.Directory) directory.View {
	tb.Helper()
	view, err := d.Renew(context.Background(), directory.Lease{Number: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return view
}

// wantLost fails if anything of a view's generations is still answered: what was acknowledged may be lost then.
func wantLost(tb testing.TB, d directory.Directory, before directory.View, key string) {
	tb.Helper()
	eventually(tb, "Find succeeds", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		found, err := d.Find(ctx, []string{key})
		if err == nil && slices.Contains(before.Generations, found[0].Generation) {
			tb.Fatalf("found leases %d in generation %q, which was that of data which has been lost", found[0].Leases, found[0].Generation)
		}
		return err
	})
	for _, generation := range renew(tb, d).Generations {
		if slices.Contains(before.Generations, generation) {
			tb.Fatalf("generation %q is still in the view", generation)
		}
	}
}

// replicate makes one server a replica of another, and waits until it has everything.
func replicate(tb testing.TB, replica, master *server) {
	tb.Helper()
	replica.do(tb, "REPLICAOF", "127.0.0.1", master.port)
	eventually(tb, "the replica is in step", func() error {
		info, err := replica.admin.Info(context.Background(), "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errors.New(info)
		}
		return err
	})
}

// Sentinel makes a replica master that has not received the latest join. Its random string is the old one; its replication ID is not.
func TestFailover(t *testing.T) {
	t.Parallel()
	master, replica := startServer(t), startServer(t)
	replicate(t, replica, master)
	sentinel := startSentinel(t, master)
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "main", SentinelAddrs: []string{sentinel}, MaxRetries: -1, ContextTimeoutEnabled: true,
	})
	d := open(t, client, nil)
	before := renew(t, d)
	join(t, d, 1, "u:earlier")
	if acks, err := master.admin.Wait(context.Background(), 1, 10*time.Second).Result(); err != nil || acks != 1 {
		t.Fatalf("WAIT: %d, %v", acks, err)
	}
	replica.signal(t, syscall.SIGSTOP)
	join(t, d, 1, "u:her")
	master.kill(t)
	replica.signal(t, syscall.SIGCONT)
	wantLost(t, d, before, "u:her")
	if strings.Contains(fmt.Sprint(replica.do(t, "INFO", "replication")), "role:slave") {
		t.Fatal("the replica has not become master")
	}
}

func startSentinel(t *testing.T, master *server) (address string) {
	t.Helper()
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n", master.port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{address: fmt.Sprint("127.0.0.1:", port), port: port, dir: t.TempDir()}
	s.admin = redis.NewClient(&redis.Options{Addr: s.address})
	s.startAs(t, config, "--sentinel", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", s.dir)
	t.Cleanup(func() { _ = s.admin.Close(); s.kill(t) })
	eventually(t, "sentinel knows the replica", func() error {
		replicas, err := redis.NewSentinelClient(s.admin.Options()).Replicas(context.Background(), "main").Result()
		if err == nil && len(replicas) == 0 {
			err = errors.New("it knows none")
		}
		return err
	})
	return s.address
}

// A replica has its master's generations, but may not have its latest entries: it answers nothing.
func TestReplica(t *testing.T) {
	t.Parallel()
	master, replica := startServer(t), startServer(t)
	replicate(t, replica, master)
	d := open(t, redis.NewClient(&redis.Options{Addr: master.address}), nil)
	renew(t, d)
	join(t, d, 1, "u:her")
	if acks, err := master.admin.Wait(context.Background(), 1, 10*time.Second).Result(); err != nil || acks != 1 {
		t.Fatalf("WAIT: %d, %v", acks, err)
	}
	d = open(t, redis.NewClient(&redis.Options{Addr: replica.address}), nil)
	if found, err := d.Find(context.Background(), []string{"u:her"}); err == nil || !strings.Contains(err.Error(), "replica") {
		t.Errorf("Find at a replica: %+v, %v", found, err)
	}
	if view, err := d.Renew(context.Background(), directory.Lease{Number: 1}); err == nil {
		t.Errorf("Renew at a replica: %+v", view)
	}
}

// A snapshot brings back the random string, and not what was joined after it.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"RDB": nil, "AOF": {"--appendonly", "yes", "--appendfsync", "no"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, args...)
			d := open(t, redis.NewClient(&redis.Options{Addr: s.address}), nil)
			before := renew(t, d)
			if name == "RDB" {
				s.do(t, "SAVE")
			}
			join(t, d, 1, "u:her")
			s.kill(t)
			s.start(t)
			if s.admin.Exists(context.Background(), "wspush:{0}.generation").Val() != 1 {
				t.Fatal("the server has not read its snapshot")
			}
			wantLost(t, d, before, "u:her")
		})
	}
}

// Eviction loses entries in silence, so the directory says that it may.
func TestEviction(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru")
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	d := open(t, redis.NewClient(&redis.Options{Addr: s.address}), &wspushredis.Options{Logger: logger})
	renew(t, d)
	renew(t, d)
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "allkeys-lru") || !strings.Contains(got, "noeviction") {
		t.Fatalf("logged: %q", got)
	}
	changes := make([]directory.Change, 40_000)
	keys := make([]string, len(changes))
	for i := range changes {
		keys[i] = fmt.Sprint("u:", i)
		changes[i] = directory.Change{Key: keys[i], Present: true}
	}
	if err := d.Apply(context.Background(), 1, changes); err != nil {
		t.Fatal(err)
	}
	found, err := d.Find(context.Background(), keys)
	if err != nil {
		t.Fatal(err)
	}
	lost := slices.ContainsFunc(found, func(f directory.Found) bool { return len(f.Leases) == 0 })
	if !lost {
		t.Fatal("nothing was evicted: this test shows nothing")
	}
	t.Run("noeviction", func(t *testing.T) {
		s := startServer(t, "--maxmemory", "4mb")
		log := new(lockedBuffer)
		d := open(t, redis.NewClient(&redis.Options{Addr: s.address}), &wspushredis.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
		before := renew(t, d)
		if err := d.Apply(context.Background(), 1, changes); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Fatalf("Apply: %v, want what the server says when its memory is full", err)
		}
		found, err := d.Find(context.Background(), keys[:1])
		if err != nil || len(found[0].Leases) != 1 || !slices.Contains(before.Generations, found[0].Generation) {
			t.Fatalf("Find while memory is full: %+v, %v", found, err)
		}
		if got := log.String(); got != "" {
			t.Fatalf("logged: %q", got)
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex // guards what follows
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Entries go after a day, and nothing of the directory stays for ever but a generation for each bucket.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := open(t, redis.NewClient(&redis.Options{Addr: s.address}), nil)
	renew(t, d)
	join(t, d, 1, "u:her")
	for _, key := range s.admin.Keys(context.Background(), "*").Val() {
		ttl := s.admin.TTL(context.Background(), key).Val()
		switch {
		case strings.HasSuffix(key, ".generation"):
			if ttl >= 0 {
				t.Errorf("%s expires after %v", key, ttl)
			}
		case strings.HasSuffix(key, ":u:her"), strings.HasSuffix(key, ".leases"):
			if ttl < directory.EntryTime-time.Minute || ttl > directory.EntryTime {
				t.Errorf("%s expires after %v, want %v", key, ttl, directory.EntryTime)
			}
		default:
			t.Errorf("unknown key %s", key)
		}
	}
}

func TestRefused(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{})
	lagging := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, RouteByLatency: true})
	client := redis.NewClient(&redis.Options{})
	for name, test := range map[string]struct {
		client redis.UniversalClient
		opts   *wspushredis.Options
		want   string
	}{
		"nil":      {nil, nil, "nil"},
		"Ring":     {ring, nil, "Ring"},
		"replicas": {lagging, nil, "replicas"},
		"prefix":   {client, &wspushredis.Options{Prefix: "a{b"}, "brace"},
	} {
		if _, err := wspushredis.New(test.client, test.opts); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error about %q", name, err, test.want)
		}
	}
	_, _, _ = ring.Close(), lagging.Close(), client.Close()
}
