package socket

import (
	"bytes"
	"sync"
)

// A Payload is one message for any number of clients. It is framed once, compressed at most once, and only if a client that takes
// compressed messages has room for it, and its data is held once, however many of them have to wait.
type Payload struct {
	shared *Shared
	plain  frame

	mu           sync.Mutex // guards what follows; it may be taken while a Socket's lock is held
	compressed   frame      // without data if it would not be shorter
	isCompressed bool       // compressed is what it will be
	copy         []byte     // of the data, made when the first caller leaves; nil before
}

// frame is a whole frame of a message. Its data does not change, except that the caller's own does once all callers have left.
type frame struct {
	header [maxHeader]byte
	head   uint8
	data   []byte
}

func newFrame(first byte, data []byte) frame {
	f := frame{data: data}
	f.head = putHeader(&f.header, first, len(data))
	return f
}

// NewPayload makes a Payload. data is read until every message of it is settled or abandoned, and never changed.
func (s *Shared) NewPayload(binary bool, data []byte) *Payload {
	return &Payload{shared: s, plain: newFrame(firstByte(binary), data)}
}

// PrepareShared is Prepare for a message that others are sent, too.
func (s *Socket) PrepareShared(m *Message, p *Payload, settled func(error)) error {
	f, kept := &p.plain, false
	if s.compresses(len(f.data)) {
		c, err := p.compress()
		if err != nil {
			return err
		}
		if c != nil {
			f, kept = c, true
		}
	}
	*m = Message{header: f.header, head: f.head, data: f.data, payload: p, kept: kept, cost: len(f.data) + messageOverhead, settled: settled}
	return nil
}

// compress returns the compressed frame, or nil if it would not be shorter.
func (p *Payload) compress() (*frame, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isCompressed {
		data, err := p.shared.deflate(p.plain.data)
		if err != nil {
			return nil, err
		}
		if data != nil {
			p.compressed = newFrame(p.plain.header[0]|rsv1Bit, data)
		}
		p.isCompressed = true
	}
	if p.compressed.data == nil {
		return nil, nil
	}
	return &p.compressed, nil
}

// copied returns a copy of the data, which is the same for all. It is called while the caller's data is still as it was.
func (p *Payload) copied() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.copy == nil {
		p.copy = bytes.Clone(p.plain.data)
	}
	return p.copy
}
