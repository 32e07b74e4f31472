package testutil

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
)

// Deflate compresses one message for permessage-deflate, without context takeover (RFC 7692, section 7.2.1).
// Send the result in a frame with Rsv 4.
func Deflate(message []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		panic(err) // only an unknown level is an error
	}
	// Writing to a bytes.Buffer never fails.
	_, _ = w.Write(message)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte{0x00, 0x00, 0xFF, 0xFF})
}

// Inflate reverses Deflate (RFC 7692, section 7.2.2). It returns an error for a message that refers back to an earlier one
// (context takeover).
func Inflate(payload []byte) ([]byte, error) {
	// The tail that the sender removed, and a final empty block, without which the reader expects more.
	tail := "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
	r := flate.NewReader(io.MultiReader(bytes.NewReader(payload), bytes.NewReader([]byte(tail))))
	message, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("inflating %d bytes: %w", len(payload), err)
	}
	return message, nil
}

// InflateRaw inflates the payload of a message, or the beginning of one, with compress/flate. It stops at the first error, or
// after most bytes. After a block marked final, others may follow from the next byte on (RFC 7692, section 7.2.1).
//
// The error is nil if the payload is whole and ends with a final block, or if it ends between two blocks, at a byte boundary; the
// end of a whole one then includes what the sender has removed. It is [io.ErrUnexpectedEOF] if the payload ends elsewhere.
func InflateRaw(raw []byte, whole bool, most int) ([]byte, error) {
	if whole {
		if message, err := inflateBlocks(raw, most); err == nil {
			return message, nil
		}
		raw = append(bytes.Clone(raw), 0x00, 0x00, 0xFF, 0xFF)
	}
	message, err := inflateBlocks(raw, most)
	if err != io.ErrUnexpectedEOF {
		return message, err
	}
	// If the input ends between two blocks, an empty final block completes it.
	completed, err := inflateBlocks(append(bytes.Clone(raw), 0x01, 0x00, 0x00, 0xFF, 0xFF), most)
	if err == nil && len(completed) == len(message) {
		return message, nil
	}
	return message, io.ErrUnexpectedEOF
}

func inflateBlocks(raw []byte, most int) (message []byte, err error) {
	in := bytes.NewReader(raw) // an io.ByteReader, so flate reads no byte too many
	r := flate.NewReader(in)
	var buf [4096]byte
	for len(message) < most && err == nil {
		var n int
		n, err = r.Read(buf[:min(len(buf), most-len(message))])
		message = append(message, buf[:n]...)
		if err == io.EOF && in.Len() > 0 {
			err = r.(flate.Resetter).Reset(in, nil)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return message, err
}
