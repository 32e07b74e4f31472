package membership

import (
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
)

// view is what this worker knows of the others: from the last Renew, and of those who were in an earlier one.
type view struct {
	timing   Timing
	open     func(string) (uint64, string, error)
	own      string // this worker's address
	nonsense *nonsense

	mu     sync.Mutex
	begun  time.Time // when the Renew that showed it began. Guarded by mu, as is all below
	since  time.Time // since when there has been a view in every lease time: no lease can have come and gone unseen
	number uint64    // this worker's own

	// generations are those of the last Renew, and when a Renew had first shown each.
	generations map[string]time.Time
	peers       map[uint64]*peer  // by number
	foreign     map[uint64]string // leases in the last Renew that cannot be opened: their names by number
	byGen       map[string]*others
	twin        bool // another worker has this one's address, so that it cannot be asked
	strangers   strangers
	losses      uint64    // how often a generation was new
	baffled     time.Time // when a Found last had a generation that no Renew shows
}

// peer is another worker, as its lease has it. It is not changed once it is in a view.
type peer struct {
	name     string
	address  string
	synced   []string
	settled  bool
	doubts   bool
	leaving  bool
	ended    bool      // its last connection has ended, or it is this worker under another number: there is nothing to ask
	first    time.Time // when it was first seen
	vanished time.Time // when its lease was first missing; zero: it is there
}

// others is who must be asked about a key in one generation, whoever is named.
type others struct {
	doubtful []string // addresses, each once
	vouched  bool     // someone has known the generation for a lease time
	doubts   bool     // someone doubts whether a worker still lives, which this one may not know
}

func newView(timing Timing, open func(string) (uint64, string, error), own string, n *nonsense) *view {
	return &view{timing: timing, open: open, own: own, nonsense: n, generations: map[string]time.Time{}, peers: map[uint64]*peer{}}
}

// update takes what a Renew has shown. It reports whether a generation is new, and whether there are doubts where there were none.
func (v *view) update(leases []directory.Lease, generations []string, own uint64, begun, now time.Time) (isNew, hasDoubts bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.begun.IsZero() || now.Sub(v.begun) > v.timing.Lease {
		v.since = now
		v.strangers.forget()
	}
	v.begun, v.number = begun, own
	known := make(map[string]time.Time, len(generations))
	for _, g := range generations {
		first, ok := v.generations[g]
		if !ok {
			first, isNew = now, true
		}
		known[g] = first
	}
	if isNew {
		v.losses++
	}
	v.strangers.expire(now)
	v.generations, v.byGen = known, make(map[string]*others, len(generations))
	before := v.doubtsLocked()
	v.updatePeersLocked(leases, now)
	return isNew, !before && v.doubtsLocked()
}

func (v *view) updatePeersLocked(leases []directory.Lease, now time.Time) {
	peers := make(map[uint64]*peer, len(leases))
	foreign := make(map[uint64]string)
	v.twin = false
	for _, lease := range leases {
		v.strangers.remove(lease.Number)
		if lease.Number == v.number || peers[lease.Number] != nil {
			continue
		}
		address, ok := v.openLocked(lease)
		if !ok {
			foreign[lease.Number] = lease.Name
			continue
		}
		p := &peer{
			first:   now,
			name:    lease.Name,
			address: address,
			synced:  lease.Synced,
			settled: slices.Contains(lease.Synced, settledMark),
			doubts:  slices.Contains(lease.Synced, doubtsMark),
			leaving: lease.Leaving,
			ended:   address == v.own || lease.Leaving && slices.Contains(lease.Synced, endedMark),
		}
		if known := v.peers[lease.Number]; known != nil && known.name == p.name {
			p.first = known.first
		}
		peers[lease.Number] = p
		// The lease of an earlier instance of this worker lapses. One that stays is renewed by somebody.
		if address == v.own && now.Sub(p.first) > 3*v.timing.Lease {
			v.twin = true
			v.nonsense.is("a worker with the address of this one, so that neither is asked by the other: see Cluster.Address")
		}
	}
	for number, p := range v.peers {
		if peers[number] != nil || p.ended {
			continue
		}
		gone := *p
		if gone.vanished.IsZero() {
			gone.vanished = now
		}
		if now.Sub(gone.vanished) < v.timing.Doubt {
			peers[number] = &gone
		}
	}
	v.peers, v.foreign = peers, foreign
}

// openLocked opens the name of a lease, unless that has been done before: it costs something, and there are many in each view.
func (v *view) openLocked(lease directory.Lease) (address string, ok bool) {
	if p := v.peers[lease.Number]; p != nil && p.name == lease.Name {
		return p.address, true
	}
	if name, known := v.foreign[lease.Number]; known && name == lease.Name {
		return "", false
	}
	number, address, err := v.open(lease.Name)
	if err != nil || number != lease.Number || number == 0 || address == "" {
		v.nonsense.is("a lease of which the name cannot be opened")
		return "", false
	}
	return address, true
}

// marks returns whether each of these generations has been known for a lease time, and whether there are doubts about anyone.
func (v *view) marks(generations []string) (settled, doubts bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	isYoung := func(g string) bool { return !v.isOldLocked(g) }
	return len(generations) > 0 && !slices.ContainsFunc(generations, isYoung), v.doubtsLocked()
}

// doubtsLocked reports whether a worker has vanished, and there is none at its address now: a worker that was restarted is not in doubt.
func (v *view) doubtsLocked() bool {
	alive := make(map[string]bool, len(v.peers))
	for _, p := range v.peers {
		if p.vanished.IsZero() {
			alive[p.address] = true
		}
	}
	for _, p := range v.peers {
		if !alive[p.address] {
			return true
		}
	}
	return false
}

// isOldLocked reports whether the generation has been known for so long that everyone with a lease has renewed it since, and is in
// this view.
func (v *view) isOldLocked(generation string) bool {
	first, ok := v.generations[generation]
	return ok && (v.timing.Settle < 0 || v.begun.Sub(first) >= v.timing.Settle)
}

// othersLocked returns who must be asked about a key in this generation even if the key does not name them.
func (v *view) othersLocked(generation string) *others {
	if o := v.byGen[generation]; o != nil {
		return o
	}
	o := new(others)
	for _, p := range v.peers {
		if p.ended {
			continue
		}
		isSynced := slices.Contains(p.synced, generation)
		if !p.vanished.IsZero() || !isSynced {
			o.doubtful = append(o.doubtful, p.address)
		}
		if p.vanished.IsZero() && isSynced && p.settled {
			o.vouched = true
		}
		o.doubts = o.doubts || p.doubts && p.vanished.IsZero()
	}
	slices.Sort(o.doubtful)
	o.doubtful = slices.Compact(o.doubtful)
	if _, ok := v.generations[generation]; ok {
		v.byGen[generation] = o
	}
	return o
}

// count returns how many other workers there are, and how many have vanished of which none is at their address now. Those at one
// address are one.
func (v *view) count() (workers, vanished int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	isAlive := make(map[string]bool, len(v.peers))
	for _, p := range v.peers {
		if !p.ended {
			isAlive[p.address] = isAlive[p.address] || p.vanished.IsZero()
		}
	}
	for _, alive := range isAlive {
		if alive {
			workers++
		} else {
			vanished++
		}
	}
	return workers, vanished
}
