package socket

import (
	"errors"
	"fmt"
	"math"
)

// A guard looks at the frames of one message, and at the control frames before and within it, on their way to
// coder/websocket. It finds what RFC 6455 section 5 forbids at the first byte that cannot be right, where coder/websocket
// waits for the rest of the header or lets it pass (lengths that are not minimal), and has a reason at hand for each.
//
// It lets nothing pass that comes behind the message: that is the next guard's.
type guard struct {
	limit   int64 // of the message, in bytes; negative: none
	deflate bool  // permessage-deflate is negotiated

	at     int    // which byte of the header comes next; 0 also within the payload
	first  byte   // of the header
	length uint64 // as far as it is known
	extra  int    // bytes of the length that are still to come
	mask   int    // bytes of the mask that are still to come
	left   uint64 // bytes of the payload that are still to come

	begun      bool   // the message has, with a text or binary frame
	compressed bool   // it is
	over       bool   // nothing of it is to come
	size       uint64 // of its frames so far
	broken     *Violation
}

// check looks at the next bytes, and returns how many of them are to be passed on: a header, or what belongs to one payload,
// as far as there is, and nothing of what is wrong or behind the message. The others are to be shown again. Of a compressed
// message it hides that it is one, since coder/websocket could inflate only what has come in full.
func (g *guard) check(p []byte) (n int, _ *Violation) {
	if g.over || g.broken != nil {
		return 0, g.broken
	}
	if g.left > 0 {
		n = int(min(g.left, uint64(len(p))))
		g.left -= uint64(n)
	} else {
		for n < len(p) && (n == 0 || g.at > 0) {
			if g.broken = g.header(&p[n]); g.broken != nil {
				return n, g.broken
			}
			n++
		}
	}
	g.over = g.left == 0 && g.at == 0 && g.begun && g.ends()
	return n, nil
}

// ends reports whether the frame is the last of the message.
func (g *guard) ends() bool { return g.first&finBit != 0 && !isControl(g.first&opBits) }

// header takes the next byte of a header (RFC 6455 section 5.2).
func (g *guard) header(b *byte) *Violation {
	at := g.at
	g.at++
	switch {
	case at == 0:
		return g.begin(b)
	case at == 1:
		return g.second(*b)
	case g.extra > 0:
		if at == 2 && g.extra == 8 && *b&0x80 != 0 {
			return violation("a payload length with the highest bit set")
		}
		g.length = g.length<<8 | uint64(*b)
		if g.extra--; g.extra == 0 {
			return g.measure(at)
		}
		return nil
	}
	if g.mask--; g.mask == 0 { // any four bytes are a mask
		g.at, g.left = 0, g.length
	}
	return nil
}

// begin takes the first byte, and clears the bit in it that says that the message is compressed.
func (g *guard) begin(b *byte) *Violation {
	op := *b & opBits
	starts := op == opText || op == opBinary
	switch {
	case *b&(rsv2Bit|rsv3Bit) != 0:
		return violation("a reserved bit that no extension gives a meaning to")
	case *b&rsv1Bit != 0 && !g.deflate:
		return violation("a compressed message, but compression was not negotiated")
	case *b&rsv1Bit != 0 && !starts:
		return violation("RSV1 in a frame that does not begin a message") // RFC 7692 section 6.1
	case isControl(op) && op > opPong, !isControl(op) && op > opBinary:
		return violation(fmt.Sprintf("the reserved opcode %d", op))
	case isControl(op) && *b&finBit == 0:
		return violation("a control frame in fragments")
	case op == opContinuation && !g.begun:
		return violation("a continuation of nothing")
	case starts && g.begun:
		return violation("a new message within another")
	}
	g.first, g.mask = *b, maskSize
	if starts {
		g.begun, g.compressed = true, *b&rsv1Bit != 0
		*b &^= rsv1Bit
	}
	return nil
}

// second takes the second byte: the mask bit, and the length or how long it is.
func (g *guard) second(b byte) *Violation {
	op, short := g.first&opBits, b&^maskBit
	switch {
	case b&maskBit == 0:
		return violation("a frame that is not masked")
	case isControl(op) && short > maxControl:
		return violation("a control frame of more than 125 bytes")
	case op == opClose && short == 1:
		return violation("a close frame with half a code")
	}
	switch g.length = 0; short {
	case 126:
		g.extra = 2
	case 127:
		g.extra = 8
	default:
		g.length = uint64(short)
		return g.measure(1)
	}
	return nil
}

// measure judges the length, which is known now; at is the place in the header of its last byte.
func (g *guard) measure(at int) *Violation {
	switch {
	case at == 3 && g.length <= maxControl, at == 9 && g.length <= math.MaxUint16:
		return violation("a payload length in more bytes than it needs")
	case g.first&opBits == opClose:
		g.length = math.MaxUint64 // what comes behind a close frame is nothing, and nobody's to judge
	case isControl(g.first & opBits):
	default:
		// That of a compressed message says nothing about what it is when inflated.
		if g.size += g.length; !g.compressed && g.limit >= 0 && g.size > uint64(g.limit) {
			return tooBig(g.limit)
		}
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
