package socket

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A session keeps what it has written until its client is known to have it. Each message has a number, from 1, which it gets when its
// first byte goes to a WebSocket: the client's count of messages is then a number, too, and says which are still to be sent. What is
// withdrawn before that leaves no hole.
//
//	released <= confirmed <= confirmed + len(kept) <= begun
//
// Up to released nothing is left; up to confirmed the client's endpoint has it, but it is retained for a while, since a page may be gone
// before it has read what its endpoint had; then come those in kept, and those at the head of Outbox.messages that have a number.

// session is what an Outbox knows because it keeps messages.
type session struct {
	max    int // MaxUnconfirmed; 0: this is no session
	keeper Keeper

	begun     uint64 // the number of the last message that has begun
	confirmed uint64
	cost      int    // of all that has begun and is not confirmed
	kept      []kept // written in full and not confirmed
	left      []kept // accepted, but neither written nor confirmed when the session ended
	armed     bool   // Keeper.Kept has been called, and Confirm has not
	suspended bool   // counted as such in what waits for all clients

	// retained.mu guards what follows.
	retained     *batch // the oldest of what is retained
	last         *batch
	retainedSize int64 // of all of it
	released     uint64
}

// A kept is a message that has been written to the client of a session, but may have to be written again.
type kept struct {
	data   []byte
	held   *Holding // of data, if others have the same
	waiter *Message // whose sender waits for the confirmation; nil if none does
	number uint64   // of those in left; 0: none
	mark   uint64   // as the message had
	ping   uint64   // the first ping behind it
	sent   time.Duration
	cost   int
	binary bool
	again  bool // it was written in full, once at least
}

// A Keeper is told when something is kept that nobody has asked the client to confirm.
type Keeper interface {
	// Kept is called when Confirm is to be called in ConfirmAfter. The Outbox's lock is held: it must neither block nor call the Outbox
	// or the Socket.
	Kept()
}

// ConfirmAfter is how long a message may be unconfirmed before its client is asked, unless something else asks first.
const ConfirmAfter = 5 * time.Second

// suspendedCost is what a session whose client is away counts in what waits for all clients, beyond its messages.
const suspendedCost = 1536

// Keep makes o the outbox of a session: it outlives its Socket, and keeps what it has written until that is confirmed. maxUnconfirmed bounds
// what has begun and is not confirmed, in bytes with 512 for each message, but for one message of any size; negative: no limit. It must
// be called after Speak and before Accept.
func (o *Outbox) Keep(maxUnconfirmed int, keeper Keeper) {
	if maxUnconfirmed <= 0 {
		maxUnconfirmed = math.MaxInt
	}
	o.spoken.max, o.spoken.keeper = maxUnconfirmed, keeper
}

// keeps reports whether o is the outbox of a session.
func (o *Outbox) keeps() bool { return o.spoken != nil && o.spoken.max > 0 }

// room is how much more may begin.
type room struct{ cost, max int }

func (o *Outbox) roomLocked() room { return room{o.spoken.cost, o.spoken.max} }

// takes reports whether there is room for m, and takes it.
func (r *room) takes(m *Message) bool {
	switch {
	case m.control || m.session.number > 0:
		return true
	case r.cost > 0 && m.cost > r.max-r.cost:
		return false
	}
	r.cost += m.cost
	return true
}

// readyLocked reports whether something may go out.
func (o *Outbox) readyLocked() bool {
	m := o.messages.first
	if m == nil || !o.keeps() {
		return m != nil
	}
	room := o.roomLocked()
	return room.takes(m)
}

// beginLocked gives m, which is about to go to a WebSocket, its number, and reports false if it must not go out yet.
func (o *Outbox) beginLocked(m *Message) bool {
	if !o.keeps() || m.control || m.session.number > 0 {
		return true
	}
	room := o.roomLocked()
	if !room.takes(m) {
		return false
	}
	s := o.spoken
	s.begun++
	m.session.number = s.begun
	o.waiting -= m.cost
	s.cost += m.cost
	if !m.counted {
		m.counted = o.takeLocked(m, true)
	}
	return true
}

