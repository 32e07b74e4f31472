package publisher

import (
	"container/list"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/wspush/wspush/internal/wire"
)

// movedHeader is in the answer about a session that another worker has now, and has the address of the connection there.
const movedHeader = "Wspush-Address"

const (
	maxMoves   = 10_000  // addresses
	maxAddress = 2 << 10 // bytes of an address that is remembered, and of a header
	maxWays    = 3       // of one call: so that workers that name each other do not lead it around for ever
)

// moves remembers where connections have moved to, by the addresses that callers still give. Each session moves by itself, so unlike memory
// this cannot be kept by origin. The key is the whole address rather than the ID: a server that is asked about an ID must not decide where
// pushes go that name another host.
type moves struct {
	mu      sync.Mutex               // guards what follows
	entries map[string]*list.Element // by address; the values are of type *move
	order   list.List                // the one that was used last is in front
}

// move is where one connection has moved to.
type move struct {
	address  string
	to       []target // at least one
	isSecond bool     // it has failed, so the given address is tried first
}

// find returns where a connection has moved to, or nil.
func (m *moves) find(address string) (to []target, isSecond bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[address]
	if !ok {
		return nil, false
	}
	m.order.MoveToFront(e)
	found := e.Value.(*move)
	return found.to, found.isSecond
}

// note remembers where a connection has moved to. If that is known already, isSecond stays: the worker at the given address repeats the new one
// in each answer, and may reach it where this Client cannot, so every call would begin with an attempt in vain.
func (m *moves) note(address string, to []target) {
	if len(address) > maxAddress {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[address]; ok {
		m.order.MoveToFront(e)
		if known := e.Value.(*move); !slices.Equal(known.to, to) {
			known.to, known.isSecond = to, false
		}
		return
	}
	if len(m.entries) >= maxMoves {
		m.removeLocked(m.order.Back())
	}
	address = strings.Clone(address) // which may be a part of something large
	m.entries[address] = m.order.PushFront(&move{address: address, to: to})
}

// judge notes whether the new address has worked.
func (m *moves) judge(address string, to []target, works bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[address]; ok {
		if known := e.Value.(*move); slices.Equal(known.to, to) { // otherwise it is about another
			known.isSecond = !works
		}
	}
}

func (m *moves) forget(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[address]; ok {
		m.removeLocked(e)
	}
}

func (m *moves) removeLocked(e *list.Element) {
	m.order.Remove(e)
	delete(m.entries, e.Value.(*move).address)
}

// way is one of the addresses of a connection.
type way struct {
	targets []target
	isNew   bool // a worker has named it, and not the caller
}

// follow tries the new address and the given one, for as long as it is certain that nothing has been written.
func (c *Client) follow(ctx context.Context, address string, given []target, k call) (best reply, result error) {
	ways := []way{{targets: given}}
	if to, isSecond := c.movedTo(address); to != nil {
		ways = append(ways, way{to, true})
		if !isSecond {
			slices.Reverse(ways)
		}
	}
	for i := 0; i < len(ways); i++ {
		w := ways[i]
		k.answered = func(t target, success bool, h http.Header) { c.learn(address, given, w, t, success, h) }
		a, err, next := c.tryAll(ctx, w.targets, k)
		next = next || errors.Is(err, ErrShutdown) // the other worker may go on
		// If nothing was sent, the caller's time was over before there was a connection. The next call should not wait for one again.
		if notSent := status(err) == 0 && !errors.Is(err, ErrUnknown); w.isNew && (err == nil || next || notSent) {
			c.moves.judge(address, w.targets, err == nil)
		}
		if err == nil || !next {
			return a, err
		}
		// The error is about the given address, unless the session has ended at the new one.
		if gone := errors.Is(err, ErrGone); gone || !w.isNew && !errors.Is(result, ErrGone) {
			best, result = a, err
		}
		if to, isSecond := c.movedTo(address); to != nil && !isSecond && len(ways) < maxWays { // learnt in this call
			ways = append(ways, way{to, true})
		}
	}
	if errors.Is(result, ErrGone) {
		c.moves.forget(address)
	}
	return best, result
}

// movedTo returns where to find a connection, as far as Options still allow that, or nil.
func (c *Client) movedTo(address string) (to []target, isSecond bool) {
	to, isSecond = c.moves.find(address)
	if to != nil && !wire.IsSealedID(address) { // whose targets are Options.Workers
		to = c.permitted(to)
	}
	return to, isSecond
}

// permitted returns the targets that Options allow, or nil.
func (c *Client) permitted(targets []target) (some []target) {
	for _, t := range targets {
		if c.allowed.check(t.origin) == nil {
			some = append(some, t)
		}
	}
	return some
}

// learn takes from the header of a worker's answer where the connection of an address is. t is the target of w that has answered.
func (c *Client) learn(address string, given []target, w way, t target, success bool, h http.Header) {
	if h[movedHeader] == nil {
		if success && !w.isNew { // it is back where it was
			c.moves.forget(address)
		}
		return
	}
	to := c.readMoved(address, given, t, h[movedHeader])
	switch {
	case to == nil:
	case slices.Equal(to, given):
		c.moves.forget(address)
	default:
		c.moves.note(address, to)
	}
}

// readMoved reads the header. It returns nil if nothing of it may be used. Who has sent it is not certain: whoever listens at an allowed host. So
// it is held to what holds for addresses, and leads neither to another ID nor from https to http.
func (c *Client) readMoved(address string, given []target, t target, values []string) (to []target) {
	if len(values) != 1 || len(values[0]) > maxAddress {
		return nil
	}
	all, err := parseAddress(strings.Clone(values[0])) // since what is kept of it should not keep the whole header
	if err != nil {
		return nil
	}
	isPlain := wire.IsID(t.id)
	if isPlain && slices.ContainsFunc(all, func(other target) bool { return !strings.EqualFold(other.id, t.id) }) {
		return nil // another connection; which one a sealed ID names, only workers know
	}
	switch {
	case wire.IsID(address): // Options.Workers are asked about it, which is not for an answer to change
		return nil
	case wire.IsSealedID(address):
		if i := slices.IndexFunc(all, func(t target) bool { return wire.IsSealedID(t.id) }); i >= 0 {
			return at(c.workers, all[i].id)
		}
		return nil
	}
	isHTTPS := func(t target) bool { return t.scheme == "https" }
	if isHTTPS(t) || slices.ContainsFunc(given, isHTTPS) {
		all = slices.DeleteFunc(all, func(t target) bool { return !isHTTPS(t) })
	}
	return c.permitted(all)
}
