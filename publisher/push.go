package publisher

import (
	"context"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Push sends a message to the connection that has this address, and waits until it has been written to the client's socket.
// address is one URL or several, separated by commas, as the greeting has them. data is not kept.
//
// The error is nil, ErrAddress, ErrInvalidUTF8, ErrStopped, an *Error, or ctx's if that ended before anything was sent. If ctx
// has a deadline, the worker is told to give up just before, so that the outcome is known: the message is then withdrawn, and
// the error is ErrBusy. Nothing is ever sent twice, unless it is certain that nothing of it was written.
func (c *Client) Push(ctx context.Context, address string, typ MessageType, data []byte) error {
	_, err := c.push(ctx, address, typ, data, false)
	return err
}

// PushConfirmed is Push, but waits until the client's WebSocket endpoint has read the message: until ctx's deadline, but at
// most 30 s, and 5 s if it has none. ErrUnknown then also means that the client has not confirmed it in time. roundTrip is how
// long that took, from the writing of the message; 0 if the worker does not say.
func (c *Client) PushConfirmed(ctx context.Context, address string, typ MessageType, data []byte) (roundTrip time.Duration, err error) {
	header, err := c.push(ctx, address, typ, data, true)
	if err != nil {
		return 0, err
	}
	ms, _ := strconv.ParseFloat(header.Get("Wspush-Rtt"), 64)
	return bulk.Answer{RttMs: ms}.RoundTrip(), nil
}

func (c *Client) push(ctx context.Context, address string, typ MessageType, data []byte, confirm bool) (http.Header, error) {
	if err := checkMessage(typ, data); err != nil {
		return nil, err
	}
	k := call{method: http.MethodPost, query: "type=" + typ.String(), data: data, success: http.StatusNoContent}
	if k.media = "application/octet-stream"; typ == Text {
		k.media = "text/plain; charset=utf-8"
	}
	if data == nil {
		k.data = []byte{}
	}
	if confirm {
		k.query += "&confirm=received"
	}
	if timeout := c.workerTimeout(ctx, confirm); timeout > 0 {
		k.query += "&timeout=" + timeout.String()
	}
	header, _, err := c.do(ctx, address, k)
	return header, err
}

// checkMessage refuses what must not be sent to any client.
func checkMessage(typ MessageType, data []byte) error {
	switch {
	case typ != Text && typ != Binary:
		return wire.ErrMessageType
	case typ == Text && !utf8.Valid(data):
		return ErrInvalidUTF8
	}
	return nil
}

const (
	maxWorkerTimeout      = 30 * time.Second // what a worker takes
	defaultConfirmTimeout = 5 * time.Second  // a worker's
	maxMargin             = 500 * time.Millisecond
)

// workerTimeout is what the worker is told to wait at most, so that it answers before the publisher gives up; 0 is what it
// does by itself.
func (c *Client) workerTimeout(ctx context.Context, confirm bool) time.Duration {
	usual := maxWorkerTimeout
	if confirm {
		usual = defaultConfirmTimeout
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
