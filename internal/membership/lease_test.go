package membership

import (
	"fmt"
	"testing"
	"time"
)

// A machine that was suspended finds that out by its wall clock: its monotonic clock stood still meanwhile.
func TestAbandonedWhileSuspended(t *testing.T) {
	l := &lease{seal: func(n uint64) string { return fmt.Sprint(n) }, timing: Timing{}.withDefaults()}
	now := time.Now()
	l.takeNumber(1, now)
	if l.isAbandoned(now.Add(29 * time.Minute)) {
		t.Error("abandoned after 29 minutes")
	}
	if !l.isAbandoned(now.Add(30 * time.Minute)) {
		t.Error("not abandoned after 30 minutes")
	}
	l.wall = l.wall.Add(-30 * time.Minute)
	if !l.isAbandoned(now) {
		t.Error("not abandoned after 30 minutes that only the wall clock knows of")
	}
}
