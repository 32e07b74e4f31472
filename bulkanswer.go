package wspush

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// bulkOutput writes the answers of a bulk request as they come, on a goroutine of its own.
type bulkOutput struct {
	request *bulkRequest
	rw      http.ResponseWriter
	control *http.ResponseController

	signal chan struct{} // has an element when there is something to do
	phase  outputPhase   // belongs to run; read by others once run has returned

	// halfClosed tells that the publisher has closed its side of the connection, and may have left. It is nil if it never tells, and
	// once it has told: then probes tell more.
	halfClosed <-chan struct{}
	isHalf     bool // it has told

	// Guarded by request.mu.
	out      bulk.Answers
	scratch  []byte      // for one answer
	failed   []*bulkPush // settled with an error, and to be answered
	lastLine []byte      // of the answer, once it is known how many lines there have been
	supply   supply
}

// outputPhase is how far a bulk request's answer has come.
type outputPhase int

const (
	// outputHeld: the answer has not begun, since the request asks for that. It becomes outputTogether when the body has ended,
	// and outputFlowing if the body cannot be read on before something is answered.
	outputHeld outputPhase = iota
	// outputTogether: the body has ended, and so the header is made. The answers wait for each other until there are no more to
	// come, or for togetherTime; then it becomes outputFinishing.
	outputTogether
	// outputFlowing: answers are written as they come, while the body is read. It becomes outputFinishing when the body has
	// ended, or outputBroken.
	outputFlowing
	// outputFinishing: answers are written as they come, and the body has ended. It may become outputBroken.
	outputFinishing
	// outputBroken: an answer could not be written, and no other will be.
	outputBroken
)

// supply says whether there will be more answers.
type supply int

const (
	supplyOpen   supply = iota // at any time
	supplyCorked               // in a moment: those that there are wait for them; uncork makes it supplyOpen again
	supplyEnded                // no more
)

const (
	probeEvery = 500 * time.Millisecond // while the body is not read

	// How long the answers to a request that has ended may wait for each other. A short answer that comes at once gets through
	// a proxy of Go's that is about to cut it off.
	togetherTime = 2 * time.Millisecond
)

func newBulkOutput(b *bulkRequest, rw http.ResponseWriter, control *http.ResponseController) *bulkOutput {
	return &bulkOutput{
		request: b, rw: rw, control: control, signal: make(chan struct{}, 1), out: bulk.NewAnswers(&b.worker.bulkChunks),
	}
}

// settledLocked answers a push that has been started. A lock of the socket may be held as well.
func (o *bulkOutput) settledLocked(p *bulkPush) {
	if p.err != nil {
		o.failed = append(o.failed, p) // what became of it cannot be found out under that lock
		o.wakeLocked()
		return
	}
	count := &o.request.worker.shared.count
	count.pushAs(p.confirm, nil)
	if p.many != nil {
		p.many.settledLocked(nil, p.cost)
		return
	}
	o.writtenLocked(p.key, p.confirm, p.message.RoundTrip(), p.cost)
}

// writtenLocked answers a push that has been written, or confirmed.
func (o *bulkOutput) writtenLocked(key bulk.Key, confirmed bool, roundTrip time.Duration, cost int) {
	if confirmed {
		o.scratch = key.AppendConfirmed(o.scratch[:0], roundTrip)
	} else {
		o.scratch = key.AppendWritten(o.scratch[:0])
	}
	o.addLocked(o.scratch, cost)
}

// bufferedLocked answers a push that a session has, which waits for its client for so long.
func (o *bulkOutput) bufferedLocked(key bulk.Key, d time.Duration, cost int) {
	o.scratch = key.AppendBuffered(o.scratch[:0], inSeconds(d))
	o.addLocked(o.scratch, cost)
}

// problemLocked answers a push with an error.
func (o *bulkOutput) problemLocked(key bulk.Key, p *problem, cost int) {
	o.scratch = key.AppendRefusal(o.scratch[:0], refusalOf(p))
	o.addLocked(o.scratch, cost)
}

