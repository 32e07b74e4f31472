package wspush

import (
	"context"

	"github.com/wspush/wspush/internal/membership"
)

// What a bulk request may hold, for tests that measure what it holds.
const BulkIdle = bulkIdle

// BulkMost is bulkMost.
func BulkMost(maxPushBytes int64, isWhole bool) int64 { return bulkMost(maxPushBytes, isWhole) }

// BulkFree is what a request may hold whatever others hold.
const BulkFree = bulkFree

// BulkRoomHeld returns how much counts as held by bulk requests beyond that.
func BulkRoomHeld(w *Worker) int64 { return w.bulkRoom.held.Load() }

// HelpFrom has a broadcast use all processors from the nth target on.
func HelpFrom(w *Worker, n int) { w.helpFrom = n }

// SetTiming sets how long things take in a Cluster with a Directory or Peers.
func (c *Cluster) SetTiming(t membership.Timing) { c.timing = t }

// ClusterAddress is where other workers reach this one.
func (w *Worker) ClusterAddress() string { return w.cluster.address }

// Lives returns how many WebSockets of a session have not come to their end.
func Lives(c *Conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.session.lives)
}

// LoseWebSocket does what a failed write does before the connection hears of it.
func LoseWebSocket(c *Conn) { c.outbox.Detach(c.current.Load()) }

// BeginEnd does the first half of Close, and returns the second.
func BeginEnd(c *Conn) (carryOut func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endLocked(&CloseError{Cause: CauseClosed, Code: 1000}).carryOut
}

// IgnoreOwners has a worker do without the register of owners that its directory has.
func IgnoreOwners(w *Worker) { w.ignoresOwners = true }

// Freeze freezes a session as for another worker, which is never heard of again.
func Freeze(c *Conn, by *Worker, ticket string, offset uint64) error {
	opened, _ := c.shared.tickets.Open(ticket)
	_, err := c.session.freeze(by.self(), &take{secret: opened.Secret, user: c.User(), offset: offset})
	return err
}

// RegisterKey is what the register of owners calls a session.
func RegisterKey(id string) [16]byte { return registerKey(id) }

// MovesInRegister returns how often a session has moved, as far as the register of owners knows one by that key.
func MovesInRegister(ctx context.Context, w *Worker, key [16]byte) (uint64, error) {
	owner, err := w.membership.Owners(ctx, key)
	return owner.Moves, err
}

// Intercept has f called with what the worker is asked about sessions that move, and what answers that. f may answer, or not; if it
// returns false, the asker learns nothing of it.
func Intercept(w *Worker, f func(ctx context.Context, method string, answer func()) bool) {
	w.asked.Store(&f)
}
