package wspush

import (
	"context"
	"runtime"
	"time"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// Receipt is what a successful push returns. It is a struct with three fields: State, which is Written, or Received for a push
// with [Confirmed], or Buffered where the client of a session is away; RoundTrip, a time.Duration: how long after the writing of the message
// the client confirmed it, or 0 unless State is Received; and BufferedFor, a time.Duration: how long the session still waits for its client, or
// 0 unless State is Buffered.
type Receipt = wire.Receipt

// State says how far a message has come: Written, Received or Buffered. It is a string type, whose values are "written", "received" and
// "buffered".
type State = wire.State

const (
	// Written means that every byte of the message is written to the client's socket. The client may not have read it.
	Written = wire.Written
	// Received means that the client's WebSocket endpoint has read the message. See [Confirmed].
	Received = wire.Received
	// Buffered means that the client is away, and that its session has the message: it is sent first thing if the client is back within
	// Receipt.BufferedFor. If not, [Conn.Unconfirmed] has it when the connection ends.
	Buffered = wire.Buffered
)

// PushOption changes what a push does. It is a struct without exported fields: [Confirmed] and [Keep] make them. The zero value
// changes nothing.
type PushOption = wire.PushOption

// Confirmed makes a push wait until the client's WebSocket endpoint has read the message: State is then Received, and RoundTrip
// the time from the writing of the message to the proof. The proof is the pong to a ping that follows the message (RFC 6455
// section 5.5.2): frames are read in order, and every client answers pings without any code of its own.
//
// It does not prove that the client's application has handled the message: a browser answers pings while a page's script is
// busy. And a proxy that terminates the WebSocket, rather than passing it through, answers in place of its client.
//
// A confirmed push whose context has no deadline waits for at most 5 s, as by HTTP; to wait for longer, give the context a later
// one. ErrUnknown then also means that the message may have been written in full but was not confirmed before the wait, or the
// connection, ended.
//
// Do not wait for a confirmation in a callback of the same connection (HandlerOptions.OnConnect, OnMessage): the connection is
// not read until the callback returns, so the push is written but always ends with ErrUnknown. Confirmations of other
// connections are fine there, unless those callbacks in turn wait for this connection.
func Confirmed() PushOption { return wire.Confirmed() }

// Push sends data to the client as one message, and returns once every byte of it is written to the socket, or, with
// [Confirmed], once the client has read it. The messages of one connection are written in the order in which Push was called,
// each of them whole.
//
// An error that matches ErrUnknown means that part of the message may have been written. Any other error means that nothing was
// written, and nothing will be: ErrGone, ErrBusy, ErrTooLarge, ErrInvalidUTF8, ErrShutdown, ctx's error, or an error of its own
// for a typ that is neither Text nor Binary. ctx bounds only the wait: if it ends before the message has begun, the message is
// withdrawn; after that the connection finishes the message, and Push returns ErrUnknown. Either way the connection is
// unharmed. The end of the connection ends the wait as well. An empty message is a message. data is not kept.
func (c *Conn) Push(ctx context.Context, typ MessageType, data []byte, opts ...PushOption) (Receipt, error) {
	return c.push(ctx, typ, data, wire.Options(opts))
}

func (c *Conn) push(ctx context.Context, typ MessageType, data []byte, o wire.PushOptions) (Receipt, error) {
	err := wire.CheckMessage(typ, data, c.shared.maxPushBytes)
	var roundTrip time.Duration
	if err == nil {
		roundTrip, err = c.send(ctx, typ, data, o)
	}
	c.shared.count.pushAs(o.Confirmed, err)
	return receiptOf(o, roundTrip, err)
}

// receiptOf returns the results of Push for a push that ended with err.
func receiptOf(o wire.PushOptions, roundTrip time.Duration, err error) (Receipt, error) {
	switch d, isBuffered := bufferedIn(err); {
	case isBuffered:
		return Receipt{State: Buffered, BufferedFor: d}, nil
	case err != nil:
		return Receipt{}, err
	case o.Confirmed:
		return Receipt{State: Received, RoundTrip: roundTrip}, nil
	}
	return Receipt{State: Written}, nil
}

// send pushes a message that has been checked.
func (c *Conn) send(ctx context.Context, typ MessageType, data []byte, o wire.PushOptions) (roundTrip time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	// Whoever has no context that ends, and waits for no confirmation, stays until the message is written.
	s, err := c.startSending(typ, data, o, ctx.Done() == nil && !o.Confirmed && o.Keep.For == 0, nil)
	if s == nil {
		return 0, err
	}
	limit := o.Keep.For
	if o.Confirmed && limit == 0 {
		if _, ok := ctx.Deadline(); !ok {
			limit = wire.ConfirmWait
		}
	}
	return c.awaitSending(ctx, s, limit)
}

// startSending starts to send a message. It returns the outcome if that is known at once, and otherwise what awaitSending has to
// wait for. A message to be confirmed is pending unless it fails. If lasts is set, data does not change until there is an outcome,
// nor after that if awaitSending returns ErrUnknown; but once lender, which may be nil, has it back, it may.
func (c *Conn) startSending(typ MessageType, data []byte, o wire.PushOptions, lasts bool, lender socket.Lender) (pending *sending, err error) {
	s, _ := c.shared.sendings.Get().(*sending)
	if s == nil {
		s = newSending()
	}
	waiting, err := c.start(&s.message, typ, data, o, lasts, lender, s.settle)
	if waiting {
		return s, nil
	}
	if o.Confirmed && err == nil { // the pong came before Start returned
		s.settle(nil)
		return s, nil
	}
	c.shared.release(s)
	return nil, err
}

// awaitSending returns the outcome of what startSending has left pending. It gives the message up when ctx ends, or, if limit is
// positive, as if ctx had a deadline that far away. roundTrip is that of a confirmed message.
func (c *Conn) awaitSending(ctx context.Context, s *sending, limit time.Duration) (roundTrip time.Duration, err error) {
	// Yield first: other pushers can then share the write, and being woken costs more.
	runtime.Gosched()
	select {
	case err = <-s.settled:
		return c.settled(s, err)
	default:
	}
	var over <-chan time.Time
	if limit > 0 {
		over = s.timer.after(limit)
	}
	select {
	case err = <-s.settled:
		return c.settled(s, err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-over:
		err = context.DeadlineExceeded
	}
	// The socket may use the message for longer than the caller waits, so s does not go back to the pool.
	err, decided := c.outbox.Abandon(&s.message, err)
	if !decided {
		if err = <-s.settled; err == nil {
			roundTrip = s.message.RoundTrip()
		}
	}
	return roundTrip, c.outcome(err)
}

// settled returns the outcome of a message that the socket no longer uses.
func (c *Conn) settled(s *sending, err error) (roundTrip time.Duration, _ error) {
	roundTrip = s.message.RoundTrip()
	c.shared.release(s)
	return roundTrip, c.outcome(err)
}

// sending is a message whose sender waits for its outcome.
type sending struct {
	message socket.Message
	settled chan error
	settle  func(error)
	timer   spareTimer // stopped by release, before anyone else can have it
}

func newSending() *sending {
	s := &sending{settled: make(chan error, 1)}
	s.settle = func(err error) { s.settled <- err }
	return s
}

// spareTimer is a timer that is used again and again, and made when it is first needed.
type spareTimer struct{ timer *time.Timer }

// after returns a channel that gets a value after d.
func (s *spareTimer) after(d time.Duration) <-chan time.Time {
	if s.timer == nil {
		s.timer = time.NewTimer(d)
	} else {
		s.timer.Reset(d)
	}
	return s.timer.C
}

func (s *spareTimer) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// release puts s back into the pool. Its message must no longer be in use.
func (sh *shared) release(s *sending) {
	s.timer.stop()
	s.message = socket.Message{}
	sh.sendings.Put(s)
}

// start hands data to the socket as m. If m is then pending, settled is called later with the socket's error, which outcome
// translates. It is called with the socket's lock held, so it must neither block nor call the connection. Otherwise err is the
// outcome.
func (c *Conn) start(m *socket.Message, typ MessageType, data []byte, o wire.PushOptions, lasts bool, lender socket.Lender, settled func(error)) (pending bool, err error) {
	m.Prepare(typ == Binary, data, settled)
	if o.Confirmed {
		m.Confirm()
	}
	if lasts {
		m.Keep()
	}
	keepMessage(m, o.Keep)
	m.SetMark(o.Mark)
	m.Lend(lender)
	pending, err = c.outbox.Start(m)
	return pending, c.outcome(err)
}

// outcome turns the socket's error for a message into that of Push.
func (c *Conn) outcome(err error) error {
	if c.session != nil && err != nil {
		err = c.sessionOutcome(err)
	}
	switch err {
	case socket.ErrFull:
		return ErrBusy
	case socket.ErrClosed:
		if c.shared.isLeft(c.endReason()) {
			return ErrShutdown
		}
		return ErrGone
	case socket.ErrBroken:
		return errUnknownGone
	case socket.ErrLeft:
		if c.endReason() != nil {
			return errUnknownGone
		}
		return errUnknownOpen
	case socket.ErrUnconfirmed:
		if c.endReason() != nil {
			return errUnknownGone
		}
		return errUnconfirmed
	}
	return err // nil, or a context's
}
