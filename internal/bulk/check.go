package bulk

import (
	"bytes"
	"hash/crc32"
	"strconv"
	"unicode"

	"github.com/wspush/wspush/internal/wire"
)

// A request is checked if its media type says so. Each of its lines then begins with its number, counted from 1, and the
// CRC-32 (IEEE) of the rest of the line followed by that number:
//
//	{"seq":7,"crc":"1c291ca3","to":…}
//
// The rest is everything after the comma that follows the checksum, up to and including the closing brace. The checksum covers
// the number as well, or a gap between the heads of two lines would give the later line the earlier one's number. So the worker
// notices when something on the way has dropped, repeated or joined parts of the request. HTTP alone does not tell: a proxy
// that loses a part of a chunked body sends what is left as a body that is whole.
const (
	CheckParam = "check" // of the media type
	CheckCRC32 = "crc32" // its only value

	// CheckedNDJSON is the media type of a checked request.
	CheckedNDJSON = wire.NDJSON + "; " + CheckParam + "=" + CheckCRC32
)

// A request whose media type says so is answered when it has ended, so that nothing of it is on its way any more when the answer
// begins. Go's reverse proxies throw away what they read of a request over HTTP/1.1 after that. A length would not do in its
// place: the worker has all of the body while such a proxy still has to read its end, and if the answer comes then, the proxy
// cuts it off. It ends a chunked body only after it has read the end itself.
const (
	AnswerParam = "answer" // of the media type
	AnswerAfter = "after"  // its only value

	afterNDJSON = CheckedNDJSON + "; " + AnswerParam + "=" + AnswerAfter
)

// TypeDamaged is the type in the last line of an answer when parts of the request have been lost on the way.
const TypeDamaged = wire.TypePrefix + "damaged"

const (
	checkSeq  = `{"seq":`
	checkCRC  = `,"crc":"`
	checkRest = `",`
	crcDigits = 8
	maxCheck  = len(checkSeq) + 20 + len(checkCRC) + crcDigits + len(checkRest)
)

// checksum returns the CRC-32 of the rest of a line, to which appendCheck adds the number.
func checksum(rest []byte) uint32 { return crc32.ChecksumIEEE(rest) }

// appendCheck appends what a checked line begins with; sum is the checksum of the rest.
func appendCheck(dst []byte, number int, sum uint32) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, checkSeq...)
	at := len(dst)
	dst = strconv.AppendInt(dst, int64(number), 10)
	sum = crc32.Update(sum, crc32.IEEETable, dst[at:])
	dst = append(dst, checkCRC...)
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[sum>>shift&15])
	}
	return append(dst, checkRest...)
}

// uncheck verifies that a line is whole and has this number, and returns it without its check, or ErrDamaged. It writes into
// the line.
func uncheck(line []byte, number int) ([]byte, error) {
	var want [maxCheck]byte
	head := len(appendCheck(want[:0], number, 0))
	if len(line) <= head {
		return nil, ErrDamaged
	}
	rest := line[head:]
	if !bytes.Equal(line[:head], appendCheck(want[:0], number, checksum(rest))) {
		return nil, ErrDamaged
	}
	line[head-1] = '{' // in place of the comma
	return line[head-1:], nil
}

// skipped verifies a line that is too long to be kept, piece by piece.
type skipped struct {
	number int
	head   []byte // as much of it as has come
	size   int    // of the whole head
	sum    uint32 // of all that has come after the head
	brace  uint32 // of the same up to the latest closing brace
	ended  bool   // such a brace has come, and nothing but white space after it
}

// begin begins with the line of that number.
func (s *skipped) begin(number int) {
	head := appendCheck(s.head[:0], number, 0)
	*s = skipped{number: number, head: head[:0], size: len(head)}
}

// add takes the next piece of the line.
func (s *skipped) add(piece []byte) {
	if len(s.head) == 0 {
		piece = bytes.TrimLeftFunc(piece, unicode.IsSpace)
	}
	n := min(s.size-len(s.head), len(piece))
	s.head = append(s.head, piece[:n]...)
	piece = piece[n:]
	if end := bytes.LastIndexByte(piece, '}') + 1; end > 0 {
		s.sum = crc32.Update(s.sum, crc32.IEEETable, piece[:end])
		s.brace, s.ended = s.sum, true
		piece = piece[end:]
	}
	s.sum = crc32.Update(s.sum, crc32.IEEETable, piece)
	s.ended = s.ended && len(bytes.TrimSpace(piece)) == 0
}

// isWhole reports whether the line is whole and has its number.
func (s *skipped) isWhole() bool {
	var want [maxCheck]byte
	return s.ended && bytes.Equal(s.head, appendCheck(want[:0], s.number, s.brace))
}
