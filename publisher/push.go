package publisher

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Receipt is what a successful push returns. It is a struct, the same as in package wspush, with two fields: State, which is
// Written, or Received for a push with [Confirmed]; and RoundTrip, a time.Duration: how long after the writing of the message
// the client confirmed it, or 0 unless State is Received. It is also 0 if the worker does not say.
type Receipt = wire.Receipt

// State says how far a message has come: Written or Received. It is a string type, whose values are "written" and "received".
type State = wire.State

const (
	// Written means that every byte is written to the client's socket.
	Written = wire.Written
	// Received means that the client's WebSocket endpoint has read the message: see [Confirmed].
	Received = wire.Received
)

// PushOption changes what a push does. It is a struct without exported fields: [Confirmed] makes the only one. The zero value
// changes nothing.
type PushOption = wire.PushOption

// Confirmed makes a push wait until the client's WebSocket endpoint has read the message: until the deadline of its context, but
// at most 30 s, or 5 s without one. ErrUnknown then also means that the client has not confirmed the message in time.
func Confirmed() PushOption { return wire.Confirmed() }

// Push sends a message to the connection that has this address, and waits until it is written to the client's socket, or, with
// [Confirmed], until the client has read it. address is one URL, or several separated by commas, as in the greeting. With
// Options.Workers it may also be the connection's ID or sealed ID. data is not kept.
//
// The error is ErrAddress, ErrInvalidUTF8, one of its own for a typ that is neither Text nor Binary, ErrClosed, an *Error, what
// Options.CredentialFunc returned, or ctx's error if it ended before anything was sent. If ctx has a deadline, the worker is
// told to give up slightly earlier, so that the outcome is known: it then withdraws the message, and the error is ErrBusy.
// Nothing is sent a second time unless it is certain that nothing of it was written.
func (c *Client) Push(ctx context.Context, address string, typ MessageType, data []byte, opts ...PushOption) (Receipt, error) {
	k, err := c.pushCall(ctx, typ, data, opts)
	if err != nil {
		return Receipt{}, err
	}
	a, err := c.do(ctx, address, k)
	if err != nil {
		return Receipt{}, err
	}
	ms, _ := strconv.ParseFloat(a.header.Get("Wspush-Rtt"), 64)
	return receiptOf(wire.Options(opts), bulk.Answer{RttMs: ms}), nil
}

// pushCall makes the call of a push to a connection.
func (c *Client) pushCall(ctx context.Context, typ MessageType, data []byte, opts []PushOption) (call, error) {
	if err := wire.CheckMessage(typ, data, -1); err != nil {
		return call{}, err
	}
	o := wire.Options(opts)
	k := call{method: http.MethodPost, query: "type=" + typ.String(), data: data, success: http.StatusNoContent}
	if k.media = "application/octet-stream"; typ == Text {
		k.media = "text/plain; charset=utf-8"
	}
	if data == nil {
		k.data = []byte{}
	}
	if o.Confirmed {
		k.query += "&confirm=received"
	}
	if timeout := c.workerTimeout(ctx, o.Confirmed); timeout > 0 {
		k.query += "&timeout=" + timeout.String()
	}
	return k, nil
}

// receiptOf makes the receipt for an answer that is a success.
func receiptOf(o wire.PushOptions, a bulk.Answer) Receipt {
	if o.Confirmed {
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
func (c *Client) workerTimeout(ctx context.Context, confirm bool) time.Duration {
	usual := maxWorkerTimeout
	if confirm {
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
	case !ok && (c.opts.Timeout == 0 || wait >= usual), !confirm && wait >= usual:
		return 0
	}
	return min(max(wait, time.Millisecond), maxWorkerTimeout)
}
