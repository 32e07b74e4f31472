package testutil

import (
	"testing"
	"time"
)

// A passing test never reaches these limits.
const (
	patience = 30 * time.Second // for a test's condition: a loaded machine may take long
	grace    = 5 * time.Second  // for things that end by themselves; more than the 2 s that a closing connection may take
)

// Eventually waits until cond returns true, calling it in this goroutine about once a millisecond. It ends the test after 30 s,
// with what as the description of the condition ("the connection to leave the registry").
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	if !poll(patience, cond) {
		tb.Fatalf("waited %v in vain for %s", patience, what)
	}
}

// poll reports whether cond became true within limit. It blocks only on channels, so fake time can pass.
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
