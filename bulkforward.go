package wspush

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// bulkPeer is another worker that holds connections of a bulk request.
type bulkPeer struct {
	sequence link.Sequence
	isStuck  bool // it made no room for a line within peerPatience; belongs to the goroutine of run
	held     int  // the cost of pushes that it has not answered; guarded by request.mu
}

const (
	peerHeld     = bulkHeld / 2    // of one other worker's pushes
	peerPatience = 3 * time.Second // for a worker while all others wait; after that its pushes are refused
)

// isFullLocked reports whether cost would exceed peerHeld. A worker that holds nothing has room for a push of any size.
func (p *bulkPeer) isFullLocked(cost int) bool { return p.held > 0 && p.held+cost > peerHeld }

// bulkRemote is the part of a line that goes to one other worker: the same message to one connection, or to several.
type bulkRemote struct {
	link.Push
	request *bulkRequest
	peer    *bulkPeer
	place   *seal.Place
	keys    []bulk.Key
	cost    int // of each target
	shared  int // what is held for all of them together, until the last has its outcome
	left    int // targets without an outcome; guarded by request.mu
}

// total is what the push costs in all.
func (r *bulkRemote) total() int { return r.shared + r.cost*len(r.keys) }

// maxRemoteTargets is how many connections one push to another worker is for at most.
const maxRemoteTargets = 1000

// bulkWay is the way by which pushes go to a connection of another worker, of which some have no outcome yet.
type bulkWay struct {
	peer  link.Peer
	under int // pushes without an outcome
}

// wayTo returns the way by which pushes to a connection are going that have no outcome yet, or nil. A session may be found elsewhere meanwhile: by a
// shorter way, what comes later would overtake them.
func (b *bulkRequest) wayTo(c *Conn, elsewhere *seal.Place) *seal.Place {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ways) == 0 {
		return nil
	}
	id := ""
	if elsewhere != nil {
		id = elsewhere.ID
	} else {
		id = c.id
	}
	way, ok := b.ways[uuid.MustParse(id)]
	if !ok {
		return nil
	}
	return &seal.Place{Address: way.peer.Address, Instance: way.peer.Instance, ID: id}
}

// goesLocked notes that another push goes to a connection, or with -1 that one has its outcome.
func (b *bulkRequest) goesLocked(id [16]byte, peer link.Peer, n int) {
	way := b.ways[id]
	if way.under += n; way.under == 0 {
		if delete(b.ways, id); len(b.ways) == 0 {
			b.ways = nil // it would stay as large as it once was
		}
		return
	}
	if way.under == n { // the first
		way.peer = peer
	}
	if b.ways == nil {
		b.ways = make(map[[16]byte]bulkWay)
	}
	b.ways[id] = way
}

// target returns the ID of a target of the push.
func (r *bulkRemote) target(i int) [16]byte {
	if i == 0 {
		return r.ID
	}
	return r.More[i-1]
}

// addRemote adds a target to the push to its worker, and sends that on when it has enough of them.
func (b *bulkRequest) addRemote(pushes []*bulkRemote, place *seal.Place, key bulk.Key, p *linePush) []*bulkRemote {
	i := slices.IndexFunc(pushes, func(r *bulkRemote) bool {
		return r.place.Address == place.Address && r.place.Instance == place.Instance
	})
	id := [16]byte(uuid.MustParse(place.ID))
	if i < 0 {
		r := &bulkRemote{request: b, place: place, keys: []bulk.Key{key}}
		r.Push = link.Push{Peer: link.Peer{Address: place.Address, Instance: place.Instance}, ID: id, Path: b.mount.Path}
		return append(pushes, r)
	}
	r := pushes[i]
	r.More, r.keys = append(r.More, id), append(r.keys, key)
	if len(r.keys) < maxRemoteTargets {
		return pushes
	}
	b.forward(r, p)
	return slices.Delete(pushes, i, i+1)
}

