package wspushredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
)

var _ directory.Owners = (*Directory)(nil)

const maxMoves = 1<<53 - 1 // what Lua's numbers hold

func (d *Directory) ownerKey(session string) string {
	return d.prefix + ":{" + strconv.Itoa(bucketOf(session)) + "}.owner:" + session
}

// ownerValue is an owner as it is stored, such as "3 4611686018427387904": so many moves, and the lease.
func ownerValue(o directory.Ownership) string {
	return strconv.FormatUint(o.Moves, 10) + " " + strconv.FormatUint(o.Lease, 10)
}

func readOwner(session, value string) (directory.Ownership, error) {
	first, second, _ := strings.Cut(value, " ")
	moves, err := strconv.ParseUint(first, 10, 64)
	lease, leaseErr := number(second)
	o := directory.Ownership{Session: session, Lease: lease, Moves: moves}
	if err != nil || leaseErr != nil || moves == 0 || moves > maxMoves || ownerValue(o) != value {
		return directory.Ownership{}, fmt.Errorf("%.60q is no owner", value)
	}
	return o, nil
}

// claiming puts an owner if it has moved more often than that which is there, and returns which one is there then. What cannot be read it
// leaves, and returns it for the caller to refuse.
const claiming = `
local owner = ARGV[1] .. ' ' .. ARGV[2]
local present = redis.call('GET', KEYS[1])
if present and present ~= owner then
	local moves, lease = string.match(present, '^([1-9]%d*) ([1-9]%d*)$')
	if not moves or #lease > 19 or #lease == 19 and lease > '9223372036854775807' then return present end
	if tonumber(moves) >= tonumber(ARGV[1]) then return present end
end
redis.call('SET', KEYS[1], owner, 'PX', ARGV[3])
return owner`

// Claim implements [directory.Owners].
func (d *Directory) Claim(ctx context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, 0, len(claims))
	for len(claims) > 0 {
		some := claims[:min(len(claims), perPipeline)]
		claims = claims[len(some):]
		present := make([]*redis.Cmd, len(some))
		err := d.pipeline(ctx, func(p redis.Pipeliner) {
			for i, claim := range some {
				present[i] = p.Eval(ctx, claiming, []string{d.ownerKey(claim.Session)}, claim.Moves, claim.Lease, directory.EntryTime.Milliseconds())
			}
			d.refuseAtReplica(ctx, p, some[0].Session)
		})
		if err != nil {
			return nil, err
		}
		for i, claim := range some {
			value, err := present[i].Text()
			var owner directory.Ownership
			if err == nil {
				owner, err = readOwner(claim.Session, value)
			}
			if err != nil {
				return nil, fmt.Errorf("directory/redis: %q: %w", d.ownerKey(claim.Session), err)
			}
			owners = append(owners, owner)
		}
	}
	return owners, nil
}

// Owners implements [directory.Owners].
func (d *Directory) Owners(ctx context.Context, sessions []string) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, 0, len(sessions))
	for len(sessions) > 0 {
		some := sessions[:min(len(sessions), perPipeline)]
		sessions = sessions[len(some):]
		present := make([]*redis.StringCmd, len(some))
		err := d.pipeline(ctx, func(p redis.Pipeliner) {
			for i, session := range some {
				present[i] = p.Get(ctx, d.ownerKey(session))
			}
			d.refuseAtReplica(ctx, p, some[0])
		})
		if err != nil {
			return nil, err
		}
		for i, session := range some {
			owner := directory.Ownership{Session: session}
			if value, err := present[i].Result(); !errors.Is(err, redis.Nil) {
				if owner, err = readOwner(session, value); err != nil {
					return nil, fmt.Errorf("directory/redis: %q: %w", d.ownerKey(session), err)
				}
			}
			owners = append(owners, owner)
		}
	}
	return owners, nil
}

const refusingAtReplica = `
if not string.find(redis.call('INFO', 'replication'), 'role:master', 1, true) then return redis.error_reply('READONLY this server is a replica') end
return 1`

// refuseAtReplica is called behind what only a master may answer, as a replica may lack the latest claims. In Redis Cluster it answers nothing.
func (d *Directory) refuseAtReplica(ctx context.Context, p redis.Pipeliner, session string) {
	if !d.cluster {
		p.Eval(ctx, refusingAtReplica, []string{d.ownerKey(session)})
	}
}

const disclaiming = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1`

// Disclaim implements [directory.Owners].
func (d *Directory) Disclaim(ctx context.Context, claims []directory.Ownership) error {
	for len(claims) > 0 {
		some := claims[:min(len(claims), perPipeline)]
		claims = claims[len(some):]
		err := d.pipeline(ctx, func(p redis.Pipeliner) {
			for _, claim := range some {
				p.Eval(ctx, disclaiming, []string{d.ownerKey(claim.Session)}, ownerValue(claim), directory.LeaseTime.Milliseconds())
			}
			d.refuseAtReplica(ctx, p, some[0].Session)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
