package wspush

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// bulk is one bulk request under way: each line of it is a push, and is answered by a line as soon as there is an outcome.
//
// The handler's own goroutine reads lines and starts pushes; another (input) reads the body ahead of it, so that it knows whether
// there is more; a third (output) writes answers. While there is more, messages are gathered by connection, and those to one
// connection share a write: that is, beside the cost of HTTP, what makes them cheaper than so many requests. Lines for other
// workers' connections have requests of their own (hops), with goroutines of theirs. The handler waits for all of them.
type bulk struct {
	worker *Worker
	ctx    context.Context // ends when the publisher is gone: the request's own does so, too, when a read has timed out
	cancel context.CancelFunc
	from   hop
	mount  string // at which the connections must live
	input  *bulkInput
	output *bulkOutput
	gone   atomic.Bool // the publisher is: nobody wants an answer, or another push

	groups   map[*Conn]*group // what has been gathered, and not been started
	order    []*group         // the same, as it came
	spare    []*group
	gathered int // pushes
	cost     int // of these

	hops    map[string]*bulkHop // by the other worker's address
	hopping sync.WaitGroup

	mu        sync.Mutex // guards what follows, and what output has; it may be locked within a socket's, and not the other way
	changed   sync.Cond  // of mu: held or unsettled have become less, or the publisher is gone
	held      int        // the cost of what has been started or refused, and not been answered
	unsettled int        // pushes
	pending   map[*bulkPush]struct{}
	waiting   map[*Conn]int // what they have in it of each connection
}

const (
	bulkHeld    = 4 << 20      // how much one request may hold: messages that wait, and answers
	connHeld    = bulkHeld / 4 // of one connection
	pushCost    = 256          // what a push counts beyond its message
	gatherCost  = bulkHeld / 4 // is gathered at most
	gatherMax   = 8 << 10      // pushes are
	groupBytes  = 16 << 10     // for one connection: what fits into one write
	bulkMethods = "OPTIONS, POST"
)

// checkBulk refuses a request none of whose lines can be served.
func checkBulk(r *http.Request) *problem {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	encoding := r.Header.Get("Content-Encoding")
	if err != nil || media != wire.NDJSON || encoding != "" && !strings.EqualFold(encoding, "identity") {
		return newProblem(http.StatusUnsupportedMediaType, "many messages in one request are "+wire.NDJSON+": a JSON object a line, not compressed")
	}
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return newProblem(http.StatusBadRequest, err.Error()+"; what a push asks for stands in its line, not in the query")
	}
	return nil
}

// postBulk serves a bulk request.
func (w *Worker) postBulk(rw http.ResponseWriter, r *http.Request, mount string, from hop) response {
	if p := checkBulk(r); p != nil {
		return p.response()
	}
	if w.roster.isEmpty() {
		return problemOf(ErrShutdown).response()
	}
	control := http.NewResponseController(rw)
	if control.EnableFullDuplex() != nil {
		return newProblem(http.StatusInternalServerError,
			"this server lets no answer begin before the request has ended: a middleware's ResponseWriter needs an Unwrap method").response()
	}
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") && r.ProtoAtLeast(1, 1) { // or the answer would begin with "no"
		rw.WriteHeader(http.StatusContinue)
	}
	b := &bulk{
		worker: w, from: from, mount: mount,
		groups: make(map[*Conn]*group), pending: make(map[*bulkPush]struct{}), waiting: make(map[*Conn]int),
	}
	b.changed.L = &b.mu
	b.ctx, b.cancel = context.WithCancel(context.Background())
	defer b.cancel()
	b.input = newBulkInput(r.Body, control)
	b.output = newBulkOutput(b, rw, control)
	var running sync.WaitGroup
	running.Go(b.input.run)
	running.Go(func() { b.output.run(r.Context(), r.ProtoMajor) })
	defer func() {
		if b.input.err != io.EOF && r.ProtoMajor == 1 && !b.output.broken {
			closeAfter(rw)
		}
	}()
	defer running.Wait() // also when the application's Logger panics
	defer b.input.stop()
	defer b.output.end()
	defer b.hopping.Wait()
	defer b.awaitSettled()
	defer b.endHops()
	b.run()
	res := response{status: http.StatusOK, streamed: true}
	if !b.gone.Load() {
		res.linger = b.input.linger
	}
	return res
}

