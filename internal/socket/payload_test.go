package socket

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

// stalledSockets makes sockets that share what a worker's do, and whose writes take nothing before release.
func stalledSockets(sh *Shared, n int, compress bool) (all []*Socket, written func(i int) []byte, release func()) {
	gate := make(chan struct{})
	var mu sync.Mutex // guards out
	out := make([][]byte, n)
	for i := range n {
		s := newSocket(func(p []byte) (int, error) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			out[i] = append(out[i], p...)
			return len(p), nil
		})
		s.outbox.shared, s.compress = sh, compress
		all = append(all, s)
	}
	written = func(i int) []byte {
		all[i].running.Wait()
		mu.Lock()
		defer mu.Unlock()
		return out[i]
	}
	return all, written, func() { close(gate) }
}

// However many clients have to wait, the data is held once: the caller's own, then one copy when callers leave.
func TestPayloadHeldOnce(t *testing.T) {
	sh := new(Shared)
	sockets, written, release := stalledSockets(sh, 50, false)
	data := []byte(strings.Repeat("0123456789", 5000))
	want := frameOf(slices.Clone(data))
	p := sh.NewPayload(true, data)
	messages := make([]Message, len(sockets))
	for i, s := range sockets {
		messages[i].PrepareShared(p, func(error) {})
		if pending, err := s.outbox.Start(&messages[i]); !pending {
			t.Fatal(err)
		}
		if &messages[i].data[0] != &data[0] {
			t.Fatal("a message has a copy of its own while the caller is there")
		}
	}
	for _, s := range sockets { // until each message has begun
		testutil.Eventually(t, "a write", func() bool {
			s.outbox.mu.Lock()
			defer s.outbox.mu.Unlock()
			return s.outbox.messages.first.under()
		})
	}
	held := make(map[*byte]bool)
	for i, s := range sockets {
		if err, decided := s.outbox.Abandon(&messages[i], errors.New("left")); err != ErrLeft || !decided {
			t.Fatal(err, decided)
		}
		held[&messages[i].data[0]] = true
		if messages[i].payload != nil {
			t.Fatal("a message keeps the caller's data in memory")
		}
	}
	if len(held) != 1 || held[&data[0]] {
		t.Errorf("%d copies are held", len(held))
	}
	clear(data)
	release()
	for i := range sockets {
		if got := written(i); !bytes.Equal(got[1:], want[1:]) {
			t.Fatalf("client %d is sent %d bytes; not the message", i, len(got))
		}
	}
}

// A message is compressed once, for the clients that negotiated it, and for nobody that has no room.
func TestPayloadCompressed(t *testing.T) {
	sh := new(Shared)
	data := []byte(strings.Repeat("compressible ", 1000))
	sockets, written, release := stalledSockets(sh, 10, true)
	plain, plainWritten, releasePlain := stalledSockets(sh, 1, false)
	for _, s := range sockets {
		s.outbox.max = len(data)
		if pending, err := s.outbox.Start(newMessage([]byte("first"))); !pending {
			t.Fatal(err)
		}
	}
	p := sh.NewPayload(false, data)
	start := func(s *Socket) (*Message, error) {
		m := new(Message)
		m.PrepareShared(p, func(error) {})
		_, err := s.outbox.Start(m)
		return m, err
	}
	if _, err := start(sockets[0]); err != ErrFull {
		t.Errorf("without room: %v", err)
	}
	if _, err := start(plain[0]); err != nil {
		t.Error(err)
	}
	if p.isCompressed {
		t.Error("the message was compressed for a client without room, or one that does not take it compressed")
	}
	held := make(map[*byte]bool)
	for _, s := range sockets {
		s.outbox.max = 1 << 20
		m, err := start(s)
		if err != nil {
			t.Fatal(err)
		}
		held[&m.data[0]] = true
		if cost := m.cost; cost >= len(data)/2 {
			t.Errorf("it counts as %d", cost)
		}
	}
	if len(held) != 1 {
		t.Errorf("it was compressed %d times", len(held))
	}
	release()
	releasePlain()
	if got := plainWritten(0); !bytes.Equal(got, append([]byte{finBit | opText, 126, byte(len(data) >> 8), byte(len(data) & 0xff)}, data...)) {
		t.Errorf("%d bytes for the client that takes nothing compressed", len(got))
	}
	for i := range sockets {
		got, ok := bytes.CutPrefix(written(i), []byte("\x81\x05first"))
		if !ok || got[0] != finBit|rsv1Bit|opText {
			t.Fatalf("client %d: %q", i, got[:min(len(got), 10)])
		}
		head := 2
		if got[1] == 126 {
			head = 4
		}
		if m, err := testutil.Inflate(got[head:]); err != nil || !bytes.Equal(m, data) {
			t.Errorf("client %d: %d bytes, %v", i, len(m), err)
		}
	}
}

