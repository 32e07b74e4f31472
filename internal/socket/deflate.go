package socket

import (
	"bytes"
	"compress/flate"
)

// compressFrom is the size in bytes from which a message is compressed: below it, what deflate saves is not worth what it costs.
const compressFrom = 512

// compresses reports whether a message of n bytes is to be compressed. One for which there is no room now is not: it will most
// likely be refused, and a client that does not read should not cost a compression for every message.
func (s *Socket) compresses(n int) bool {
	if !s.compress || n < compressFrom {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == phaseGreeting || s.phase == phaseOpen && s.queue.admitsLocked(&Message{cost: n + messageOverhead})
}

// deflate compresses one message for permessage-deflate without context takeover (RFC 7692 section 7.2.1). No state is carried
// from message to message, so a message that is withdrawn before it is written does not spoil the next, and one frame is good for
// every client: the window is always that of 32 KiB, since no offer of less is accepted. The result is nil if it would not be shorter.
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
	shorter := bytes.TrimSuffix(out.Bytes(), []byte{0x00, 0x00, 0xff, 0xff})
	if len(shorter) >= len(data) {
		return nil, nil
	}
	return shorter, nil
}
