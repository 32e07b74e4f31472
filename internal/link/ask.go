package link

import (
	"context"
	"fmt"
)

// Ask sends a request about a connection and returns the reply. When ctx ends it returns an error that also wraps ctx's: an
// ErrNotSent if nothing was sent, and an ErrLost otherwise. The other worker is then asked to give up.
func (l *Links) Ask(ctx context.Context, r *Request) (*Reply, error) {
	type result struct {
		reply *Reply
		err   error
	}
	done := make(chan result, 1)
	p := &Push{Peer: r.Peer}
	p.flight = flight{request: r, replied: func(reply *Reply, err error) { done <- result{reply, err} }}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	l.ask(p)
	select {
	case res := <-done:
		return res.reply, res.err
	case <-ctx.Done():
	}
	l.Abandon(p, ctx.Err())
	select {
	case res := <-done:
		return res.reply, res.err
	default:
		return nil, fmt.Errorf("%w: %w", ErrLost, ctx.Err())
	}
}
