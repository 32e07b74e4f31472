// Package wspushredis is a [directory.Directory], with [directory.Owners], in Redis or Valkey, from version 6.2 on:
//
//	import wspushredis "github.com/wspush/wspush/directory/redis"
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: addresses, ContextTimeoutEnabled: true, DialerRetries: 1})
//	directory, err := wspushredis.New(client, nil)
//
// The client is the application's, which closes it after the worker has shut down. It may be for one server, for Sentinel or for Redis
// Cluster. A Ring is refused, and so is a client of a Cluster that reads from replicas: the one forgets that it has moved keys, and the
// others lag behind.
//
// # What is in Redis
//
// Keys are spread over 64 buckets, whose hash tag decides where Redis Cluster has them; every command has one key. With the prefix
// "wspush":
//
//	wspush:{17}:u:NAME      a sorted set: the leases that have the user, each with the version of its last change; expires after 24 h
//	wspush:{17}.generation  a random string
//	wspush:{0}.leases       a hash: each lease by its number
//	wspush:{9}.owner:ID     of a session that has moved to another worker: how often, and the owner's lease, such as "3 46116860"; expires after 24 h
//
// A user takes about 160 bytes, and a command when her first connection comes to a worker and another when the last one goes. Nothing
// is written for a connection that is silent. A session that has moved takes 180 bytes, and a command for each move.
//
// # What Redis may do
//
// Everything may be lost: no persistence is needed, and none helps. A generation names both the random string of the bucket and the
// server's replication ID. So whatever loses data has another generation: FLUSHALL, a restart, even from a snapshot or an append-only file,
// and a failover to a replica that had not received everything.
//
// In Redis Cluster, the directory has the client ask anew who is master when a server cannot be reached. go-redis would do that within a minute.
//
// One thing loses data in silence: eviction. If maxmemory is set, maxmemory-policy must be noeviction; otherwise the directory logs a
// warning. Do not share the server with a cache.
//
// An ACL must allow +@write +@read +eval +info +time, and the keys of the prefix.
//
// # What go-redis does
//
// It retries by itself, up to the context's end, and it logs by itself, to standard error, when servers come and go:
// redis.SetLogger changes that. Unless its option ContextTimeoutEnabled is set, a command that nobody waits for any longer, because
// its context has ended, holds its connection until the client's ReadTimeout.
package wspushredis
