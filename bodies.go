package wspush

import (
	"bytes"
	"io"
	"math"
	"sync"
	"sync/atomic"
)

// bodies lends buffers for the bodies of pushes. The zero value is ready for use.
//
// A publisher may announce a long body and never send it. So a buffer grows only as the body comes in, unless a large one is
// to spare: then nothing has to be copied. The garbage collector frees what has not been lent for a while.
type bodies struct {
	small sync.Pool    // of *body
	large sync.Pool    // of *body; about spareBodies at most
	lent  atomic.Int64 // how many large ones are lent
}

const (
	// smallBody is the size in bytes up to which a body needs no large buffer.
	smallBody = 64 << 10
	// largeBody is the size in bytes of the largest body whose buffer is kept for another.
	largeBody = 1 << 20
	// spareBodies is how many large buffers are kept when nobody needs them.
	spareBodies = 16
	// unknownBody is how much room a body of unknown length gets at first, in bytes.
	unknownBody = 4 << 10
)

// body is a body that comes in.
type body struct {
	data []byte
	from *bodies
}

// get lends a buffer for a body of this length; a negative length is unknown. It must be given to put or to forget.
func (b *bodies) get(length int64) *body {
	if length > smallBody {
		if spare, ok := b.large.Get().(*body); ok {
			b.lent.Add(1)
			return spare
		}
	}
	if spare, ok := b.small.Get().(*body); ok {
		return spare
	}
	return &body{from: b}
}

// put takes back a buffer that nobody reads any more.
func (b *bodies) put(x *body) {
	x.data = x.data[:0]
	switch {
	case !x.isLarge():
		b.small.Put(x)
	case b.lent.Add(-1) < spareBodies && cap(x.data) <= largeBody+bytes.MinRead:
		b.large.Put(x)
	}
}

// forget is for a buffer that somebody may still read, and that is therefore never lent again.
func (b *bodies) forget(x *body) {
	if x.isLarge() {
		b.lent.Add(-1)
	}
}

func (x *body) isLarge() bool { return cap(x.data) > smallBody+bytes.MinRead }

// readFrom reads all of r, whose length is known unless it is negative. It stops when it has read more than limit bytes.
func (x *body) readFrom(r io.Reader, length, limit int64) error {
	most, first := limit+1, int64(unknownBody)
	if length >= 0 {
		most, first = length, min(length, smallBody)
	}
	most = min(most, math.MaxInt-bytes.MinRead)
	x.grow(int(min(first, most)))
	for {
		if have := len(x.data); have == cap(x.data) {
			x.grow(max(have, int(min(most, 4*int64(have)))))
		}
		n, err := r.Read(x.data[len(x.data):cap(x.data)])
		x.data = x.data[:len(x.data)+n]
		switch {
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
func (x *body) grow(size int) {
	if cap(x.data) > size {
		return
	}
	wasLarge := x.isLarge()
	x.data = append(make([]byte, 0, size+bytes.MinRead), x.data...)
	if !wasLarge && x.isLarge() {
		x.from.lent.Add(1)
	}
}
