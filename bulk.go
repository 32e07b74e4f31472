package wspush

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// bulkRequest is one bulk request under way: each line is a push, and is answered by a line as soon as its outcome is known.
//
// The handler's own goroutine takes lines and starts pushes. The input's goroutine reads the body ahead of it, so that it is
// known whether there is more; the output's goroutine writes answers. While there is more, messages are gathered by connection,
// and those to one connection share a write: apart from the cost of HTTP, that is what makes them cheaper than as many
// requests. Lines for connections of other workers go over links to these. close waits for all outcomes.
type bulkRequest struct {
	worker  *Worker
	ctx     context.Context // ends when the publisher is gone; the request's own also ends when a read times out
	cancel  context.CancelFunc
	mount   address.Target // where the connections must live
	checked bool           // each line carries a check
	input   *bulk.Input
	output  *bulkOutput
	running sync.WaitGroup // the goroutines of input and output
	line    share          // for the line that is being read; it belongs to the handler's goroutine
	gone    atomic.Bool    // the publisher is gone: nobody wants an answer, or another push

	bundles  map[*Conn]*bundle // what has been gathered, and not been started
	order    []*bundle         // the same, as it came
	gathered int               // pushes
	cost     int               // of these
	scratch  []byte            // for one answer

	named      []namedLine // lines that wait to be looked up together; they belong to the handler's goroutine
	namedBytes int         // of their messages

	peers map[string]*bulkPeer // other workers by their addresses
	may   bulkAuthorizer       // asks about users and groups; it belongs to the handler's goroutine

	changed chan struct{} // has an element when what the handler's goroutine waits for may have come: see await

	mu        sync.Mutex // guards what follows, and fields of output and of bulkPush; it may be locked while a socket's lock is held, not the other way round
	room      bulkRoom
	unsettled int // pushes
	pending   pendingPushes
	remotes   map[*link.Push]struct{} // pushes to other workers without all outcomes; nil if there are none
	ways      map[[16]byte]bulkWay    // of connections of other workers, by ID: those to which pushes have no outcome yet
	waiting   map[*Conn]int           // the cost of pending for each connection; nil if there are none
}

const (
	bulkHeld    = 4 << 20      // how much one request may hold: messages that wait, and answers
	bulkFree    = 64 << 10     // of that, and of what is gathered, may be held whatever other requests hold
	connHeld    = bulkHeld / 4 // of one connection
	pushCost    = 512          // what a push counts beyond its message and its ref: about what it takes while it waits
	gatherCost  = bulkHeld / 2 // is gathered at most
	gatherMax   = 8 << 10      // pushes are
	bundleBytes = 16 << 10     // for one connection: what fits into one write
	bulkMethods = "OPTIONS, POST"

	// bulkIdle is how many bytes a request holds beside its lines, pushes and answers: a chunk to read into, a few small ones, and
	// itself with its goroutines. That is all while it waits for its publisher.
	bulkIdle = bulk.ChunkSize + 128<<10
)

// bulkForm is how a bulk request is to be read and answered.
type bulkForm struct {
	checked bool // each line carries a check
	after   bool // the answer begins when the body has been read
}

// readBulkForm refuses a request none of whose lines can be served.
func readBulkForm(r *http.Request) (form bulkForm, _ *problem) {
	params, p := readBulkMedia(r.Header)
	if p != nil {
		return form, p
	}
	check, checked := params[bulk.CheckParam]
	answer, after := params[bulk.AnswerParam]
	switch {
	case checked && check != bulk.CheckCRC32:
		return form, unsupportedMedia("the only check of lines is "+bulk.CheckCRC32, bulkMedia)
	case after && answer != bulk.AnswerAfter:
		return form, unsupportedMedia("an answer comes while the request is sent, or "+bulk.AnswerAfter+" it", bulkMedia)
	}
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return form, newProblem(http.StatusBadRequest, err.Error()+"; what a push asks for stands in its line, not in the query")
	}
	return bulkForm{checked: checked, after: after || r.ContentLength >= 0}, nil
}

// readBulkMedia returns the parameters of the media type. One that was ignored would make a misspelt one change what a request
// promises, as in a query.
func readBulkMedia(h http.Header) (params map[string]string, _ *problem) {
	if p := checkCoding(h); p != nil {
		return nil, p
	}
	kinds := h.Values("Content-Type")
	media, params, err := mime.ParseMediaType(strings.Join(kinds, ""))
	wrong := ""
	switch {
	case len(kinds) > 1:
		wrong = "there is more than one Content-Type"
	case len(kinds) > 0 && err != nil:
		wrong = "the Content-Type is malformed, or has a parameter twice with different values"
	case media != wire.NDJSON:
		wrong = "many messages in one request are " + wire.NDJSON + ": a JSON object a line"
	case !isUTF8(params["charset"]): // RFC 8259 section 8.1
		wrong = "JSON is UTF-8, and no other charset is understood"
	}
	known := []string{bulk.CheckParam, bulk.AnswerParam}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if wrong == "" && name != "charset" && !slices.Contains(known, name) {
			wrong = unknownParameter("Content-Type", name, known).Error()
		}
	}
	if wrong != "" {
		return nil, unsupportedMedia(wrong, bulkMedia)
	}
	return params, nil
}

