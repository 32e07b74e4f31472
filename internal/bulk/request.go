// Package bulk is the client side of a bulk request: many pushes in one HTTP request (docs/push-api.md), and for each of them
// the truth about what became of it.
package bulk

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
)

// Request is one bulk request that is under way. It is safe for concurrent use.
type Request struct {
	client     *http.Client
	newRequest func(io.Reader) (*http.Request, error)
	limit      int

	ctx      context.Context
	cancel   context.CancelCauseFunc
	done     chan struct{}
	wake     chan struct{} // has an element when the body may have more to read
	handing  chan struct{} // closed when the first line is handed to the transport
	answered chan struct{} // closed when the answer's header has come, or never will

	mu         sync.Mutex // guards what follows
	lines      int        // that have been accepted: the number of the last one
	pending    map[int]*pending
	unanswered int       // bytes that pending costs
	waiting    []*waiter // in the order of their calls
	queue      [][]byte  // what is to be handed to the transport
	accepted   int64     // bytes of all lines
	handed     int64     // bytes of them that the transport has taken
	last       int       // the highest number among the lines with an answer
	answers    int64     // that have come
	connected  bool
	late       bool // the header of the answer did not come in time
	buffered   bool // but after the end of the body
	endIdle    bool // the body ends when queue is empty
	sent       bool // no more lines
	unread     bool // the transport does not want the rest
	settled    bool // nothing more is handed out either
}

// pending is a line without all of its answers.
type pending struct {
	start   int64 // how many bytes were accepted before it
	cost    int
	targets int
	left    int    // targets without an answer
	has     []bool // which targets have one, if there are several
	done    func(index int, a Answer, err error)
}

// waiter is a Send for which there is no room yet.
type waiter struct {
	line    []byte
	targets int
	done    func(index int, a Answer, err error)
	result  chan error // gets one element, under the Request's lock
}

// What a line counts in addition to its bytes, and each of its targets.
const (
	lineCost   = 128
	targetCost = 32
)

func cost(line []byte, targets int) int { return len(line) + lineCost + targets*targetCost }

// Open begins a bulk request. newRequest makes the HTTP request, with the given body and all headers but Accept-Encoding;
// client sends it, whose Timeout should be 0, and of which neither redirects nor cookies are used. Lines are accepted at once,
// and no more while more than limit bytes of them are unanswered. Goroutines run until Done: when the answer has ended, after
// CloseSend as a rule, or Close is called, or ctx ends.
func Open(ctx context.Context, client *http.Client, newRequest func(body io.Reader) (*http.Request, error), limit int) *Request {
	c := *client
	c.Jar = nil
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := &Request{
		client: &c, newRequest: newRequest, limit: limit,
		done: make(chan struct{}), wake: make(chan struct{}, 1), handing: make(chan struct{}), answered: make(chan struct{}),
		pending: make(map[int]*pending),
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	go r.run()
	return r
}

// Send queues a line, which is whole but for its line feed and must not be changed any more. targets is 0 if its "to" is a
// string, and otherwise the length of the array. done is called once for each target (index 0 if it is a string) on a
// goroutine of the Request's, which it must not block; err is nil, or matches ErrNotSent or ErrLost, and then a.Status is not
// 0 if something that is no worker answered the whole request. An answer to the whole request that is a worker's goes to each
// target, with Line 0. While more than limit bytes are unanswered, Send waits, in the order of the calls. It fails with
// ErrEnded or ctx's error; then done is never called, and not one byte of the line is sent.
func (r *Request) Send(ctx context.Context, line []byte, targets int, done func(index int, a Answer, err error)) error {
	r.mu.Lock()
	switch {
	case r.sent:
		r.mu.Unlock()
		return ErrEnded
	case r.hasRoom():
		r.accept(line, targets, done)
		r.mu.Unlock()
		return nil
	}
	w := &waiter{line, targets, done, make(chan error, 1)}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case err := <-w.result:
		return err
	default:
	}
	r.waiting = slices.DeleteFunc(r.waiting, func(other *waiter) bool { return other == w })
	return ctx.Err()
}

// TrySend is Send, but fails with ErrFull where Send would wait.
func (r *Request) TrySend(line []byte, targets int, done func(index int, a Answer, err error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.sent:
		return ErrEnded
	case !r.hasRoom():
		return ErrFull
	}
	r.accept(line, targets, done)
	return nil
}

func (r *Request) hasRoom() bool { return r.unanswered <= r.limit && len(r.waiting) == 0 }

var lineFeed = []byte{'\n'}

func (r *Request) accept(line []byte, targets int, done func(int, Answer, error)) {
	p := &pending{start: r.accepted, cost: cost(line, targets), targets: targets, left: max(targets, 1), done: done}
	r.lines++
	r.pending[r.lines] = p
	r.unanswered += p.cost
	r.accepted += int64(len(line)) + 1
	r.queue = append(r.queue, line, lineFeed)
	r.signal()
}

// admit accepts what waits, as far as there is room.
func (r *Request) admit() {
	for len(r.waiting) > 0 && r.unanswered <= r.limit {
		w := r.waiting[0]
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
		r.accept(w.line, w.targets, w.done)
		w.result <- nil
	}
}

func (r *Request) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// CloseSend ends the request's body once everything that was accepted has been sent. Answers still come.
func (r *Request) CloseSend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeSend()
}

func (r *Request) closeSend() {
	r.sent = true
	for _, w := range r.waiting {
		w.result <- ErrEnded
	}
	r.waiting = nil
	r.signal()
}

// CloseSendIdle has the body end, as by CloseSend, as soon as at least one line has been sent and no more are queued. It is
// for what keeps a request until it is whole.
func (r *Request) CloseSendIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endIdle = true
	r.signal()
}

// Close cuts the request off. It does not wait: Done tells when everything is settled.
func (r *Request) Close() { r.cancel(errClosed) }

// Done is closed once every target has its outcome and all goroutines have ended.
func (r *Request) Done() <-chan struct{} { return r.done }

// Buffered reports whether something on the way seems to keep the request until it is whole: a line was sent, and a second
// later the header of the answer had not come; the body was then ended, as by CloseSend, and the header came.
func (r *Request) Buffered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buffered
}

// Progress returns how many lines are unanswered, and how many answers have come.
func (r *Request) Progress() (unanswered int, answers int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending), r.answers
}