// closeAfter has net/http close the connection after an answer that has begun: what is left of the body must not be taken for
// the next request. Without full duplex net/http sees to that itself; with it, this is the only way to say so that late.
func closeAfter(rw http.ResponseWriter) {
	for {
		wrapped, ok := rw.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		rw = wrapped.Unwrap()
	}
	_, _ = http.MaxBytesReader(rw, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}

// run starts the pushes of all lines.
func (b *bulk) run() {
	lines := newLines(b.input, b.maxLine())
	var parser lineParser
	for number := 1; !b.gone.Load(); number++ {
		if !lines.ready() {
			runtime.Gosched() // whoever reads ahead may be about to have more
			if !lines.ready() {
				b.flush()
			}
		}
		line, err := lines.next()
		switch {
		case errors.Is(err, errLineTooLong):
			b.refuse(answerTo{line: number, index: -1}, newProblem(http.StatusBadRequest, err.Error()))
			continue
		case err != nil:
			b.flush()
			if b.input.brokeOff() {
				b.leave()
			}
			b.output.lines(number - 1)
			return
		case len(line) == 0:
			continue
		}
		p, problem := parser.parse(line)
		if problem != nil {
			b.refuse(answerTo{line: number, index: -1, ref: p.ref}, problem)
			continue
		}
		b.push(number, p)
	}
}

// maxLine is how long a line may be: what a message of MaxPushBytes can take with its escapes and its target. Negative: there
// is no limit.
func (b *bulk) maxLine() int {
	limit := b.worker.opts.MaxPushBytes
	if limit < 0 || limit > 1<<40 {
		return -1
	}
	return int(2*limit) + 64<<10
}

// push gathers the pushes of one line, and sends on those for connections of other workers.
func (b *bulk) push(number int, p linePush) {
	invalid := checkMessage(p.typ, p.data, b.worker.shared.maxPushBytes)
	var forward []*hopLine
	for i, to := range p.to {
		answer := answerTo{line: number, index: i, ref: p.ref}
		if !p.isList {
			answer.index = -1
		}
		if invalid != nil {
			b.refusePush(answer, invalid)
			continue
		}
		c, elsewhere, err := b.find(to)
		switch {
		case elsewhere != nil:
			forward = b.collect(forward, elsewhere, to, answer, p)
		case err != nil:
			b.refusePush(answer, err)
		case !(address.Target{Path: b.mount, Form: address.PathForm}).Lives(c.path):
			b.refuse(answer, newProblem(http.StatusNotFound, "the connection lives at another path"))
		default:
			b.pushTo(c, answer, p)
		}
	}
	for _, l := range forward {
		b.forward(l, p)
	}
}

// find finds the connection, or says where it is. What has been gathered does not wait for that.
func (b *bulk) find(to string) (c *Conn, elsewhere *seal.Place, err error) {
	c, elsewhere, err = b.worker.find(to)
	switch {
	case err == errEarlier:
		b.flush()
		return b.worker.locate(b.ctx, to)
	case elsewhere != nil && b.from != noHop:
		return nil, nil, errLoop
	}
	return c, elsewhere, err
}

// makeRoom is hold for what is not gathered. What is does not wait for it.
func (b *bulk) makeRoom(cost, pushes int) {
	b.mu.Lock()
	full := b.isFull(cost)
	b.mu.Unlock()
	if full {
		b.flush()
	}
	b.hold(cost, pushes)
}

// isFull reports whether there is no room for so much more; mu is held.
func (b *bulk) isFull(cost int) bool { return b.held > 0 && b.held+cost > bulkHeld }

// hold waits until there is room for so much more, if there is anything that can make room.
func (b *bulk) hold(cost, pushes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.isFull(cost) && !b.gone.Load() {
		b.changed.Wait()
	}
	b.held += cost
	b.unsettled += pushes
}

// leave is for a publisher that is gone: what has not begun is withdrawn, and what waits for room does so no longer.
func (b *bulk) leave() {
	b.gone.Store(true)
	b.cancel()
	b.input.stop()
	b.mu.Lock()
	pending := make([]*bulkPush, 0, len(b.pending))
	for p := range b.pending {
		pending = append(pending, p)
	}
	b.changed.Broadcast()
	b.mu.Unlock()
	for _, p := range pending {
		p.abandon(context.Canceled)
	}
}

// awaitSettled waits until every push has its outcome.
func (b *bulk) awaitSettled() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.unsettled > 0 {
		b.changed.Wait()
	}
}

// answered takes note that answers have been written, or never will be.
func (b *bulk) answered(cost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= cost
	b.changed.Broadcast()
}

// refusePush answers a push that does not come to be started.
func (b *bulk) refusePush(to answerTo, err error) { b.refuse(to, b.worker.refuse(err)) }

// refuse answers a line, or one target of it.
func (b *bulk) refuse(to answerTo, p *problem) {
	b.makeRoom(pushCost, 0)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output.problem(to, p, pushCost)
}
