package wspush

import (
	"context"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// Recipients are the connections of a user or of a group: its members, whoever they are at the time. [Worker.User] and [Worker.Group]
// return them. A connection is a member from when it can be pushed to, which is before its client gets the greeting, until it ends.
//
// The members are those of this worker: nobody else knows of users and groups. It is safe for concurrent use.
type Recipients struct {
	worker  *Worker
	isGroup bool
	name    string
	except  []*Conn
}

// User returns the connections of a user, by the name that HandlerOptions.User gave to them. It always succeeds: a wrong name, like an
// absent user, is found by what is then done with it.
func (w *Worker) User(name string) *Recipients { return &Recipients{worker: w, name: name} }

// Group returns the connections in a group. It always succeeds, as User does.
func (w *Worker) Group(name string) *Recipients {
	return &Recipients{worker: w, isGroup: true, name: name}
}

// Except returns the same without these connections, such as that of the one who has written what all others are to read.
func (r *Recipients) Except(conns ...*Conn) *Recipients {
	without := *r
	without.except = slices.Concat(r.except, conns)
	return &without
}

// Push sends data to each member as one message, and returns once every member has its outcome. So a client that does not read
// keeps it waiting, until ctx ends or WriteTimeout cuts the client off, but delays no other member. Options, and what else is not said
// here, are as for [Conn.Push].
//
// The error is nil if at least one member has the message: Outcomes counts them all, and its Err tells of each that has not. Otherwise
// it is ErrUnknown if one may have it. Any other error means that nothing was written to anybody: ErrGone if nobody is there; the reason
// of a member that has refused the message, the one that gives most hope for another attempt; or what is wrong with the message, the
// name or ctx, in which case nothing has been tried. If all members were excepted, it is nil.
//
// [Worker.PushEach] tells the outcome of each connection as it comes.
func (r *Recipients) Push(ctx context.Context, typ MessageType, data []byte, opts ...PushOption) (Outcomes, error) {
	p := memberPush{to: *r, typ: typ, data: data, confirm: wire.Options(opts).Confirmed}
	if p.confirm {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, wire.ConfirmWait)
			defer cancel()
		}
	}
	return r.worker.pushMembers(ctx, &p)
}

// Disconnect ends each member's connection, as [Conn.Close] does, and returns how many. That nobody is there is no error. With
// [Recipients.Except], a user can be logged out everywhere else.
func (r *Recipients) Disconnect(ctx context.Context, code int, reason string) (closed int, err error) {
	if err := wire.CheckClose(code, reason); err != nil {
		return 0, err
	}
	if err := r.check(ctx); err != nil {
		return 0, err
	}
	own := r.ownMembers()
	for c := range own.conns {
		if c.Close(code, reason) == nil {
			closed++
		}
	}
	return closed, nil
}

// Member is one of the [Recipients], as [Recipients.Members] tells of it. It is a struct, the same as in package publisher, with two fields:
// ID, a string, that of the connection, which with a Cluster is sealed, so that any worker takes it; and Since, a time.Time, when it became
// a member: a user's with its greeting, a group's perhaps later.
type Member = wire.Member

// Members tells who is there when the iteration begins, in no order. An error is the last that it yields: for a wrong name, or ctx's.
func (r *Recipients) Members(ctx context.Context) iter.Seq2[Member, error] {
	of := *r
	return func(yield func(Member, error) bool) {
		if err := of.check(ctx); err != nil {
			yield(Member{}, err)
			return
		}
		own := of.ownMembers()
		for m := range own.all {
			if err := ctx.Err(); err != nil {
				yield(Member{}, err)
				return
			}
			if !yield(m.public(), nil) {
				return
			}
		}
	}
}

// check returns why nothing can be done with the members.
func (r *Recipients) check(ctx context.Context) error {
	if err := wire.CheckName(r.name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.worker.roster.isEmpty() {
		return ErrShutdown
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

// ownMembers finds the members of this worker.
func (r *Recipients) ownMembers() (own ownMembers) {
	own.only, own.several = r.worker.shared.members.of(r.isGroup).find(r.name, math.MaxInt)
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
