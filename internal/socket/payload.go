package socket

import (
	"bytes"
	"sync"
)

// A Payload is one message for any number of clients. It is framed once, compressed at most once, and only if a client that takes
// compressed messages has room for it, and its data is held once, and counts once, however many of them have to wait.
type Payload struct {
	shared *Shared
	plain  frame
	kept   bool // plain's data stays as it is even if the callers leave

	mu           sync.Mutex // guards what follows; it may be taken while an Outbox's lock is held
	compressed   frame      // without data if it would not be shorter
	isCompressed bool       // compressed is what it will be
	copy         []byte     // of the data, made when the first caller leaves; nil before
}

// frame is a whole frame of a message. Its data does not change, except that the caller's own does once all callers have left.
type frame struct {
	header [maxHead]byte
	head   uint8
	data   []byte
	held   *Holding // apart from the frame, which a message that outlives its caller must not keep in memory
}

func newFrame(first byte, data []byte) frame {
	f := frame{data: data, held: new(Holding)}
	f.head = putHeader(&f.header, first, len(data))
	return f
}

// NewPayload makes a Payload. data is read until every message of it is settled or abandoned, and never changed.
func (s *Shared) NewPayload(binary bool, data []byte) *Payload {
	return &Payload{shared: s, plain: newFrame(firstByte(binary), data)}
}

// Keep says that the data of p, which has just been made, never changes. Then nothing is copied.
func (p *Payload) Keep() { p.kept = true }

// PrepareShared is Prepare for a message that others are sent, too.
func (m *Message) PrepareShared(p *Payload, settled func(error)) {
	f := &p.plain
	*m = Message{
		header: f.header, head: f.head, data: f.data, payload: p, held: f.held, kept: p.kept,
		squeeze: len(f.data) >= compressFrom, cost: len(f.data) + messageOverhead, settled: settled,
	}
}

// compress returns the compressed frame, or nil if it would not be shorter.
func (p *Payload) compress() *frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isCompressed {
		if data := p.shared.deflate(p.plain.data); data != nil {
			p.compressed = newFrame(p.plain.header[0]|rsv1Bit, data)
		}
		p.isCompressed = true
	}
	return p.compressedLocked()
}

func (p *Payload) compressedLocked() *frame {
	if p.compressed.data == nil {
		return nil
	}
	return &p.compressed
}

// settleForm gives m its form if it is known already: compressed, or not because that is not shorter.
func (p *Payload) settleForm(m *Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isCompressed {
		return
	}
	m.squeeze = false
	if f := p.compressedLocked(); f != nil {
		m.become(f)
	}
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
