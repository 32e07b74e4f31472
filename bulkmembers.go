package wspush

import (
	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/wire"
)

// bulkMembers is a line to a user or a group. Its pushes are those of any line, but they share one answer.
type bulkMembers struct {
	request *bulkRequest
	key     bulk.Key
	confirm bool
	to      *Recipients
	lookup  *membership.Lookup // nil: there is no other worker

	// Guarded by request.mu.
	left     int // pushes without an outcome, and one more while the line is being gathered
	outcomes Outcomes
	isAgain  bool // it has been looked once more whether somebody is there
	hasMoved bool // and somebody was, to whom the message has not been sent
}

// namedLine is a line to a user or a group that waits for others, to be looked up with them.
type namedLine struct {
	key  bulk.Key
	push linePush
}

const (
	maxNamed   = 64       // lines wait at most
	namedBytes = 16 << 10 // of messages
)

// pushMembers takes a line to a user or a group.
func (b *bulkRequest) pushMembers(key bulk.Key, p linePush) {
	p.members.worker = b.worker
	if p := b.checkMembers(p.members, &p); p != nil {
		b.refuse(key, p)
		return
	}
	if err := wire.CheckMessage(p.typ, p.data, b.worker.shared.maxPushBytes); err != nil {
		b.refusePush(key, err)
		return
	}
	if b.worker.membership == nil {
		b.pushFound(key, &p, nil)
		return
	}
	b.namedBytes += len(p.kept())
	b.named = append(b.named, namedLine{key, p})
	if len(b.named) >= maxNamed || b.namedBytes >= namedBytes {
		b.lookUp()
	}
}

// lookUp pushes the lines to users and groups that wait, which must be done before anything that comes behind them. One lookup for all of them
// takes as long as one for each, and holds up all that has been gathered: so that goes out first.
func (b *bulkRequest) lookUp() {
	named := b.named
	if len(named) == 0 {
		return
	}
	b.named, b.namedBytes = nil, 0
	b.flush()
	keys := make([]string, len(named))
	for i := range named {
		to := named[i].push.members
		keys[i] = memberKey(to.isGroup, to.name)
	}
	lookups, err := b.worker.membership.Lookups(b.ctx, keys)
	for i := range named {
		if err != nil {
			b.refusePush(named[i].key, directoryError(err))
		} else {
			b.pushFound(named[i].key, &named[i].push, lookups[i])
		}
	}
	clear(named)
	b.named = named[:0]
}

// pushFound gathers the pushes of a line to a user or a group, and sends other workers their part. lookup is nil if there is nobody else.
func (b *bulkRequest) pushFound(key bulk.Key, p *linePush, lookup *membership.Lookup) {
	to := p.members
	p.mark = b.worker.newMark()
	m := &bulkMembers{request: b, key: key, confirm: p.confirm, to: to, lookup: lookup, left: 1}
	m.outcomes = Outcomes{Workers: 1, Answered: 1, Complete: true}
	if lookup != nil {
		lookup.Here(to.hasOwn())
		if err := b.pushOthers(m, p); err != nil {
			b.refusePush(key, err)
			return
		}
	}
	b.worker.shared.count.pushTo(to.isGroup)
	own := to.ownMembers()
	hasOwn := own.only != nil || len(own.several)+own.excepted > 0
	b.mu.Lock()
	m.outcomes.Excepted += own.excepted
	if m.lookup != nil {
		m.lookup.Here(hasOwn)
	}
	b.mu.Unlock()
	p.isShared = len(own.several) > 0
	for c := range own.conns {
		if b.gone.Load() { // nothing waits for room any longer
			break
		}
		b.mu.Lock()
		m.left++
		b.mu.Unlock()
		b.pushTo(c, key, m, p)
	}
	b.makeRoom(pushCost, 0)
	b.mu.Lock()
	defer b.mu.Unlock()
	m.lessLocked(pushCost)
}

// pushOthers pushes to the members that other workers have. Each worker's part keeps its place among the lines. If there is an error, nothing
// has been sent.
func (b *bulkRequest) pushOthers(m *bulkMembers, p *linePush) error {
	w := b.worker
	peers, err := m.lookup.Next(b.ctx)
	if err != nil {
		return directoryError(err)
	}
	for _, peer := range peers {
		known := 0
		if !peer.Named {
			b.flush() // the answer may take its time
			switch known, err = w.countMembers(b.ctx, m.to, peer); {
			case err != nil:
				m.lookup.Silent(peer)
				continue
			case known == 0:
				m.lookup.Answered(peer, false)
				continue
			}
		}
		b.pushOther(m, peer, known, p)
	}
	return nil
}

