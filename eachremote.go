package wspush

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
)

// eachRemotes is what an each has for connections of other workers. It is gathered by worker, so that the message crosses each link
// once for many connections.
type eachRemotes[T any] struct {
	each    *each[T]
	checks  sync.WaitGroup     // the goroutines of check
	sending sync.Mutex         // held by send, so that nothing is being sent when giveUp's own send has returned; guards no data
	mu      sync.Mutex         // guards what follows
	stop    context.CancelFunc // ends the last goroutine of check; nil if there has been none
	gather  map[link.Peer]*eachRemote[T]
	orders  map[string]*link.Sequence // by the worker's address
	sent    map[*eachRemote[T]]struct{}
	earlier []earlierDelivery[T]
	isOver  bool        // nothing is sent any more
	timer   *time.Timer // sends what is gathered, or gives up what is on its way; nil if it has not been needed
}

// earlierDelivery is for a connection of a worker that has ended, as it seems.
type earlierDelivery[T any] struct {
	id string
	d  *delivery[T]
}

// eachRemote is the message to connections of one other worker.
type eachRemote[T any] struct {
	link.Push
	remotes    *eachRemotes[T]
	deliveries []*delivery[T]
	isSettled  []bool // guarded by remotes.mu
	left       int    // how many of these are false
}

const (
	gatherRemotes = 256              // connections of one worker, at most
	gatherFor     = time.Millisecond // for others to join, if no more come in
)

// add gathers a delivery.
func (s *eachRemotes[T]) add(to *seal.Place, d *delivery[T]) {
	peer, id := link.Peer{Address: to.Address, Instance: to.Instance}, [16]byte(uuid.MustParse(to.ID))
	s.mu.Lock()
	r := s.gather[peer]
	if r == nil {
		r = &eachRemote[T]{remotes: s}
		r.Push = link.Push{Peer: peer, ID: id, AnyPath: true, Binary: s.each.typ == Binary, Data: s.each.data, Done: r.done}
		if s.gather == nil {
			s.gather, s.orders, s.sent = make(map[link.Peer]*eachRemote[T]), make(map[string]*link.Sequence), make(map[*eachRemote[T]]struct{})
		}
		if len(s.gather) == 0 {
			s.timer = time.AfterFunc(gatherFor, s.send)
		}
		s.gather[peer] = r
	} else {
		r.More = append(r.More, id)
	}
	r.deliveries = append(r.deliveries, d)
	isFull := len(r.deliveries) == gatherRemotes
	s.mu.Unlock()
	if isFull {
		s.send()
	}
}

// send sends what is gathered.
func (s *eachRemotes[T]) send() {
	s.sending.Lock()
	defer s.sending.Unlock()
	w := s.each.worker
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.gather))
	clear(s.gather)
	isOver := s.isOver
	for _, r := range all {
		r.left, r.isSettled = len(r.deliveries), make([]bool, len(r.deliveries))
		s.sent[r] = struct{}{}
		if r.Sequence = s.orders[r.Peer.Address]; r.Sequence == nil {
			r.Sequence = new(link.Sequence)
			s.orders[r.Peer.Address] = r.Sequence
		}
		w.setWait(&r.Push, pushQuery{timeout: timeoutOf(s.each.ctx)})
		w.prepareLink(&r.Push)
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	for _, r := range all {
		if isOver {
			for target := range r.deliveries {
				r.done(target, link.Answer{}, errAbandoned)
			}
			continue
		}
		w.shared.count.forwarded.Add(uint64(len(r.deliveries)))
		w.links.Push(&r.Push)
	}
	s.mu.Lock()
	isOver = s.isOver
	s.mu.Unlock()
	if isOver { // giveUp may have come before
		for _, r := range all {
			w.abandonLink(&r.Push)
		}
	}
}

// done takes the outcome of one connection.
func (r *eachRemote[T]) done(target int, a link.Answer, err error) {
	if !r.settle(target) {
		return // it has been given up
	}
	e := r.remotes.each
	err = e.worker.remoteError(remoteOutcome{a, err})
	r.deliveries[target].settle(withdrawn(e.ctx, err))
}

// settle reports whether a connection has had no outcome before.
func (r *eachRemote[T]) settle(target int) bool {
	s := r.remotes
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.isSettled[target] {
		return false
	}
	r.isSettled[target] = true
	if r.left--; r.left == 0 {
		delete(s.sent, r)
	}
	return true
}

// giveUp withdraws what is on its way. What other workers do not answer at once is unknown.
func (s *eachRemotes[T]) giveUp() {
	s.mu.Lock()
	if s.isOver {
		s.mu.Unlock()
		return
	}
	s.isOver = true
	if s.stop != nil {
		s.stop()
	}
	s.mu.Unlock()
	s.send()
	s.mu.Lock()
	sent := slices.Collect(maps.Keys(s.sent))
	if len(sent) > 0 {
		s.timer = time.AfterFunc(withdrawWait, func() { s.forget(sent) })
	}
	s.mu.Unlock()
	for _, r := range sent {
		s.each.worker.abandonLink(&r.Push)
	}
}

// forget stops waiting for what other workers have not answered.
func (s *eachRemotes[T]) forget(sent []*eachRemote[T]) {
	for _, r := range sent {
		for target, d := range r.deliveries {
			if r.settle(target) {
				s.each.worker.shared.count.forwardsFailed.lost.Add(1)
				d.settle(errUnanswered)
			}
		}
	}
}

// addEarlier takes a delivery to a connection of a worker that has ended, as it seems.
func (s *eachRemotes[T]) addEarlier(d *delivery[T], id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.earlier = append(s.earlier, earlierDelivery[T]{id, d}); len(s.earlier) == 1 {
		ctx, stop := context.WithCancel(s.each.ctx)
		if s.isOver {
			stop()
		}
		if s.stop != nil {
			s.stop() // that of a check that has ended
		}
		s.stop = stop
		s.checks.Go(func() { s.check(ctx) })
	}
}

// check finds out about the deliveries of addEarlier.
func (s *eachRemotes[T]) check(ctx context.Context) {
	w := s.each.worker
	for {
		s.mu.Lock()
		earlier := s.earlier
		s.mu.Unlock()
		for _, e := range earlier {
			c, elsewhere, err := w.locate(ctx, e.id)
			switch {
			case err != nil:
				e.d.settle(err)
			case elsewhere != nil:
				e.d.counted = true
				s.add(elsewhere, e.d)
			default:
				e.d.counted = true
				s.add(&seal.Place{Address: w.cluster.address, Instance: w.cluster.instance, ID: c.id}, e.d) // it has just come here
			}
		}
		s.mu.Lock()
		s.earlier = s.earlier[len(earlier):]
		isOver := len(s.earlier) == 0
		s.mu.Unlock()
		if isOver {
			return
		}
	}
}

// end waits for the goroutines, once every delivery has its outcome.
func (s *eachRemotes[T]) end() {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.checks.Wait()
}
