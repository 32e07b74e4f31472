package wspush

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// answerTo says which push of a bulk request an answer is to.
type answerTo struct {
	line  int
	index int    // of the target; -1: the line has one
	ref   string // as JSON, or ""
}

// bulkOutput writes the answers of a bulk request, on a goroutine of its own, as they come.
type bulkOutput struct {
	bulk    *bulk
	rw      http.ResponseWriter
	control *http.ResponseController

	signal chan struct{} // has an element when there is something to do
	broken bool          // an answer could not be written; run's

	// Guarded by bulk.mu.
	out    []byte      // answers
	cost   int         // of the pushes that they are to
	failed []*bulkPush // settled with an error, and to be answered
	corked bool        // more answers are to come in a moment
	total  int         // lines that there have been; negative: that is not known
	ended  bool        // there is nothing more to come
}

func newBulkOutput(b *bulk, rw http.ResponseWriter, control *http.ResponseController) *bulkOutput {
	return &bulkOutput{bulk: b, rw: rw, control: control, signal: make(chan struct{}, 1), total: -1}
}

// settled answers a push that has been started. bulk.mu is held, and may be a lock of the socket.
func (o *bulkOutput) settled(p *bulkPush) {
	if p.err != nil {
		o.failed = append(o.failed, p) // what became of it cannot be found out under that lock
		o.wake()
		return
	}
	count := &o.bulk.worker.shared.count
	if p.confirm {
		count.pushConfirmed(nil)
	} else {
		count.push(nil)
	}
	o.written(p.answer, p.confirm, p.message.RoundTrip(), p.cost)
}

// written answers a push that has been written, or confirmed; bulk.mu is held.
func (o *bulkOutput) written(to answerTo, confirmed bool, roundTrip time.Duration, cost int) {
	o.out = to.appendWritten(o.out, confirmed, roundTrip)
	o.cost += cost
	o.wake()
}

// problem answers a push with an error; bulk.mu is held.
func (o *bulkOutput) problem(to answerTo, p *problem, cost int) {
	o.out = to.appendProblem(o.out, p)
	o.cost += cost
	o.wake()
}

func (o *bulkOutput) cork() {
	o.bulk.mu.Lock()
	defer o.bulk.mu.Unlock()
	o.corked = true
}

func (o *bulkOutput) uncork() {
	o.bulk.mu.Lock()
	defer o.bulk.mu.Unlock()
	o.corked = false
	o.wake()
}

// lines says how many lines there have been.
func (o *bulkOutput) lines(n int) {
	o.bulk.mu.Lock()
	defer o.bulk.mu.Unlock()
	o.total = n
}

// end says that all is answered.
func (o *bulkOutput) end() {
	o.bulk.mu.Lock()
	defer o.bulk.mu.Unlock()
	o.ended = true
	o.wake()
}

// wake lets run look, unless more is to come in a moment; bulk.mu is held.
func (o *bulkOutput) wake() {
	if o.corked {
		return
	}
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

// run writes answers until end, and sees to it that a publisher that leaves and a worker that ends are noticed.
func (o *bulkOutput) run(ctx context.Context, protoMajor int) {
	b := o.bulk
	header := o.rw.Header()
	header.Set("Content-Type", wire.NDJSON)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would keep answers back
	_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout))
	o.rw.WriteHeader(http.StatusOK)
	_ = o.control.Flush()

	// Over HTTP/1, a read that times out ends the context; but until the body has been read, it is read, and tells.
	whole, left, stopped := b.input.whole, (<-chan struct{})(nil), b.worker.roster.empty
	if protoMajor >= 2 {
		left = ctx.Done()
	}
	var spare []byte
	cut := b.worker.cut.Done()
	for ended := false; !ended; {
		_ = o.control.SetWriteDeadline(time.Time{})
		select {
		case <-cut:
			cut = nil
			b.leave()
		case <-o.signal:
		case <-whole:
			whole, left = nil, ctx.Done()
		case <-left:
			left = nil
			b.leave()
		case <-stopped:
			stopped = nil
			b.input.stop()
		}
		o.bulk.mu.Lock()
		out, cost, failed := o.out, o.cost, o.failed
		o.out, o.cost, o.failed = spare[:0], 0, nil
		total := o.total
		ended = o.ended
		o.bulk.mu.Unlock()
		for _, p := range failed {
			out = b.appendFailed(out, p)
			cost += p.cost
		}
		if ended && total >= 0 {
			out = append(strconv.AppendInt(append(out, `{"lines":`...), int64(total), 10), "}\n"...)
		}
		if len(out) > 0 && !b.gone.Load() && !o.write(out) {
			o.broken = true
			b.leave()
		}
		if cost > 0 {
			b.answered(cost)
		}
		if spare = out; cap(spare) > maxChunk*4 {
			spare = nil
		}
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout)) // for what net/http writes after it
}

// write writes answers. A publisher has so long to take each part of them. The deadline is no longer than that: over HTTP/2 it
// would end a request in which nothing is being written.
func (o *bulkOutput) write(out []byte) bool {
	for part := range slices.Chunk(out, maxChunk) {
		_ = o.control.SetWriteDeadline(time.Now().Add(answerTimeout))
		if _, err := o.rw.Write(part); err != nil || o.control.Flush() != nil {
			return false
		}
	}
	return true
}

// appendFailed appends the answer to a push that has been settled with an error.
func (b *bulk) appendFailed(out []byte, p *bulkPush) []byte {
	err := p.conn.outcome(p.err)
	count := &b.worker.shared.count
	if p.confirm {
		count.pushConfirmed(err)
	} else {
		count.push(err)
	}
	return p.answer.appendProblem(out, problemOfPush(err, p.confirm))
}

// appendHead appends the beginning of an answer, which ends in its status.
func (to answerTo) appendHead(out []byte, status int) []byte {
	out = strconv.AppendInt(append(out, `{"line":`...), int64(to.line), 10)
	if to.index >= 0 {
		out = strconv.AppendInt(append(out, `,"index":`...), int64(to.index), 10)
	}
	if to.ref != "" {
		out = append(append(out, `,"ref":`...), to.ref...)
	}
	return strconv.AppendInt(append(out, `,"status":`...), int64(status), 10)
}

func (to answerTo) appendWritten(out []byte, confirmed bool, roundTrip time.Duration) []byte {
	out = to.appendHead(out, http.StatusNoContent)
	if confirmed {
		out = strconv.AppendFloat(append(out, `,"rttMs":`...), milliseconds(roundTrip), 'f', 3, 64)
	}
	return append(out, "}\n"...)
}

func (to answerTo) appendProblem(out []byte, p *problem) []byte {
	rest, err := json.Marshal(struct {
		Type       string `json:"type"`
		Detail     string `json:"detail,omitempty"`
		Connection string `json:"connection,omitempty"`
		RetryAfter int    `json:"retryAfter,omitempty"`
	}{p.Type, p.Detail, p.Connection, p.retryAfter()})
	if err != nil {
		panic(err) // strings and an int
	}
	out = append(to.appendHead(out, p.Status), ',')
	return append(append(out, rest[1:]...), '\n')
}
