package wspush

import (
	"context"
	"io"
	"net/http"
	"slices"
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
	broken bool          // an answer could not be written; read once run has returned

	// Guarded by request.mu.
	out    []byte      // answers
	cost   int         // of the pushes that they are to
	failed []*bulkPush // settled with an error, and to be answered
	corked bool        // more answers are to come in a moment
	end    []byte      // the last line of the answer, once it is known how many lines there have been
	ended  bool        // nothing more is to come
}

const (
	answerChunk = 64 << 10               // is written at a time
	probeEvery  = 500 * time.Millisecond // while the body is not read

	// How long the answers to a request that has ended may wait for each other. A short answer that comes at once gets through
	// a proxy of Go's that is about to cut it off.
	togetherTime = 2 * time.Millisecond
)

func newBulkOutput(b *bulkRequest, rw http.ResponseWriter, control *http.ResponseController) *bulkOutput {
	return &bulkOutput{request: b, rw: rw, control: control, signal: make(chan struct{}, 1)}
}

// settledLocked answers a push that has been started. A lock of the socket may be held as well.
func (o *bulkOutput) settledLocked(p *bulkPush) {
	if p.err != nil {
		o.failed = append(o.failed, p) // what became of it cannot be found out under that lock
		o.wakeLocked()
		return
	}
	count := &o.request.worker.shared.count
	if p.confirm {
		count.pushConfirmed(nil)
	} else {
		count.push(nil)
	}
	o.writtenLocked(p.key, p.confirm, p.message.RoundTrip(), p.cost)
}

// writtenLocked answers a push that has been written, or confirmed.
func (o *bulkOutput) writtenLocked(key bulk.Key, confirmed bool, roundTrip time.Duration, cost int) {
	if confirmed {
		o.out = key.AppendConfirmed(o.out, roundTrip)
	} else {
		o.out = key.AppendWritten(o.out)
	}
	o.cost += cost
	o.wakeLocked()
}

// problemLocked answers a push with an error.
func (o *bulkOutput) problemLocked(key bulk.Key, p *problem, cost int) {
	o.out = key.AppendRefusal(o.out, refusalOf(p))
	o.cost += cost
	o.wakeLocked()
}

func (o *bulkOutput) cork() {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.corked = true
}

func (o *bulkOutput) uncork() {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.corked = false
	o.wakeLocked()
}

// last says how many lines there have been, and why no more are read unless the body has ended.
func (o *bulkOutput) last(lines int, why *bulk.Refusal) {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.end = bulk.AppendLast(nil, lines, why)
}

// finish says that everything is answered.
func (o *bulkOutput) finish() {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	o.ended = true
	o.wakeLocked()
}

// wakeLocked lets run look, unless more is to come in a moment.
func (o *bulkOutput) wakeLocked() {
	if o.corked {
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
	begun := false
	begin := func() {
		if !begun {
			begun = true
			o.begin()
		}
	}
	if !after {
		begin()
		_ = o.control.Flush()
	}
	// Over HTTP/1, a read that times out ends the context; but until the body has been read, reading it tells.
	read, left, stopped := b.input.Ended(), (<-chan struct{})(nil), b.worker.roster.empty
	if protoMajor >= 2 {
		left = ctx.Done()
	}
	probe := time.NewTimer(probeEvery)
	probe.Stop()
	defer probe.Stop()
	var together <-chan time.Time // while the answers to a request that has ended are to come together
	var spare []byte
	cut := b.worker.cut.Done()
	for over := false; !over; {
		if begun {
			_ = o.control.SetWriteDeadline(time.Time{})
		}
		select {
		case <-cut:
			cut = nil
			b.leave()
		case <-o.signal:
		case <-read:
			read = nil
			switch {
			case b.input.Err() == io.EOF:
				left = ctx.Done()
			case b.input.BrokeOff(): // run may not notice, while it waits for room
				b.leave()
			}
			if !begun {
				together = time.After(togetherTime)
			}
			begin()
		case <-left:
			left = nil
			b.leave()
		case <-stopped:
			stopped = nil
			b.input.Stop()
		case <-b.input.Pauses():
			begin()
			if protoMajor == 1 {
				probe.Reset(probeEvery)
			}
		case <-probe.C:
			o.probe(probe)
		case <-together:
			together = nil
		}
		if begun && !(together != nil && o.isUnsettled()) {
			over, spare = o.writeQueued(spare)
		}
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout)) // for what net/http writes when the handler returns
}

// begin makes the header of the answer, which is sent with the first part of it.
func (o *bulkOutput) begin() {
	header := o.rw.Header()
	header.Set("Content-Type", wire.NDJSON)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would keep answers back
	_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout))
	o.rw.WriteHeader(http.StatusOK)
}

// isUnsettled reports whether more answers are to come.
func (o *bulkOutput) isUnsettled() bool {
	o.request.mu.Lock()
	defer o.request.mu.Unlock()
	return !o.ended
}

// probe finds out whether the publisher is still there while the body is not read because too much is unanswered: over HTTP/1
// only reading or writing tells. A space before an answer means nothing in JSON.
func (o *bulkOutput) probe(timer *time.Timer) {
	if !o.request.input.IsPaused() {
		return
	}
	timer.Reset(probeEvery)
	if !o.request.gone.Load() && !o.write([]byte{' '}, true) {
		o.broken = true
		o.request.leave()
	}
}

// writeQueued writes the answers that there are. over is true if they were the last; buffer is used for the next ones.
func (o *bulkOutput) writeQueued(spare []byte) (over bool, buffer []byte) {
	b := o.request
	b.mu.Lock()
	out, cost, failed := o.out, o.cost, o.failed
	o.out, o.cost, o.failed = spare[:0], 0, nil
	end, over := o.end, o.ended
	b.mu.Unlock()
	for _, p := range failed {
		out = b.appendFailed(out, p)
		cost += p.cost
	}
	if over {
		out = append(out, end...)
	}
	if len(out) > 0 && !b.gone.Load() && !o.write(out, !over) {
		o.broken = true
		b.leave()
	}
	if cost > 0 {
		b.release(cost)
	}
	if cap(out) > 4*answerChunk {
		out = nil
	}
	return over, out
}

// write writes answers. A publisher has answerTimeout to take each part of them. The deadline does not last any longer: over
// HTTP/2 it would end a request in which nothing is being written.
func (o *bulkOutput) write(out []byte, more bool) bool {
	for part := range slices.Chunk(out, answerChunk) {
		_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout))
		if _, err := o.rw.Write(part); err != nil {
			return false
		}
		// What is last goes out when the handler returns, which it only does at once if the body has been read.
		if (more || o.request.input.Err() != io.EOF || len(out) > answerChunk) && o.control.Flush() != nil {
			return false
		}
	}
	return true
}

// appendFailed appends the answer to a push that has been settled with an error.
func (b *bulkRequest) appendFailed(out []byte, p *bulkPush) []byte {
	err := p.conn.outcome(p.err)
	count := &b.worker.shared.count
	if p.confirm {
		count.pushConfirmed(err)
	} else {
		count.push(err)
	}
	return p.key.AppendRefusal(out, refusalOf(problemOfPush(err, p.confirm)))
}

// refusalOf is what an answer line says of a problem.
func refusalOf(p *problem) bulk.Refusal {
	return bulk.Refusal{Status: p.Status, Type: p.Type, Detail: p.Detail, Connection: p.Connection, RetryAfter: p.retryAfter()}
}
