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
	err     error  // why the payload cannot be read to its end
	tail    []byte // deflateTail, in a form that piece can have
}

// deflateTail is what the sender has removed from the end of the message, and a final block, without which compress/flate
// waits for more.
const deflateTail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"

// inflate adds to c what the compressed message stands for, and judges it.
func (sh *Shared) inflate(m incoming, c *content) error {
	f, ok := sh.inflaters.Get().(*inflater)
	if !ok {
		f = &inflater{tail: []byte(deflateTail)}
		f.flate = flate.NewReader(f)
	}
	buf := sh.buffer()
	f.message = m
	f.begin()
	defer func() {
		f.message, f.piece, f.atTail, f.err = incoming{}, nil, false, nil // which refer to this connection
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
		case f.fill() == nil:
			// A sender may mark any block as the final one (section 7.2.3.4); another one follows.
			f.begin()
		case f.err != nil:
			return f.err
		default:
			return c.end()
		}
	}
}

// begin has flate expect a first block.
func (f *inflater) begin() {
	_ = f.flate.(flate.Resetter).Reset(f, nil) // it never fails
}

// fill waits until there is a byte to be read. The error is io.EOF at the end of the message, and then f.err is nil.
func (f *inflater) fill() error {
	if len(f.piece) > 0 || f.err != nil {
		return f.err
	}
	if !f.atTail {
		if f.piece, f.err = f.message.next(); f.err == nil && len(f.piece) == 0 {
			f.piece, f.atTail = f.tail, true
		}
		return f.err
	}
	return io.EOF
}

// Read and ReadByte are for flate, which reads no byte more than it needs.

func (f *inflater) Read(p []byte) (int, error) {
	if err := f.fill(); err != nil {
		return 0, err
	}
	n := copy(p, f.piece)
	f.piece = f.piece[n:]
	return n, nil
}

func (f *inflater) ReadByte() (byte, error) {
	if err := f.fill(); err != nil {
		return 0, err
	}
	b := f.piece[0]
	f.piece = f.piece[1:]
	return b, nil
}
