package wspush

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// otherMembers is a push to the members of a user or a group that are connections of one other worker.
type otherMembers struct {
	link.Push
	worker *Worker
	peer   membership.Worker
	known  int // how many there are, as the other worker has said before the push; 0: it was not asked
	settle func(*otherMembers, *memberReply, error)
}

// newOtherMembers makes a push to the members that another worker has. Once it has begun, settle is called once, on any goroutine: with a
// reply, or with an error of remoteError.
func (w *Worker) newOtherMembers(p *memberPush, q pushQuery, peer membership.Worker, known int, settle func(*otherMembers, *memberReply, error)) *otherMembers {
	o := &otherMembers{worker: w, peer: peer, known: known, settle: settle}
	o.Push = link.Push{
		Peer: link.Peer{Address: peer.Address}, To: memberKey(p.to.isGroup, p.to.name), Detail: p.by != nil && p.by.lines != nil, More: p.to.exceptedAt(peer.Address),
		Binary: p.typ == Binary, Data: p.data, Mark: p.mark, Done: o.done, Replied: o.replied,
	}
	w.setWait(&o.Push, q)
	return o
}

func (o *otherMembers) begin() {
	o.worker.shared.count.forwarded.Add(1)
	o.worker.links.Push(&o.Push)
}

// done is called if the push was refused as a whole, or there is no answer.
func (o *otherMembers) done(_ int, a link.Answer, err error) {
	o.settle(o, nil, o.worker.remoteError(remoteOutcome{a, err}))
}

func (o *otherMembers) replied(y *link.Reply) {
	reply, err := readMemberReply(y.Body)
	if err == nil && y.Status != http.StatusOK {
		err = errMemberReply
	}
	if err != nil {
		o.settle(o, nil, o.worker.remoteError(remoteOutcome{err: link.ErrLost}))
		return
	}
	o.settle(o, &reply, nil)
}

// countTo adds what the push has come to, where outcome returns what an error of another worker's means here. It reports whether the worker
// has answered, and whether it has members: one that ended before the message came to it may have moved.
func (o *otherMembers) countTo(out *Outcomes, reply *memberReply, err error, outcome func(error) error) (answered, has bool) {
	if reply == nil {
		if err == nil {
			err = errUnanswered // refused by a code that says that nothing went wrong
		}
		countAll(out, o.Confirm, outcome(err), max(o.known, 1))
		return false, true
	}
	out.Excepted += reply.excepted
	for code, n := range reply.counts {
		if n > 0 {
			countAll(out, o.Confirm, outcome(errorOf(uint8(code), 0)), n)
		}
	}
	return true, reply.excepted+reply.total() > reply.counts[outcomeGone]
}

// exceptedAt returns the IDs of those of the connections to be left out that another worker may hold.
func (r *Recipients) exceptedAt(address string) (ids [][16]byte) {
	for _, c := range r.except { // a process may have several workers
		if c.session.isSession() || c.shared.address() == address { // a session may have been there
			ids = append(ids, uuid.MustParse(c.id))
		}
	}
	for _, place := range r.exceptElsewhere { // also if they name another worker: they may have moved
		ids = append(ids, uuid.MustParse(place.ID))
	}
	return ids
}

// fanout is one push to a user or a group that has members on other workers, perhaps.
type fanout struct {
	worker   *Worker
	push     *memberPush
	query    pushQuery
	lookup   *membership.Lookup
	out      Outcomes
	own      bool                   // this worker has been asked, and has members
	results  chan fanoutResult      // has room for all that are under way
	under    map[*otherMembers]bool // pushes without a result
	counting sync.WaitGroup         // the goroutines that ask for a count
	left     int                    // results that have not come
	isOver   bool                   // nobody waits for it any more
	hasMoved bool                   // somebody may be here who has not been pushed to
}

// fanoutResult is what became of one worker.
type fanoutResult struct {
	push  *otherMembers // nil: peer was asked whether it has members
	reply *memberReply
	err   error
	peer  membership.Worker
	known int
}

// pushEverywhere pushes to the members of all workers.
//
// Nothing is sent before it is known which workers have members, so that nothing has been written if that cannot be known. A worker that is only
// doubtful is asked for their number first: its silence then leaves no doubt about the message. If nobody is found, all of it is
// repeated: see [membership.Lookup].
func (w *Worker) pushEverywhere(ctx context.Context, p *memberPush) (Outcomes, error) {
	f := &fanout{worker: w, push: p, query: pushQuery{confirm: p.confirm, timeout: timeoutOf(ctx), keep: p.keep}}
	if p.by != nil {
		f.query = p.by.q
	}
	f.lookup = w.membership.Lookup(memberKey(p.to.isGroup, p.to.name))
	f.lookup.Here(p.to.hasOwn())
	next, err := f.lookup.Next(ctx)
	if err != nil {
		return Outcomes{}, directoryError(err)
	}
	defer f.end()
	for {
		f.begin(ctx, next)
		f.pushOwn(ctx)
		f.wait(ctx)
		f.lookup.Here(f.own)
		if f.isOver {
			break
		}
		if next, err = f.lookup.Next(ctx); err != nil || len(next) == 0 {
			break
		}
	}
	if err != nil && ctx.Err() != nil && wire.CountMembers(&f.out) == 0 {
		return Outcomes{}, ctx.Err()
	}
	if !f.isOver && isNobody(&f.out) {
		f.pushOwn(ctx) // a member may have come here from where nobody was found
	}
	asked, answered := f.lookup.Workers()
	f.out.Workers, f.out.Answered = 1+asked, 1+answered
	f.out.Complete = f.lookup.Verdict() != membership.Incomplete && !f.hasMoved
	return f.out, nil
}

