package wspush

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// Recipients are the connections of a user or of a group: its members, whoever they are at the time. [Worker.User] and [Worker.Group]
// return them. A connection is a member from when it can be pushed to, which is before its client gets the greeting, until it ends.
//
// With a [Cluster.Directory] or [Cluster.Peers], the members are those of all workers, and otherwise those of this one. It is safe for
// concurrent use.
type Recipients struct {
	worker  *Worker
	isGroup bool
	name    string
	except  []*Conn
	// exceptElsewhere are connections of other workers that are left out, too. One without an Address is of nobody knows which.
	exceptElsewhere []seal.Place
}

// User returns the connections of a user, by the name that HandlerOptions.User gave to them. It always succeeds: a wrong name, like an
// absent user, is found by what is then done with it.
func (w *Worker) User(name string) *Recipients { return &Recipients{worker: w, name: name} }

// Group returns the connections in a group. It always succeeds, as User does.
func (w *Worker) Group(name string) *Recipients {
	return &Recipients{worker: w, isGroup: true, name: name}
}

// maxExceptElsewhere is how many connections of other workers may be left out: they are named in what each of these is asked.
const maxExceptElsewhere = 1000

var errExceptElsewhere = fmt.Errorf("wspush: at most %d connections of other workers can be left out", maxExceptElsewhere)

// Except returns the same without these connections, such as that of the one who has written what all others are to read. One that is nil,
// as [Worker.Conn] returns it, is nobody's. A process with several workers may leave out connections of another one of them, at most 1000
// in all.
func (r *Recipients) Except(conns ...*Conn) *Recipients {
	without := *r
	without.except = slices.DeleteFunc(slices.Concat(r.except, conns), func(c *Conn) bool { return c == nil })
	return &without
}