// What does not get shorter goes out as it is, although the client takes compressed messages.
func TestIncompressible(t *testing.T) {
	data := make([]byte, 2000)
	_, _ = rand.Read(data)
	for _, shared := range []bool{false, true} {
		var out []byte
		s := newSocket(func(p []byte) (int, error) {
			out = append(out, p...)
			return len(p), nil
		})
		s.compress = true
		m := new(Message)
		settled := make(chan error, 1)
		settle := func(err error) { settled <- err }
		m.Prepare(true, data, settle)
		if shared {
			m.PrepareShared(s.outbox.shared.NewPayload(true, data), settle)
		}
		if _, err := s.outbox.Start(m); err != nil {
			t.Fatal(err)
		}
		if err := <-settled; err != nil {
			t.Fatal(err)
		}
		s.running.Wait()
		if want := append([]byte{finBit | opBinary, 126, 2000 >> 8, 2000 & 0xff}, data...); !bytes.Equal(out, want) {
			t.Errorf("shared %t: %d bytes were sent", shared, len(out))
		}
	}
}

func newMessage(data []byte) *Message { return NewMessage(false, data, func(error) {}) }

// full is a socket that takes compressed messages, whose client does not read, and which has room for a message of room bytes.
func full(sh *Shared, room int) *Socket {
	s := newSocket(nil)
	s.outbox.shared, s.compress, s.turn = sh, true, turnTaken
	s.outbox.max = 100 + room + 2*messageOverhead
	if pending, err := s.outbox.Start(newMessage([]byte(strings.Repeat("-", 100)))); !pending {
		panic(err)
	}
	return s
}

// What is refused is not compressed, however it came; what is accepted is compressed once, for all clients together.
func TestRefusedIsNotCompressed(t *testing.T) {
	data := []byte(strings.Repeat("compressible ", 1000))
	start := func(s *Socket, m *Message) error {
		_, err := s.outbox.Start(m)
		return err
	}
	startAll := func(s *Socket, m *Message) (err error) {
		m.settled = func(outcome error) { err = outcome }
		s.outbox.StartAll([]*Message{m})
		return err
	}
	shared := func(s *Socket, p *Payload) *Message {
		m := new(Message)
		m.PrepareShared(p, func(error) {})
		return m
	}
	for name, start := range map[string]func(*Socket, *Message) error{"Start": start, "StartAll": startAll} {
		for why, refusing := range map[string]func(*Shared) *Socket{
			"full": func(sh *Shared) *Socket { return full(sh, len(data)-1) },
			"all full": func(sh *Shared) *Socket {
				s := full(sh, 1<<20)
				sh.SetMaxPending(sh.Pending() + int64(len(data)))
				return s
			},
			"all full, and nothing waits for it": func(sh *Shared) *Socket {
				sh.SetMaxPending(1)
				full(sh, 1<<20)
				s := newSocket(nil)
				s.outbox.shared, s.compress = sh, true
				return s
			},
			"greeting": func(sh *Shared) *Socket {
				s := full(sh, 1<<20)
				s.outbox.stage = stageGreeting
				return s
			},
			"closed": func(sh *Shared) *Socket {
				s := full(sh, 1<<20)
				s.outbox.stage = stageEnded
				return s
			},
		} {
			sh := new(Shared)
			s := refusing(sh)
			want := ErrFull
			if why == "closed" {
				want = ErrClosed
			}
			pending := sh.Pending()
			for range 3 {
				if err := start(s, newMessage(data)); err != want {
					t.Errorf("%s, %s: %v", name, why, err)
				}
				if err := start(s, shared(s, sh.NewPayload(false, data))); err != want {
					t.Errorf("%s, %s, shared: %v", name, why, err)
				}
			}
			if n := sh.Deflations(); n != 0 || sh.Pending() != pending {
				t.Errorf("%s, %s: %d compressions, and %d bytes are counted", name, why, n, sh.Pending()-pending)
			}
		}
		sh := new(Shared)
		p := sh.NewPayload(false, data)
		for range 10 {
			s := full(sh, 1<<20)
			if err := start(s, shared(s, p)); err != nil {
				t.Error(err)
			}
		}
		if n := sh.Deflations(); n != 1 {
			t.Errorf("%s: %d compressions for one message", name, n)
		}
		s := full(sh, 1<<20)
		if err := start(s, newMessage(data)); err != nil || sh.Deflations() != 2 {
			t.Errorf("%s: %v, %d compressions", name, err, sh.Deflations())
		}
	}
}

// Of several messages that come at once, only those are compressed that have room behind the others.
func TestExcessIsNotCompressed(t *testing.T) {
	sh := new(Shared)
	data := []byte(strings.Repeat("compressible ", 100))
	const fit = 3
	s := full(sh, fit*(len(data)+messageOverhead)-messageOverhead)
	refused := 0
	var messages []*Message
	for range 10 {
		messages = append(messages, NewMessage(false, data, func(err error) {
			if err == ErrFull {
				refused++
			}
		}))
	}
	s.outbox.StartAll(messages)
	squeezed := 0
	for m := s.outbox.messages.first; m != nil; m = m.next {
		if m.header[0]&rsv1Bit != 0 {
			squeezed++
		}
	}
	// Those that have become shorter leave room for others, which go as they are.
	if n := sh.Deflations(); n != fit || squeezed != fit || refused == 0 || refused > 10-fit {
		t.Errorf("%d compressions, %d messages compressed, %d refused", n, squeezed, refused)
	}
}