// unbeginLocked takes back the number of a message of which nothing went out after all. Those behind it had not begun either. After the end, it
// stays: it says where the message belongs among the unconfirmed ones.
func (o *Outbox) unbeginLocked(m *Message) {
	if m.session.number == 0 || m.session.fixed || o.stage == stageEnded {
		return
	}
	m.session.number = 0
	o.spoken.begun--
	o.spoken.cost -= m.cost
	o.waiting += m.cost
}

// keepLocked keeps m, which is out in full, and reports whether its sender has heard of it.
func (o *Outbox) keepLocked(m *Message, a attempt) (settled bool) {
	o.unlinkLocked(m)
	m.own()
	s := o.spoken
	s.cost += m.cost // unlinkLocked has taken it away
	e := kept{data: m.plainData(), held: m.held, ping: o.socket.pinged + 1, sent: a.ended, cost: m.cost, mark: m.session.mark, binary: m.Binary(), again: true}
	m.counted = false // it is what e counts
	switch {
	case !m.confirm:
		m.settle(nil)
		settled = true
	case m.left != nil:
		m.settle(ErrUnconfirmed)
	default:
		m.ping, m.sent = e.ping, a.began
		m.session.plain = nil
		m.forgetData()
		e.waiter = m
	}
	s.kept = append(s.kept, e)
	return settled
}

// forgetUnconfirmedLocked forgets that the sender of m, which is written, waits for the confirmation.
func (o *Outbox) forgetUnconfirmedLocked(m *Message) {
	if !o.keeps() {
		o.unconfirmed.remove(m)
		return
	}
	for i := range o.spoken.kept { // as many as MaxUnconfirmed allows
		if e := &o.spoken.kept[i]; e.waiter == m {
			e.waiter = nil
			return
		}
	}
}

// keptAfterLocked reports whether a message is kept that only a ping after the one with this number confirms.
func (o *Outbox) keptAfterLocked(ping uint64) bool {
	return o.keeps() && len(o.spoken.kept) > 0 && o.spoken.kept[len(o.spoken.kept)-1].ping > ping
}

// receivedLocked notes that the client's endpoint has everything that went out before this ping.
func (o *Outbox) receivedLocked(ping uint64, at time.Duration) {
	s := o.spoken
	n := 0
	for n < len(s.kept) && s.kept[n].ping <= ping {
		o.confirmLocked(&s.kept[n], at)
		n++
	}
	if n == 0 {
		return
	}
	received := slices.Clone(s.kept[:n])
	o.unbufferLocked(received)
	s.kept = slices.Delete(s.kept, 0, n)
	s.confirmed += uint64(n)
	all := &o.shared.pendingAll
	if o.stage == stageEnded { // nobody will come back for it
		all.releaseAll(received)
		return
	}
	all.retained.add(all, &batch{session: &s.session, kept: received, upTo: s.confirmed})
}

// confirmLocked tells the sender of e, and counts it no more as unconfirmed.
func (o *Outbox) confirmLocked(e *kept, at time.Duration) {
	o.spoken.cost -= e.cost
	if m := e.waiter; m != nil {
		e.waiter = nil
		m.roundTrip = at - m.sent
		m.settle(nil)
	}
}

// neverReceivedLocked tells the senders who wait for a confirmation that none will come, if the session has ended.
func (o *Outbox) neverReceivedLocked() {
	if o.stage != stageEnded {
		return
	}
	for i := range o.spoken.kept {
		if e := &o.spoken.kept[i]; e.waiter != nil {
			m := e.waiter
			e.waiter = nil
			m.settle(ErrBroken)
		}
	}
}

