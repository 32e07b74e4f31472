// Package takeover decides which of two workers owns a session that moves from one to the other. It is nothing but rules: it knows no session, no
// network and no clock.
//
// A worker takes a session in two steps. It asks the owner for it, who freezes the session, hands out a copy, and keeps its own; that decides
// nothing, and may be repeated. Then one step commits the take-over. Where a directory keeps a register of owners, that is a claim in the
// register, which of all who claim the same number of moves one wins. Where none does, it is the owner's accepting that the session is taken.
// Nobody serves the session before it is certain that this step is done.
package takeover

// A Worker is one start of a worker.
type Worker struct {
	Address  string
	Instance uint64
}

// An Owner is what the owner of a session knows of who else wants it. The zero value is that of a session that has never moved. An Owner must
// not be used concurrently.
type Owner struct {
	Moves uint64 // how often the session has moved until it came here

	state state
	last  uint64 // number of the last take
	by    Worker // who took then; once the session has moved, who has it
}

type state uint8

const (
	here   state = iota
	frozen       // a take is under way: who owns the session is decided elsewhere
	moved
)

// Verdict is what is said to one who has taken the session.
type Verdict uint8

const (
	// Refused: the take is not good any more. The session is still here, or somebody else is taking it.
	Refused Verdict = iota
	// Accepted: it is theirs.
	Accepted
	// Moved: somebody else has it.
	Moved
	// Gone: nothing is known of the session. An Owner never says so, but a worker that has none.
	Gone
)

// IsHere reports whether the session is here, and nobody takes it.
func (o *Owner) IsHere() bool { return o.state == here }

// IsFrozen reports whether a take is under way.
func (o *Owner) IsFrozen() bool { return o.state == frozen }

// To returns who has the session if it has moved.
func (o *Owner) To() (to Worker, hasMoved bool) { return o.by, o.state == moved }

// Taker returns who took last, while the session is frozen.
func (o *Owner) Taker() Worker { return o.by }

// Latest returns the number of the last take.
func (o *Owner) Latest() uint64 { return o.last }

// Take begins a take, or repeats one, and returns its number, and reports false if the session has moved. Of several takes that are under way the
// latest counts, unless a register decides.
func (o *Owner) Take(by Worker) (number uint64, ok bool) {
	if o.state == moved {
		return 0, false
	}
	o.state = frozen
	o.last++
	o.by = by
	return o.last, true
}

// Taken is for one who says that the session is taken, by a take with this number. claimed says that the register has it as the owner after
// moves moves; otherwise there is no register, and the verdict is the commit. It is safe to ask again.
func (o *Owner) Taken(by Worker, number uint64, claimed bool, moves uint64) Verdict {
	switch {
	case o.state == moved && o.by == by:
		return Accepted
	case o.state == moved:
		return Moved
	case o.state != frozen: // it was thawed: without a register, who says so comes too late; with one, the register has lost what it knew
		return Refused
	case claimed && moves == o.Moves+1, !claimed && number == o.last && by == o.by:
		o.state, o.by = moved, by
		return Accepted
	}
	return Refused
}

// Thaw ends what Take has begun: every take until now is refused from here on. Where there is a register, only a Claim that has won may do it.
func (o *Owner) Thaw() {
	if o.state == frozen {
		o.state = here // and the next take has another number
	}
}

// Claim is the number of moves with which the owner claims its own session, to thaw it.
func (o *Owner) Claim() uint64 { return o.Moves + 1 }

// Claimed is what the register has said to such a claim: that the owner is still this worker, or that another one is, and after how many moves.
func (o *Owner) Claimed(mine bool, moves uint64, by Worker) {
	switch {
	case o.state != frozen:
	case mine && moves > o.Moves: // by more than one if this worker has claimed it anew meanwhile, under another lease
		o.Moves = moves
		o.Thaw()
	case !mine && moves > o.Moves:
		o.state, o.by = moved, by
	}
}
