package wspush

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// memberReply is what one worker answers another that has pushed to its members of a user or a group: how many have which outcome, and
// what each has if that was asked for.
type memberReply struct {
	instance uint64 // of the worker that answers
	excepted int
	counts   [outcomeCount]int // by outcome
	lines    []byte            // of appendLine
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
		if int(code) >= outcomeCount {
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
	members  []listedMember
}

type listedMember struct {
	id    [16]byte
	since int64 // nanoseconds since 1970
	user  string
}

const (
	maxListBytes = 4<<20 - 1<<10           // of the list between two workers, which ends before a member that does not fit
	maxListed    = maxListBytes / (16 + 8) // more members cannot fit
)

func (l *memberList) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, l.instance)
	b = binary.AppendUvarint(b, uint64(l.total))
	for _, m := range l.members {
		if len(b)+16+8+binary.MaxVarintLen64+len(m.user) > maxListBytes {
			break
		}
		b = binary.BigEndian.AppendUint64(append(b, m.id[:]...), uint64(m.since))
		b = append(binary.AppendUvarint(b, uint64(len(m.user))), m.user...)
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
	for len(r.rest) > 0 && !r.bad {
		id, since := r.bytes(16), r.bytes(8)
		user := r.bytes(r.count())
		if r.bad {
			break
		}
		l.members = append(l.members, listedMember{[16]byte(id), int64(binary.BigEndian.Uint64(since)), string(user)})
	}
	if r.bad || len(l.members) > l.total {
		return memberList{}, errMemberReply
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

func (r *replyReader) bytes(n int) []byte {
	if len(r.rest) < n {
		r.rest, r.bad = nil, true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
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
