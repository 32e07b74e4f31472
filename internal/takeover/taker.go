package takeover

// A Taker decides what a worker does that has got a copy of a session from its owner: Step says what, and is told what has come of it until it is
// one of the last. A Taker must not be used concurrently.
type Taker struct {
	Number      uint64 // of the take
	Moves       uint64 // how often the session had moved until the copy was made
	HasRegister bool   // there is a register of owners
	// IsOffered says that the owner has asked for the session to be taken. It hears how that ended, or asks, and is not asked itself.
	IsOffered bool

	step Step
	to   Worker
	won  bool // the claim
}

// Step is what a taker does next.
type Step uint8

const (
	begins Step = iota

	// Claim: claim the session in the register.
	Claim
	// Tell: tell the owner that the session is taken, which is Owner.Taken there.
	Tell

	// Serve: the session is here.
	Serve
	// Follow: another worker has it, which To returns. The copy is worth nothing.
	Follow
	// Drop: whoever has the session, it is not this worker, and the copy is worth nothing.
	Drop
	// Lose: it may be this worker's, and if so nobody else has what is in the copy; but it cannot be found out. Nobody may serve it, and what is in it
	// counts as lost.
	Lose
)

// Step returns what is to be done.
func (t *Taker) Step() Step {
	switch {
	case t.step != begins:
		return t.step
	case t.HasRegister:
		return Claim
	}
	return Tell
}

// To returns who has the session, after Follow.
func (t *Taker) To() Worker { return t.to }

// Claim is the number of moves to claim the session with.
func (t *Taker) Claim() uint64 { return t.Moves + 1 }

// HasWon reports whether the register has agreed, whatever the owner says. If the session is not served all the same, it is to be disclaimed.
func (t *Taker) HasWon() bool { return t.won }

// Claimed is what the register has said to a claim: whose the session is, and after how many moves. If it is somebody else's who is not known, by
// is the zero Worker.
func (t *Taker) Claimed(mine bool, moves uint64, by Worker) {
	switch {
	case mine && moves == t.Claim():
		t.won = true
		t.step = Tell
		if t.IsOffered {
			t.step = Serve
		}
	case mine, by == Worker{}:
		t.step = Drop
	default:
		t.step, t.to = Follow, by
	}
}

// Told is what the owner says when it is told, and who has the session if that is Moved.
func (t *Taker) Told(v Verdict, to Worker) {
	switch {
	case v == Accepted:
		t.step = Serve
	case v == Moved:
		t.step, t.to = Follow, to
	case v == Refused:
		t.step = Drop
	case t.won: // it has ended there, by a Shutdown that had no more time
		t.step = Serve
	default:
		t.step = Lose
	}
}

// Unanswered is for a question that has got no answer, when there is no time to ask again.
func (t *Taker) Unanswered() {
	switch {
	case t.step == Tell && t.won: // it is decided, and the owner will learn it from the register
		t.step = Serve
	case t.IsOffered: // the owner has it as well, and asks whether the claim is good
		t.step = Drop
	default:
		t.step = Lose
	}
}