// Push sends data to each member as one message, and returns once every member has its outcome. So a client that does not read
// keeps it waiting, until ctx ends or WriteTimeout cuts the client off, but delays no other member. Options, and what else is not said
// here, are as for [Conn.Push].
//
// The error is nil if at least one member has the message: Outcomes counts them all, and its Err tells of each that has not. Otherwise
// it is ErrUnknown if one may have it. Any other error means that nothing was written to anybody: ErrGone if nobody is there; the reason
// of a member that has refused the message, the one that gives most hope for another attempt; ErrDirectory if it cannot be known who is
// there; or what is wrong with the message, the name or ctx, in which case nothing has been tried. If all members were excepted, it is
// nil.
//
// [Worker.PushEach] tells the outcome of each connection as it comes.
func (r *Recipients) Push(ctx context.Context, typ MessageType, data []byte, opts ...PushOption) (Outcomes, error) {
	o := wire.Options(opts)
	p := memberPush{to: *r, typ: typ, data: data, confirm: o.Confirmed, keep: o.Keep}
	limit := o.Keep.For
	if _, ok := ctx.Deadline(); !ok && p.confirm && limit == 0 {
		limit = wire.ConfirmWait
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return r.worker.pushMembers(ctx, &p)
}

// Disconnect ends each member's connection, as [Conn.Close] does, and returns how many. That nobody is there is no error. With
// [Recipients.Except], a user can be logged out everywhere else.
//
// An ErrDirectory means that there may be members that have not been closed; closed counts those that have. Any other error means that none
// have been.
func (r *Recipients) Disconnect(ctx context.Context, code int, reason string) (closed int, err error) {
	closed, cover, err := r.disconnect(ctx, code, reason)
	if err == nil {
		err = cover.err()
	}
	return closed, err
}

func (r *Recipients) disconnect(ctx context.Context, code int, reason string) (closed int, cover coverage, err error) {
	if err := wire.CheckClose(code, reason); err != nil {
		return 0, cover, err
	}
	if err := r.check(ctx); err != nil {
		return 0, cover, err
	}
	var mu sync.Mutex // guards closed
	add := func(n int) (has bool) {
		mu.Lock()
		defer mu.Unlock()
		closed += n
		return n > 0
	}
	left := 0
	cover, err = r.askAll(ctx, func() bool {
		var n int
		n, left = r.closeOwn(code, reason)
		return add(n)
	}, func(ctx context.Context, peer membership.Worker) (bool, error) {
		n, err := r.worker.closeMembers(ctx, r, peer, code, reason)
		return add(n), err
	})
	if err == nil && left > 0 { // they go on at the next worker
		if closed == 0 {
			return 0, cover, ErrShutdown
		}
		cover.Complete = false
	}
	return closed, cover, err
}

// Member is one of the [Recipients], as [Recipients.Members] tells of it. It is a struct, the same as in package publisher, with three fields:
// ID, a string, that of the connection, which with a Cluster is sealed, so that any worker takes it; User, a string, whose connection it is,
// or ""; and Since, a time.Time, when it became a member: a user's with its greeting, a group's perhaps later.
type Member = wire.Member

// Members tells who is there when the iteration begins, in no order, without those of [Recipients.Except]. An error is the last that
// it yields: for a wrong name, ctx's, or ErrDirectory if there may be others.
func (r *Recipients) Members(ctx context.Context) iter.Seq2[Member, error] {
	of := *r
	return func(yield func(Member, error) bool) {
		members, total, cover, err := of.list(ctx, math.MaxInt)
		for _, m := range members {
			if err := ctx.Err(); err != nil {
				yield(Member{}, err)
				return
			}
			if !yield(m, nil) {
				return
			}
		}
		if err == nil {
			err = cover.err()
		}
		if err == nil && len(members) < total {
			err = fmt.Errorf("wspush: of %d members, only %d are listed: another worker has more than it can list", total, len(members))
		}
		if err != nil {
			yield(Member{}, err)
		}
	}
}

// list returns members, at most limit, and how many there are.
func (r *Recipients) list(ctx context.Context, limit int) (members []Member, total int, cover coverage, err error) {
	if err := r.check(ctx); err != nil {
		return nil, 0, cover, err
	}
	isExcepted := r.exceptedIDs()
	var mu sync.Mutex // guards members and total
	add := func(address string, l memberList) (has bool) {
		mu.Lock()
		defer mu.Unlock()
		total += l.total
		for _, m := range l.members {
			switch {
			case isExcepted[m.id]:
				total--
			case len(members) < limit:
				members = append(members, Member{ID: r.worker.publicID(address, l.instance, m.id), User: m.user, Since: time.Unix(0, m.since)})
			}
		}
		return l.total > 0
	}
	cover, err = r.askAll(ctx, func() bool {
		return add(r.worker.shared.address(), r.ownList(limit))
	}, func(ctx context.Context, peer membership.Worker) (bool, error) {
		l, err := r.worker.listMembers(ctx, r, peer, min(limit, maxListed))
		return err == nil && add(peer.Address, l), err
	})
	return members, total, cover, err
}

// exceptedIDs returns the IDs of those that are left out.
func (r *Recipients) exceptedIDs() map[[16]byte]bool {
	ids := make(map[[16]byte]bool, len(r.except)+len(r.exceptElsewhere))
	for _, c := range r.except {
		ids[uuid.MustParse(c.id)] = true
	}
	for _, place := range r.exceptElsewhere {
		ids[uuid.MustParse(place.ID)] = true
	}
	return ids
}

// publicID is the ID by which publishers know a connection: with a Cluster, a sealed one.
func (w *Worker) publicID(address string, instance uint64, id [16]byte) string {
	if w.cluster == nil {
		return uuid.UUID(id).String()
	}
	return w.cluster.sealedIDAt(address, instance, id)
}

// check returns why nothing can be done with the members.
func (r *Recipients) check(ctx context.Context) error {
	if err := wire.CheckName(r.name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.worker.isOver() {
		return ErrShutdown
	}
	elsewhere := len(r.exceptElsewhere)
	for _, c := range r.except {
		if c != nil && c.shared != r.worker.shared {
			elsewhere++
		}
	}
	if elsewhere > maxExceptElsewhere {
		return errExceptElsewhere
	}
	return nil
}

// public returns what is told of a member.
func (m *member) public() Member {
	id := m.conn.SealedID()
	if id == "" {
		id = m.conn.id
	}
	return Member{ID: id, Since: time.Unix(0, m.since)}
}

// ownMembers are the members that are connections of this worker, at one time.
type ownMembers struct {
	only     *member // nil if there is not exactly one
	several  []*member
	excepted int // members that are not among these
}

// hasOwn reports whether there are members that are connections of this worker.
func (r *Recipients) hasOwn() bool {
	only, _ := r.worker.shared.members.of(r.isGroup).find(r.name, 1)
	return only != nil
}

// ownMembers finds the members of this worker.
func (r *Recipients) ownMembers() (own ownMembers) {
	own.only, own.several = r.worker.shared.members.of(r.isGroup).find(r.name, math.MaxInt)
	if left := r.worker.departures.left(r.isGroup, r.name); len(left) > 0 {
		left = r.stillElsewhere(left, own)
		defer func() { own.addLeft(left) }()
	}
	if len(r.except) == 0 {
		return own
	}
	isExcepted := exceptedOf(r.except)
	if own.only != nil && isExcepted(own.only) {
		return ownMembers{excepted: 1}
	}
	before := len(own.several)
	own.several = slices.DeleteFunc(own.several, isExcepted)
	own.excepted = before - len(own.several)
	if len(own.several) == 1 {
		own.only, own.several = own.several[0], nil
	}
	return own
}

// stillElsewhere returns those of the connections that have moved to another worker that are not to be left out, and have not come back.
func (r *Recipients) stillElsewhere(left []*Conn, own ownMembers) []*Conn {
	isOut := make(map[string]bool, len(left))
	for _, c := range left {
		isOut[c.id] = false
	}
	if own.only != nil {
		isOut[own.only.conn.id] = true
	}
	for _, m := range own.several {
		if _, ok := isOut[m.conn.id]; ok {
			isOut[m.conn.id] = true
		}
	}
	for _, c := range r.except {
		isOut[c.id] = true
	}
	for _, place := range r.exceptElsewhere {
		isOut[place.ID] = true
	}
	still := left[:0:0]
	for _, c := range left {
		if !isOut[c.id] {
			still = append(still, c)
			isOut[c.id] = true // one that has moved away more than once is there more than once
		}
	}
	return still
}

// addLeft adds connections that have moved to another worker. They are not counted twice: see newMark.
func (own *ownMembers) addLeft(left []*Conn) {
	if len(left) == 0 {
		return
	}
	if own.only != nil {
		own.only, own.several = nil, []*member{own.only}
	}
	for _, c := range left {
		own.several = append(own.several, &member{conn: c, at: absent})
	}
	if len(own.several) == 1 {
		own.only, own.several = own.several[0], nil
	}
}

// exceptedOf returns whether a member is one of these connections.
func exceptedOf(except []*Conn) func(*member) bool {
	if len(except) <= 8 {
		return func(m *member) bool { return slices.Contains(except, m.conn) }
	}
	set := make(map[*Conn]bool, len(except))
	for _, c := range except {
		set[c] = true
	}
	return func(m *member) bool { return set[m.conn] }
}

// all yields each of them.
func (own *ownMembers) all(yield func(*member) bool) {
	if own.only != nil {
		yield(own.only)
		return
	}
	for _, m := range own.several {
		if !yield(m) {
			return
		}
	}
}

// conns yields the connection of each of them.
func (own *ownMembers) conns(yield func(*Conn) bool) {
	for m := range own.all {
		if !yield(m.conn) {
			return
		}
	}
}
