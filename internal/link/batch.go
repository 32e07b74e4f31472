package link

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/coder/websocket"
)

const (
	maxBatch  = 64 << 10               // one WebSocket message
	tagSize   = 16                     // at its end
	maxFrames = maxBatch - tagSize     // the frames in it
	bufSize   = maxBatch + tagSize     // of a buffer, so that a message that is too long shows
	gatherMin = socketBuffer - tagSize // batches from this size on reach the carrier in several writes
)

var (
	errBatch    = errors.New("a batch that the other worker did not make")
	errTooLong  = errors.New("a batch is too long")
	errNotBatch = errors.New("a message that is no batch")
)

// buffers holds buffers for batches, of bufSize. A link has one only while it reads or writes a batch.
var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

func takeBuffer() *[bufSize]byte    { return buffers.Get().(*[bufSize]byte) }
func returnBuffer(b *[bufSize]byte) { buffers.Put(b) }

// channel carries the batches of one link in both directions. Each direction has a key of its own, and the number of a batch is
// its nonce: a batch that is changed, repeated, moved or left out does not open.
type channel struct {
	ws      *websocket.Conn
	carrier *carrier
	in      counted // used by the reader
	out     counted // used by the writer
}

// counted is a cipher with the number of the next batch.
type counted struct {
	aead  cipher.AEAD
	next  uint64
	nonce [12]byte
}

// number returns the nonce of the next batch.
func (c *counted) number() []byte {
	binary.BigEndian.PutUint64(c.nonce[4:], c.next)
	c.next++ // 64 bits do not wrap
	return c.nonce[:]
}

// open opens a batch in place, and returns its frames.
func (c *counted) open(sealed []byte) ([]byte, error) {
	frames, err := c.aead.Open(sealed[:0], c.number(), sealed, nil)
	if err != nil {
		return nil, errBatch
	}
	return frames, nil
}

// seal seals frames in place. They need tagSize bytes of room behind them.
func (c *counted) seal(frames []byte) []byte {
	return c.aead.Seal(frames[:0], c.number(), frames, nil)
}

// read waits for the next batch, and returns its frames, which are in a buffer that goes back with returnBuffer.
func (c *channel) read() (frames []byte, buf *[bufSize]byte, err error) {
	typ, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return nil, nil, err
	}
	if typ != websocket.MessageBinary {
		return nil, nil, errNotBatch
	}
	buf = takeBuffer()
	n := 0
	for err == nil {
		if n == len(buf) {
			err = errTooLong
			break
		}
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if err == io.EOF {
		frames, err = c.in.open(buf[:n])
	}
	if err != nil {
		returnBuffer(buf)
		return nil, nil, err
	}
	return frames, buf, nil
}

// write seals frames in place and writes them as one batch. After an error, begun reports whether any byte of it may have been sent.
func (c *channel) write(frames []byte) (begun bool, err error) {
	before := c.carrier.written.Load()
	sealed := c.out.seal(frames)
	if len(sealed) < gatherMin {
		err = c.ws.Write(context.Background(), websocket.MessageBinary, sealed)
		return c.carrier.written.Load() != before, err
	}
	c.carrier.gather()
	err = c.ws.Write(context.Background(), websocket.MessageBinary, sealed)
	if flushed := c.carrier.flush(); err == nil {
		err = flushed
	}
	return c.carrier.written.Load() != before, err
}
