package socket

import (
	"bufio"
	"compress/flate"
	"io"
	"strings"
)

// An inflater reads what a compressed message stands for (RFC 7692 section 7.2.2). It hands that out when a block has been
// flushed, or 32 KiB are there, or at the end, as compress/flate does.
type inflater struct {
	in    *bufio.Reader // of the message and its tail; from it compress/flate reads no byte too many
	flate io.ReadCloser // from in
}

// deflateTail is what the sender has left off at the end of the message, and a final block, without which compress/flate
// waits for more.
const deflateTail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"

// reset begins with another message.
func (f *inflater) reset(message io.Reader) {
	message = io.MultiReader(message, strings.NewReader(deflateTail))
	if f.in == nil {
		f.in = bufio.NewReader(message)
		f.flate = flate.NewReader(f.in)
		return
	}
	f.in.Reset(message)
	f.begin()
}

func (f *inflater) begin() {
	_ = f.flate.(flate.Resetter).Reset(f.in, nil) // it has nothing to fail by
}

func (f *inflater) Read(p []byte) (n int, err error) {
	n, err = f.flate.Read(p)
	if err != io.EOF {
		return n, err
	}
	// A sender may mark any block as the final one (section 7.2.3.4); what comes behind it is another.
	if _, err = f.in.Peek(1); err == nil {
		f.begin()
	}
	return n, err
}
