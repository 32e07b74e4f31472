package lane

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// push is a plain push under way: the request, which is as complete as net/http would make it, and the answer. The application may
// keep any part of the request for as long as it likes, so nothing of it is used again.
type push struct {
	request  *http.Request
	response response
	context  requestContext
	body     body
}

// newPush makes a push of its bytes, all of them. It returns nil if net/http must see them.
func (c *conn) newPush(raw []byte) *push {
	p := &push{}
	p.response.conn = c
	p.context = requestContext{Context: c.context, conn: c}
	p.request = c.template.WithContext(&p.context)
	if !p.parse(p.request, raw) {
		return nil
	}
	return p
}

// end ends the request for whoever has kept a part of it. in is the connection's again. A second call does nothing.
func (p *push) end() {
	p.context.end()
	p.body.Close()
}

// body is the body of a plain push, which is a copy: in goes on to the next request.
type body struct {
	mu       sync.Mutex // guards what follows: an application may read in a goroutine of its own
	left     string
	isClosed bool
}

func (b *body) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed {
		return 0, http.ErrBodyReadAfterClose
	}
	n = copy(p, b.left)
	b.left = b.left[n:]
	if len(b.left) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isClosed = true
	return nil
}

// requestContext is the context of a plain push. It ends with the request, and before that when the publisher leaves. Watching the
// publisher takes a goroutine and two deadlines, and nearly every push has its answer before anyone could leave. So nobody watches
// until somebody waits: until Done is called.
type requestContext struct {
	context.Context // has the values, and does not end
	conn            *conn

	mu     sync.Mutex      // guards what follows
	inner  context.Context // set, like cancel, once Done is called
	cancel context.CancelFunc
	stop   func() // ends the watch; nil: nobody watches
	isOver bool
}

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancel(c.Context)
		if c.isOver {
			c.cancel()
		} else {
			c.stop = c.conn.watch(c.cancel)
		}
	}
	return c.inner.Done()
}

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.inner != nil:
		return c.inner.Err()
	case c.isOver:
		return context.Canceled
	}
	return nil
}

// Value also tells package context, once Done has been called, that the context underneath is one of its own: a context that is
// derived from this one then needs no goroutine.
func (c *requestContext) Value(key any) any {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return c.Context.Value(key)
}

// end ends the context. Whoever watches the publisher has stopped when it returns.
func (c *requestContext) end() {
	c.mu.Lock()
	c.isOver = true
	stop := c.stop
	c.stop = nil
	c.mu.Unlock()
	if stop != nil {
		stop()
		c.cancel()
	}
}
