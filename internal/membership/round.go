package membership

import "time"

// round is one time of entering all keys anew: after the directory has lost some, and every few hours. It takes half of the time, so that
// a hundred workers that do this at once leave an engine time for lookups. It is guarded by entries.mu.
type round struct {
	generations []string  // that were there when it began
	keys        []string  // that are left, in no order
	resume      time.Time // when the next keys are due
}

func (r *round) isDue(now time.Time) bool {
	return r != nil && len(r.keys) > 0 && !now.Before(r.resume)
}

func (r *round) pop() string {
	last := len(r.keys) - 1
	key := r.keys[last]
	r.keys = r.keys[:last]
	return key
}
