package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"
)

// kind is the kind of a frame. A new one needs a new subprotocol.
type kind byte

const (
	kindPush   kind = iota + 1 // asks: a push with a small body
	kindAsk                    // asks: a Request
	kindBegin                  // asks, or answers an ask: what precedes a large body
	kindPiece                  // the next piece of a large body
	kindAnswer                 // answers a push
	kindReply                  // answers an ask
	kindCredit                 // its number is how many more bytes of pieces may come
	kindCancel                 // the asker has given up
	kindPing
	kindPong
	kindBye // its number is the last question that will be answered
)

// Reasons of a bye.
const (
	byeGoing = 0
	byeFull  = 1 // the link was never taken
)

const (
	maxPath    = 8 << 10
	maxMore    = 4096 // targets of a push, besides its first
	idSize     = 16
	maxSmall   = 16 << 10 // a larger body goes in pieces
	maxRequest = 32 << 10 // method, path and query of a Request
	maxHeader  = 8 << 10  // of a Reply, names and values
	maxReply   = 4 << 20  // its body
	frameHead  = 1 + 2*binary.MaxVarintLen64
)

// errFrame is the error for frames that no worker of this version makes.
var errFrame = errors.New("a malformed frame")

// frame is one frame as read. Its body is a part of the batch.
type frame struct {
	kind   kind
	number uint64
	body   []byte
}

// appendHead appends what comes before a frame's body, which must then have length bytes.
func appendHead(b []byte, k kind, number uint64, length int) []byte {
	b = append(b, byte(k))
	b = binary.AppendUvarint(b, number)
	return binary.AppendUvarint(b, uint64(length))
}

// cutFrame reads the first of frames.
func cutFrame(frames []byte) (f frame, rest []byte, err error) {
	if len(frames) == 0 {
		return frame{}, nil, errFrame
	}
	r := reader{frames[1:], false}
	f = frame{kind: kind(frames[0]), number: r.uvarint()}
	f.body = r.bytes(r.uvarint())
	if r.bad || f.kind < kindPush || f.kind > kindBye {
		return frame{}, nil, errFrame
	}
	return f, r.rest, nil
}

// moveFrames moves whole frames from queue to the end of batch, as many as fit within limit.
func moveFrames(batch, queue []byte, limit int) (longer, rest []byte) {
	n := len(queue)
	if room := limit - len(batch); n > room {
		n = 0
		for left := queue; ; {
			_, after, err := cutFrame(left)
			if err != nil || len(queue)-len(after) > room {
				break
			}
			n, left = len(queue)-len(after), after
		}
	}
	batch = append(batch, queue[:n]...)
	rest = queue[:copy(queue, queue[n:])]
	if len(rest) == 0 && cap(rest) > socketBuffer {
		rest = nil
	}
	return batch, rest
}

// reader reads the parts of a frame. After a part that is not there, it is bad.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest, r.bad = nil, true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.bad = nil, true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) duration() time.Duration {
	v := r.uvarint()
	if v > math.MaxInt64 {
		r.bad = true
	}
	return time.Duration(v)
}

func (r *reader) text() []byte { return r.bytes(r.uvarint()) }

// Flags of a push or an ask.
const (
	flagAnyPath = 1 << iota
	flagBinary
	flagConfirm
	flagTo
	flagDetail
	flagHasty
	flagPatient
	flagMark
)

// appendSize appends the size of a large body to what its begin frame has.
func appendSize(b []byte, size int) []byte { return binary.AppendUvarint(b, uint64(size)) }

// size reads what appendSize has appended, the last part of its frame.
func (r *reader) size() int64 {
	v := r.uvarint()
	if v > math.MaxInt64 || len(r.rest) > 0 {
		r.bad = true
	}
	return int64(v)
}

// appendMeta appends a push without its body.
func (p *Push) appendMeta(b []byte) []byte {
	var flags byte
	if p.AnyPath {
		flags |= flagAnyPath
	}
	if p.Binary {
		flags |= flagBinary
	}
	if p.Confirm {
		flags |= flagConfirm
	}
	if p.To != "" {
		flags |= flagTo
	}
	if p.Detail {
		flags |= flagDetail
	}
	if p.Hasty {
		flags |= flagHasty
	}
	if p.Patient {
		flags |= flagPatient
	}
	if p.Mark != 0 {
		flags |= flagMark
	}
	b = append(b, flags, p.Refusal)
	if p.Mark != 0 {
		b = binary.BigEndian.AppendUint64(b, p.Mark)
	}
	b = binary.BigEndian.AppendUint64(b, p.Peer.Instance)
	b = append(b, p.ID[:]...)
	b = binary.AppendUvarint(b, uint64(max(p.Timeout, 0)))
	b = binary.AppendUvarint(b, uint64(len(p.More)))
	place := p.place()
	b = binary.AppendUvarint(b, uint64(len(place)))
	return append(b, place...)
}

