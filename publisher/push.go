package publisher

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Receipt is what a successful push returns. It is a struct, the same as in package wspush, with three fields: State, which is
// Written, or Received for a push with [Confirmed], or Buffered if the client is away; RoundTrip, a time.Duration: how long after the
// writing of the message the client confirmed it, or 0 unless State is Received, and also 0 if the worker does not say; and BufferedFor, a
// time.Duration in whole seconds, rounded up: how long the session still waits for its client, or 0 unless State is Buffered.
type Receipt = wire.Receipt

// State says how far a message has come: Written, Received or Buffered. It is a string type, whose values are "written", "received" and
// "buffered".
type State = wire.State

const (
	// Written means that every byte is written to the client's socket.
	Written = wire.Written
	// Received means that the client's WebSocket endpoint has read the message: see [Confirmed].
	Received = wire.Received
	// Buffered means that the client is away, and its session has the message: the client gets it first thing when it is back within
	// Receipt.BufferedFor. [Keep] makes such a push fail instead. Only sessions buffer: see wspush.HandlerOptions.ResumeWindow.
	Buffered = wire.Buffered
)

// PushOption changes what a push does. It is a struct without exported fields: [Confirmed] and [Keep] make them. The zero value
// changes nothing.
type PushOption = wire.PushOption

// Confirmed makes a push wait until the client's WebSocket endpoint has read the message: until the deadline of its context, but
// at most 30 s, or 5 s without one. ErrUnknown then also means that the client has not confirmed the message in time.
func Confirmed() PushOption { return wire.Confirmed() }

// Push sends a message to the connection that has this address, and waits until it is written to the client's socket, or, with
// [Confirmed], until the client has read it. If the client is away, a session buffers the message: see [Keep]. address is one URL, or several separated by commas, as in the greeting. With
// Options.Workers it may also be the connection's ID or sealed ID. data is not kept.
//
// The error is ErrAddress, ErrInvalidUTF8, one of its own for a typ that is neither Text nor Binary, ErrClosed, an *Error, what
// Options.CredentialFunc returned, or ctx's error if it ended before anything was sent. If ctx has a deadline, the worker is
// told to give up slightly earlier, so that the outcome is known: it then withdraws the message, and the error is ErrBusy.
// Nothing is sent a second time unless it is certain that nothing of it was written. If a worker has told the Client where the connection is
// now, that address is tried first.
func (c *Client) Push(ctx context.Context, address string, typ MessageType, data []byte, opts ...PushOption) (Receipt, error) {
	attempts, began := 0, c.now()
	receipt, err := c.push(ctx, address, typ, data, opts, &attempts)
	c.tell(ctx, began, attempts, receipt.State, err)
	return receipt, err
}

func (c *Client) push(ctx context.Context, address string, typ MessageType, data []byte, opts []PushOption, attempts *int) (Receipt, error) {
	k, err := c.pushCall(ctx, typ, data, opts)
	if err != nil {
		return Receipt{}, err
	}
	k.attempts = attempts
	a, err := c.do(ctx, address, k)
	if err != nil {
		return Receipt{}, err
	}
	if a.isBuffered {
		d, _ := bufferedIn(a.header)
		return Receipt{State: Buffered, BufferedFor: d}, nil
	}
	ms, _ := strconv.ParseFloat(a.header.Get("Wspush-Rtt"), 64)
	return receiptOf(options(opts).Confirmed, bulk.Answer{Status: http.StatusNoContent, RttMs: ms}), nil
}

// pushCall makes the call of a push to a connection.
func (c *Client) pushCall(ctx context.Context, typ MessageType, data []byte, opts []PushOption) (call, error) {
	if err := wire.CheckMessage(typ, data, -1); err != nil {
		return call{}, err
	}
	o := options(opts)
	k := call{method: http.MethodPost, query: "type=" + typ.String(), data: data, success: http.StatusNoContent, buffers: true}
	if k.media = "application/octet-stream"; typ == Text {
		k.media = "text/plain; charset=utf-8"
	}
	if data == nil {
		k.data = []byte{}
	}
	if o.Confirmed {
		k.query += "&confirm=received"
	}
	if timeout := c.workerTimeout(ctx, o); timeout > 0 {
		k.query += "&timeout=" + timeout.String()
	}
	if o.Keep.Asked {
		k.query += "&keep=" + o.Keep.For.String()
	}
	return k, nil
}

// receiptOf makes the receipt for an answer that is a success.
func receiptOf(confirmed bool, a bulk.Answer) Receipt {
	if a.Status == statusBuffered {
		d, _ := bufferedFor(a)
		return Receipt{State: Buffered, BufferedFor: d}
	}
	if confirmed {
		return Receipt{State: Received, RoundTrip: a.RoundTrip()}
	}
	return Receipt{State: Written}
}

const (
	maxWorkerTimeout = 30 * time.Second // what a worker takes
	maxMargin        = 500 * time.Millisecond
)

// workerTimeout is what the worker is told to wait at most, so that it answers before the publisher gives up; 0 is what it
// does by itself.
func (c *Client) workerTimeout(ctx context.Context, o wire.PushOptions) time.Duration {
	usual := maxWorkerTimeout
	switch {
	case o.Keep.For > 0: // in place of either
		usual = o.Keep.For
	case o.Confirmed:
		usual = wire.ConfirmWait
	}
	wait := c.opts.Timeout
	deadline, ok := ctx.Deadline()
	if ok {
		if left := time.Until(deadline); wait == 0 || left < wait {
			wait = left
		}
	}
	wait = (wait - min(wait/10, maxMargin)).Truncate(time.Millisecond)
	switch {
	case !ok && (c.opts.Timeout == 0 || wait >= usual), !o.Confirmed && wait >= usual:
		return 0
	}
	return min(max(wait, time.Millisecond), maxWorkerTimeout)
}