// forward sends a push to the worker that holds its connections.
func (b *bulkRequest) forward(r *bulkRemote, p *linePush) {
	w, n, data := b.worker, len(r.keys), p.kept()
	r.cost, r.shared, r.left = pushCost+len(p.ref), len(data)+len(r.place.Address), n
	r.peer = b.peer(r.place.Address)
	b.makeRoom(r.total(), n)
	w.shared.count.forwarded.Add(uint64(n))
	if !b.awaitPeer(r.peer, r.total()) {
		b.refuseRemote(r)
		return
	}
	w.setWait(&r.Push, p.query())
	r.Binary, r.Data = p.typ == Binary, data
	r.Sequence, r.Done = &r.peer.sequence, r.done
	w.prepareLink(&r.Push)
	b.mu.Lock()
	for i := range r.keys {
		b.goesLocked(r.target(i), r.Peer, 1)
	}
	b.mu.Unlock()
	b.ask(r.peer, &r.Push, r.total(), func() { w.links.Push(&r.Push) })
}

// peer returns what the request has for another worker.
func (b *bulkRequest) peer(address string) *bulkPeer {
	peer := b.peers[address]
	if peer == nil {
		peer = new(bulkPeer)
		if b.peers == nil {
			b.peers = make(map[string]*bulkPeer)
		}
		b.peers[address] = peer
	}
	return peer
}

// ask begins a push to another worker, which answeredLocked then ends.
func (b *bulkRequest) ask(peer *bulkPeer, p *link.Push, cost int, begin func()) {
	b.mu.Lock()
	peer.held += cost
	if b.remotes == nil {
		b.remotes = make(map[*link.Push]struct{})
	}
	b.remotes[p] = struct{}{}
	b.mu.Unlock()
	begin()
	if b.gone.Load() { // leave may have come before
		b.worker.abandonLink(p)
	}
}

// answeredLocked takes note that a push to another worker has all its outcomes.
func (b *bulkRequest) answeredLocked(peer *bulkPeer, p *link.Push, cost int) {
	peer.held -= cost
	if delete(b.remotes, p); len(b.remotes) == 0 {
		b.remotes = nil // it would stay as large as it once was
	}
}

// awaitPeer waits until another worker has room, unless it has kept others waiting before. It reports whether there is room.
func (b *bulkRequest) awaitPeer(peer *bulkPeer, cost int) bool {
	b.mu.Lock()
	isFull := peer.isFullLocked(cost)
	b.mu.Unlock()
	if isFull && !peer.isStuck {
		b.flush() // rather than have others wait, too
		b.mu.Lock()
		isOver := false
		timer := time.AfterFunc(peerPatience, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			isOver = true
			b.tell()
		})
		for isFull = peer.isFullLocked(cost); isFull && !isOver && !b.gone.Load(); isFull = peer.isFullLocked(cost) {
			b.awaitLocked()
		}
		b.mu.Unlock()
		timer.Stop()
	}
	peer.isStuck = isFull
	return !isFull
}

// refuseRemote refuses a push that the other worker has no room for.
func (b *bulkRequest) refuseRemote(r *bulkRemote) {
	p := newProblem(http.StatusServiceUnavailable, "the worker that holds the connection does not take the line in time; nothing was written")
	p.Type = wire.TypeFull
	b.worker.shared.count.forwardsFailed.full.Add(uint64(len(r.keys)))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changeHeldLocked(-r.shared)
	for _, key := range r.keys {
		b.output.problemLocked(key, p, r.cost)
		b.settledOneLocked()
	}
}

// done answers one target with the other worker's answer.
func (r *bulkRemote) done(target int, a link.Answer, err error) {
	b := r.request
	err = b.worker.remoteError(remoteOutcome{a, err})
	b.mu.Lock()
	defer b.mu.Unlock()
	r.peer.held -= r.cost
	b.goesLocked(r.target(target), r.Peer, -1)
	if r.left--; r.left == 0 {
		b.answeredLocked(r.peer, &r.Push, r.shared)
		b.changeHeldLocked(-r.shared)
	}
	switch d, isBuffered := bufferedIn(err); {
	case isBuffered:
		b.output.bufferedLocked(r.keys[target], d, r.cost)
	case err == nil:
		b.output.writtenLocked(r.keys[target], r.Confirm, a.RoundTrip, r.cost)
	default:
		b.output.problemLocked(r.keys[target], problemOfPush(err, r.Confirm), r.cost)
	}
	b.settledOneLocked()
	b.tell() // awaitPeer may wait for room
}
