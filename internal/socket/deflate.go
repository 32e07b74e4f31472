package socket

import (
	"bytes"
	"compress/flate"
)

// compressFrom is the size in bytes from which a message is compressed: below it, what deflate saves is not worth what it costs.
const compressFrom = 512

// compressLocked compresses m. It releases mu meanwhile, so that there may be no room for m any more.
func (o *Outbox) compressLocked(m *Message) {
	o.mu.Unlock()
	m.compress(o.shared)
	o.mu.Lock()
}

// compressAllLocked is compressLocked for several messages, of which each has room only behind those before it.
func (o *Outbox) compressAllLocked(messages []*Message) {
	if o.stage != stageOpen || o.socket == nil || !o.socket.compress {
		return
	}
	ahead, wanted := 0, false
	for _, m := range messages {
		if !o.wantsCompressionLocked(m, ahead) {
			m.squeeze = false
		}
		if o.admitsLocked(m, ahead) {
			ahead += m.cost
		}
		wanted = wanted || m.squeeze
	}
	if !wanted {
		return
	}
	o.mu.Unlock()
	defer o.mu.Lock()
	for _, m := range messages {
		if m.squeeze {
			m.compress(o.shared)
		}
	}
}

// wantsCompressionLocked reports whether m is to be compressed and has room, behind what waits and behind ahead more: a message that is
// refused should cost no compression, above all not one for every message to a client that does not read. What there is no room for is
// not compressed later either. If somebody else has had m compressed, it takes that instead.
func (o *Outbox) wantsCompressionLocked(m *Message, ahead int) bool {
	if !m.squeeze || o.stage != stageOpen || o.socket == nil || !o.socket.compress || o.spoken != nil && !o.rememberLocked(m) {
		return false
	}
	if m.payload != nil {
		m.payload.settleForm(m)
	}
	return m.squeeze && o.admitsLocked(m, ahead)
}

// deflate compresses one message for permessage-deflate without context takeover (RFC 7692 section 7.2.1). No state is carried
// from message to message, so a message that is withdrawn before it is written does not spoil the next, and one frame is good for
// every client: the window is always that of 32 KiB, since no offer of less is accepted. The result is nil if it would not be shorter.
func (s *Shared) deflate(data []byte) []byte {
	s.deflations.Add(1)
	d, ok := s.deflaters.Get().(*deflater)
	if !ok {
		d = newDeflater()
	}
	defer func() {
		if d.out.Cap() > deflaterMax {
			d.out = bytes.Buffer{}
		}
		s.deflaters.Put(d)
	}()
	d.out.Reset()
	d.flate.Reset(&d.out)
	_, err := d.flate.Write(data)
	if err == nil {
		err = d.flate.Flush()
	}
	if err != nil {
		panic(err) // a buffer
	}
	// Flush ends with an empty stored block. The receiver restores its last four bytes.
	shorter := bytes.TrimSuffix(d.out.Bytes(), []byte{0x00, 0x00, 0xff, 0xff})
	if len(shorter) >= len(data) {
		return nil
	}
	return bytes.Clone(shorter) // as large as it counts, which a buffer that grows is not
}

// A deflater compresses one message after another.
type deflater struct {
	flate *flate.Writer // writes to out
	out   bytes.Buffer
}

// deflaterMax is the size in bytes of the largest buffer that a deflater keeps.
const deflaterMax = 64 << 10

func newDeflater() *deflater {
	d := new(deflater)
	var err error
	if d.flate, err = flate.NewWriter(&d.out, flate.BestSpeed); err != nil {
		panic(err) // the level is one of package flate's own
	}
	return d
}

// Deflations returns how many messages have been compressed, or would not have become shorter.
func (s *Shared) Deflations() uint64 { return s.deflations.Load() }