// addLocked adds an answer, unless nobody wants it any more. From then on its bytes are held in place of what has been held for its
// push.
func (o *bulkOutput) addLocked(answer []byte, cost int) {
	b := o.request
	change := -cost
	if !b.gone.Load() {
		change += len(answer)
		o.out.Add(answer)
	}
	b.changeHeldLocked(change)
	if cost > 0 {
		b.tell()
	}
	o.wakeLocked()
}

func (o *bulkOutput) cork() {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.supply = supplyCorked
}

func (o *bulkOutput) uncork() {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.supply = supplyOpen
	o.wakeLocked()
}

// setLastLine says how many lines there have been, and why no more are read unless the body has ended.
func (o *bulkOutput) setLastLine(lines int, why *bulk.Refusal) {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.lastLine = bulk.AppendLast(nil, lines, why)
}

// finish says that everything is answered.
func (o *bulkOutput) finish() {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.supply = supplyEnded
	o.wakeLocked()
}

// wakeLocked lets run look, unless more is to come in a moment.
func (o *bulkOutput) wakeLocked() {
	if o.supply == supplyCorked {
		return
	}
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

// run writes answers until finish is called, and notices a publisher that leaves and a worker that ends. If after is true, the
// answer begins when the body has been read, or cannot be read on before something is answered.
func (o *bulkOutput) run(ctx context.Context, protoMajor int, after bool) {
	b := o.request
	if !after {
		o.phase = outputFlowing
		o.writeHeader()
		_ = o.control.Flush()
	}
	timer := time.NewTimer(probeEvery) // for the end of outputTogether, or for the next probe
	timer.Stop()
	defer timer.Stop()
	stopping := b.worker.roster.empty // nil once it has told
	for over := false; !over; {
		if o.phase != outputHeld {
			_ = o.control.SetWriteDeadline(time.Time{})
		}
		select {
		case <-o.signal:
		case <-o.bodyEnded():
			if b.input.BrokeOff() { // run may not notice, while it waits for room
				b.leave()
			}
			if o.phase == outputHeld {
				o.phase = outputTogether
				o.writeHeader()
				timer.Reset(togetherTime)
			} else {
				o.phase = outputFinishing
			}
		case <-o.publisherLeft(ctx, protoMajor):
			b.leave()
		case <-o.publisherHalfLeft():
			o.halfClosed, o.isHalf = nil, true
			timer.Reset(probeEvery)
		case <-o.workerCut():
			b.leave()
		case <-stopping:
			stopping = nil
			b.input.Stop()
		case <-b.input.Pauses():
			if o.phase == outputHeld {
				o.phase = outputFlowing
				o.writeHeader()
			}
			if o.phase == outputFlowing && protoMajor == 1 {
				timer.Reset(probeEvery)
			}
		case <-timer.C:
			if o.phase == outputTogether {
				o.phase = outputFinishing
			} else {
				o.probe(timer)
			}
		}
		if !o.isWaiting() {
			over = o.writeQueued()
		}
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout)) // for what net/http writes when the handler returns
}

// bodyEnded returns a channel that tells that the body has ended; nil if that is known, or does not matter any more.
func (o *bulkOutput) bodyEnded() <-chan struct{} {
	if o.phase == outputHeld || o.phase == outputFlowing {
		return o.request.input.Ended()
	}
	return nil
}

// publisherLeft returns a channel that tells that the publisher has left; nil if that is known, or cannot be told from ctx, which
// is the request's: over HTTP/1, a read that times out ends it. But until the body has been read, reading it tells.
func (o *bulkOutput) publisherLeft(ctx context.Context, protoMajor int) <-chan struct{} {
	if o.request.gone.Load() || protoMajor == 1 && o.request.input.Err() != io.EOF {
		return nil
	}
	return ctx.Done()
}