// pushOther pushes to the members that one other worker has.
func (b *bulkRequest) pushOther(m *bulkMembers, worker membership.Worker, known int, p *linePush) {
	w, data, peer := b.worker, p.kept(), b.peer(worker.Address)
	cost := pushCost + len(data) + len(worker.Address)
	push := &memberPush{to: *m.to, typ: p.typ, data: data, confirm: p.confirm, keep: p.keep, mark: p.mark}
	answer := func(o *otherMembers, reply *memberReply, err error) {
		answered, has := o.countTo(&m.outcomes, reply, err, func(err error) error { return err })
		if answered {
			m.lookup.Answered(worker, has)
		} else {
			m.lookup.Silent(worker)
		}
		m.lessLocked(cost)
		b.settledOneLocked()
	}
	o := w.newOtherMembers(push, p.query(), worker, known, func(o *otherMembers, reply *memberReply, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.answeredLocked(peer, &o.Push, cost)
		answer(o, reply, err)
		b.tell() // awaitPeer may wait for room
	})
	o.Sequence = &peer.sequence
	b.makeRoom(cost, 1)
	b.mu.Lock()
	m.left++
	b.mu.Unlock()
	if !b.awaitPeer(peer, cost) {
		w.shared.count.forwardsFailed.full.Add(1)
		b.mu.Lock()
		defer b.mu.Unlock()
		answer(o, nil, errLinkFull)
		return
	}
	b.ask(peer, &o.Push, cost, o.begin)
}

// checkMembers refuses what a single push to a user or a group would be refused for.
func (b *bulkRequest) checkMembers(to *Recipients, p *linePush) *problem {
	if b.worker.opts.AuthorizePush == nil {
		return notAuthorized()
	}
	if err := wire.CheckName(to.name); err != nil {
		return problemOf(err)
	}
	if p := b.may.push(to); p != nil {
		return p
	}
	for _, id := range p.except.All() {
		if p := to.exceptID(id); p != nil {
			return p
		}
	}
	if b.worker.isOver() {
		return problemOf(ErrShutdown)
	}
	return nil
}

// settledLocked takes the outcome of one push, for which cost has been held. A lock of its socket may be held as well.
func (m *bulkMembers) settledLocked(err error, cost int) {
	count(&m.outcomes, m.confirm, err)
	m.lessLocked(cost)
}

// lessLocked answers the line if nothing is left of it.
func (m *bulkMembers) lessLocked(cost int) {
	b := m.request
	if m.left--; m.left > 0 {
		b.output.addLocked(nil, cost)
		return
	}
	mayHaveMoved := isNobody(&m.outcomes) && (m.lookup != nil || wire.CountMembers(&m.outcomes) > 0)
	if mayHaveMoved && !m.isAgain && !b.gone.Load() {
		m.isAgain, m.left = true, 1
		b.unsettled++
		b.running.Go(func() { m.lookAgain(cost) })
		return
	}
	if m.lookup != nil {
		asked, answered := m.lookup.Workers()
		m.outcomes.Workers, m.outcomes.Answered = 1+asked, 1+answered
		m.outcomes.Complete = m.lookup.Verdict() != membership.Incomplete
	}
	m.outcomes.Complete = m.outcomes.Complete && !m.hasMoved
	err := wire.OneError(&m.outcomes)
	if wire.CountMembers(&m.outcomes) == 0 {
		b.worker.shared.count.push(err)
	}
	var refusal *bulk.Refusal
	if err != nil {
		of := refusalOf(problemOfOutcomes(&m.outcomes, err, m.confirm))
		refusal = &of
	}
	o := b.output
	o.scratch = m.key.AppendBeginning(o.scratch[:0], refusal)
	o.scratch = append(appendOutcomes(o.scratch, &m.outcomes), '\n')
	o.addLocked(o.scratch, cost)
}

// lookAgain finds out whether somebody is there although nobody has been found: a member may have moved from a worker that had not been asked
// to one that had. She does not get the message, which could come behind that of a later line; it is only known then that nobody is
// gone.
func (m *bulkMembers) lookAgain(cost int) {
	b := m.request
	hasMoved := false
	for m.lookup != nil {
		peers, err := m.lookup.Next(b.ctx)
		if err != nil {
			hasMoved = true
		}
		if err != nil || len(peers) == 0 {
			break
		}
		for _, peer := range peers {
			n, err := b.worker.countMembers(b.ctx, m.to, peer)
			if err != nil {
				m.lookup.Silent(peer)
				continue
			}
			m.lookup.Answered(peer, n > 0)
			hasMoved = hasMoved || n > 0
		}
	}
	hasMoved = m.to.hasOwn() || hasMoved
	b.mu.Lock()
	defer b.mu.Unlock()
	m.hasMoved = hasMoved
	m.lessLocked(cost)
	b.settledOneLocked()
	b.tell()
}
