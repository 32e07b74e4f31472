package bulk

import (
	"context"
	"io"
	"runtime"
	"time"
)

// body is the body of one HTTP request. Each Read takes everything that is queued, so that lines that come fast share a chunk.
type body struct {
	r       *Request
	ctx     context.Context // of the HTTP request
	reading func()          // called when the first Read begins; nil from then on. The request's header is then on its way
}

// blankEvery is how often a body that is held sends a blank line, which means nothing. Without something to write, the transport
// would not notice that the connection has ended; and some proxies do nothing before a body begins.
const blankEvery = 100 * time.Millisecond

func (b *body) Read(p []byte) (int, error) {
	first := b.reading != nil
	if first {
		b.reading()
		b.reading = nil
	}
	for yielded := false; ; {
		n, held, err := b.r.handOut(b.ctx, p)
		if b.ctx.Err() != nil {
			b.r.signal() // what has woken this may be meant for gather
		}
		switch {
		case n > 0 || err != nil:
			return n, err
		case held && (first || !b.wait(blankEvery)):
			return copy(p, lineFeed), nil
		case !held:
			b.wait(0)
		}
		if !yielded {
			yielded = true
			runtime.Gosched() // others that are about to send a line may do so first, and save a chunk
		}
	}
}

// wait waits until there may be something new. It returns false if that takes longer than limit, unless limit is 0.
func (b *body) wait(limit time.Duration) bool {
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-b.r.wake:
	case <-b.ctx.Done():
	case <-over:
		return false
	}
	return true
}

// Close is the transport's way to say that it wants no more, perhaps while it is in Read. The answer may still come.
func (b *body) Close() error {
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	if b.r.outlet == outletOpen {
		b.r.outlet = outletStopped
	}
	b.r.signal()
	return nil
}

// handOut hands out what is queued, or reports that nothing is to be handed out yet. The error is io.EOF at the end of the body,
// and any other if the body is cut off.
func (r *Request) handOut(ctx context.Context, p []byte) (n int, held bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return 0, false, context.Cause(ctx)
	case r.outlet == outletStopped:
		return 0, false, ErrEnded
	case r.outlet == outletHeld || r.outlet == outletRefused:
		return 0, true, nil
	}
	taken := 0
	for n < len(p) && taken < len(r.queue) {
		m := copy(p[n:], r.queue[taken])
		n += m
		if m < len(r.queue[taken]) {
			r.queue[taken] = r.queue[taken][m:]
			break
		}
		r.queue[taken] = nil
		taken++
	}
	r.handed += int64(n)
	if r.queue = r.queue[taken:]; len(r.queue) > 0 {
		return n, false, nil
	}
	r.queue = nil
	if r.intake == intakeClosed {
		return n, false, io.EOF
	}
	return n, false, nil
}
