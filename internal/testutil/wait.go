package testutil

import (
	"testing"
	"time"
)

// Nothing here is timed to pass: both limits are only ever reached by a test that fails.
const (
	patience = 10 * time.Second // for what a test awaits
	grace    = 5 * time.Second  // for what ends by itself; above the 2 s that a closing connection may take
)

// Eventually waits until cond, which is called in this goroutine about once a millisecond, returns true. It ends
// the test if that takes 10 s; what says what was awaited ("the connection to leave the registry").
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	if !poll(patience, cond) {
		tb.Fatalf("waited %v in vain for %s", patience, what)
	}
}

// poll reports whether cond became true within limit. It blocks on channels only, so fake time passes meanwhile.
func poll(limit time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return cond()
		}
	}
	return true
}
