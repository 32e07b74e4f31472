package wspush

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// memberReply is what one worker answers another that has pushed to its members of a user or a group: how many have which outcome, and
// what each has if that was asked for.
type memberReply struct {
	instance uint64 // of the worker that answers
	excepted int
	counts   [outcomes]int // by outcome
	lines    []byte        // of appendLine
}

// maxReplyLines is how many bytes of lines a reply has. Members beyond that are counted, but have no line.
const maxReplyLines = 4<<20 - 1<<10

func (m *memberReply) total() (n int) {
	for _, count := range m.counts {
		n += count
	}
	return n
}

func (m *memberReply) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.instance)
	b = binary.AppendUvarint(b, uint64(m.excepted))
	for code, n := range m.counts {
		if n > 0 {
			b = binary.AppendUvarint(append(b, byte(code)), uint64(n))
		}
	}
	return append(append(b, endOfCounts), m.lines...)
}

// endOfCounts is no outcome.
const endOfCounts = 0xff

func appendLine(b []byte, id [16]byte, code uint8, roundTrip time.Duration) []byte {
	return binary.AppendUvarint(append(append(b, id[:]...), code), uint64(max(roundTrip, 0)))
}

var errMemberReply = errors.New("wspush: a malformed reply")

// readMemberReply reads what append has appended. A worker of a later version may know more outcomes: they say nothing, as in errorOf.
func readMemberReply(b []byte) (m memberReply, err error) {
	if len(b) < 8 {
		return m, errMemberReply
	}
	m.instance = binary.BigEndian.Uint64(b)
	r := replyReader{rest: b[8:]}
	m.excepted = r.count()
	for {
		code := r.byte()
		if r.bad {
			return m, errMemberReply
		}
		if code == endOfCounts {
			break
		}
		if int(code) >= outcomes {
			code = outcomeLost
		}
		m.counts[code] += r.count()
		if m.total() > math.MaxInt32 {
			return m, errMemberReply
		}
	}
	m.lines = r.rest
	return m, nil
}

// eachLine calls f for each of the lines, as long as they are well-formed.
func (m *memberReply) eachLine(f func(id [16]byte, code uint8, roundTrip time.Duration)) {
	for r := (replyReader{rest: m.lines}); len(r.rest) >= 16; {
		id := [16]byte(r.rest)
		r.rest = r.rest[16:]
		code, roundTrip := r.byte(), r.uvarint()
		if r.bad || roundTrip > math.MaxInt64 {
			return
		}
		f(id, code, time.Duration(roundTrip))
	}
}

// memberList is what one worker tells another of its members of a user or a group.
type memberList struct {
	instance uint64
	total    int // how many there are; listed are perhaps fewer
	ids      [][16]byte
	since    []int64 // nanoseconds since 1970, of each of them
}

// maxListed is how many members one list has.
const maxListed = 4 << 20 / (16 + 8 + 1)

func (l *memberList) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, l.instance)
	b = binary.AppendUvarint(b, uint64(l.total))
	b = slices.Grow(b, len(l.ids)*(16+8))
	for i, id := range l.ids {
		b = binary.BigEndian.AppendUint64(append(b, id[:]...), uint64(l.since[i]))
	}
	return b
}

func readMemberList(b []byte) (l memberList, err error) {
	if len(b) < 8 {
		return l, errMemberReply
	}
	l.instance = binary.BigEndian.Uint64(b)
	r := replyReader{rest: b[8:]}
	l.total = r.count()
	if r.bad || len(r.rest)%(16+8) != 0 || len(r.rest)/(16+8) > l.total {
		return l, errMemberReply
	}
	for rest := r.rest; len(rest) > 0; rest = rest[16+8:] {
		l.ids = append(l.ids, [16]byte(rest))
		l.since = append(l.since, int64(binary.BigEndian.Uint64(rest[16:])))
	}
	return l, nil
}

// replyReader reads the parts of a reply. After a part that is not there, it is bad.
type replyReader struct {
	rest []byte
	bad  bool
}

func (r *replyReader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *replyReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest, r.bad = nil, true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads a number of connections.
func (r *replyReader) count() int {
	v := r.uvarint()
	if v > math.MaxInt32 {
		r.bad = true
		return 0
	}
	return int(v)
}
