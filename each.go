package wspush

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// PushEach sends the same message to many connections, and yields each of them with its outcome as soon as that is known.
// Connections that take the message at once come in the order of to, the others later: a stalled client never delays the rest.
// The errors are those of [Conn.Push]. It takes no options: success means that the message is written to the socket, or that the session
// of a client that is away has it, as for [Buffered]. A
// message that exceeds MaxPushBytes of w, or is invalid, is sent to nobody: each connection gets the error. Nothing is sent
// before the range begins:
//
//	for conn, err := range worker.PushEach(ctx, worker.Conns(), wspush.Text, data) { … }
//
// From the 1025th connection on, PushEach uses all processors. From the 65th on it reads to ahead of what it yields, by at most 64
// connections for each processor that it uses, and other pushes have their turn meanwhile.
//
// When ctx ends, messages that have not begun are withdrawn, and all further connections of to get ctx's error. Leaving the range
// withdraws them in the same way, and does not read to any further. data must not change during the range; it is not kept
// afterwards.
func (w *Worker) PushEach(ctx context.Context, to iter.Seq[*Conn], typ MessageType, data []byte) iter.Seq2[*Conn, error] {
	return func(yield func(*Conn, error) bool) {
		e := newEach(ctx, w, typ, data, func(d *delivery[*Conn], err error) bool { return yield(d.target, accepted(err)) })
		e.invalid = wire.CheckMessage(typ, data, w.shared.maxPushBytes)
		e.start = func(d *delivery[*Conn]) (pending bool, err error) { return e.startConn(d, d.target) }
		e.push(to)
	}
}

// PushEachID is [Worker.PushEach] for IDs and sealed IDs. It yields each as it was given, with an error of [Worker.Push]. Sealed IDs may
// belong to other workers: their outcomes come later, as those of slow clients do, and delay nobody. If ctx ends while a message is
// on its way to another worker, the error is ErrUnknown; so it is, unseen, if the range is left.
func (w *Worker) PushEachID(ctx context.Context, ids iter.Seq[string], typ MessageType, data []byte) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		e := newEach(ctx, w, typ, data, func(d *delivery[string], err error) bool { return yield(d.target, accepted(err)) })
		e.invalid = wire.CheckMessage(typ, data, w.shared.maxPushBytes)
		e.start = func(d *delivery[string]) (pending bool, err error) { return e.startID(d, d.target) }
		e.push(ids)
	}
}

// each is one call of PushEach or PushEachID, or of Recipients.Push, whose targets are T. Where nothing else is said, methods run on the goroutine of its
// caller.
type each[T any] struct {
	ctx       context.Context
	worker    *Worker
	typ       MessageType
	data      []byte
	payload   *socket.Payload                              // the same for all connections of this worker
	invalid   error                                        // why the message must not be sent
	start     func(*delivery[T]) (pending bool, err error) // any goroutine calls it
	yield     func(*delivery[T], error) bool               // the delivery is used again afterwards
	o         wire.PushOptions
	onWait    func() context.Context // called once, before the first wait: what ends it, in place of ctx; nil: ctx
	left      bool                   // the caller has left the range, so yield must not be called again
	pending   map[*delivery[T]]bool  // started, and without an outcome
	spread    spread[T]
	remotes   eachRemotes[T]
	collected []*delivery[T] // taken out of finished
	spare     []*delivery[T] // of those that were never pending, to be used again

	signal   chan struct{} // has an element if finished may not be empty, or more of the line may have been started
	mu       sync.Mutex    // guards finished
	finished []*delivery[T]
}

// delivery is the message for one target.
type delivery[T any] struct {
	target  T
	conn    *Conn // set by start; nil if another worker's, or none
	counted bool  // whoever gave the outcome has counted it
	message socket.Message
	settle  func(error)

	// The outcome of start, once started is set.
	started   atomic.Bool
	isPending bool

	err  error // the outcome; set once it is in each.finished, or started and not pending
	over bool  // it has been yielded
}

func newEach[T any](ctx context.Context, w *Worker, typ MessageType, data []byte, yield func(*delivery[T], error) bool) *each[T] {
	e := &each[T]{
		ctx: ctx, worker: w, typ: typ, data: data,
		payload: w.sockets.NewPayload(typ == Binary, data), yield: yield, pending: make(map[*delivery[T]]bool), signal: make(chan struct{}, 1),
	}
	e.remotes.each = e
	return e
}

