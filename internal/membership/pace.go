package membership

import "time"

const (
	// maxChanges is how many changes one Apply has at most. It bounds how long a change waits behind those before it.
	maxChanges = 1000
	// firstChanges is how many it has at first, and leastChanges if the directory is slow. Fewer would cost more than they spare.
	firstChanges = 200
	leastChanges = 50
	// slowApply is when it is: what many workers have under way has to be done well within the time that a call may take. If calls fail
	// for want of time, what they asked for is done nevertheless, and then once more.
	slowApply = 500 * time.Millisecond

	// The same for keys to be entered anew. Nobody waits for them, and lookups wait behind them.
	maxAnew   = 500
	firstAnew = 100
	slowAnew  = 200 * time.Millisecond
)

// pace is how many changes one Apply has. Many workers may have very many changes at the same time, as after a restart of the directory, or
// of the network before it. None knows of the others but by how long a call takes. It is guarded by entries.mu.
type pace struct {
	limit, most int
	slow        time.Duration
}

// took notes how long an Apply has taken.
func (p *pace) took(changes int, d time.Duration) {
	switch {
	case changes == 0:
	case d > p.slow:
		p.limit = max(leastChanges, p.limit/2)
	case d < p.slow/2 && changes >= p.limit:
		p.limit = min(2*p.limit, p.most)
	}
}

// restart begins anew: how it was may have been long ago.
func (p *pace) restart(first int) { p.limit = min(p.limit, first) }
