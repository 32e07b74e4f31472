package wspush

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/testutil"
)

// Tombstones last as long as they are to, are found only by their tickets, and are bounded: those that only explain something give way to
// their like.
func TestTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{shared: &shared{clock: newAlarms[alarmed]()}}
		h := &Handler{worker: w}
		made := 0
		add := func(isExpired bool, lasts time.Duration) session.Ticket {
			made++
			s := &tombstone{id: fmt.Sprint(made), handler: h, path: "/ws", isExpired: isExpired, code: 4000}
			ticket := session.Ticket{Session: s.id, Secret: s.tickets.add()}
			w.tombstones.add(s, lasts)
			return ticket
		}
		found := func(ticket session.Ticket) bool { return w.tombstones.find(h, "/ws", ticket) != nil }
		short, long := add(false, time.Minute), add(true, time.Hour)
		if !found(short) || !found(long) || w.tombstones.find(&Handler{worker: w}, "/ws", short) != nil || w.tombstones.find(h, "/", short) != nil {
			t.Error("they are found otherwise")
		}
		if found(session.Ticket{Session: short.Session, Secret: long.Secret}) {
			t.Error("another ticket finds it")
		}
		testutil.Pass(time.Minute)
		synctest.Wait()
		if found(short) || !found(long) {
			t.Error("a minute later")
		}
		keeps := add(false, time.Hour)
		for range maxTombstones {
			add(true, time.Hour)
		}
		if found(long) || !found(keeps) || w.tombstones.expired.n != maxTombstones || len(w.tombstones.byID) != maxTombstones+1 {
			t.Errorf("%d, %d", w.tombstones.expired.n, len(w.tombstones.byID))
		}
		w.tombstones.clear()
		if found(keeps) || len(w.shared.clock.queue) != 0 {
			t.Errorf("%d alarms are left", len(w.shared.clock.queue))
		}
		testutil.Pass(time.Hour)
	})
}
