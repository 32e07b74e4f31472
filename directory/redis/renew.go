package wspushredis

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
)

// lease is a directory.Lease as it is stored, behind the time at which it lapses. Name is bytes, which JSON keeps as they are.
type lease struct {
	Name    []byte   `json:"name"`
	Synced  []string `json:"synced"`
	Leaving bool     `json:"leaving,omitempty"`
}

// renewal puts a lease into the hash, and returns those that have not lapsed, by the server's clock; others go. What cannot
// be read it returns, too, for the caller to refuse.
const renewal = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local all, live = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
	local lapses = tonumber(string.match(all[i+1], '^(%d+) '))
	if lapses and lapses <= now then
		redis.call('HDEL', KEYS[1], all[i])
	else
		live[#live+1], live[#live+2] = all[i], all[i+1]
	end
end
return live`

// readingGeneration returns the generation of a bucket, and makes one if it has none. It is named by the bucket's random string, which
// goes when data goes, and by the replication ID, which is another when a replica has taken over, or a snapshot has been loaded. A server
// that has become a replica, without the client's having heard, does not answer.
const readingGeneration = `
local replication = redis.call('INFO', 'replication')
if not string.find(replication, 'role:master', 1, true) then return redis.error_reply('READONLY this server is a replica') end
local id = string.match(replication, 'master_replid:(%w+)')
if not id then return redis.error_reply('ERR this server does not tell its replication ID') end
local random = redis.call('GET', KEYS[1])
if not random then
	random = ARGV[1]
	redis.call('SET', KEYS[1], random)
end
return string.sub(redis.sha1hex(random .. id), 1, 12)`

func (d *Directory) readGeneration(ctx context.Context, p redis.Pipeliner, bucket int) *redis.Cmd {
	return p.Eval(ctx, readingGeneration, []string{d.generationKey(bucket)}, rand.Text())
}

// Renew implements [directory.Directory].
func (d *Directory) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	key := d.prefix + ":{0}.leases"
	value, err := json.Marshal(lease{[]byte(l.Name), l.Synced, l.Leaving})
	if err != nil {
		return directory.View{}, fmt.Errorf("directory/redis: %w", err)
	}
	var leases *redis.Cmd
	var generations [buckets]*redis.Cmd
	err = d.pipeline(ctx, func(p redis.Pipeliner) {
		leases = p.Eval(ctx, renewal, []string{key}, l.Number, value, directory.LeaseTime.Milliseconds(), directory.EntryTime.Milliseconds())
		for bucket := range generations {
			generations[bucket] = d.readGeneration(ctx, p, bucket)
		}
	})
	if err != nil {
		return directory.View{}, err
	}
	var view directory.View
	for bucket, command := range generations {
		generation, err := command.Text()
		if err != nil {
			return directory.View{}, fmt.Errorf("directory/redis: %q: %w", d.generationKey(bucket), err)
		}
		view.Generations = append(view.Generations, generation)
	}
	fields, err := leases.StringSlice()
	for i := 0; err == nil && i+1 < len(fields); i += 2 {
		var live directory.Lease
		live, err = readLease(fields[i], fields[i+1])
		view.Leases = append(view.Leases, live)
	}
	if err != nil {
		return directory.View{}, fmt.Errorf("directory/redis: %q: %w", key, err)
	}
	d.checkEviction(ctx)
	return view, nil
}

func readLease(field, value string) (directory.Lease, error) {
	n, err := number(field)
	if err != nil {
		return directory.Lease{}, err
	}
	var stored lease
	_, text, _ := strings.Cut(value, " ")
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return directory.Lease{}, fmt.Errorf("lease %d: %.40q: %w", n, value, err)
	}
	return directory.Lease{Number: n, Name: string(stored.Name), Synced: stored.Synced, Leaving: stored.Leaving}, nil
}

// readingEviction returns what the server does when its memory is full, and "noeviction" if there is no limit.
const readingEviction = `
local memory = redis.call('INFO', 'memory')
if string.match(memory, 'maxmemory:(%d+)') == '0' then return 'noeviction' end
return string.match(memory, 'maxmemory_policy:([%w-]+)') or 'noeviction'`

// checkEviction warns, once, if a server evicts entries. It looks at most once a minute, and passes over errors: those that matter
// come from elsewhere, too.
func (d *Directory) checkEviction(ctx context.Context) {
	now, last := time.Now().UnixNano(), d.evictionChecked.Load()
	if last != 0 && now-last < int64(time.Minute) || !d.evictionChecked.CompareAndSwap(last, now) {
		return
	}
	count := 1
	if d.cluster {
		count = buckets // wherever they are
	}
	policies := make([]*redis.Cmd, count)
	err := d.pipeline(ctx, func(p redis.Pipeliner) {
		for bucket := range policies {
			policies[bucket] = p.Eval(ctx, readingEviction, []string{d.generationKey(bucket)})
		}
	})
	if err != nil {
		return
	}
	evicts := ""
	for _, command := range policies {
		if policy, _ := command.Text(); policy != "noeviction" {
			evicts = policy
		}
	}
	if before := d.evictionWarned.Swap(&evicts); evicts != "" && (before == nil || *before != evicts) {
		d.logger.Warn("wspush: Redis evicts entries of the directory when its memory is full, and users and groups will not be found then. "+
			"Set maxmemory-policy to noeviction.", "maxmemory-policy", evicts)
	}
}
