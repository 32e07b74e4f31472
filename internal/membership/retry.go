package membership

import "time"

// retry has the keys that were in an Apply that has failed. They are told again apart from others, and fewer at a time if they fail
// again, so that one that the engine refuses does not hold up the rest for long. It is guarded by entries.mu.
type retry struct {
	keys   []string  // in order, each once
	at     time.Time // not before
	limit  int       // how many the next Apply has
	failed int       // how many have failed and not worked since, whether they are in keys or in flight
}

func (r *retry) take(now time.Time, most int) []string {
	if now.Before(r.at) {
		return nil
	}
	n := min(r.limit, most, len(r.keys))
	taken := r.keys[:n]
	if r.keys = r.keys[n:]; len(r.keys) == 0 {
		r.keys = nil
	}
	return taken
}

func (r *retry) settle(b batch, worked bool, next time.Time) {
	switch {
	case !worked:
		r.limit = max(1, len(b.changes)/2)
		r.at = next
	case b.isRetry:
		r.limit = min(2*r.limit, maxChanges)
	}
}
