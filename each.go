package wspush

import (
	"context"
	"iter"
	"sync"

	"github.com/wspush/wspush/internal/socket"
)

// PushEach sends the same message to many connections, and yields the outcome for each as soon as it is known: for those
// that take it at once in the order of to, for the others later, so that a stalled client holds up nobody. The errors are
// those of [Conn.Push]. Nothing is sent before the range begins:
//
//	for conn, err := range worker.PushEach(ctx, worker.Conns(), wspush.Text, data) { … }
//
// When ctx ends, what has not begun is withdrawn, and each connection that to still yields gets ctx's error. Leaving the
// range withdraws in the same way, and asks to for no more. data must not change during the range; it is not kept beyond.
func (w *Worker) PushEach(ctx context.Context, to iter.Seq[*Conn], typ MessageType, data []byte) iter.Seq2[*Conn, error] {
	return func(yield func(*Conn, error) bool) {
		e := &each{yield: yield, count: &w.shared.count, pending: make(map[*delivery]bool), signal: make(chan struct{}, 1)}
		// Also when the body of the range panics: nobody may read data after this.
		defer e.abandon(context.Canceled)
		invalid := checkMessage(typ, data, w.shared.maxPushBytes)
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

// each is one PushEach. All but finish run on its caller's goroutine.
type each struct {
	yield   func(*Conn, error) bool
	left    bool // the range has been left: yield must not be called again
	count   *counters
	pending map[*delivery]bool

	signal   chan struct{} // has an element when finished may have some
	mu       sync.Mutex    // guards finished
	finished []*delivery
}

// delivery is the message on its way to one connection.
type delivery struct {
	conn    *Conn
	message socket.Message
	err     error // the outcome, once it is among the finished
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
	pending, err := c.start(&d.message, typ, data, false, func(err error) { e.finish(d, err) })
	if !pending {
		e.emit(c, err)
		return
	}
	e.pending[d] = true
}

// finish is called by whoever writes to the connection, under a lock.
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

// collect emits what has finished.
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

// abandon gives up everything that is pending, and waits for what is just being decided.
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
