package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wspush/wspush/directory"
)

// maxMoves is how often a session may move.
const maxMoves = 1<<53 - 1

// Claim says that this worker is to own a session, after so many moves.
type Claim struct {
	Session [16]byte
	Moves   uint64 // from 1 to 1<<53 - 1
}

// Owner is who owns a session.
type Owner struct {
	Moves uint64 // how often the session has moved to get there; 0: nothing is known of it, and the rest is zero
	Mine  bool   // it is this worker

	// Address is where the owner is reached. It is empty if that is not known.
	Address string
	// Known means that the owner has a lease, so that it is at Address.
	Known bool
	// Doubtful means that it has none, and may live nevertheless: its lease lapsed not long ago, or this worker started too lately to know.
	// If it is neither Known nor Doubtful, it has ended, or must be taken for dead.
	Doubtful bool
}

// HasOwners reports whether there is a directory that knows the owners of sessions that have moved. The methods about sessions are of use only then.
func (m *Membership) HasOwners() bool { return m.owners != nil }

// Claim makes claims, each of another session, and returns for each the owner that there is then. A claim has won if that one is Mine, and has
// the Moves that were asked for. What has won is claimed anew from time to time, also after the directory has lost its data, until Disclaim, or
// until somebody else is found to own it. That does not end with Close.
//
// After an error, which is ErrDirectory or the context's, any of the claims may have been made, or may still be; none is claimed anew. Whoever
// repeats it learns what has become of it. Claims that come while others are under way share the next call of the directory.
//
// Now and then a worker has to take another lease number, under which it claims its sessions again, with one more move: see Claimed.
func (m *Membership) Claim(ctx context.Context, claims []Claim) ([]Owner, error) {
	if m.owners == nil {
		return nil, ErrDirectory
	}
	seen := make(map[[16]byte]bool, len(claims))
	questions := make([]directory.Ownership, len(claims))
	for i, c := range claims {
		switch {
		case c.Moves == 0 || c.Moves > maxMoves:
			return nil, fmt.Errorf("a claim after %d moves", c.Moves)
		case seen[c.Session]:
			return nil, errors.New("two claims of one session")
		}
		seen[c.Session] = true
		questions[i] = directory.Ownership{Session: string(c.Session[:]), Moves: c.Moves}
	}
	number, err := m.numberPut(ctx)
	if err != nil {
		return nil, err
	}
	for i := range questions {
		questions[i].Lease = number
	}
	losses := m.view.countLosses()
	owners, err := m.askOwners(ctx, func(ctx context.Context, from, to int) ([]directory.Ownership, error) {
		return m.owners.claims.do(ctx, questions[from:to], m)
	}, len(questions))
	if err != nil {
		return nil, err
	}
	answers := make([]Owner, len(claims))
	for i, o := range owners {
		if answers[i] = o.Owner; o.Mine && o.Moves == claims[i].Moves {
			m.claims.hold(claims[i].Session, o.said)
		}
	}
	if m.view.countLosses() != losses { // when all were entered anew, these may not have been among them yet
		m.claims.enterAnew(questions)
	}
	return answers, nil
}

// numberPut returns the number of this worker's lease once the directory has that: who is named by one that has no lease is taken for dead.
func (m *Membership) numberPut(ctx context.Context) (number uint64, err error) {
	number, put := m.own.numberPut()
	if put {
		return number, nil
	}
	if err = m.freshView(ctx); err != nil {
		return 0, err
	}
	if number, put = m.own.numberPut(); !put {
		return 0, ErrDirectory
	}
	return number, nil
}

// Owners returns who owns a session. The error is ErrDirectory or the context's. Questions that come while others are under way share the next
// call of the directory.
func (m *Membership) Owners(ctx context.Context, session [16]byte) (Owner, error) {
	if m.owners == nil {
		return Owner{}, ErrDirectory
	}
	owners, err := m.askOwners(ctx, func(ctx context.Context, _, _ int) ([]directory.Ownership, error) {
		return m.owners.lookups.do(ctx, []string{string(session[:])}, m)
	}, 1)
	if err != nil {
		return Owner{}, err
	}
	return owners[0].Owner, nil
}

// Claimed returns after how many moves this worker owns a session, by the last of its claims that has won and has not been disclaimed; 0 if there is none.
// It is more than that claim asked for if the worker has taken another lease number since: so a worker from which a session is taken says this count.
func (m *Membership) Claimed(session [16]byte) (moves uint64) {
	if m.owners == nil {
		return 0
	}
	return m.claims.moves(session)
}

