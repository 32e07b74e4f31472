package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A header is the header of a client's frame (RFC 6455 section 5.2).
type header struct {
	first  byte // FIN, the reserved bits, and the opcode
	mask   uint32
	size   int // of the header itself, in bytes
	length uint64
}

func (h header) op() byte { return h.first & opBits }

// framing is what the headers of a message's frames have said so far. The zero value is a message that has not begun.
type framing struct {
	begun      bool
	binary     bool
	compressed bool
	final      bool   // its last frame has begun
	size       uint64 // of the payloads of its frames together
	wire       uint64 // of everything from its first byte on, but for pongs that were asked for
}

// parseHeader judges the header at the start of b, which may be incomplete, and reports an error at the first byte that
// RFC 6455 section 5 forbids. The size of an incomplete header is 0. m is the message to which the frame may belong.
func (s *Socket) parseHeader(m *framing, b []byte) (h header, _ *Violation) {
	if len(b) == 0 {
		return h, nil
	}
	h.first = b[0]
	if broken := s.checkFirst(m, b[0]); broken != nil {
		return h, broken
	}
	if len(b) == 1 {
		return h, nil
	}
	if broken := checkSecond(h.op(), b[1]); broken != nil {
		return h, broken
	}
	extended := 0
	switch short := b[1] &^ maskBit; short {
	case 126:
		extended = 2
	case 127:
		extended = 8
	default:
		h.length = uint64(short)
	}
	if extended > 0 {
		if extended == 8 && len(b) > 2 && b[2]&0x80 != 0 {
			return h, violation("a payload length with the highest bit set")
		}
		if len(b) < 2+extended {
			return h, nil
		}
		if extended == 2 {
			h.length = uint64(binary.BigEndian.Uint16(b[2:]))
		} else {
			h.length = binary.BigEndian.Uint64(b[2:])
		}
		if extended == 2 && h.length <= maxControl || extended == 8 && h.length <= math.MaxUint16 {
			return h, violation("a payload length in more bytes than it needs")
		}
	}
	size := 2 + extended + maskSize
	if !isControl(h.op()) {
		if broken := s.checkLength(m, h, size); broken != nil {
			return h, broken
		}
	}
	if len(b) >= size {
		h.size = size
		h.mask = binary.LittleEndian.Uint32(b[size-maskSize:]) // any four bytes are a mask
	}
	return h, nil
}

// checkLength judges the length of a message's frame whose header has so many bytes.
func (s *Socket) checkLength(m *framing, h header, size int) *Violation {
	// The frames of a compressed message do not tell how long the message is.
	isCompressed := h.first&rsv1Bit != 0 || m.compressed
	switch limit := s.readLimit; {
	case limit < 0:
	case !isCompressed && m.size+h.length > uint64(limit):
		return tooBig(limit)
	case m.wire+uint64(size)+h.length > s.wireLimit():
		return tooMuchWire(limit)
	}
	return nil
}

// A message may take wireFactor times readLimit on the wire, and wireExtra: enough for one each byte of which has a frame of its own,
// with some pings between them; or which is compressed, with any number of flushes that a program that means well makes. Otherwise what
// inflates to nothing, or frames without a payload, could come without end.
const (
	wireFactor = 8
	wireExtra  = 1 << 10
)

// wireLimit is how many bytes of one message may come in.
func (s *Socket) wireLimit() uint64 {
	if s.readLimit < 0 || s.readLimit > (math.MaxInt64-wireExtra)/wireFactor {
		return math.MaxInt64
	}
	return uint64(wireFactor*s.readLimit + wireExtra)
}

// checkFirst judges the first byte of a header.
func (s *Socket) checkFirst(m *framing, b byte) *Violation {
	op := b & opBits
	starts := op == opText || op == opBinary
	switch {
	case b&(rsv2Bit|rsv3Bit) != 0:
		return violation("a reserved bit to which no extension gives a meaning")
	case b&rsv1Bit != 0 && !s.compress:
		return violation("a compressed message, but compression was not negotiated")
	case b&rsv1Bit != 0 && !starts:
		return violation("RSV1 in a frame that does not begin a message") // RFC 7692 section 6.1
	case isControl(op) && op > opPong, !isControl(op) && op > opBinary:
		return violation(fmt.Sprintf("the reserved opcode %d", op))
	case isControl(op) && b&finBit == 0:
		return violation("a fragmented control frame")
	case op == opContinuation && !m.begun:
		return violation("a continuation frame without a message to continue")
	case starts && m.begun:
		return violation("a new message within another")
	}
	return nil
}

// checkSecond judges the second byte of a header: the mask bit, and the length or the size of the length.
func checkSecond(op, b byte) *Violation {
	short := b &^ maskBit
	switch {
	case b&maskBit == 0:
		return violation("a frame that is not masked")
	case isControl(op) && short > maxControl:
		return violation("a control frame of more than 125 bytes")
	case op == opClose && short == 1:
		return violation("a close frame with half a code")
	}
	return nil
}

func isControl(op byte) bool { return op&opClose != 0 }

func violation(what string) *Violation {
	return &Violation{codeProtocol, "protocol error", errors.New(what)}
}

func tooBig(limit int64) *Violation {
	return &Violation{codeTooBig, "message too big", fmt.Errorf("a message of more than %d bytes", limit)}
}

func tooMuchWire(limit int64) *Violation {
	return &Violation{codeTooBig, "message too big", fmt.Errorf("a message of at most %d bytes that takes more than %d times as many, and %d, on the wire", limit, wireFactor, wireExtra)}
}

func notUTF8(what string) *Violation {
	return &Violation{codeInvalid, "invalid UTF-8", errors.New(what + " that is not valid UTF-8")}
}
