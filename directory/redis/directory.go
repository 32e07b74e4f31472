package wspushredis

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
)

const (
	buckets     = 64   // fixed: clients that disagree do not find each other's entries
	perPipeline = 1000 // keys
	maxLeases   = 4096 // of one key; far more than there are workers
)

// Options may be nil.
type Options struct {
	// Prefix begins all keys, "wspush" by default. Applications that share a server each need their own. It may not contain "{" or "}".
	Prefix string

	// Logger gets the warning that the server evicts; slog.Default() if nil.
	Logger *slog.Logger
}

// A Directory is a [directory.Directory]. It needs no closing. It is safe for concurrent use, but for what Apply says.
type Directory struct {
	client  redis.UniversalClient
	cluster bool // the client is for Redis Cluster
	prefix  string
	logger  *slog.Logger

	version atomic.Int64 // of the last Apply

	evictionChecked atomic.Int64           // when, in nanoseconds of Unix time
	evictionWarned  atomic.Pointer[string] // what of
}

var _ directory.Directory = (*Directory)(nil)

// New returns the directory that a client leads to. It does not connect. It fails if the client or an option makes no sense.
func New(client redis.UniversalClient, opts *Options) (*Directory, error) {
	d := &Directory{client: client, prefix: "wspush", logger: slog.Default()}
	if opts != nil && opts.Prefix != "" {
		d.prefix = opts.Prefix
	}
	if opts != nil && opts.Logger != nil {
		d.logger = opts.Logger
	}
	if strings.ContainsAny(d.prefix, "{}") {
		return nil, fmt.Errorf("directory/redis: Prefix %q contains a brace, which would be taken for a hash tag", d.prefix)
	}
	switch client := client.(type) {
	case nil:
		return nil, errors.New("directory/redis: the client is nil")
	case *redis.Ring:
		return nil, errors.New("directory/redis: a Ring moves keys without a trace when a server comes or goes; use Sentinel or Redis Cluster")
	case *redis.ClusterClient:
		d.cluster = true
		if o := client.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return nil, errors.New("directory/redis: the client reads from replicas, which lag behind; unset ReadOnly, RouteByLatency and RouteRandomly")
		}
	}
	return d, nil
}

func (d *Directory) key(key string) string {
	return d.prefix + ":{" + strconv.Itoa(bucketOf(key)) + "}:" + key
}

func (d *Directory) generationKey(bucket int) string {
	return d.prefix + ":{" + strconv.Itoa(bucket) + "}.generation"
}

func bucketOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % buckets)
}

// nextVersion returns a number that is higher than all before, and that a float64 holds. Time keeps it so across restarts, for
// a caller that keeps its lease.
func (d *Directory) nextVersion() int64 {
	for {
		last := d.version.Load()
		next := max(last+1, time.Now().UnixMicro())
		if d.version.CompareAndSwap(last, next) {
			return next
		}
	}
}

// removal removes a member from a sorted set unless it has a higher version. A plain ZREM that was under way when its connection broke may
// arrive long after a ZADD on the next one, since the system goes on sending what a closed connection had to send.
const removal = `
local version = redis.call('ZSCORE', KEYS[1], ARGV[1])
if version and tonumber(version) <= tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1`

// Apply implements [directory.Directory].
func (d *Directory) Apply(ctx context.Context, lease uint64, changes []directory.Change) error {
	member, version := strconv.FormatUint(lease, 10), d.nextVersion()
	for len(changes) > 0 {
		some := changes[:min(len(changes), perPipeline)]
		changes = changes[len(some):]
		err := d.pipeline(ctx, func(p redis.Pipeliner) {
			for _, change := range some {
				key := d.key(change.Key)
				if change.Present {
					p.ZAddArgs(ctx, key, redis.ZAddArgs{GT: true, Members: []redis.Z{{Score: float64(version), Member: member}}})
					p.PExpire(ctx, key, directory.EntryTime)
				} else {
					p.Eval(ctx, removal, []string{key}, member, version)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Find implements [directory.Directory].
func (d *Directory) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	found := make([]directory.Found, 0, len(keys))
	for len(keys) > 0 {
		some := keys[:min(len(keys), perPipeline)]
		keys = keys[len(some):]
		sets := make([]*redis.StringSliceCmd, len(some))
		generations := make(map[int]*redis.Cmd)
		readSets := func(p redis.Pipeliner) {
			for i, key := range some {
				sets[i] = p.ZRange(ctx, d.key(key), 0, maxLeases)
			}
		}
		readGenerations := func(p redis.Pipeliner) {
			for _, key := range some {
				if bucket := bucketOf(key); generations[bucket] == nil {
					generations[bucket] = d.readGeneration(ctx, p, bucket)
				}
			}
		}
		// One connection keeps the order. A Cluster's commands go to several servers, and again if these send them on.
		steps := []func(redis.Pipeliner){func(p redis.Pipeliner) { readSets(p); readGenerations(p) }}
		if d.cluster {
			steps = []func(redis.Pipeliner){readSets, readGenerations}
		}
		for _, step := range steps {
			if err := d.pipeline(ctx, step); err != nil {
				return nil, err
			}
		}
		for i, key := range some {
			leases, err := numbers(sets[i].Val())
			if err != nil {
				return nil, fmt.Errorf("directory/redis: %q: %w", d.key(key), err)
			}
			generation, err := generations[bucketOf(key)].Text()
			if err != nil {
				return nil, fmt.Errorf("directory/redis: %q: %w", d.generationKey(bucketOf(key)), err)
			}
			found = append(found, directory.Found{Leases: leases, Generation: generation})
		}
	}
	return found, nil
}

func numbers(members []string) ([]uint64, error) {
	if len(members) > maxLeases {
		return nil, fmt.Errorf("more than %d leases", maxLeases)
	}
	all := make([]uint64, len(members))
	for i, member := range members {
		var err error
		if all[i], err = number(member); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// number reads a lease's number as Apply and Renew write it.
func number(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%.40q is not the number of a lease", text)
	}
	return n, nil
}

// pipeline sends the commands that fill adds, and returns the first error, with the key that it is about. That there is nothing to get is none.
// It does not wait beyond the context's end; go-redis does, for as long as its own timeouts.
func (d *Directory) pipeline(ctx context.Context, fill func(redis.Pipeliner)) error {
	p := d.client.Pipeline()
	fill(p)
	done := make(chan error, 1)
	go func() { // ends with go-redis's timeouts
		commands, err := p.Exec(ctx)
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		for _, command := range commands {
			if commandErr := command.Err(); commandErr != nil && !errors.Is(commandErr, redis.Nil) {
				err = fmt.Errorf("directory/redis: %s %.400q: %w", command.Name(), keyOf(command), commandErr)
				break
			}
		}
		if cluster, ok := d.client.(*redis.ClusterClient); ok && err != nil && !errors.As(err, new(redis.Error)) {
			// A pipeline does not ask again by itself who is master, for up to a minute. This returns at once.
			cluster.ReloadState(ctx)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("directory/redis: %w", ctx.Err())
	}
}

func keyOf(command redis.Cmder) any {
	args := command.Args()
	if command.Name() == "eval" { // eval SCRIPT 1 KEY
		return args[3]
	}
	return args[1]
}
