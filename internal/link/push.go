package link

import (
	"fmt"
	"time"
)

// Push is a push to connections of another worker. The exported fields must not change, nor Data's bytes, until Done is called or
// Abandon has returned.
type Push struct {
	Peer     Peer
	ID       [16]byte
	More     [][16]byte // further targets of the same message, 4096 at most; nil for most pushes. It must not change either
	To       string     // in place of ID: the handler there knows whom it means. More are then not targets, but left out
	Detail   bool       // with To; what it means is the handlers' matter, too
	Path     string     // at which the connection must live, unless AnyPath. Not with To
	AnyPath  bool
	Binary   bool
	Confirm  bool
	Hasty    bool          // it is not to be buffered for a client that is away, but refused
	Patient  bool          // it is to wait for such a client, and then be refused
	Timeout  time.Duration // as the publisher asked; 0: the other worker's default
	Mark     uint64        // not 0: the handler there recognises a repetition of the message by it
	Refusal  uint8         // not 0: the other worker is to refuse the push in its turn. It is the handler's own code
	Data     []byte
	Patience time.Duration // for the answer, from when all of it is sent; 0: without limit, while the link lives
	Sequence *Sequence     // nil: none
	Sender   any           // what the sender has for the push. The link does not use it

	// Done is called exactly once for each target: 0 is ID, and 1 the first of More. It may be called before Push returns, on a
	// goroutine of the link's or of the caller's, with no lock of the link's held. It must not block. After the last call, the Push may
	// be used again.
	Done func(target int, a Answer, err error)

	// Replied is called in place of Done if the handler has answered a push with To by a Reply. It may be nil without To.
	Replied func(*Reply)

	flight // where it is; set by Links.Push
}

// Sequence keeps pushes to one Peer.Address in order: none overtakes another one of the same sequence. One that is refused has its outcome after
// those that were asked before it, so that whoever sends it again elsewhere has it overtake none. Pushes of a
// sequence do not count in the bound of questions under way: their owner bounds them. The zero value is ready.
type Sequence struct {
	under    int // questions that are under way, or whose outcome is just being told. The outgoing's lock guards it
	deferred int // refused ones that wait for these, or that are just being told. The same
}

// Answer is the other worker's answer to a push. The codes are the handler's: the link does not know them.
type Answer struct {
	Code      uint8
	RoundTrip time.Duration // with Config.TooLarge, how many bytes a push may have; with other codes whatever the handler means by it
}

// stage is how far a question has come.
type stage uint8

const (
	stageNew      stage = iota // it has not been asked, or was refused at once
	stageQueued                // in the queue of its worker, or behind a large body of its sequence
	stageLarge                 // its large body waits for its turn, or is being sent: the other side cannot carry it out yet
	stageSent                  // all of it is in a batch whose writing has begun
	stageDeferred              // it is refused, and waits for those before it in its sequence
	stageOver                  // Done has been called, or is about to be
)

// flight is where a question is. The lock of its outgoing guards it.
type flight struct {
	stage      stage
	tries      uint8 // links that were lost before all of it was sent
	list       *list // that it is in, with its neighbours there
	prev, next *Push
	order      uint64   // among the questions to its worker
	link       *asking  // over which it is being sent, or was
	number     uint64   // there
	size       int      // bytes of its frames
	body       *body    // if it is large
	deadline   int64    // for the answer; 0: none
	cause      error    // why it was given up when all of it had been sent
	left       int      // targets without an answer
	answered   marks    // those with one, if there are several
	request    *Request // a question of Ask's
	replied    func(*Reply, error)
}

// targets returns how many answers the push gets.
func (p *Push) targets() int {
	if p.To != "" {
		return 1
	}
	return 1 + len(p.More)
}

// takesReply reports whether a Reply may answer the question.
func (p *Push) takesReply() bool { return p.request != nil || p.To != "" }

// place is what a push has for the other side to find connections by, beside IDs.
func (p *Push) place() string {
	if p.To != "" {
		return p.To
	}
	return p.Path
}

// marks says which targets of a push have an answer. It is nil for a push with one target.
type marks []uint64

func newMarks(targets int) marks {
	if targets == 1 {
		return nil
	}
	return make(marks, (targets+63)/64)
}

func (m marks) has(target int) bool { return m != nil && m[target/64]>>(target%64)&1 != 0 }

func (m marks) set(target int) {
	if m != nil {
		m[target/64] |= 1 << (target % 64)
	}
}

// outcome is what a question has come to: an answer for one target, or an error for all that have none.
type outcome struct {
	push   *Push
	target int
	answer Answer
	reply  *Reply
	err    error

	last     *Sequence // of which a question is over with this
	deferred *Sequence // of which a question was refused with this that had to wait
}

// tell calls the question's function. No lock may be held.
func (o outcome) tell() {
	p := o.push
	switch {
	case p.request != nil:
		p.replied(o.reply, o.err)
	case o.reply != nil:
		p.Replied(o.reply)
	case o.err == nil:
		p.Done(o.target, o.answer, nil)
	default: // after the last call, p is its owner's
		done, targets, answered := p.Done, p.targets(), p.answered
		for target := range targets {
			if !answered.has(target) {
				done(target, Answer{}, o.err)
			}
		}
	}
}

func tellAll(all []outcome) {
	for _, o := range all {
		o.tell()
	}
}

// isLarge reports whether the body, with the targets before it, goes in pieces.
func (p *Push) isLarge() bool { return len(p.Data) > maxSmall || idSize*len(p.More) > maxSmall }

// frameLen returns how many bytes a small question takes in a batch.
func (p *Push) frameLen() int {
	if p.request != nil {
		q := p.request
		return frameHead + 1 + 8 + 16 + 9 + len(q.Method) + len(q.Path) + len(q.Query)
	}
	return frameHead + p.metaLen() + idSize*len(p.More) + len(p.Data)
}

// append appends a small question to a batch.
func (p *Push) append(b []byte, number uint64) []byte {
	if p.request != nil {
		body := p.request.append(nil)
		return append(appendHead(b, kindAsk, number, len(body)), body...)
	}
	b = appendHead(b, kindPush, number, p.metaLen()+idSize*len(p.More)+len(p.Data))
	b = appendIDs(p.appendMeta(b), p.More)
	return append(b, p.Data...)
}

// check returns why the question cannot be asked at all.
func (p *Push) check() error {
	if q := p.request; q != nil && len(q.Method)+len(q.Path)+len(q.Query) > maxRequest {
		return fmt.Errorf("%w: the request is too long", ErrNotSent)
	}
	if len(p.More) > maxMore {
		return fmt.Errorf("%w: the push has too many targets", ErrNotSent)
	}
	if len(p.place()) > maxPath {
		return fmt.Errorf("%w: the path is too long", ErrNotSent)
	}
	return nil
}
