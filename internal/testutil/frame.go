package testutil

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxPayload bounds how much a frame's length field can make the client allocate.
const maxPayload = 64 << 20

// Opcode is the type of a frame (RFC 6455, section 5.2).
type Opcode byte

// The opcodes that RFC 6455 defines; all others are reserved.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// String returns the opcode's name.
func (op Opcode) String() string {
	names := [...]string{
		Continuation: "continuation", Text: "text", Binary: "binary", Close: "close", Ping: "ping", Pong: "pong",
	}
	if int(op) >= len(names) || names[op] == "" {
		return fmt.Sprintf("reserved opcode %#x", byte(op))
	}
	return names[op]
}

// control reports whether the opcode is that of a control frame, including reserved ones.
func (op Opcode) control() bool { return op&0x8 != 0 }

// Frame is one frame, with its payload unmasked.
type Frame struct {
	Fin     bool
	Rsv     byte // RSV1, RSV2, RSV3 are the bits 4, 2, 1
	Op      Opcode
	Masked  bool // must be true from a client and false from a server
	Payload []byte
}

// String describes the frame for a failure message, cutting a long payload.
func (f Frame) String() string {
	return fmt.Sprintf("%v frame (fin=%t rsv=%03b masked=%t) with %s", f.Op, f.Fin, f.Rsv, f.Masked, quote(f.Payload))
}

// AppendFrame appends f to b in wire format, masked with mask if f.Masked. It checks nothing, so it can build frames that no
// client may send. A length field that is wrong or longer than necessary must be written by hand.
func AppendFrame(b []byte, f Frame, mask [4]byte) []byte {
	first := f.Rsv&0x7<<4 | byte(f.Op)&0xF
	if f.Fin {
		first |= 0x80
	}
	var second byte
	if f.Masked {
		second = 0x80
	}
	switch n := len(f.Payload); {
	case n < 126:
		b = append(b, first, second|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, first, second|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, first, second|127), uint64(n))
	}
	if !f.Masked {
		return append(b, f.Payload...)
	}
	b = append(b, mask[:]...)
	for i, c := range f.Payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// readFrame reads one frame, from a client or a server. The error is io.EOF only if the stream ends between two frames.
func readFrame(r *bufio.Reader) (Frame, error) {
	first, err := r.ReadByte()
	if err != nil {
		return Frame{}, err
	}
	f, err := readRest(r, first)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return f, err
}

// readRest reads what follows a frame's first byte.
func readRest(r *bufio.Reader, first byte) (Frame, error) {
	f := Frame{Fin: first&0x80 != 0, Rsv: first >> 4 & 0x7, Op: Opcode(first & 0xF)}
	second, err := r.ReadByte()
	if err != nil {
		return Frame{}, err
	}
	f.Masked = second&0x80 != 0
	n, err := readLength(r, second&0x7F)
	if err != nil {
		return Frame{}, err
	}
	switch {
	case f.Op > Pong, f.Op > Binary && f.Op < Close:
		return Frame{}, fmt.Errorf("frame with a %v", f.Op)
	case f.Op.control() && (!f.Fin || n > 125):
		return Frame{}, fmt.Errorf("%v frame of %d bytes, fin=%t: a control frame is whole and at most 125 bytes", f.Op, n, f.Fin)
	case n > maxPayload:
		return Frame{}, fmt.Errorf("%v frame of %d bytes; the tests' limit is %d", f.Op, n, maxPayload)
	}
	var mask [4]byte
	if f.Masked {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return Frame{}, err
		}
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return Frame{}, err
	}
	for i := range f.Payload {
		f.Payload[i] ^= mask[i%4]
	}
	return f, nil
}

// readLength reads the extended payload length, if short (the seven-bit field) says that there is one.
func readLength(r *bufio.Reader, short byte) (uint64, error) {
	var least uint64
	var b [8]byte
	field := b[:]
	switch short {
	case 126:
		field, least = b[6:], 126
	case 127:
		least = 1 << 16
	default:
		return uint64(short), nil
	}
	if _, err := io.ReadFull(r, field); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint64(b[:])
	if n < least {
		return 0, fmt.Errorf("payload length %d in %d bytes, not in as few as possible", n, len(field))
	}
	return n, nil
}

// quote renders a payload for a failure message.
func quote(p []byte) string {
	const most = 200
	if len(p) > most {
		return fmt.Sprintf("%d bytes %q…", len(p), p[:most])
	}
	return fmt.Sprintf("%d bytes %q", len(p), p)
}
