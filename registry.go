package wspush

import (
	"encoding/binary"
	"iter"
	"sync"
	"sync/atomic"
)

// registry is the live connections of one worker by ID. It calls no method of a Conn.
//
// It is in shards, so that publishers to different connections hardly ever meet at a lock.
type registry struct {
	shards [256]shard
	count  atomic.Int64
}

// shard is the connections with the same last byte of half.
type shard struct {
	mu    sync.RWMutex     // guards conns, and next in every Conn in it
	conns map[uint64]*Conn // by half; those that have it in common are linked by next
	_     [32]byte         // a cache line each: a lock that is taken is written to
}

func newRegistry() *registry { return new(registry) }

// half is 16 of the 32 digits of an ID, as a number. They are random, and so nearly always as good a key as all of them; a
// map finds a number faster than a string, and need not look at the string for it, which is a memory access away.
func half(id string) uint64 {
	return nibbles(id[:8]) | nibbles(id[28:])<<4
}

// nibbles is eight hexadecimal digits, each as a number in a byte.
func nibbles(digits string) uint64 {
	const each = 0x0101010101010101
	ascii := binary.LittleEndian.Uint64([]byte(digits))
	return ascii&(0x0f*each) + ascii>>6&each*9 // a letter is its low bits and 9
}

const idLen = 36

func (r *registry) shard(half uint64) *shard { return &r.shards[half%uint64(len(r.shards))] }

// add enters c under its ID, which is new: version 4 UUIDs do not repeat.
func (r *registry) add(c *Conn) {
	h := half(c.id)
	s := r.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = make(map[uint64]*Conn)
	}
	c.next = s.conns[h]
	s.conns[h] = c
	r.count.Add(1)
}

// remove takes c out, if it is in.
func (r *registry) remove(c *Conn) {
	h := half(c.id)
	s := r.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.conns[h]
	at := &first
	for *at != nil && *at != c {
		at = &(*at).next
	}
	if *at == nil {
		return
	}
	*at, c.next = c.next, nil
	if first == nil {
		delete(s.conns, h)
	} else {
		s.conns[h] = first
	}
	r.count.Add(-1)
}

// get finds the connection with this ID: its canonical text, and no other way to write it.
func (r *registry) get(id string) (*Conn, bool) {
	if len(id) != idLen {
		return nil, false
	}
	h := half(id)
	s := r.shard(h)
	s.mu.RLock()
	c := s.conns[h]
	for c != nil && c.id != id {
		c = c.next
	}
	s.mu.RUnlock()
	return c, c != nil
}

func (r *registry) len() int { return int(r.count.Load()) }

// all yields the connections that were there when the iteration began, with no lock held.
func (r *registry) all() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		snapshot := make([]*Conn, 0, r.len())
		for i := range r.shards {
			s := &r.shards[i]
			s.mu.RLock()
			for _, c := range s.conns {
				for ; c != nil; c = c.next {
					snapshot = append(snapshot, c)
				}
			}
			s.mu.RUnlock()
		}
		for _, c := range snapshot {
			if !yield(c) {
				return
			}
		}
	}
}