func appendIDs(b []byte, ids [][16]byte) []byte {
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

// metaLen returns how many bytes appendMeta appends.
func (p *Push) metaLen() int {
	place := len(p.place())
	mark := 0
	if p.Mark != 0 {
		mark = 8
	}
	return mark + 1 + 1 + 8 + 16 + uvarintLen(uint64(max(p.Timeout, 0))) + uvarintLen(uint64(len(p.More))) + uvarintLen(uint64(place)) + place
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// readMeta reads what appendMeta has appended. It keeps the path in paths, since one link's are mostly the same.
func (r *reader) readMeta(in *Incoming, paths *interned) {
	flags := r.byte()
	in.Refusal = r.byte()
	if flags&flagMark != 0 {
		if b := r.bytes(8); b != nil {
			in.Mark = binary.BigEndian.Uint64(b)
		}
		r.bad = r.bad || in.Mark == 0
	}
	if b := r.bytes(8); b != nil {
		in.Instance = binary.BigEndian.Uint64(b)
	}
	copy(in.ID[:], r.bytes(16))
	in.Timeout = r.duration()
	in.more = int(min(r.uvarint(), maxMore+1))
	in.targets = 1
	if place := r.text(); flags&flagTo != 0 {
		in.To = string(place)
		r.bad = r.bad || len(place) == 0
	} else {
		in.Path = paths.text(place)
		in.targets += in.more
	}
	in.AnyPath, in.Binary, in.Confirm, in.Detail = flags&flagAnyPath != 0, flags&flagBinary != 0, flags&flagConfirm != 0, flags&flagDetail != 0
	in.Hasty, in.Patient = flags&flagHasty != 0, flags&flagPatient != 0
	if len(in.Path)+len(in.To) > maxPath || in.more > maxMore {
		r.bad = true
	}
}

// readIDs cuts More off what precedes the data.
func (in *Incoming) readIDs(body []byte) (data []byte, ok bool) {
	n := in.more
	if len(body) < n*idSize {
		return nil, false
	}
	if n > 0 {
		in.More = make([][16]byte, n)
		for i := range in.More {
			copy(in.More[i][:], body[i*idSize:])
		}
	}
	return body[n*idSize:], true
}

// interned holds the last texts that it has made.
type interned struct {
	recent [4]string
	next   int
}

func (i *interned) text(b []byte) string {
	for _, s := range i.recent {
		if s == string(b) {
			return s
		}
	}
	s := string(b)
	i.recent[i.next] = s
	i.next = (i.next + 1) % len(i.recent)
	return s
}

// appendRequest appends a Request.
func (q *Request) append(b []byte) []byte {
	var flags byte
	if q.AnyPath {
		flags |= flagAnyPath
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, q.Peer.Instance)
	b = append(b, q.ID[:]...)
	for _, s := range []string{q.Method, q.Path, q.Query} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func readRequest(body []byte) (*Request, error) {
	r, q := reader{body, false}, new(Request)
	flags := r.byte()
	if b := r.bytes(8); b != nil {
		q.Peer.Instance = binary.BigEndian.Uint64(b)
	}
	copy(q.ID[:], r.bytes(16))
	q.Method, q.Path, q.Query = string(r.text()), string(r.text()), string(r.text())
	q.AnyPath = flags&flagAnyPath != 0
	if r.bad || len(r.rest) > 0 || flags&^flagAnyPath != 0 {
		return nil, errFrame
	}
	return q, nil
}

// appendHead appends a Reply without its body.
func (y *Reply) appendHead(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(y.Status))
	n := 0
	for _, values := range y.Header {
		n += len(values)
	}
	b = binary.AppendUvarint(b, uint64(n))
	for _, name := range sortedNames(y.Header) {
		for _, value := range y.Header[name] {
			for _, s := range []string{name, value} {
				b = binary.AppendUvarint(b, uint64(len(s)))
				b = append(b, s...)
			}
		}
	}
	return b
}

func sortedNames(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// check returns why a Reply cannot be sent.
func (y *Reply) check() error {
	if y == nil {
		return errors.New("there is none")
	}
	size := 0
	for name, values := range y.Header {
		for _, value := range values {
			size += len(name) + len(value) + 2
		}
	}
	if size > maxHeader || len(y.Body) > maxReply || y.Status < 100 || y.Status > 999 {
		return fmt.Errorf("its status is %d, its header has %d bytes, its body %d", y.Status, size, len(y.Body))
	}
	return nil
}

// readReply reads what appendHead has appended.
func (r *reader) readReply() *Reply {
	y := &Reply{Status: int(min(r.uvarint(), 1000)), Header: http.Header{}}
	if y.Status < 100 || y.Status > 999 {
		r.bad = true
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		name, value := string(r.text()), string(r.text())
		y.Header[name] = append(y.Header[name], value)
	}
	return y
}
