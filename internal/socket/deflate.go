package socket

import (
	"bytes"
	"compress/flate"
)

// compressFrom is the size in bytes from which a message is compressed: below it, deflate tends to make messages longer.
const compressFrom = 512

// deflate compresses one message for permessage-deflate without context takeover (RFC 7692 section 7.2.1). No state is carried
// from message to message, so a message that is withdrawn before it is written does not spoil the next.
func (s *Shared) deflate(data []byte) ([]byte, error) {
	var out bytes.Buffer
	fw, ok := s.deflaters.Get().(*flate.Writer)
	if ok {
		fw.Reset(&out)
	} else {
		var err error
		if fw, err = flate.NewWriter(&out, flate.BestSpeed); err != nil {
			return nil, err
		}
	}
	defer s.deflaters.Put(fw)
	if _, err := fw.Write(data); err != nil {
		return nil, err
	}
	if err := fw.Flush(); err != nil {
		return nil, err
	}
	// Flush ends with an empty stored block. The receiver restores its last four bytes.
	return bytes.TrimSuffix(out.Bytes(), []byte{0x00, 0x00, 0xff, 0xff}), nil
}
