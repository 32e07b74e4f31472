package link

import (
	"context"
	"time"
)

// Incoming is a push that another worker has sent.
type Incoming struct {
	Instance uint64 // the one that the asker means
	ID       [16]byte
	More     [][16]byte // further targets; with To, those that are left out
	To       string
	Detail   bool
	Path     string
	AnyPath  bool
	Binary   bool
	Confirm  bool
	Hasty    bool
	Patient  bool
	Timeout  time.Duration
	Mark     uint64
	Refusal  uint8
	Data     []byte // the handler's: the link does not use it again

	// Cancel may be set by the handler within Handler.Push. It is called at most once, when the asker has given up or the link is
	// lost before the answer, on the reader's goroutine and so never during Handler.Push of the same link. It may come after Answer was
	// called on another goroutine.
	Cancel func()

	link      *taking
	number    uint64
	targets   int
	more      int  // elements that More has, or will have
	cancelled bool // Cancel has been called; the reader's own

	// The link's lock guards what follows.
	prev, next *Incoming // among those that are not answered
	left       int       // targets without an answer
	answered   marks
}

// From returns the worker that asks.
func (in *Incoming) From() Peer {
	return Peer{Address: in.link.from.address, Instance: in.link.from.instance}
}

// Target returns the ID of a target: 0 is ID, and 1 the first of More.
func (in *Incoming) Target(i int) [16]byte {
	if i == 0 {
		return in.ID
	}
	return in.More[i-1]
}

// Answer answers the push for one target. It does not block, and may be called with any lock of the handler's held.
func (in *Incoming) Answer(target int, a Answer) {
	t := in.link
	t.mu.Lock()
	defer t.mu.Unlock()
	if in.left == 0 || target >= in.targets || in.answered.has(target) {
		return
	}
	in.answered.set(target)
	if t.lost == nil {
		t.out = appendAnswer(t.out, in.number, target, a)
		if !t.corked || len(t.out) >= corkBytes {
			t.wakeLocked()
		}
	}
	if in.left--; in.left == 0 {
		t.overLocked(in)
	}
}

// Reply answers a push with To, as a whole. It is as Answer is.
func (in *Incoming) Reply(y *Reply) {
	t := in.link
	if err := y.check(); err != nil {
		t.links.log.Error("wspush: a reply to another worker cannot be sent", "error", err)
		y = &Reply{Status: 500}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if in.left > 0 {
		t.replyLocked(in, y)
	}
}

// replyLocked sends a Reply.
func (t *taking) replyLocked(in *Incoming, y *Reply) {
	defer t.overLocked(in)
	if t.lost != nil {
		return
	}
	head := y.appendHead(nil)
	if len(y.Body) <= maxSmall {
		t.out = appendHead(t.out, kindReply, in.number, len(head)+len(y.Body))
		t.out = append(append(t.out, head...), y.Body...)
	} else {
		t.large.add(&body{number: in.number, head: appendSize(head, len(y.Body)), data: y.Body})
	}
	if !t.corked || len(t.out) >= corkBytes || t.large.ready() {
		t.wakeLocked()
	}
}

// corkBytes is how many bytes of answers wait, at most, for the rest of those that come while pushes are being started: about 50.
const corkBytes = 512

// cancel tells the handler that nobody waits for the answer. The reader calls it.
func (in *Incoming) cancel() {
	if !in.cancelled && in.Cancel != nil {
		in.Cancel()
	}
	in.cancelled = true
}

// serve lets the handler answer a request, on a goroutine of its own.
func (t *taking) serve(ctx context.Context, in *Incoming, r *Request) {
	reply := t.links.config.Handler.Ask(ctx, r)
	if err := reply.check(); err != nil {
		t.links.log.Error("wspush: a reply to another worker cannot be sent", "method", r.Method, "error", err)
		reply = &Reply{Status: 500}
	}
	in.Cancel() // frees the context
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replyLocked(in, reply)
}
