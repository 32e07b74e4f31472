package wspush

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"
)

// A body is read whole, whatever its length, whether that is known, and however it comes in.
func TestBody(t *testing.T) {
	sizes := []int{0, 1, 511, 512, 513, tinyBody, tinyBody + 512, smallBody - 1, smallBody, smallBody + 511, smallBody + 512, smallBody + 513,
		4 * smallBody, largeBody - 1, largeBody, largeBody + 1, 3 * largeBody}
	ways := map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "its end with its last byte": iotest.DataErrReader, "halves": iotest.HalfReader,
	}
	b := new(bodies)
	for name, way := range ways {
		for _, size := range sizes {
			want := bytes.Repeat([]byte{byte(size)}, size)
			for _, length := range []int64{int64(size), -1} {
				for _, limit := range []int64{int64(size), math.MaxInt64 - 1} {
					x := b.get(nil)
					if err := x.readFrom(way(bytes.NewReader(want)), length, limit); err != nil || !bytes.Equal(x.data, want) {
						t.Errorf("%s: %d bytes, said to be %d, at most %d: %v, %d bytes", name, size, length, limit, err, len(x.data))
					}
					b.put(x)
				}
			}
		}
	}
	if n := b.lent.Load(); n != 0 {
		t.Errorf("%d large buffers count as lent", n)
	}
}

// Of a body that is too long, only a little more than the limit is read. An error of the reader's is reported.
func TestBodyEnds(t *testing.T) {
	endless := iotest.HalfReader(readerFunc(func(p []byte) (int, error) { return len(p), nil }))
	for _, limit := range []int64{0, 10, 100_000} {
		x := new(bodies).get(nil)
		if err := x.readFrom(endless, -1, limit); err != nil || int64(len(x.data)) <= limit || int64(len(x.data)) > limit+tinyBody+bytes.MinRead {
			t.Errorf("limit %d: %v, %d bytes", limit, err, len(x.data))
		}
	}
	broken := errors.New("broken")
	x := new(bodies).get(nil)
	if err := x.readFrom(io.MultiReader(bytes.NewReader(make([]byte, 50)), iotest.ErrReader(broken)), 100, 1000); err != broken {
		t.Errorf("got %v", err)
	}
}

// A body takes memory as it comes in, and not as it is announced.
func TestBodyGrowsAsItComes(t *testing.T) {
	for _, length := range []int64{largeBody, -1} {
		x := new(bodies).get(nil)
		come := 0
		_ = x.readFrom(readerFunc(func(p []byte) (int, error) {
			if most := max(smallBody, 4*come) + bytes.MinRead; cap(x.data) > most {
				t.Fatalf("length %d: after %d bytes, there is room for %d", length, come, cap(x.data))
			}
			n := min(len(p), 1000, largeBody-come)
			if come += n; n == 0 {
				return 0, io.EOF
			}
			return n, nil
		}), length, largeBody)
		if come != largeBody {
			t.Errorf("%d bytes have come", come)
		}
	}
}

// A large buffer is used again, but not too many are kept, no giants, and none that somebody may still read.
func TestSpareBodies(t *testing.T) {
	b := new(bodies)
	fill := func(size int) *body {
		x := b.get(nil)
		if err := x.readFrom(bytes.NewReader(make([]byte, size)), int64(size), math.MaxInt64-1); err != nil {
			t.Fatal(err)
		}
		return x
	}
	var many []*body
	for range 3 * spareBodies {
		many = append(many, fill(largeBody))
	}
	if n := b.lent.Load(); n != 3*spareBodies {
		t.Errorf("%d count as lent", n)
	}
	b.forget(many[0])
	for _, x := range many[1:] {
		b.put(x)
	}
	b.put(fill(largeBody + 1))
	if n := b.lent.Load(); n != 0 {
		t.Errorf("%d count as lent", n)
	}
	kept := 0
	for {
		x, ok := b.large.Get().(*body)
		if !ok {
			break
		}
		if kept++; x == many[0] || cap(x.data) > largeBody+bytes.MinRead {
			t.Errorf("a buffer of %d bytes is kept", cap(x.data))
		}
	}
	if kept > spareBodies || kept == 0 {
		t.Errorf("%d large buffers are kept", kept)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
