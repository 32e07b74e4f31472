package wspushredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/directory/directorytest"
	"github.com/wspush/wspush/internal/membership/membershiptest"
)

var (
	simulation = membershiptest.Flags()
	deploy     = membershiptest.DeployFlags()
)

// TestSimulation runs many users over many workers, each with a client of its own, and kills the server in the middle.
func TestSimulation(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	engine := startServer(t)
	s := simulation()
	s.Directory = func(int) directory.Directory {
		return open(t, redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{engine.address}, ContextTimeoutEnabled: true, DialerRetries: 1}), nil)
	}
	s.Kill = func() { engine.kill(t) }
	s.Start = func() { engine.start(t) }
	s.Usage = func() membershiptest.Usage {
		return membershiptest.Usage{
			Bytes:   usedMemory(t, &directorytest.Engine{Address: engine.address}),
			Process: membershiptest.OfProcess(engine.process.Process.Pid),
		}
	}
	s.Entries = func() int64 { return entriesIn(ctx, t, engine) }
	s.Log = t.Logf
	r, err := s.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Left; n != 0 {
		t.Errorf("%d entries are left", n)
	}
	for _, finding := range s.Judge(r) {
		t.Error(finding)
	}
}

// TestDeploy replaces workers one after the other, each with a client of its own.
func TestDeploy(t *testing.T) {
	for name, handed := range map[string]bool{"taken": false, "handed over": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			engine := startServer(t)
			d := deploy()
			d.Handed = handed
			d.Directory = func() (directory.Directory, func()) {
				client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{engine.address}, ContextTimeoutEnabled: true, DialerRetries: 1})
				return open(t, client, nil), func() { _ = client.Close() }
			}
			d.Usage = func() membershiptest.Usage {
				return membershiptest.Usage{
					Bytes:   usedMemory(t, &directorytest.Engine{Address: engine.address}),
					Process: membershiptest.OfProcess(engine.process.Process.Pid),
				}
			}
			d.Log = t.Logf
			r, err := d.Run(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if r.Moves < int64(d.Sessions) || r.Claimed < r.Moves {
				t.Errorf("%d sessions: %s", d.Sessions, r)
			}
		})
	}
}

// entriesIn counts the members of the sorted sets, without a command that takes long.
func entriesIn(ctx context.Context, tb testing.TB, s *server) (n int64) {
	tb.Helper()
	cursor := uint64(0)
	for {
		keys, next, err := s.admin.ScanType(ctx, cursor, "*", 1000, "zset").Result()
		if err != nil {
			tb.Fatal(err)
		}
		counts := s.admin.Pipeline()
		for _, key := range keys {
			counts.ZCard(ctx, key)
		}
		commands, err := counts.Exec(ctx)
		if err != nil {
			tb.Fatal(err)
		}
		for _, command := range commands {
			n += command.(*redis.IntCmd).Val()
		}
		if cursor = next; cursor == 0 {
			return n
		}
	}
}
