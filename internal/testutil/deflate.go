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
	// A bytes.Buffer takes everything.
	_, _ = w.Write(message)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte{0x00, 0x00, 0xFF, 0xFF})
}

// Inflate is the reverse of Deflate (RFC 7692, section 7.2.2). A message that refers back to an earlier one
// (context takeover) is an error.
func Inflate(payload []byte) ([]byte, error) {
	// The tail that the sender took off, and a final empty block, without which the reader expects more.
	tail := "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
	r := flate.NewReader(io.MultiReader(bytes.NewReader(payload), bytes.NewReader([]byte(tail))))
	message, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("inflating %d bytes: %w", len(payload), err)
	}
	return message, nil
}