// confirmSoonLocked has the client asked to confirm what it has, at once if much is unconfirmed or something must wait for that, and otherwise
// in a while.
func (s *Socket) confirmSoonLocked() {
	o := s.feed
	if !o.keeps() || o.stage != stageOpen || len(o.spoken.kept) == 0 || s.noMorePongs || s.awaitsPongLocked() {
		return
	}
	switch k := o.spoken; {
	case k.cost >= k.max/4 || o.shared.pendingAll.isHalfFull() || o.messages.n > 0 && !o.readyLocked():
		s.queuePingLocked()
	case !k.armed:
		k.armed = true
		k.keeper.Kept()
	}
}

// Confirm asks the client to confirm what it has, if the oldest unconfirmed message is ConfirmAfter old and no ping is under way. It returns
// in how long it is to be called again; 0: not until Kept says so.
func (o *Outbox) Confirm() (again time.Duration) {
	o.mu.Lock()
	k, s := o.spoken, o.socket
	k.armed = false
	if s == nil || o.stage != stageOpen || len(k.kept) == 0 || s.noMorePongs || s.awaitsPongLocked() {
		o.mu.Unlock()
		return 0
	}
	if age := o.now() - k.kept[0].sent; age < ConfirmAfter {
		k.armed = true
		o.mu.Unlock()
		return ConfirmAfter - age
	}
	s.queuePingLocked()
	_, _ = s.writeAndUnlock(s.ping)
	return 0
}

// leaveLocked notes that m is given up because the session has ended, unless its sender is told by err that it was not accepted.
func (o *Outbox) leaveLocked(m *Message, err error) {
	if o.stage != stageEnded || m.control || m.hasSender() && err != ErrBroken && err != ErrBuffered {
		return
	}
	m.own()
	o.spoken.left = append(o.spoken.left, kept{data: m.plainData(), number: m.session.number, binary: m.header[0]&opBits == opBinary, again: m.session.again})
}

// An Unconfirmed is a message that a session had accepted, and that its client is not known to have received.
type Unconfirmed struct {
	Binary  bool
	Data    []byte
	Written bool // all of it had been written, once at least
}

func (e *kept) unconfirmed() Unconfirmed {
	return Unconfirmed{Binary: e.binary, Data: e.data, Written: e.again}
}

// Unconfirmed returns the messages that the session had accepted and that are not confirmed, in their order. It is to be called once the
// session has ended.
func (o *Outbox) Unconfirmed() []Unconfirmed {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.keeps() {
		return nil
	}
	s := o.spoken
	// What was under way when the session ended comes to left last, but is the first of it.
	slices.SortStableFunc(s.left, func(a, b kept) int { return cmp.Compare(a.number-1, b.number-1) })
	all := make([]Unconfirmed, 0, len(s.kept)+len(s.left))
	for _, part := range [][]kept{s.kept, s.left} {
		for i := range part {
			all = append(all, part[i].unconfirmed())
		}
	}
	return all
}

// Forget lets go of what a session that has ended still keeps. It is the last call.
func (o *Outbox) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keeps() {
		o.shared.pendingAll.releaseAll(o.spoken.kept)
		o.unbufferLocked(o.spoken.kept)
		o.spoken.kept, o.spoken.left = nil, nil
	}
}

// bufferLocked counts m, which waits, in what all sessions buffer, or with -1 does so no more.
func (o *Outbox) bufferLocked(m *Message, n int) {
	if o.keeps() && !m.control {
		o.shared.pendingAll.buffered.add(n, n*len(m.plainData()))
	}
}

// unbufferLocked counts messages that were kept no more in what all sessions buffer.
func (o *Outbox) unbufferLocked(messages []kept) {
	bytes := 0
	for i := range messages {
		bytes += len(messages[i].data)
	}
	o.shared.pendingAll.buffered.add(-len(messages), -bytes)
}

// Buffered returns how many messages a session has accepted of which it does not know that the client has received them, and how many bytes
// they are.
func (o *Outbox) Buffered() (messages, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.keeps() {
		return 0, 0
	}
	for i := range o.spoken.kept {
		messages++
		bytes += len(o.spoken.kept[i].data)
	}
	for m := o.messages.first; m != nil; m = m.next {
		if !m.control {
			messages++
			bytes += len(m.plainData())
		}
	}
	return messages, bytes
}
