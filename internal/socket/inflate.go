package socket

import (
	"compress/flate"
	"io"
)

// An inflater decompresses messages one after another (RFC 7692 section 7.2.2). compress/flate delivers data when a block
// has been flushed, when it has 32 KiB, and at the end.
type inflater struct {
	flate   io.ReadCloser // reads from the inflater
	message incoming
	piece   []byte // of the payload, or of the tail: not yet read by flate
	atTail  bool   // the payload is at its end
	final   int    // how many reads of the final block flate has made
	err     error  // why the payload cannot be read to its end
	tail    []byte // deflateTail, as piece needs it
}

// deflateTail is what the sender has removed from the end of the message.
const deflateTail = "\x00\x00\xff\xff"

// Behind the tail, flate gets a final block, without which it waits for more: a byte that says what block it is, and the length
// 0. The message ends where a block does only if flate reads exactly that; otherwise flate takes it for data.
const (
	finalBlock  = 0x01
	finalLength = "\x00\x00\xff\xff"
	finalReads  = 2
)

// inflate adds to c what the compressed message stands for, and judges it.
func (sh *Shared) inflate(m incoming, c *content) error {
	f, ok := sh.inflaters.Get().(*inflater)
	if !ok {
		f = &inflater{tail: []byte(deflateTail)}
		f.flate = flate.NewReader(f)
	}
	buf := sh.buffer()
	f.message = m
	f.expectBlock()
	defer func() {
		f.message, f.piece, f.atTail, f.final, f.err = incoming{}, nil, false, 0, nil
		sh.inflaters.Put(f)
		sh.release(buf)
	}()
	for {
		n, err := f.flate.Read(*buf)
		if err := c.add((*buf)[:n]); err != nil {
			return err
		}
		switch {
		case err == nil:
		case f.err != nil:
			return f.err
		case err != io.EOF:
			return &Violation{codeProtocol, "protocol error", err}
		case f.final < finalReads && !f.ended():
			// A sender may mark any block as the final one (section 7.2.3.4); another one follows.
			f.expectBlock()
		default:
			return c.end()
		}
	}
}

// expectBlock has flate expect a first block.
func (f *inflater) expectBlock() {
	_ = f.flate.(flate.Resetter).Reset(f, nil) // it never fails
}

// ended waits until it is clear whether the payload has ended, and reports whether it has, before any byte of the tail was read.
// A sender whose last block is a final one ought to put an empty block behind it, which the tail completes. Some do not, and then
// nothing is missing.
func (f *inflater) ended() bool { return f.fill() && f.atTail && len(f.piece) == len(deflateTail) }

// fill waits for a byte in piece, and reports whether there is one: not at the end of the tail, and not after an error.
func (f *inflater) fill() bool {
	if len(f.piece) == 0 && f.err == nil && !f.atTail {
		if f.piece, f.err = f.message.next(); f.err == nil && len(f.piece) == 0 {
			f.piece, f.atTail = f.tail, true
		}
	}
	return len(f.piece) > 0
}

// Read and ReadByte are for flate, which reads no byte more than it needs. It reads the kind of a block with ReadByte, and the
// length, in four bytes, with Read.

func (f *inflater) Read(p []byte) (int, error) {
	switch {
	case f.fill():
		n := copy(p, f.piece)
		f.piece = f.piece[n:]
		return n, nil
	case f.err == nil && f.final == 1 && len(p) == len(finalLength):
		f.final = finalReads
		return copy(p, finalLength), nil
	}
	return 0, io.ErrUnexpectedEOF
}

func (f *inflater) ReadByte() (byte, error) {
	switch {
	case f.fill():
		b := f.piece[0]
		f.piece = f.piece[1:]
		return b, nil
	case f.err == nil && f.final == 0:
		f.final = 1
		return finalBlock, nil
	}
	return 0, io.ErrUnexpectedEOF
}
