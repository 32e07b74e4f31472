package membership

import (
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
)

// Marks are said in a lease beside the generations that are synced. To a directory they are generations that no part has.
const (
	// settledMark means that the worker has known each of these generations for a lease time. Whoever has an unlapsed lease has renewed
	// it since they came to be.
	settledMark = "settled"
	// doubtsMark means that the worker doubts whether another one, which has vanished, still lives. Those who started too late to know
	// that one cannot be sure then that nobody is missing.
	doubtsMark = "doubts"
	// endedMark means that the last connection of the worker has ended. Leaving alone does not say that: a worker that leaves may
	// take an hour, and be cut off from the directory meanwhile.
	endedMark = "ended"
)

// lease is this worker's own.
type lease struct {
	seal   func(uint64) string
	timing Timing

	mu      sync.Mutex
	number  uint64
	name    string
	put     bool      // the directory has it under this number
	renewed time.Time // when the last Renew that succeeded began, or the number was taken
	wall    time.Time // the same without a monotonic clock, which stands still while a machine is suspended
	synced  []string  // in which generations all keys have been entered
	leaving bool
	ended   bool
}

func (l *lease) takeNumber(number uint64, now time.Time) {
	name := l.seal(number)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number, l.name = number, name
	l.put = false
	l.synced = nil
	l.renewed, l.wall = now, now.Round(0)
}

// isAbandoned reports whether the lease has lapsed for so long that others may soon remove what was entered in its name.
func (l *lease) isAbandoned(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(now.Sub(l.renewed), now.Round(0).Sub(l.wall)) >= l.timing.Abandon
}

// isMark reports whether what a lease says is no generation.
func isMark(s string) bool { return s == settledMark || s == doubtsMark || s == endedMark }

// say returns what the lease is to say now.
func (l *lease) say(v *view) directory.Lease {
	l.mu.Lock()
	d := directory.Lease{Number: l.number, Name: l.name, Synced: slices.Clone(l.synced), Leaving: l.leaving}
	ended := l.ended
	l.mu.Unlock()
	settled, doubts := v.marks(d.Synced)
	if settled {
		d.Synced = append(d.Synced, settledMark)
	}
	if doubts {
		d.Synced = append(d.Synced, doubtsMark)
	}
	if ended {
		d.Synced = append(d.Synced, endedMark)
	}
	return d
}

// wasPut notes that the directory has it, and drops the generations that are no more.
func (l *lease) wasPut(number uint64, begun time.Time, generations []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number != l.number {
		return
	}
	l.put = true
	l.renewed, l.wall = begun, begun.Round(0)
	l.synced = slices.DeleteFunc(l.synced, func(g string) bool { return !slices.Contains(generations, g) })
}

// sync notes that all keys have been entered in these generations.
func (l *lease) sync(number uint64, generations []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number == l.number {
		l.synced = slices.Clone(generations)
	}
}

func (l *lease) isPut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.put
}

// numberPut returns the number if the directory has the lease under it.
func (l *lease) numberPut() (number uint64, put bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.number, l.put
}

// end marks it: leaving, or ended.
func (l *lease) end(ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = true
	l.ended = l.ended || ended
}
