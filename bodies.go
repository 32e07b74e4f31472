package wspush

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/socket"
)

// bodies lends buffers for the bodies of pushes, within a budget. The zero value is ready for use, and has no bound.
//
// A publisher may announce a long body and never send it. So a buffer grows only as the body comes in, and what it takes of the
// budget grows with it. The smallest buffers take nothing: there is one for each request at most. The garbage collector frees what
// has not been lent for a while.
type bodies struct {
	budget budget
	tiny   sync.Pool    // of *body
	small  sync.Pool    // of *body
	large  sync.Pool    // of *body; about spareBodies at most
	lent   atomic.Int64 // how many large ones are lent
}

const (
	// tinyBody is the size in bytes up to which a body takes nothing of the budget. A push on its lane is smaller.
	tinyBody = 4 << 10
	// smallBody is the size in bytes up to which a body needs no large buffer.
	smallBody = 64 << 10
	// largeBody is the size in bytes of the largest body whose buffer is kept for another.
	largeBody = 1 << 20
	// spareBodies is how many large buffers are kept when nobody needs them.
	spareBodies = 16
)

// body is a body that comes in.
type body struct {
	data  []byte
	from  *bodies
	share share
	rw    http.ResponseWriter // of its request; nil: none
}

// get lends a buffer for the body of a request, which must be given to put or to forget.
func (b *bodies) get(rw http.ResponseWriter) *body {
	x := b.lend(tinyBody)
	x.rw = rw
	return x
}

// interrupt ends the reading of the body, which has to give way to others.
func (x *body) interrupt() {
	_ = http.NewResponseController(x.rw).SetReadDeadline(time.Unix(1, 0))
}

// lend lends a buffer for more bytes than that, which takes nothing of the budget yet.
func (b *bodies) lend(size int) *body {
	pool := &b.large
	switch {
	case size <= tinyBody:
		pool = &b.tiny
	case size <= smallBody:
		pool = &b.small
	}
	if spare, ok := pool.Get().(*body); ok {
		if cap(spare.data) > size {
			return spare
		}
		pool.Put(spare)
	}
	return b.newBody(make([]byte, 0, size+bytes.MinRead))
}

func (b *bodies) newBody(data []byte) *body {
	x := &body{data: data, from: b}
	x.share.budget, x.share.reader = &b.budget, x
	return x
}

// keep takes back a buffer that has been lent.
func (b *bodies) keep(x *body) {
	x.data, x.rw = x.data[:0], nil
	switch {
	case cap(x.data) == 0:
	case cap(x.data) <= tinyBody+bytes.MinRead:
		b.tiny.Put(x)
	case !x.isLarge():
		b.small.Put(x)
	case b.lent.Load() < spareBodies && cap(x.data) <= largeBody+bytes.MinRead:
		b.large.Put(x)
	}
}

// put takes back a buffer that nobody reads any more.
func (b *bodies) put(x *body) {
	b.forget(x)
	b.keep(x)
}

// forget is for a buffer that somebody may still read, and that is therefore never lent again.
func (b *bodies) forget(x *body) {
	x.share.end()
	if x.isLarge() {
		b.lent.Add(-1)
	}
}

func (x *body) isLarge() bool { return cap(x.data) > smallBody+bytes.MinRead }

// cost is what the buffer takes of the budget.
func (x *body) cost() int64 {
	if n := cap(x.data); n > tinyBody+bytes.MinRead {
		return int64(n)
	}
	return 0
}

// release gives back what the body takes of the budget: from now on it counts as a message that waits for its client.
func (x *body) release() { x.share.end() }

// lender returns what the socket tells that it does not read the buffer any more: nil if that takes nothing of the budget, since then
// giving it back early is not worth the trouble.
func (x *body) lender() socket.Lender {
	if x.cost() == 0 {
		return nil
	}
	return x
}

// GiveBack is for a body that has been released, and whose buffer nobody reads any more although its request goes on: the buffer can be
// lent again at once, and x has none from then on. It is called with a lock of the socket held.
func (x *body) GiveBack() {
	data := x.data
	x.data = nil
	x.from.put(x.from.newBody(data))
}

// readFrom reads all of r, whose length is known unless it is negative. It stops when it has read more than limit bytes. It fails with
// errIntakeFull if there is no room for the body.
func (x *body) readFrom(r io.Reader, length, limit int64) error {
	most := limit + 1
	if length >= 0 {
		most = length
	}
	most = min(most, math.MaxInt-bytes.MinRead)
	for {
		if have := len(x.data); have == cap(x.data) {
			if err := x.grow(max(have, int(min(most, max(smallBody, 4*int64(have)))))); err != nil {
				return err
			}
		}
		n, err := r.Read(x.data[len(x.data):cap(x.data)])
		x.data = x.data[:len(x.data)+n]
		switch {
		case err != nil && x.share.stop():
			return errIntakeFull
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case int64(len(x.data)) > limit:
			return nil
		}
	}
}

// grow makes room for a body of this size, and for finding out that it ends there.
func (x *body) grow(size int) error {
	larger := x.from.lend(size)
	if err := x.share.take(larger.cost()); err != nil {
		x.from.keep(larger)
		return err
	}
	was, wasLarge := x.cost(), x.isLarge()
	x.data, larger.data = append(larger.data, x.data...), x.data
	x.share.give(was)
	if x.isLarge() && !wasLarge {
		x.from.lent.Add(1)
	}
	x.from.keep(larger)
	return nil
}