// Disclaim ends what Claim has begun: the directory forgets the session, if this worker still owns it, or will when that claim expires. It does
// not wait. It is not to be claimed again with the same number of moves: the directory may forget that, too.
func (m *Membership) Disclaim(session [16]byte) {
	if m.owners != nil && m.claims.disclaim(session) {
		wake(m.claims.wake)
	}
}

// Losses counts how often this worker has seen that the directory may have lost data. A loss forgets claims, so that after it somebody else may win
// the same. Whoever must rule that out notes Losses before anyone else could claim the session, and compares it with FreshLosses once its own claim
// has won: if they are equal, nobody else has won.
func (m *Membership) Losses() uint64 {
	if m.dir == nil {
		return 0
	}
	return m.view.countLosses()
}

// FreshLosses is Losses after a Renew that begins now, so that it counts all losses until now. The error is ErrDirectory or the context's.
func (m *Membership) FreshLosses(ctx context.Context) (uint64, error) {
	if m.dir == nil {
		return 0, nil
	}
	if err := m.freshView(ctx); err != nil {
		return 0, err
	}
	return m.view.countLosses(), nil
}

// register is the part of the directory that knows the owners of sessions.
type register struct {
	dir     directory.Owners
	claims  sharing[directory.Ownership, directory.Ownership]
	lookups sharing[string, directory.Ownership]
}

func newRegister(o directory.Owners, m *Membership) *register {
	return &register{
		dir: o,
		claims: sharing[directory.Ownership, directory.Ownership]{
			ask: m.claimEach, key: func(o directory.Ownership) string { return o.Session }, gate: &m.outage.owners,
		},
		lookups: sharing[string, directory.Ownership]{ask: m.ownersEach, key: itself, gate: &m.outage.owners},
	}
}

// stop lets no call begin any more.
func (r *register) stop() {
	r.claims.stop()
	r.lookups.stop()
}

// unowned is a kind of nonsense.
const unowned = "a session whose owner cannot be looked up or entered"

func (m *Membership) claimEach(claims []directory.Ownership) []*directory.Ownership {
	return askEach(m, claims, m.claimOnce, unowned)
}

func (m *Membership) claimOnce(claims []directory.Ownership) ([]directory.Ownership, error) {
	return askOnce(m, claimCall, claims, func(ctx context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
		owners, err := m.owners.dir.Claim(ctx, slices.Clone(claims))
		if err != nil {
			return nil, err
		}
		for i, o := range owners {
			if i < len(claims) && (!isOwnership(o, claims[i].Session) || o.Moves < claims[i].Moves) {
				return nil, errNoOwner
			}
		}
		return owners, nil
	})
}

func (m *Membership) ownersEach(sessions []string) []*directory.Ownership {
	return askEach(m, sessions, m.ownersOnce, unowned)
}

func (m *Membership) ownersOnce(sessions []string) ([]directory.Ownership, error) {
	return askOnce(m, ownersCall, sessions, func(ctx context.Context, sessions []string) ([]directory.Ownership, error) {
		owners, err := m.owners.dir.Owners(ctx, slices.Clone(sessions))
		if err != nil {
			return nil, err
		}
		for i, o := range owners {
			if i < len(sessions) && o.Moves != 0 && !isOwnership(o, sessions[i]) {
				return nil, errNoOwner
			}
		}
		return owners, nil
	})
}

var errNoOwner = errors.New("the owner that it returns can be none")

// isOwnership reports whether somebody can be the session's owner so.
func isOwnership(o directory.Ownership, session string) bool {
	return o.Session == session && o.Lease >= 1 && o.Lease <= 1<<63-1 && o.Moves >= 1 && o.Moves <= maxMoves
}

// tryOwners finds out whether calls about owners that have hung are answered again, if only with an error. What it claims for that is no session.
func (m *Membership) tryOwners() error {
	trial := directory.Ownership{Session: fmt.Sprintf("trial %x", m.claims.lease()), Lease: m.claims.lease(), Moves: 1}
	if m.outage.is(claimCall) {
		if _, err := m.claimOnce([]directory.Ownership{trial}); errors.Is(err, ErrDirectory) {
			return err
		}
		m.outage.worked(claimCall)
	}
	if m.outage.is(ownersCall) {
		if _, err := m.ownersOnce([]string{trial.Session}); errors.Is(err, ErrDirectory) {
			return err
		}
		m.outage.worked(ownersCall)
	}
	return nil
}

// owner is an Owner, and what the directory has said.
type owner struct {
	Owner
	said directory.Ownership
}

