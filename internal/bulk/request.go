// Package bulk is the format of a bulk request (docs/push-api.md): many pushes in one HTTP request, a line for each, and a line
// of the answer for what became of it. A worker reads requests with Input, Lines and Parser, and answers with Key; Request is
// the client's side.
package bulk

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Request is one bulk request that is under way. It is safe for concurrent use.
//
// Its lines are checked, so that a worker never begins what has come to it in part, or after a gap. Nothing is handed to the
// transport before the header of the answer has come: only then is it clear that a worker is there, and that nothing on the
// way keeps the request until it is whole, as nginx does, or keeps the answer back while it throws parts of the request away,
// as Go's reverse proxies do over HTTP/1.1. If the header does not come, the lines are sent in a second HTTP request, which is
// short, and answered when it has ended.
type Request struct {
	client     *http.Client
	newRequest func(io.Reader) (*http.Request, error)
	limit      int

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	wake   chan struct{} // has an element when body.Read or gather may have something new to look at

	mu             sync.Mutex // guards what follows
	intake         intake
	outlet         outlet
	lines          int // that have been accepted: the number of the last one
	unanswered     map[int]*unansweredLine
	unansweredCost int       // what these lines cost, as cost counts
	waiting        []*waiter // in the order of their calls
	queue          [][]byte  // what is to be handed to the transport
	heads          []byte    // room for the checks in queue
	accepted       int64     // bytes of all lines
	handed         int64     // bytes of them that the transport has taken
	last           int       // the highest number among the lines with an answer
	answers        int64     // that have come
	isConnected    bool
	needsWhole     bool // what NeedsWhole reports
}

// intake says whether lines are accepted.
type intake int

const (
	intakeOpen   intake = iota
	intakeClosed        // by CloseSend, or because the request is about to end
)

// outlet says what becomes of the queue.
type outlet int

const (
	outletHeld    outlet = iota // until the header of the answer has come, or the request is whole
	outletRefused               // the request is refused; its body does not end before the answer, which that might cut off
	outletOpen                  // the transport takes lines as it reads the body
	outletStopped               // nothing more is handed out
)

// unansweredLine is a line without all of its answers.
type unansweredLine struct {
	start   int64 // how many bytes were accepted before it
	cost    int
	targets int
	left    int    // targets without an answer
	has     []bool // which targets have one, if there are several
	done    func(index int, a Answer, err error)
}

// waiter is a Send for which there is no room yet.
type waiter struct {
	submission
	result chan error // gets one element, under the Request's lock
}

// submission is what Send was called with.
type submission struct {
	line    []byte
	sum     uint32 // of line without its first byte
	targets int
	done    func(index int, a Answer, err error)
}

// What a line counts in addition to its bytes, and each of its targets.
const (
	lineCost   = 128
	targetCost = 32
)

func cost(line []byte, targets int) int { return len(line) + lineCost + targets*targetCost }

const (
	wholeLimit = 256 << 10            // of a request that may have to be sent whole: proxies limit that, often to 1 MiB
	gatherTime = 2 * time.Millisecond // for lines to come together in a whole request, from the first one
)

// Config says how a request is sent.
type Config struct {
	Client     *http.Client                           // Timeout should be 0; neither redirects nor cookies are used
	NewRequest func(io.Reader) (*http.Request, error) // with this body, and all headers but Accept-Encoding and Content-Type
	Limit      int                                    // no more is accepted while more than so many bytes are unanswered
	Whole      bool                                   // the request is known to be needed whole
}

// Open begins a bulk request, which accepts lines at once. Goroutines run until Done: when the answer has ended, after CloseSend
// as a rule, or Close is called, or ctx ends. If c.Whole, the request takes the lines that come within 2 ms, and is then sent.
func Open(ctx context.Context, c Config) *Request {
	client := *c.Client
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := &Request{
		client: &client, newRequest: c.NewRequest, limit: c.Limit,
		done: make(chan struct{}), wake: make(chan struct{}, 1), unanswered: make(map[int]*unansweredLine),
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	go r.run(c.Whole)
	return r
}

// Send queues a line: a JSON object, whole but for its line feed, which must not be changed any more. targets is 0 if its "to" is
// a string, and otherwise the length of the array. done is called once for each target (index 0 if it is a string) on a
// goroutine of the Request's, which it must not block; err is nil, or matches ErrNotSent or ErrLost, and then a.Status is not
// 0 if something other than a worker answered the whole request. An answer of a worker to the whole request goes to each
// target, with Line 0. While more than the limit is unanswered, Send waits, in the order of the calls. It fails with ErrEnded
// or ctx's error; then done is never called, and not one byte of the line is sent.
func (r *Request) Send(ctx context.Context, line []byte, targets int, done func(index int, a Answer, err error)) error {
	out := submission{line, checksum(line[1:]), targets, done}
	r.mu.Lock()
	switch {
	case r.intake == intakeClosed:
		r.mu.Unlock()
		return ErrEnded
	case r.hasRoomLocked() && len(r.waiting) == 0:
		r.acceptLocked(out)
		r.mu.Unlock()
		return nil
	}
	w := &waiter{out, make(chan error, 1)}
	r.waiting = append(r.waiting, w)
	r.signal() // a request that is gathered is full
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
	out := submission{line, checksum(line[1:]), targets, done}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.intake == intakeClosed:
		return ErrEnded
	case !r.hasRoomLocked() || len(r.waiting) > 0:
		return ErrFull
	}
	r.acceptLocked(out)
	return nil
}

func (r *Request) hasRoomLocked() bool {
	limit := r.limit
	if r.outlet == outletHeld {
		limit = min(limit, wholeLimit)
	}
	return r.unansweredCost <= limit
}

var lineFeed = []byte{'\n'}

func (r *Request) acceptLocked(out submission) {
	p := &unansweredLine{start: r.accepted, cost: cost(out.line, out.targets), targets: out.targets, left: max(out.targets, 1), done: out.done}
	r.lines++
	r.unanswered[r.lines] = p
	r.unansweredCost += p.cost
	if cap(r.heads)-len(r.heads) < maxCheck {
		r.heads = make([]byte, 0, 64*maxCheck)
	}
	before := len(r.heads)
	r.heads = appendCheck(r.heads, r.lines, out.sum)
	head := r.heads[before:]
	r.accepted += int64(len(head) + len(out.line) - 1 + len(lineFeed))
	r.queue = append(r.queue, head, out.line[1:], lineFeed)
	r.signal()
}

// admitLocked accepts what waits, as far as there is room.
func (r *Request) admitLocked() {
	for len(r.waiting) > 0 && r.hasRoomLocked() {
		w := r.waiting[0]
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
		r.acceptLocked(w.submission)
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
	r.closeIntakeLocked()
}

func (r *Request) closeIntakeLocked() {
	r.intake = intakeClosed
	for _, w := range r.waiting {
		w.result <- ErrEnded
	}
	r.waiting = nil
	r.signal()
}

// Close cuts the request off. It does not wait: Done tells when everything is settled.
func (r *Request) Close() { r.cancel(errClosed) }

// Done is closed once every target has its outcome and all goroutines have ended.
func (r *Request) Done() <-chan struct{} { return r.done }

// NeedsWhole reports whether something on the way should get requests only whole: the header of the answer did not come within a
// second, or parts of the request were lost.
func (r *Request) NeedsWhole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.needsWhole
}

// Progress returns how many lines are unanswered, and how many answers have come.
func (r *Request) Progress() (unanswered int, answers int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.unanswered), r.answers
}
