package wspush

import (
	"context"
	"iter"
	"sync"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// PushEach sends the same message to many connections, and yields each of them with its outcome as soon as that is known.
// Connections that take the message at once come in the order of to, the others later: a stalled client never delays the rest.
// The errors are those of [Conn.Push]. It takes no options: success always means that the message is written to the socket. A
// message that exceeds MaxPushBytes of w, or is invalid, is sent to nobody: each connection gets the error. Nothing is sent
// before the range begins:
//
//	for conn, err := range worker.PushEach(ctx, worker.Conns(), wspush.Text, data) { … }
//
// When ctx ends, messages that have not begun are withdrawn, and all further connections of to get ctx's error. Leaving the range
// withdraws them in the same way, and does not read to any further. data must not change during the range; it is not kept
// afterwards.
func (w *Worker) PushEach(ctx context.Context, to iter.Seq[*Conn], typ MessageType, data []byte) iter.Seq2[*Conn, error] {
	return func(yield func(*Conn, error) bool) {
		e := &each{yield: yield, count: &w.shared.count, pending: make(map[*delivery]bool), signal: make(chan struct{}, 1)}
		// Even if the body of the range panics: data must not be read after this.
		defer e.abandon(context.Canceled)
		invalid := wire.CheckMessage(typ, data, w.shared.maxPushBytes)
		for c := range to {
			e.start(ctx, c, typ, data, invalid)
			e.collect()
			if e.left {
				return
			}
		}
		for len(e.pending) > 0 && !e.left {
			select {
			case <-e.signal:
				e.collect()
			case <-ctx.Done():
				e.abandon(ctx.Err())
			}
		}
	}
}

// each is one call of PushEach. All methods except finish run on the goroutine of its caller.
type each struct {
	yield   func(*Conn, error) bool
	left    bool // the caller has left the range, so yield must not be called again
	count   *counters
	pending map[*delivery]bool

	signal   chan struct{} // has an element if finished may not be empty
	mu       sync.Mutex    // guards finished
	finished []*delivery
}

// delivery is the message for one connection.
type delivery struct {
	conn    *Conn
	message socket.Message
	err     error // the outcome; set once it is in each.finished
}

func (e *each) start(ctx context.Context, c *Conn, typ MessageType, data []byte, err error) {
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		e.emit(c, err)
		return
	}
	d := &delivery{conn: c}
	pending, err := c.start(&d.message, typ, data, false, false, func(err error) { e.finish(d, err) })
	if !pending {
		e.emit(c, err)
		return
	}
	e.pending[d] = true
}

// finish takes the outcome of d. It is called under a lock of the socket.
func (e *each) finish(d *delivery, err error) {
	e.mu.Lock()
	d.err = err
	e.finished = append(e.finished, d)
	e.mu.Unlock()
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// collect yields everything in finished.
func (e *each) collect() {
	e.mu.Lock()
	finished := e.finished
	e.finished = nil
	e.mu.Unlock()
	for _, d := range finished {
		delete(e.pending, d)
		e.emit(d.conn, d.conn.outcome(d.err))
	}
}

// abandon gives up all pending deliveries, and waits for those that are just being written.
func (e *each) abandon(cause error) {
	for d := range e.pending {
		if err, decided := d.conn.socket.Abandon(&d.message, cause); decided {
			delete(e.pending, d)
			e.emit(d.conn, d.conn.outcome(err))
		}
	}
	for e.collect(); len(e.pending) > 0; e.collect() {
		<-e.signal
	}
}

func (e *each) emit(c *Conn, err error) {
	e.count.push(err)
	if e.left {
		return
	}
	e.left = true // stays so if yield panics
	e.left = !e.yield(c, err)
}
