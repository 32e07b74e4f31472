package socket

import "encoding/binary"

// The opcodes of RFC 6455 section 5.2; all others are reserved.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	finBit  = 0x80
	rsv1Bit = 0x40 // "compressed" in RFC 7692 section 6
	rsv2Bit = 0x20
	rsv3Bit = 0x10
	opBits  = 0x0F
	maskBit = 0x80 // in the second byte

	maxHeader = 10            // of a server's frame, which is not masked (RFC 6455 section 5.1)
	maxHead   = maxHeader + 1 // with the byte that stands in front of a text that looks like control
	maskSize  = 4

	maxControl = 125 // bytes of a control frame's payload (RFC 6455 section 5.5)
)

// putHeader writes the header of a final frame into h and returns its length.
func putHeader(h *[maxHead]byte, first byte, payload int) uint8 {
	h[0] = finBit | first
	switch {
	case payload < 126:
		h[1] = byte(payload)
		return 2
	case payload <= 0xFFFF:
		h[1] = 126
		binary.BigEndian.PutUint16(h[2:], uint16(payload))
		return 4
	default:
		h[1] = 127
		binary.BigEndian.PutUint64(h[2:], uint64(payload))
		return 10
	}
}

// closePayload returns the payload of a close frame. Code 1005 means "no code": the payload is empty (RFC 6455 section 7.1.5).
func closePayload(code int, reason string) []byte {
	if code == codeNoStatus {
		return nil
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}
