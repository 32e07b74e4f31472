package bulk

import (
	"context"
	"io"
	"runtime"
)

// body is the request's body. Each Read takes everything that is queued, so that lines that come fast share a chunk.
type body struct{ r *Request }

func (b body) Read(p []byte) (int, error) {
	r := b.r
	for yielded := false; ; {
		n, err := r.take(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-r.wake:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
		if !yielded {
			yielded = true
			runtime.Gosched() // whoever else is about to send a line may do so first, and save a chunk
		}
	}
}

// Close is the transport's way to say that it wants no more, perhaps while it is in Read. The answer may still come.
func (b body) Close() error {
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	b.r.unread = true
	b.r.signal()
	return nil
}

// take hands out what is queued. The error is io.EOF at the end of the body, and any other if it is cut.
func (r *Request) take(p []byte) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled || r.unread {
		return 0, ErrEnded
	}
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
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
	if r.handed == 0 && n > 0 {
		close(r.handing)
	}
	r.handed += int64(n)
	if r.queue = r.queue[taken:]; len(r.queue) > 0 {
		return n, nil
	}
	r.queue = nil
	if r.endIdle && r.handed > 0 {
		r.closeSend()
	}
	if r.sent {
		return n, io.EOF
	}
	return n, nil
}
