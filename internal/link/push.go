package link

import "time"

// Push is a push to a connection of another worker. The exported fields must not change, nor Data's bytes, until Done is called or
// Abandon has returned.
type Push struct {
	Peer     Peer
	ID       [16]byte
	Path     string // at which the connection must live, unless AnyPath
	AnyPath  bool
	Binary   bool
	Confirm  bool
	Timeout  time.Duration // as the publisher asked; 0: the other worker's default
	Refusal  uint8         // not 0: the other worker is to refuse the push in its turn. It is the handler's own code
	Data     []byte
	Patience time.Duration // for the answer, from when all of it is sent; 0: without limit, while the link lives
	Sequence *Sequence     // nil: none

	// Done is called exactly once, perhaps before Push returns, on a goroutine of the link's or of the caller's, with no lock of the
	// link's held. It must not block. The Push may then be used again.
	Done func(Answer, error)
}

// Sequence keeps pushes in order: of those to one Peer.Address, none overtakes another one of the same sequence. Pushes of a
// sequence do not count in the bound of questions under way: their owner bounds them. The zero value is ready.
type Sequence struct{ _ byte }

// Answer is the other worker's answer to a push. The codes are the handler's: the link does not know them.
type Answer struct {
	Code      uint8
	RoundTrip time.Duration
}

// Incoming is a push that another worker has sent.
type Incoming struct {
	Instance uint64 // the one that the asker means
	ID       [16]byte
	Path     string
	AnyPath  bool
	Binary   bool
	Confirm  bool
	Timeout  time.Duration
	Refusal  uint8
	Data     []byte // the handler's: the link does not use it again

	// Cancel may be set by the handler within Handler.Push. It is called at most once, when the asker has given up or the link is
	// lost before the answer, on the reader's goroutine and so never during Handler.Push of the same link. It may come after Answer was
	// called on another goroutine.
	Cancel func()
}
