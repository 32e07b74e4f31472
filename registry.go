package wspush

import (
	"encoding/binary"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
)

// registry holds the live connections of one worker by ID. It calls no method of a Conn.
//
// It is split into shards, so that publishers to different connections hardly ever contend for a lock.
type registry struct {
	shards [256]shard
	open   atomic.Int64 // how many connections are open
}

// shard holds the connections whose halves have the same last byte.
type shard struct {
	mu    sync.RWMutex     // guards conns, and next and registered of every Conn in it
	conns map[uint64]*Conn // by half; connections with the same half are linked by next
	_     [32]byte         // gives each shard a cache line of its own: taking the lock writes to it
}

// registration is how far a connection has come in the registry.
type registration uint8

const (
	unregistered       registration = iota // not yet added, or already removed: pushes get ErrGone
	registeredGreeting                     // found by its ID, but not open to pushes yet: they get ErrBusy from its socket
	registeredOpen                         // found, counted and listed: its greeting is first in line
)

func newRegistry() *registry { return new(registry) }

// half returns 16 of the 32 digits of an ID as a number. The digits are random, so half of them nearly always identify the
// connection as well as all of them do. A map finds a number faster than a string, and needs no memory access to read it.
func half(id string) uint64 {
	return nibbles(id[:8]) | nibbles(id[28:])<<4
}

// nibbles returns eight hexadecimal digits, each as a number in a byte of its own.
func nibbles(digits string) uint64 {
	const ones = 0x0101010101010101
	ascii := binary.LittleEndian.Uint64([]byte(digits))
	return ascii&(0x0f*ones) + ascii>>6&ones*9 // a letter is its low bits plus 9
}

const idLen = 36

func (r *registry) shard(half uint64) *shard { return &r.shards[half%uint64(len(r.shards))] }

// add lets c be found by its ID, which is new: version 4 UUIDs do not repeat. Until open, c is neither counted nor listed.
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
	c.registered = registeredGreeting
}

// setOpen counts and lists c from now on, unless it has been removed meanwhile.
func (r *registry) setOpen(c *Conn) {
	s := r.shard(half(c.id))
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.registered == registeredGreeting {
		c.registered = registeredOpen
		r.open.Add(1)
	}
}

// remove removes c. It does nothing if c is not registered.
func (r *registry) remove(c *Conn) {
	h := half(c.id)
	s := r.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.registered == unregistered {
		return
	}
	if c.registered == registeredOpen {
		r.open.Add(-1)
	}
	c.registered = unregistered
	first := s.conns[h]
	at := &first
	for *at != c {
		at = &(*at).next
	}
	*at, c.next = c.next, nil
	if first == nil {
		delete(s.conns, h)
	} else {
		s.conns[h] = first
	}
}

// get finds the connection with this ID, open or not. The ID may be in any letter case (RFC 9562 section 4), which half does not see,
// but in no other form.
func (r *registry) get(id string) (*Conn, bool) {
	if len(id) != idLen {
		return nil, false
	}
	h := half(id)
	s := r.shard(h)
	s.mu.RLock()
	c := s.conns[h]
	for c != nil && c.id != id && !strings.EqualFold(c.id, id) {
		c = c.next
	}
	s.mu.RUnlock()
	return c, c != nil
}

// len returns how many connections are open.
func (r *registry) len() int { return int(r.open.Load()) }

// all yields the connections that were open when the iteration began. It holds no lock while it yields.
func (r *registry) all() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		snapshot := make([]*Conn, 0, r.len())
		for i := range r.shards {
			s := &r.shards[i]
			s.mu.RLock()
			for _, c := range s.conns {
				for ; c != nil; c = c.next {
					if c.registered == registeredOpen {
						snapshot = append(snapshot, c)
					}
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