// pushOwn pushes to the members of this worker, unless that has been done.
func (f *fanout) pushOwn(ctx context.Context) {
	if f.own {
		return
	}
	if !f.push.hasData() {
		f.hasMoved = true
		return
	}
	own := f.worker.pushOwnMembers(ctx, f.push)
	f.own = !isNobody(&own)
	join(&f.out, own)
}

// begin begins what there is to be done at other workers. It waits for nothing.
func (f *fanout) begin(ctx context.Context, peers []membership.Worker) {
	if len(peers) == 0 {
		return
	}
	if !f.push.hasData() {
		for _, peer := range peers {
			f.lookup.Silent(peer)
		}
		f.hasMoved = true
		return
	}
	results := make(chan fanoutResult, 2*len(peers))
	f.results, f.left = results, len(peers)
	if f.push.by != nil {
		f.push.by.lender = nil // the links read the message, too
	}
	for _, peer := range peers {
		if peer.Named {
			f.send(peer, 0)
			continue
		}
		f.counting.Go(func() {
			known, err := f.worker.countMembers(ctx, &f.push.to, peer)
			results <- fanoutResult{peer: peer, known: known, err: err}
		})
	}
}

// send begins the push to the members of one worker.
func (f *fanout) send(peer membership.Worker, known int) {
	results := f.results
	if f.under == nil {
		f.under = make(map[*otherMembers]bool)
	}
	o := f.worker.newOtherMembers(f.push, f.query, peer, known, func(o *otherMembers, reply *memberReply, err error) {
		results <- fanoutResult{push: o, reply: reply, err: err, peer: peer}
	})
	f.under[o] = true
	o.begin()
}

// wait takes the results of what is under way.
func (f *fanout) wait(ctx context.Context) {
	if f.left == 0 {
		return
	}
	end := func() {}
	defer func() { end() }()
	var usual <-chan time.Time
	if by := f.push.by; by != nil {
		by.endWait()
		ctx = context.WithoutCancel(ctx) // its own timeout and the other workers' patience bound the wait
		timer := time.NewTimer(usualAnswer)
		defer timer.Stop()
		usual = timer.C
	}
	for f.left > 0 {
		select {
		case r := <-f.results:
			f.take(ctx, r)
		case <-usual:
			ctx, end = f.push.by.watch()
		case <-ctx.Done():
			f.giveUp(ctx)
			return
		}
	}
}

// take takes one result.
func (f *fanout) take(ctx context.Context, r fanoutResult) {
	switch {
	case r.push == nil && r.err != nil:
		f.lookup.Silent(r.peer)
	case r.push == nil && r.known == 0:
		f.lookup.Answered(r.peer, false)
	case r.push == nil:
		f.send(r.peer, r.known)
		return
	default:
		delete(f.under, r.push)
		if answered, has := r.push.countTo(&f.out, r.reply, r.err, f.outcome(ctx)); answered {
			f.lookup.Answered(r.peer, has)
		} else {
			f.lookup.Silent(r.peer)
		}
		f.tell(ctx, r)
	}
	f.left--
}

// outcome returns what an error means that another worker has answered, or that has kept it from answering.
func (f *fanout) outcome(ctx context.Context) func(error) error {
	return func(err error) error {
		switch {
		case f.push.by == nil:
			return withdrawn(ctx, err)
		case f.isOver:
			return abandoned(err)
		}
		return err
	}
}

// tell writes the lines of a worker's members, if the publisher wants them.
func (f *fanout) tell(ctx context.Context, r fanoutResult) {
	by := f.push.by
	if by == nil || by.lines == nil || r.reply == nil {
		return
	}
	outcome := f.outcome(ctx)
	r.reply.eachLine(func(id [16]byte, code uint8, roundTrip time.Duration) {
		sealed := f.worker.cluster.sealedIDAt(r.peer.Address, r.reply.instance, id)
		by.lines.told(sealed, roundTrip, outcome(errorOf(code, roundTrip)))
	})
}

// giveUp withdraws what is under way, since nobody waits for it any more. What is not answered soon is unknown.
func (f *fanout) giveUp(ctx context.Context) {
	f.isOver = true
	for o := range f.under {
		f.worker.links.Abandon(&o.Push, errAbandoned)
	}
	timer := time.NewTimer(withdrawWait)
	defer timer.Stop()
	for f.left > 0 {
		select {
		case r := <-f.results:
			if r.push == nil && r.err == nil && r.known > 0 { // nothing has been sent
				refuse(&f.out, ctx.Err(), r.known)
				f.lookup.Answered(r.peer, true)
				f.left--
				continue
			}
			f.take(ctx, r)
		case <-timer.C:
			for o := range f.under {
				f.worker.shared.count.forwardsFailed.lost.Add(1)
				o.countTo(&f.out, nil, errUnanswered, f.outcome(ctx))
				f.lookup.Silent(o.peer)
			}
			clear(f.under)
			f.left = 0
		}
	}
}

// end waits for the goroutines, and leaves the message to nobody.
func (f *fanout) end() {
	for o := range f.under { // after a panic of the application's Logger
		f.worker.links.Abandon(&o.Push, errAbandoned)
	}
	f.counting.Wait()
}

// sealedIDAt seals the place of another worker's connection.
func (c *cluster) sealedIDAt(address string, instance uint64, id [16]byte) string {
	sealed, err := c.keys.Seal(seal.Place{Address: address, Instance: instance, ID: uuid.UUID(id).String()})
	if err != nil {
		return "" // its address is too long for this worker's idea of a sealed ID
	}
	return sealed
}
