package wspushredis_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/directory/directorytest"
	wspushredis "github.com/wspush/wspush/directory/redis"
)

// ports are those that tests of this process have taken, by number.
var ports sync.Map

func TestSuite(t *testing.T) {
	t.Parallel()
	directorytest.Run(t, func(tb testing.TB) *directorytest.Engine { return engine(tb) })
}

func engine(tb testing.TB) *directorytest.Engine {
	s := startServer(tb)
	put := func(args ...any) { s.do(tb, args...) }
	owner := func(value string) func(tb testing.TB, prefix, session string) {
		return func(tb testing.TB, prefix, session string) { put("SET", delOwnerKey(tb, s, prefix, session), value) }
	}
	return &directorytest.Engine{
		Address: s.address,
		Open: func(tb testing.TB, address, prefix string) directory.Directory {
			client := redis.NewClient(&redis.Options{Addr: address, ContextTimeoutEnabled: true})
			return open(tb, client, &wspushredis.Options{Prefix: prefix})
		},
		Empty:   func(tb testing.TB) { s.do(tb, "FLUSHALL") },
		Kill:    s.kill,
		Restart: s.start,
		Nonsense: map[string]func(tb testing.TB, prefix, key string){
			"EntryOfAnotherType": func(tb testing.TB, prefix, key string) { put("SET", entryKey(tb, s, prefix, key), "text") },
			"EntryIsSet":         func(tb testing.TB, prefix, key string) { put("SADD", delKey(tb, s, prefix, key), "1") },
			"MemberIsText":       func(tb testing.TB, prefix, key string) { put("ZADD", entryKey(tb, s, prefix, key), 1, "text") },
			"OnlyMemberIsText":   func(tb testing.TB, prefix, key string) { put("ZADD", delKey(tb, s, prefix, key), 1, "text") },
			"MemberIsZero":       func(tb testing.TB, prefix, key string) { put("ZADD", delKey(tb, s, prefix, key), 1, "0") },
			"MemberIsNegative":   func(tb testing.TB, prefix, key string) { put("ZADD", delKey(tb, s, prefix, key), 1, "-1") },
			"MemberIsTooHigh": func(tb testing.TB, prefix, key string) {
				put("ZADD", delKey(tb, s, prefix, key), 1, "9223372036854775808")
			},
			"TooManyMembers": func(tb testing.TB, prefix, key string) {
				args := []any{"ZADD", entryKey(tb, s, prefix, key)}
				for i := range 5000 {
					args = append(args, 1, i+1)
				}
				put(args...)
			},
			"GenerationOfAnotherType": func(tb testing.TB, prefix, key string) {
				generation, _, _ := strings.Cut(entryKey(tb, s, prefix, key), "}")
				put("DEL", generation+"}.generation")
				put("LPUSH", generation+"}.generation", "x")
			},
			"LeasesOfAnotherType": func(tb testing.TB, prefix, _ string) { put("SET", prefix+":{0}.leases", "text") },
			"LeaseHasNoTime":      func(tb testing.TB, prefix, _ string) { put("HSET", prefix+":{0}.leases", "7", "{}") },
			"LeaseIsText":         func(tb testing.TB, prefix, _ string) { put("HSET", prefix+":{0}.leases", "7", "99999999999999 text") },
			"LeaseHasNoNumber":    func(tb testing.TB, prefix, _ string) { put("HSET", prefix+":{0}.leases", "x", "99999999999999 {}") },
		},
		OwnerNonsense: map[string]func(tb testing.TB, prefix, session string){
			"OfAnotherType":      func(tb testing.TB, prefix, session string) { put("SADD", delOwnerKey(tb, s, prefix, session), "1 1") },
			"Text":               owner("text"),
			"Empty":              owner(""),
			"NoLease":            owner("1"),
			"NoMoves":            owner("0 1"),
			"NegativeMoves":      owner("-1 1"),
			"MovesTooHigh":       owner("9007199254740992 1"),
			"MovesMuchTooHigh":   owner("99999999999999999999999 1"),
			"FractionOfMoves":    owner("1.5 1"),
			"MovesBeginWithZero": owner("01 1"),
			"LeaseIsZero":        owner("1 0"),
			"LeaseTooHigh":       owner("1 9223372036854775808"),
			"LeaseIsText":        owner("1 one"),
			"More":               owner("1 1 1"),
			"SpaceBehind":        owner("1 1 "),
			"Long":               owner(strings.Repeat("1", 100_000)),
		},
	}
}

func delOwnerKey(tb testing.TB, s *server, prefix, session string) string {
	tb.Helper()
	keys, err := s.admin.Keys(context.Background(), prefix+":{*}.owner:"+session).Result()
	if err != nil || len(keys) != 1 {
		tb.Fatalf("%s is at %q: %v", session, keys, err)
	}
	s.do(tb, "DEL", keys[0])
	return keys[0]
}

// entryKey is where an entry is in Redis.
func entryKey(tb testing.TB, s *server, prefix, key string) string {
	tb.Helper()
	keys, err := s.admin.Keys(context.Background(), prefix+":{*}:"+key).Result()
	if err != nil || len(keys) != 1 {
		tb.Fatalf("%s is at %q: %v", key, keys, err)
	}
	return keys[0]
}

// delKey deletes it, too.
func delKey(tb testing.TB, s *server, prefix, key string) string {
	tb.Helper()
	name := entryKey(tb, s, prefix, key)
	s.do(tb, "DEL", name)
	return name
}