// postBulk serves a bulk request.
func (w *Worker) postBulk(rw http.ResponseWriter, r *http.Request, mount address.Target, by authorizer) response {
	form, p := readBulkForm(r)
	if p != nil {
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
	b := &bulkRequest{
		worker: w, mount: mount, checked: form.checked,
		bundles: make(map[*Conn]*bundle), changed: make(chan struct{}, 1), room: bulkRoom{all: &w.bulkRoom},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.may = bulkAuthorizer{request: b, by: by, whole: r}
	b.line.budget, b.line.reader = &w.bodies.budget, b
	defer b.line.end()
	config := bulk.InputConfig{Length: r.ContentLength, Chunks: &w.bulkChunks, Idle: idleTimeout, Within: bodyTimeout, Room: b}
	if ahead := max(bulkHeld, b.maxLine()); form.after && r.ContentLength <= ahead {
		config.Ahead = ahead
	} else {
		form.after = false
	}
	b.input = bulk.NewInput(r.Body, control, config)
	b.output = newBulkOutput(b, rw, control)
	b.output.halfClosed = lane.HalfClosed(r)
	b.running.Go(b.input.Run)
	b.running.Go(func() { b.output.run(r.Context(), r.ProtoMajor, form.after) })
	defer b.close(rw, r) // also when the application's Logger panics
	b.run()
	res := response{status: http.StatusOK, streamed: true}
	if !b.gone.Load() {
		res.linger = func() { b.input.Linger(lingerTime, lingerBytes) }
	}
	return res
}

// close ends the request once run has returned: it waits for all outcomes, has them answered, and waits for the goroutines.
func (b *bulkRequest) close(rw http.ResponseWriter, r *http.Request) {
	b.awaitSettled()
	b.output.finish()
	b.input.Stop()
	b.running.Wait()
	if r.ProtoMajor > 1 { // net/http would wait for the last answers to be taken, when nothing counts the request any more
		_ = b.output.control.Flush()
	}
	b.input.Close()
	b.endRoom()
	if b.input.Err() != io.EOF && r.ProtoMajor == 1 && b.output.phase != outputBroken {
		forceClose(rw)
	}
	b.cancel()
}

// forceClose has net/http close the connection after an answer that has begun: what is left of the body must not be taken for
// the next request. Without full duplex net/http does so by itself; with it, this is the only way to ask for it that late.
func forceClose(rw http.ResponseWriter) {
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
func (b *bulkRequest) run() {
	lines := bulk.NewLines(b.input, b.maxLine(), b.checked)
	for !b.gone.Load() {
		if !lines.Ready() {
			runtime.Gosched() // the input may be about to have more
			if !lines.Ready() {
				b.lookUp()
				b.flush()
			}
		}
		line, err := lines.Next()
		number := lines.Count()
		switch {
		case errors.Is(err, bulk.ErrLineTooLong):
			b.refuse(bulk.Key{Line: number, Index: -1}, newProblem(http.StatusBadRequest, fmt.Sprintf("%v: it may have %d bytes", err, b.maxLine())))
			continue
		case err != nil:
			b.lookUp()
			b.flush()
			if b.input.BrokeOff() {
				b.leave()
			}
			b.output.setLastLine(number, b.whyNoMore(err))
			return
		case len(line) == 0:
			continue
		}
		asked, err := bulk.Parse(line)
		key := bulk.Key{Line: number, Index: -1, Ref: asked.Ref}
		if err != nil {
			b.refuse(key, newProblem(http.StatusBadRequest, err.Error()))
			continue
		}
		p, err := readLine(asked)
		if err != nil {
			b.refuse(key, newProblem(http.StatusBadRequest, err.Error()))
			continue
		}
		if p.members != nil {
			b.pushMembers(key, p)
			continue
		}
		b.lookUp()
		b.push(number, p)
	}
}

// whyNoMore says why no more lines are read, unless the body has ended. err is that of Lines.
func (b *bulkRequest) whyNoMore(err error) *bulk.Refusal {
	switch end := b.input.Err(); {
	case errors.Is(err, bulk.ErrDamaged):
		return &bulk.Refusal{Type: bulk.TypeDamaged, Detail: "parts of the request were lost on the way: " + err.Error() + "; of what follows nothing was written, so send it again"}
	case err == bulk.ErrNoRoom || end == bulk.ErrNoRoom:
		return &bulk.Refusal{Type: wire.TypeFull, Detail: detailOf(errIntakeFull)}
	case end == bulk.ErrStopped:
		return &bulk.Refusal{Type: wire.TypeShutdown, Detail: detailOf(ErrShutdown)}
	case errors.Is(end, os.ErrDeadlineExceeded):
		return &bulk.Refusal{Type: newProblem(http.StatusRequestTimeout, "").Type, Detail: "nothing more of the request came in time; what is sent now is not read, so begin another request"}
	}
	return nil
}

// maxLine is how long a line may be: what a message of MaxPushBytes can take with its escapes and its targets, however it is
// written. So no message is refused as a line that a single push would accept. Negative: there is no limit.
func (b *bulkRequest) maxLine() int64 { return maxBulkLine(b.worker.opts.MaxPushBytes) }

func maxBulkLine(maxPushBytes int64) int64 {
	if maxPushBytes < 0 || maxPushBytes > 1<<40 {
		return -1
	}
	return int64(bulk.MaxEscape)*maxPushBytes + 64<<10
}

// bulkMost returns how many bytes a bulk request holds at most, in all. Negative: there is no limit. isWhole says whether the request is
// read whole before its answer begins. As long as lines are short and answers are read, it holds far less: see bulkIdle.
func bulkMost(maxPushBytes int64, isWhole bool) int64 {
	line := maxBulkLine(maxPushBytes)
	if line < 0 {
		return -1
	}
	reading := bulk.MaxAhead + line
	if isWhole {
		reading = max(bulkHeld, line) + bulk.ChunkSize
	}
	held := max(bulkHeld, maxPushBytes)
	return reading + maxPushBytes + gatherCost + held + held/4 + bulkIdle // a quarter: Go's memory comes in certain sizes
}

// push gathers the pushes of one line, and sends on those for connections of other workers.
func (b *bulkRequest) push(number int, p linePush) {
	invalid := wire.CheckMessage(p.typ, p.data, b.worker.shared.maxPushBytes)
	var forward []*bulkRemote
	for i, to := range p.to.All() {
		if b.gone.Load() { // nothing waits for room any longer
			return
		}
		key := bulk.Key{Line: number, Index: i, Ref: p.ref}
		if !p.to.IsList {
			key.Index = -1
		}
		if invalid != nil {
			b.refusePush(key, invalid)
			continue
		}
		c, elsewhere, err := b.find(to)
		switch {
		case elsewhere != nil:
			forward = b.addRemote(forward, elsewhere, key, &p)
		case err != nil:
			b.refusePush(key, err)
		case !b.mount.Lives(c.path):
			b.refuse(key, problemOf(errOtherPath))
		default:
			b.pushTo(c, key, nil, &p)
		}
	}
	for _, r := range forward {
		b.forward(r, &p)
	}
}

// find finds the connection, or the worker that holds it. It flushes gathered pushes before a lookup that can take seconds.
func (b *bulkRequest) find(to string) (c *Conn, elsewhere *seal.Place, err error) {
	c, elsewhere, err = b.worker.find(to)
	if err == errEarlierInstance {
		b.flush()
		c, elsewhere, err = b.worker.locate(b.ctx, to)
	}
	if err != nil {
		return nil, nil, err
	}
	if way := b.wayTo(c, elsewhere); way != nil {
		return nil, way, nil
	}
	return c, elsewhere, nil
}

// leave is for a publisher that is gone: what has not begun is withdrawn, and nothing waits for room any longer.
func (b *bulkRequest) leave() {
	b.gone.Store(true)
	b.cancel()
	b.input.Stop()
	b.mu.Lock()
	pending := b.pending.allLocked()
	remotes := slices.Collect(maps.Keys(b.remotes))
	b.tell()
	b.mu.Unlock()
	for _, p := range pending {
		p.abandon(context.Canceled)
	}
	for _, p := range remotes {
		b.worker.abandonLink(p)
	}
}

// awaitSettled waits until every push has its outcome.
func (b *bulkRequest) awaitSettled() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.unsettled > 0 {
		b.awaitLocked()
	}
}

// refusePush answers, and counts, a push that is not started.
func (b *bulkRequest) refusePush(key bulk.Key, err error) { b.refuse(key, b.worker.refuse(err)) }

// refuse answers a line, or one target of it.
func (b *bulkRequest) refuse(key bulk.Key, p *problem) {
	b.scratch = key.AppendRefusal(b.scratch[:0], refusalOf(p))
	b.makeRoom(len(b.scratch), 0)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output.addLocked(b.scratch, len(b.scratch))
}