// push does all of it.
func (e *each[T]) push(to iter.Seq[T]) {
	// Even if the body of the range panics: data must not be read after this.
	defer e.end()
	n := 0
	for target := range to {
		d := e.delivery(target)
		if n++; n < breatheFrom {
			e.run(d)
			e.report(d)
			e.collect()
		} else {
			e.hand(d, n)
		}
		if e.left {
			return
		}
	}
	e.await(1)
	e.remotes.send()
	if e.onWait != nil && len(e.pending) > 0 && !e.left {
		e.ctx = e.onWait()
	}
	for len(e.pending) > 0 && !e.left {
		select {
		case <-e.signal:
			e.collect()
		case <-e.ctx.Done():
			e.abandon(e.ctx.Err())
		}
	}
}

// end leaves nothing running, and data unused.
func (e *each[T]) end() {
	e.left = true
	e.stop()
	e.abandon(context.Canceled)
	e.remotes.end()
}

func (e *each[T]) delivery(target T) *delivery[T] {
	if n := len(e.spare); n > 0 {
		d := e.spare[n-1]
		e.spare = e.spare[:n-1]
		d.target = target
		return d
	}
	d := new(delivery[T])
	d.target = target
	d.settle = func(err error) { e.finish(d, err) }
	return d
}

// run starts d, on any goroutine.
func (e *each[T]) run(d *delivery[T]) {
	err := e.invalid
	if err == nil {
		err = e.ctx.Err()
	}
	pending := false
	if err == nil {
		pending, err = e.start(d)
	}
	d.isPending = pending
	if !pending { // otherwise finish sets it
		d.err = err
	}
	d.started.Store(true)
}

// startConn hands the message to a connection of this worker.
func (e *each[T]) startConn(d *delivery[T], c *Conn) (pending bool, err error) {
	d.conn = c
	d.message.PrepareShared(e.payload, d.settle)
	if e.o.Confirmed {
		d.message.Confirm()
	}
	keepMessage(&d.message, e.o.Keep)
	d.message.SetMark(e.o.Mark)
	pending, err = c.outbox.Start(&d.message)
	return pending, c.outcome(err)
}

// startID hands the message to whatever an ID or sealed ID names.
func (e *each[T]) startID(d *delivery[T], id string) (pending bool, err error) {
	c, ok := e.worker.Conn(id)
	if ok {
		return e.startConn(d, c)
	}
	if err := checkID(id); err != nil {
		return false, err
	}
	c, elsewhere, err := e.worker.find(id)
	switch {
	case err == errEarlierInstance:
		e.remotes.addEarlier(d, id)
		return true, nil
	case err != nil:
		return false, err
	case elsewhere != nil:
		d.counted = true
		e.remotes.add(elsewhere, d)
		return true, nil
	}
	return e.startConn(d, c)
}

// finish takes the outcome of d, which is pending, or will be. It may be called under a lock of the socket.
func (e *each[T]) finish(d *delivery[T], err error) {
	e.mu.Lock()
	d.err = err
	e.finished = append(e.finished, d)
	e.mu.Unlock()
	e.wake()
}

func (e *each[T]) wake() {
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// report yields the outcome of d, which has been started, or notes that it is pending.
func (e *each[T]) report(d *delivery[T]) {
	switch {
	case d.over:
	case d.isPending:
		e.pending[d] = true
	default:
		e.emit(d, d.err)
		*d = delivery[T]{settle: d.settle}
		e.spare = append(e.spare, d)
	}
}

// collect yields everything in finished.
func (e *each[T]) collect() {
	e.mu.Lock()
	e.collected = append(e.collected, e.finished...)
	e.finished = nil
	e.mu.Unlock()
	for len(e.collected) > 0 {
		d := e.collected[0]
		e.collected = e.collected[1:] // first, since yield may panic, and end looks at the rest
		delete(e.pending, d)
		err := d.err
		if d.conn != nil {
			err = d.conn.outcome(err)
		}
		e.emit(d, err)
	}
}

// abandon gives up all pending deliveries, and waits for those that are just being written.
func (e *each[T]) abandon(cause error) {
	e.remotes.giveUp()
	for d := range e.pending {
		if d.conn == nil {
			continue
		}
		if err, decided := d.conn.outbox.Abandon(&d.message, cause); decided {
			delete(e.pending, d)
			e.emit(d, d.conn.outcome(err))
		}
	}
	for e.collect(); len(e.pending) > 0; e.collect() {
		<-e.signal
	}
}

func (e *each[T]) emit(d *delivery[T], err error) {
	d.over = true
	if !d.counted {
		e.worker.shared.count.pushAs(e.o.Confirmed, err)
	}
	if e.left {
		return
	}
	e.left = true // stays so if yield panics
	e.left = !e.yield(d, err)
}
