package sessionfile

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// form is a record on its way into bytes, or out of them. Both go by the same list of fields, so that they cannot differ: what is written where isReading
// is not set is read where it is.
//
// Fields have no names, but their order. New ones come at the end: a reader that does not know them leaves them, and one that finds none takes zero.
// encoding/gob can do more, and describes its types each time: for a single session that moves to another worker, that was two thirds of the bytes, and
// several times the time.
type form struct {
	b         []byte // what is written, or what is still to be read
	isReading bool
	err       error
}

// errForm says that the fields of a record are not as they must be.
var errForm = errors.New("there is a record that is none")

// isOver reports whether there is no further field to read.
func (f *form) isOver() bool { return f.isReading && (len(f.b) == 0 || f.err != nil) }

func (f *form) number(n *uint64) {
	switch {
	case !f.isReading:
		f.b = binary.AppendUvarint(f.b, *n)
		return
	case f.isOver():
		return
	}
	v, size := binary.Uvarint(f.b)
	if size <= 0 {
		f.err = errForm
		return
	}
	*n, f.b = v, f.b[size:]
}

func (f *form) signed(n *int64) {
	u := uint64(*n)<<1 ^ uint64(*n>>63)
	f.number(&u)
	*n = int64(u>>1) ^ -int64(u&1)
}

func (f *form) int(n *int) {
	v := int64(*n)
	f.signed(&v)
	if v < math.MinInt || v > math.MaxInt { // of 32 bits
		f.err = errForm
		return
	}
	*n = int(v)
}

func (f *form) duration(d *time.Duration) { f.signed((*int64)(d)) }

// flags are up to 64 booleans.
func (f *form) flags(all ...*bool) {
	var n uint64
	for i, flag := range all {
		if *flag {
			n |= 1 << i
		}
	}
	f.number(&n)
	for i, flag := range all {
		*flag = n>>i&1 != 0
	}
}

// count is how many elements follow, each of which has a byte at least.
func (f *form) count(n int) int {
	u := uint64(n)
	f.number(&u)
	if f.isReading && u > uint64(len(f.b)) {
		f.err = errForm
		return 0
	}
	return int(u)
}

// part returns so many bytes that are to be read.
func (f *form) part(size int) []byte {
	part := f.b[:size]
	f.b = f.b[size:]
	return part
}

// bytes copies, so that what is read does not keep all that was read with it. Reading makes nil of what is empty.
func (f *form) bytes(b *[]byte) {
	n := f.count(len(*b))
	switch {
	case !f.isReading:
		f.b = append(f.b, *b...)
	case n > 0:
		*b = append([]byte(nil), f.part(n)...)
	}
}

func (f *form) string(s *string) {
	n := f.count(len(*s))
	switch {
	case !f.isReading:
		f.b = append(f.b, *s...)
	case n > 0:
		*s = string(f.part(n))
	}
}

func (f *form) time(t *time.Time) {
	var b []byte
	if !f.isReading && !t.IsZero() {
		var err error
		if b, err = t.MarshalBinary(); err != nil {
			f.err = err
			return
		}
	}
	f.bytes(&b)
	if f.isReading && len(b) > 0 && f.err == nil {
		f.err = t.UnmarshalBinary(b)
	}
}

// list is a slice whose elements are fields of their own.
func list[T any](f *form, all *[]T, element func(*form, *T)) {
	n := f.count(len(*all))
	if !f.isReading {
		for i := range *all {
			element(f, &(*all)[i])
		}
		return
	}
	for range n {
		var one T
		if len(f.b) == 0 {
			f.err = errForm
			return
		}
		if element(f, &one); f.err != nil {
			return
		}
		*all = append(*all, one)
	}
}

// structure is a struct in a record. It can have fields at its end that a reader does not know.
func structure[T any](fields func(*form, *T)) func(*form, *T) {
	return func(f *form, one *T) {
		inner := form{isReading: f.isReading}
		if !f.isReading {
			fields(&inner, one)
			f.bytes(&inner.b)
		} else if n := f.count(0); f.err == nil {
			inner.b = f.part(n)
			fields(&inner, one)
		}
		if f.err == nil {
			f.err = inner.err
		}
	}
}

func (f *form) start(s *Start) {
	f.int(&s.Port)
	f.number(&s.Instance)
	f.bytes(&s.TicketKey)
}

func (f *form) session(s *Session) {
	f.string(&s.ID)
	f.string(&s.Handler)
	f.string(&s.Path)
	list(f, &s.Tickets, (*form).ticket)
	f.string(&s.User)
	list(f, &s.Groups, (*form).string)
	f.bytes(&s.Value)
	f.flags(&s.HasValue)
	f.string(&s.RemoteAddr)
	f.string(&s.UserAgent)
	f.string(&s.Protocol)
	f.time(&s.ConnectedAt)
	f.time(&s.LastActive)
	f.duration(&s.RoundTrip)
	f.duration(&s.Window)
	f.duration(&s.Remaining)
	f.int(&s.MaxUnconfirmed)
	f.string(&s.Lost.Cause)
	f.int(&s.Lost.Code)
	f.string(&s.Lost.Reason)
	f.string(&s.Lost.Err)
	f.number(&s.Released)
	f.number(&s.Confirmed)
	f.number(&s.Begun)
	list(f, &s.Messages, structure((*form).message))
	f.number(&s.Moves)
	list(f, &s.Earlier, structure((*form).owner))
	list(f, &s.Marks, (*form).number)
}

// ticket is one of 16 bytes.
func (f *form) ticket(secret *[16]byte) {
	switch {
	case !f.isReading:
		f.b = append(f.b, secret[:]...)
	case len(f.b) < len(secret):
		f.err = errForm
	default:
		copy(secret[:], f.part(len(secret)))
	}
}

func (f *form) message(m *Message) {
	f.flags(&m.Binary, &m.Written, &m.Waits, &m.Confirm, &m.Hasty, &m.Patient)
	f.bytes(&m.Data)
	f.int(&m.Shared)
	f.number(&m.Mark)
}

func (f *form) owner(o *Owner) {
	f.string(&o.Address)
	f.number(&o.Instance)
}

func (f *form) tombstone(t *Tombstone) {
	f.string(&t.ID)
	f.string(&t.Handler)
	f.string(&t.Path)
	list(f, &t.Tickets, (*form).ticket)
	f.flags(&t.Expired)
	f.int(&t.Code)
	f.string(&t.Reason)
	f.duration(&t.Remaining)
}