// askOwners asks in parts, and makes owners of the answers.
func (m *Membership) askOwners(ctx context.Context, ask func(ctx context.Context, from, to int) ([]directory.Ownership, error), n int) ([]owner, error) {
	if m.timing.Settle < 0 {
		if err := m.freshView(ctx); err != nil {
			return nil, err
		}
	}
	all := make([]owner, 0, n)
	for from := 0; from < n; from += maxQuestions {
		answers, err := ask(ctx, from, min(from+maxQuestions, n))
		if err != nil {
			return nil, err
		}
		for _, said := range answers {
			if said.Moves > 0 {
				m.claims.see(sessionOf(said), said)
			}
			all = append(all, owner{said: said})
		}
	}
	if m.resolveOwners(all, false) {
		return all, nil
	}
	// There is an owner that this worker has not seen yet: look who is there.
	if err := m.freshView(ctx); err != nil {
		return nil, err
	}
	m.resolveOwners(all, true)
	return all, nil
}

// resolveOwners finds out who they are. It returns false if it takes a newer view than this one to do that.
func (m *Membership) resolveOwners(all []owner, giveUp bool) bool {
	for i := range all {
		o := &all[i]
		switch {
		case o.said.Moves == 0:
			o.Owner = Owner{}
			continue
		case m.claims.isMine(o.said.Lease):
			o.Owner = Owner{Mine: true, Known: true, Address: m.view.own}
		default:
			var ok bool
			if o.Owner, ok = m.view.owner(o.said.Lease, giveUp); !ok {
				return false
			}
		}
		o.Owner.Moves = o.said.Moves
	}
	return true
}

// owner returns what is known of the worker with a lease number, which is not this one. It fails if it takes a newer view to know anything.
func (v *view) owner(number uint64, giveUp bool) (o Owner, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.peers[number]
	switch {
	case p != nil && p.ended: // or an earlier start of this worker
	case p != nil:
		isKnown := p.vanished.IsZero()
		o = Owner{Address: p.address, Known: isKnown, Doubtful: !isKnown}
	case v.isForeignLocked(number):
	case !giveUp && !v.strangers.isKnown(number):
		return Owner{}, false
	default:
		v.strangers.meet(number, v.begun)
		o.Doubtful = v.begun.Sub(v.since) < v.timing.Doubt && v.othersDoubtLocked()
	}
	return o, true
}

// othersDoubtLocked reports whether another worker doubts whether one still lives.
func (v *view) othersDoubtLocked() bool {
	for _, p := range v.peers {
		if p.doubts && p.vanished.IsZero() {
			return true
		}
	}
	return false
}

func (v *view) countLosses() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.losses
}

// Others returns the addresses of the workers that live and are not leaving, without this one: of those that have a lease, or of the peers. It is as good as
// the last renewal, but that there are none is as good as one that it waits for. The error is ErrDirectory or the context's.
func (m *Membership) Others(ctx context.Context) ([]string, error) {
	switch {
	case m.peers != nil:
		found, err := m.peers.find(ctx)
		if err != nil {
			return nil, err
		}
		addresses := make([]string, len(found.Workers))
		for i, w := range found.Workers {
			addresses[i] = w.Address
		}
		return addresses, nil
	case m.dir == nil:
		return nil, nil
	}
	isOld := m.timing.Settle < 0 || !m.view.isNewerThan(2*m.timing.Renew)
	// In a deploy, the others may all have ended, and their successors have been started since.
	if isOld || len(m.view.others()) == 0 {
		if err := m.freshView(ctx); err != nil {
			return nil, err
		}
	}
	return m.view.others(), nil
}

// Lives reports whether a worker with this address has a lease, as far as is known here: one that has ended may have it for a while yet, and for
// this worker it is true.
func (m *Membership) Lives(address string) bool {
	return m.view == nil || m.view.lives(address)
}

func (v *view) lives(address string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if address == v.own || v.begun.IsZero() {
		return true
	}
	for _, p := range v.peers {
		if p.address == address && p.vanished.IsZero() && !p.ended {
			return true
		}
	}
	return false
}

// isNewerThan reports whether there is a view, and it is no older than that.
func (v *view) isNewerThan(d time.Duration) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.begun.IsZero() && time.Since(v.begun) <= d
}

// others returns the addresses of those that have a lease and are not leaving, each once.
func (v *view) others() (addresses []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range v.peers {
		if p.vanished.IsZero() && !p.ended && !p.leaving {
			addresses = append(addresses, p.address)
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}
