package wspush

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
)

// members knows which connections of one worker are a user's or a group's. It calls no method of a Conn.
type members struct{ users, groups index }

func newMembers() *members {
	m := new(members)
	m.users.seed, m.groups.seed = maphash.MakeSeed(), maphash.MakeSeed()
	return m
}

// of returns the index of a kind of names.
func (m *members) of(isGroup bool) *index {
	if isGroup {
		return &m.groups
	}
	return &m.users
}

// index has the members of each name. It is split into shards, so that pushes to different names, and clients that come and go,
// hardly ever contend for a lock. Names come from clients, so the seed keeps them from meeting in one shard.
type index struct {
	seed   maphash.Seed
	shards [64]indexShard
	names  atomic.Int64 // how many have members
	// announce is called when a name gets its first member, and when it loses the last one, in this order for each name. It must not
	// block: the shard's lock is held. Nil: nobody wants to know.
	announce func(name string, present bool)
	size     atomic.Int64 // members, of all names
}

type indexShard struct {
	mu   sync.RWMutex         // guards what follows, and at of every member in it
	sets map[string]memberSet // by name
	peak int                  // the most that sets has had since it was made: a map never shrinks
	_    [24]byte             // gives each shard a cache line of its own: taking the lock writes to it
}

// memberSet is the members of one name, at least one. Most have one, for which a map or a slice would be large.
type memberSet struct {
	first *member
	more  *[]*member // nil if there are none
}

// member is a connection as one of a user's or a group's.
type member struct {
	conn  *Conn
	name  string // does not change once the member is in the index
	since int64  // nanoseconds since 1970; the same
	at    int    // where it is in its set: 0 is first, 1 the first of more; absent
}

// absent is where a member is that is not in the index.
const absent = -1

func (x *index) shard(name string) *indexShard {
	return &x.shards[maphash.String(x.seed, name)%uint64(len(x.shards))]
}

// add adds a member that is absent. Its name becomes that of the others, so that each is held once.
func (x *index) add(m *member) {
	s := x.shard(m.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	x.size.Add(1)
	set, ok := s.sets[m.name]
	if !ok {
		if s.sets == nil {
			s.sets = make(map[string]memberSet)
		}
		m.at = 0
		s.sets[m.name] = memberSet{first: m}
		s.peak = max(s.peak, len(s.sets))
		x.names.Add(1)
		x.announceLocked(m.name, true)
		return
	}
	m.name = set.first.name
	if set.more == nil {
		set.more = new([]*member)
		s.sets[m.name] = set
	}
	*set.more = append(*set.more, m)
	m.at = len(*set.more)
}

// settle announces once more whether a name has members.
func (x *index) settle(name string) {
	s := x.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	x.announceLocked(name, s.sets[name].first != nil)
}

func (x *index) announceLocked(name string, present bool) {
	if x.announce != nil {
		x.announce(name, present)
	}
}

// remove removes a member. It does nothing if the member is absent.
func (x *index) remove(m *member) {
	s := x.shard(m.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.at == absent {
		return
	}
	x.size.Add(-1)
	set := s.sets[m.name]
	if set.more == nil {
		delete(s.sets, m.name)
		s.shrinkLocked()
		x.names.Add(-1)
		x.announceLocked(m.name, false)
	} else {
		set.removeLocked(m)
		s.sets[m.name] = set
	}
	m.at = absent
}

// removeLocked takes a member out of a set that has several. The last one takes its place.
func (set *memberSet) removeLocked(m *member) {
	more := *set.more
	last := more[len(more)-1]
	if m.at == 0 {
		set.first = last
	} else {
		more[m.at-1] = last
	}
	last.at = m.at
	more[len(more)-1] = nil
	more = more[:len(more)-1]
	switch {
	case len(more) == 0:
		set.more = nil
		return
	case cap(more) > 16 && len(more) < cap(more)/4:
		more = append(make([]*member, 0, 2*len(more)), more...)
	}
	*set.more = more
}

// shrinkLocked makes the map anew when it has become far smaller than it was.
func (s *indexShard) shrinkLocked() {
	if s.peak <= 32 || len(s.sets) >= s.peak/4 {
		return
	}
	sets := make(map[string]memberSet, len(s.sets))
	maps.Copy(sets, s.sets)
	s.sets, s.peak = sets, len(sets)
}

// find returns the members of a name, at most so many: the only one, or all of them if there are several. The slice is the caller's.
func (x *index) find(name string, most int) (only *member, several []*member) {
	s := x.shard(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	set := s.sets[name]
	if set.more == nil || most <= 1 {
		return set.first, nil
	}
	several = make([]*member, min(1+len(*set.more), most))
	several[0] = set.first
	copy(several[1:], *set.more)
	return nil, several
}

// count returns how many members a name has.
func (x *index) count(name string) int {
	s := x.shard(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch set := s.sets[name]; {
	case set.first == nil:
		return 0
	case set.more == nil:
		return 1
	default:
		return 1 + len(*set.more)
	}
}