// publisherHalfLeft returns a channel that tells that the publisher may have left; nil if that is known, or does not matter yet: until
// the body has been read, reading it tells.
func (o *bulkOutput) publisherHalfLeft() <-chan struct{} {
	if o.phase == outputFinishing {
		return o.halfClosed
	}
	return nil
}

// workerCut returns a channel that tells that the worker is cut off; nil if the publisher is gone anyway.
func (o *bulkOutput) workerCut() <-chan struct{} {
	if o.request.gone.Load() {
		return nil
	}
	return o.request.worker.cut.Done()
}

// writeHeader makes the header of the answer, which is sent with the first part of it.
func (o *bulkOutput) writeHeader() {
	header := o.rw.Header()
	header.Set("Content-Type", wire.NDJSON)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would keep answers back
	_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout))
	o.rw.WriteHeader(http.StatusOK)
}

// isWaiting reports whether answers wait before they are written.
func (o *bulkOutput) isWaiting() bool {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	return o.phase == outputHeld || o.phase == outputTogether && o.supply != supplyEnded
}

// probe finds out whether the publisher is still there while the body is not read because too much is unanswered, or when the publisher has
// closed its side: over HTTP/1 only reading or writing tells. A space before an answer means nothing in JSON.
func (o *bulkOutput) probe(timer *time.Timer) {
	if !o.isHalf && !o.request.input.IsPaused() {
		return
	}
	timer.Reset(probeEvery)
	if !o.request.gone.Load() && !o.writeSpace() {
		o.phase = outputBroken
		o.request.leave()
	}
}

// writeQueued writes the answers that there are, and reports whether they were the last.
func (o *bulkOutput) writeQueued() (over bool) {
	b := o.request
	b.mu.Lock()
	for len(o.failed) > 0 {
		failed := o.failed
		o.failed = nil
		b.mu.Unlock()
		for i, p := range failed {
			b.answerFailed(p)
			failed[i] = nil
		}
		b.mu.Lock()
	}
	if over = o.supply == supplyEnded; over {
		o.addLocked(o.lastLine, 0)
	}
	parts := o.out.Take()
	b.mu.Unlock()
	if len(parts) == 0 {
		return over
	}
	if !b.gone.Load() && !o.write(parts, !over) {
		o.phase = outputBroken
		b.leave()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, part := range parts {
		b.changeHeldLocked(-len(part))
		o.out.Reuse(part)
	}
	b.tell()
	return over
}

// write writes answers. A publisher has answerTimeout to take each part of them. The deadline does not last any longer: over
// HTTP/2 it would end a request in which nothing is being written.
func (o *bulkOutput) write(parts [][]byte, more bool) bool {
	for _, part := range parts {
		_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout))
		if _, err := o.rw.Write(part); err != nil {
			return false
		}
		// What is last goes out when the handler returns, which it only does at once if the body has been read.
		if (more || o.request.input.Err() != io.EOF || len(parts) > 1) && o.control.Flush() != nil {
			return false
		}
	}
	return true
}

// writeSpace writes a space before an answer.
func (o *bulkOutput) writeSpace() bool { return o.write([][]byte{{' '}}, true) }

// answerFailed answers a push that has been settled with an error, or buffered.
func (b *bulkRequest) answerFailed(p *bulkPush) {
	err := p.conn.outcome(p.err)
	b.worker.shared.count.pushAs(p.confirm, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch d, isBuffered := bufferedIn(err); {
	case p.many != nil:
		p.many.settledLocked(err, p.cost)
	case isBuffered:
		b.output.bufferedLocked(p.key, d, p.cost)
	default:
		b.output.problemLocked(p.key, problemOfPush(err, p.confirm), p.cost)
	}
}

// refusalOf is what an answer line says of a problem.
func refusalOf(p *problem) bulk.Refusal {
	return bulk.Refusal{Status: p.Status, Type: p.Type, Detail: p.Detail, Connection: p.Connection, RetryAfter: p.retryAfter()}
}
