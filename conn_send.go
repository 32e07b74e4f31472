package wspush

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// Send is Push without the wait: it writes as much of the message as the client's socket takes at once, and returns. The rest
// goes out as the client reads. So a callback can answer its own client, or tell all others, and a client that does not read
// holds it up no more than any other.
//
// Messages of Send and of Push are written in the order of the calls. If Send returns an error, which is one that Push returns at
// once, nothing was written, unless it is ErrUnknown, and done is never called. ErrBusy, for one, means that the client has
// WorkerOptions.MaxPending waiting already. Otherwise done is called once, with what Push would have returned. It may be nil.
//
// What bounds the wait is ctx, as for Push: if it ends before the message has begun, the message is withdrawn, and done gets ctx's
// error. With context.Background it is the life of the connection, which WriteTimeout ends if the client stops reading. A message
// to be [Confirmed] waits for 5 s if ctx has no deadline. Unlike Push, Send may ask for a confirmation in a callback of the same
// connection: once the callback has returned, the client's answer is read.
//
// data is copied if it has to wait, and only then; it is not kept. The copy counts against MaxPending until it is written.
//
// done is a callback of the connection. It is called for one message at a time, in the order in which their outcomes become known,
// with no lock held, on a goroutine of its own: OnMessage may run at the same time. It may call anything except Worker.Shutdown, Send
// included. Every call has returned before OnDisconnect is called. A panic ends the connection, as in any other callback.
func (c *Conn) Send(ctx context.Context, typ MessageType, data []byte, done func(Receipt, error), opts ...PushOption) error {
	err := wire.CheckMessage(typ, data, c.shared.maxPushBytes)
	if err == nil {
		err = ctx.Err()
	}
	m := &sendCall{conn: c, done: done, o: wire.Options(opts)}
	if err == nil {
		err = m.start(ctx, typ, data)
	}
	if err != nil {
		m.count(err)
	}
	return err
}

// sendCall is one call of Send. It is begun before the socket has it; then settled, when its outcome is known; then over, when
// done has returned.
type sendCall struct {
	conn    *Conn
	message socket.Message
	done    func(Receipt, error) // nil if nobody wants to know
	o       wire.PushOptions

	// Guarded by sends.mu.
	isSettled bool
	err       error
	stop      func() // stops what would abandon the message; nil if nothing would
}

// start hands the message to the socket. An error is the outcome; otherwise the message is settled, or will be.
func (m *sendCall) start(ctx context.Context, typ MessageType, data []byte) error {
	c := m.conn
	q := c.sendings()
	q.begin()
	m.message.Prepare(typ == Binary, data, m.settle)
	m.message.CopyIfWaiting()
	if m.o.Confirmed {
		m.message.Confirm()
	}
	keepMessage(&m.message, m.o.Keep)
	pending, err := c.outbox.Start(&m.message)
	switch {
	case err == socket.ErrBuffered: // for which nobody waits, and which is no error
		m.settle(err)
	case err != nil:
		q.end()
		return c.outcome(err)
	case pending:
		m.within(ctx, q)
	case m.done == nil:
		m.count(nil)
		q.end()
	default:
		m.settle(nil)
	}
	return nil
}

// within has the message abandoned when ctx ends.
func (m *sendCall) within(ctx context.Context, q *sends) {
	stop := func() {}
	if ctx.Done() != nil {
		stopFunc := context.AfterFunc(ctx, func() { m.abandon(ctx.Err()) })
		stop = func() { stopFunc() }
	}
	limit := m.o.Keep.For
	if _, ok := ctx.Deadline(); !ok && m.o.Confirmed && limit == 0 {
		limit = wire.ConfirmWait
	}
	if limit > 0 {
		timer, stopContext := time.AfterFunc(limit, func() { m.abandon(context.DeadlineExceeded) }), stop
		stop = func() {
			timer.Stop()
			stopContext()
		}
	}
	q.mu.Lock()
	settled := m.isSettled
	m.stop = stop
	q.mu.Unlock()
	if settled {
		stop()
	}
}

// abandon gives the message up. It does nothing once the message is settled.
func (m *sendCall) abandon(cause error) {
	if err, decided := m.conn.outbox.Abandon(&m.message, cause); decided {
		m.settle(err)
	}
}

// settle takes note of the outcome. It may be called while the socket's lock is held.
func (m *sendCall) settle(err error) {
	q := m.conn.sends
	q.mu.Lock()
	defer q.mu.Unlock()
	m.isSettled, m.err = true, err
	q.settled = append(q.settled, m)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// tell calls done with the outcome.
func (m *sendCall) tell(stop func()) {
	if stop != nil {
		stop()
	}
	err := m.conn.outcome(m.err)
	m.count(err)
	if m.done != nil {
		m.done(receiptOf(m.o, m.message.RoundTrip(), err))
	}
}

func (m *sendCall) count(err error) {
	m.conn.shared.count.pushAs(m.o.Confirmed, err)
}

// sends are the messages of Send of one connection that are begun and not over. run runs while some of them are settled.
type sends struct {
	mu      sync.Mutex  // guards what follows, and the messages; it may be taken while the socket's lock is held
	open    int         // how many there are
	settled []*sendCall // those that run has not taken yet
	running bool
	over    chan struct{} // closed when there are none; nil while nobody waits for that
}

// sendings returns the connection's sends, and makes them on the first call.
func (c *Conn) sendings() *sends {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sends == nil {
		c.sends = new(sends)
	}
	return c.sends
}

func (q *sends) begin() {
	q.mu.Lock()
	q.open++
	q.mu.Unlock()
}

func (q *sends) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endLocked()
}

func (q *sends) endLocked() {
	if q.open--; q.open == 0 && q.over != nil {
		close(q.over)
		q.over = nil
	}
}

// run calls done of what is settled, until nothing is left. If done ends the goroutine, another goes on.
func (q *sends) run() {
	finished := false
	defer func() {
		if !finished {
			go q.run()
		}
	}()
	for {
		q.mu.Lock()
		if len(q.settled) == 0 {
			q.running, q.settled, finished = false, nil, true
			q.mu.Unlock()
			return
		}
		m := q.settled[0]
		q.settled[0] = nil
		q.settled = q.settled[1:]
		stop := m.stop
		q.mu.Unlock()
		q.call(m, stop)
	}
}

// call calls done of one message. What it does to end the goroutine, or to panic, ends the connection and nothing else.
func (q *sends) call(m *sendCall, stop func()) {
	const name = "done of Send"
	returned := false
	defer func() {
		if !returned {
			c := m.conn
			err := fmt.Errorf("%s did not return: runtime.Goexit", name)
			if r := recover(); r != nil {
				logPanic(c.shared.log, name, r, "conn", c.String())
				err = fmt.Errorf("panic in %s: %v", name, r)
			}
			c.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
		}
		q.end()
	}()
	m.tell(stop)
	returned = true
}

// awaitSends waits until done has returned for every message of Send. The socket has settled all of them, so that nothing is
// waited for but the application.
func (c *Conn) awaitSends(w *Worker) {
	c.mu.Lock()
	q := c.sends
	c.mu.Unlock()
	if q == nil {
		return
	}
	q.mu.Lock()
	var over chan struct{}
	if q.open > 0 {
		over = make(chan struct{})
		q.over = over
	}
	q.mu.Unlock()
	if over == nil {
		return
	}
	c.calling.Store(true)
	w.roster.change()
	<-over
	c.calling.Store(false)
	w.roster.change()
}
