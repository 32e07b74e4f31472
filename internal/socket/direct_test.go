package socket

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// A fakeKernel stands for a connection with a descriptor: it takes what the test says, and remembers it.
type fakeKernel struct {
	net.Conn
	take  func(p []byte) (int, error) // how much of a write is taken: 0 if the buffer is full; nil: what there is room for
	ready chan struct{}               // has an element when there may be room again
	full  chan struct{}               // has an element when flush waits for room

	mu       sync.Mutex // guards what follows
	room     int
	got      []byte
	deadline time.Time
}

// newKernel makes an open Socket over a connection that takes what take says.
func newKernel(take func(p []byte) (int, error)) (*Socket, *fakeKernel) {
	k := &fakeKernel{take: take, ready: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	s := newSocket(nil)
	s.conn = k
	s.outbox.max = -1
	s.raw = k.raw()
	s.outbox.shared.kernel = func(_ uintptr, g *gather) (int, error) {
		if g.size == 0 {
			return 0, errors.New("a write of nothing")
		}
		p := g.joined()
		var n int
		var err error
		if k.take != nil {
			n, err = k.take(p)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.take == nil {
			n = min(k.room, len(p))
			k.room -= n
		}
		k.got = append(k.got, p[:n]...)
		return n, err
	}
	return s, k
}

// makeRoom makes room for n bytes.
func (k *fakeKernel) makeRoom(n int) {
	k.mu.Lock()
	k.room = n
	k.mu.Unlock()
	signal(k.ready)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// taken returns what was written so far.
func (k *fakeKernel) taken() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.got)
}

func (k *fakeKernel) Close() error { return nil }

func (k *fakeKernel) SetWriteDeadline(t time.Time) error {
	k.mu.Lock()
	k.deadline = t
	k.mu.Unlock()
	return nil
}

func (k *fakeKernel) raw() rawKernel { return rawKernel{k} }

// rawKernel is the kernel as a syscall.RawConn.
type rawKernel struct{ *fakeKernel }

func (k rawKernel) Control(func(fd uintptr)) error   { return errors.ErrUnsupported }
func (k rawKernel) Read(func(fd uintptr) bool) error { return errors.ErrUnsupported }

// Write calls f until it is done, as the standard library does: each time when there may be room, but not past the deadline.
func (k rawKernel) Write(f func(fd uintptr) bool) error {
	for !f(0) {
		k.mu.Lock()
		deadline := k.deadline
		k.mu.Unlock()
		signal(k.full)
		var over <-chan time.Time
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-k.ready:
		case <-over:
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// letter returns n bytes of which each is the same.
func letter(i, n int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, n) }

// frameOf is the frame of a message.
func frameOf(data []byte) []byte {
	var h [maxHead]byte
	n := putHeader(&h, opBinary, len(data))
	return append(h[:n:n], data...)
}

// startAt starts a message, and returns it with where its outcome comes to.
func startAt(t *testing.T, s *Socket, data []byte) (*Message, chan error) {
	t.Helper()
	outcome := make(chan error, 2)
	m := NewMessage(true, data, func(err error) { outcome <- err })
	if pending, err := s.outbox.Start(m); !pending {
		outcome <- err
	}
	return m, outcome
}

// However the kernel divides what it takes, every message arrives whole, once, and in its order: the first write ends at every
// byte there is, and the kernel is full then; the next ones take little, or everything.
func TestPartialWrites(t *testing.T) {
	sizes := []int{0, 3, copyMax, 130, copyMax + 1, 20_000, 2, 2, 9000}
	var want []byte
	ends := map[int]bool{}
	for i, size := range sizes {
		want = append(want, frameOf(letter(i, size))...)
		ends[len(want)] = true
	}
	near := func(at int) bool { // an end or a beginning
		for d := -12; d <= 12; d++ {
			if ends[at+d] {
				return true
			}
		}
		return at < 12 || at%997 == 0 || at > len(want)-12
	}
	for first := 0; first <= len(want); first++ {
		if !near(first) {
			continue
		}
		for _, then := range []int{1 << 20, 4999} {
			writes := 0
			var s *Socket
			var k *fakeKernel
			s, k = newKernel(func(p []byte) (int, error) {
				switch writes++; {
				case writes == 1:
					return min(first, len(p)), nil
				case writes%2 == 0:
					k.ready <- struct{}{}
					return 0, nil
				}
				return min(then, len(p)), nil
			})
			messages := make([]*Message, len(sizes))
			outcomes := make(chan error, 2*len(sizes))
			for i, size := range sizes {
				messages[i] = NewMessage(true, letter(i, size), func(err error) { outcomes <- err })
			}
			s.outbox.StartAll(messages)
			for range sizes {
				if err := <-outcomes; err != nil {
					t.Fatalf("the first write takes %d bytes, the others %d: %v", first, then, err)
				}
			}
			s.running.Wait()
			if got := k.taken(); !bytes.Equal(got, want) || len(outcomes) > 0 {
				t.Fatalf("the first write takes %d bytes, the others %d: %d bytes are not the %d there are; %d outcomes too many",
					first, then, len(got), len(want), len(outcomes))
			}
			if s.outbox.waiting != 0 || s.outbox.shared.pendingAll.cost.Load() != 0 || s.traffic.out.Load() != uint64(len(want)) {
				t.Fatalf("the first write takes %d bytes: %d still wait, %d for all; %d counted", first, s.outbox.waiting,
					s.outbox.shared.pendingAll.cost.Load(), s.traffic.out.Load())
			}
		}
	}
}

// A kernel that takes one byte at a time.
func TestByteByByte(t *testing.T) {
	full := true
	var s *Socket
	var k *fakeKernel
	s, k = newKernel(func(p []byte) (int, error) {
		if full = !full; full {
			k.ready <- struct{}{}
			return 0, nil
		}
		return 1, nil
	})
	_, first := startAt(t, s, letter(0, 2*copyMax))
	_, second := startAt(t, s, letter(1, 200))
	s.Ping()
	if err := errors.Join(<-first, <-second); err != nil {
		t.Fatal(err)
	}
	s.running.Wait()
	got := k.taken()
	ping := []byte("\x89\x011")
	at := bytes.Index(got, ping)
	if at < 0 {
		t.Fatal("no ping")
	}
	got = append(got[:at:at], got[at+len(ping):]...)
	if want := append(frameOf(letter(0, 2*copyMax)), frameOf(letter(1, 200))...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes are not the %d there are", len(got), len(want))
	}
}

// A write that takes everything is one system call, however large the message is.
func TestOneWrite(t *testing.T) {
	for _, size := range []int{0, 100, copyMax, copyMax + 1, 1 << 20, 10 << 20} {
		writes := 0
		s, k := newKernel(func(p []byte) (int, error) { writes++; return len(p), nil })
		data := letter(0, size)
		if m, outcome := startAt(t, s, data); <-outcome != nil || !m.done {
			t.Errorf("%d bytes are not written", size)
		}
		if writes != 1 || !bytes.Equal(k.taken(), frameOf(data)) {
			t.Errorf("%d bytes: %d writes, and %d bytes", size, writes, len(k.taken()))
		}
	}
}

// While a large message is being written, those behind it can be withdrawn, and the large one cannot. Once its caller has left,
// what the caller does with the data does not matter.
func TestWithdrawBehindLarge(t *testing.T) {
	for _, kept := range []bool{false, true} {
		s, k := newKernel(nil)
		k.room = 1000
		data := letter(0, 1<<20)
		large := NewMessage(true, data, func(error) { t.Error("the outcome comes twice") })
		if kept {
			large.Keep()
		}
		if pending, err := s.outbox.Start(large); !pending {
			t.Fatal(err)
		}
		withdrawn, none := startAt(t, s, letter(1, 100_000))
		_, last := startAt(t, s, letter(2, 100))
		<-k.full
		cause := context.Canceled
		if err, decided := s.outbox.Abandon(withdrawn, cause); err != cause || !decided || len(none) > 0 {
			t.Errorf("a message that has not begun: %v, %t", err, decided)
		}
		if err, decided := s.outbox.Abandon(large, cause); err != ErrLeft || !decided {
			t.Errorf("the message that has begun: %v, %t", err, decided)
		}
		if !kept {
			clear(data)
		}
		k.makeRoom(10 << 20)
		if err := <-last; err != nil {
			t.Fatal(err)
		}
		s.running.Wait()
		if want := append(frameOf(letter(0, 1<<20)), frameOf(letter(2, 100))...); !bytes.Equal(k.taken(), want) {
			t.Errorf("kept %t: %d bytes are not the %d there are", kept, len(k.taken()), len(want))
		}
	}
}

// A caller that leaves during a write, which may be reading its data, hears of it only when that write has ended: what the write
// has come to decides.
func TestLeaveWithinWrite(t *testing.T) {
	cause := context.Canceled
	for _, test := range []struct {
		before, takes int // bytes, before the write that it leaves in, and in that write
		want          error
	}{{0, 0, cause}, {0, 1, ErrLeft}, {0, 50_000, ErrLeft}, {0, 1 << 20, nil}, {1000, 0, ErrLeft}, {1000, 10, ErrLeft}, {1000, 1 << 20, nil}} {
		var s *Socket
		var k *fakeKernel
		var m *Message
		writes := 0
		s, k = newKernel(func(p []byte) (int, error) {
			switch writes++; writes {
			case 1:
				return test.before, nil // m has to wait
			case 2:
				if err, decided := s.outbox.Abandon(m, cause); decided {
					t.Errorf("%v is decided within the write", err)
				}
				return min(test.takes, len(p)), nil
			}
			return len(p), nil
		})
		data := letter(0, 100_000)
		outcome := make(chan error, 2)
		m = NewMessage(true, data, func(err error) {
			clear(data) // it is the caller's again
			outcome <- err
		})
		if pending, err := s.outbox.Start(m); !pending {
			t.Fatal(err)
		}
		if err := <-outcome; err != test.want {
			t.Errorf("a write that takes %d bytes after %d: %v, want %v", test.takes, test.before, err, test.want)
		}
		signal(k.ready)
		s.running.Wait()
		want := frameOf(letter(0, 100_000))
		if test.want == cause {
			want = nil
		}
		if got := k.taken(); !bytes.Equal(got, want) || len(outcome) > 0 {
			t.Errorf("a write that takes %d bytes: then %d bytes; %d outcomes too many", test.takes, len(got), len(outcome))
		}
	}
}

// A client may be as slow as it likes, as long as it takes chunkSize, or the rest of a message, in WriteTimeout.
func TestSlowProgress(t *testing.T) {
	for _, test := range []struct {
		takes int // bytes, every 9 s
		want  error
	}{{chunkSize, nil}, {chunkSize/2 + 1, ErrBroken}, {0, ErrClosed}} {
		synctest.Test(t, func(t *testing.T) {
			s, k := newKernel(nil)
			k.room = test.takes
			var failure error
			s.owner = owner(func(err error) { failure = err })
			s.writeTimeout = 10 * time.Second
			_, large := startAt(t, s, letter(0, 1<<20))
			_, small := startAt(t, s, letter(1, 5))
			var err error
			for waiting := true; waiting; {
				select {
				case err = <-large:
					waiting = false
				case <-time.After(9 * time.Second):
					k.makeRoom(test.takes)
				}
			}
			k.makeRoom(100)
			behind := <-small
			s.running.Wait()
			if err != test.want || (err == nil) != (behind == nil) {
				t.Errorf("%d bytes every 9 s: %v, and %v behind it, want %v", test.takes, err, behind, test.want)
			}
			if err != nil && (failure != ErrTimeout || behind != ErrClosed) {
				t.Errorf("%d bytes every 9 s: failed with %v; behind it: %v", test.takes, failure, behind)
			}
		})
	}
}

// Over real connections: large messages beside small ones, from many callers, each of whom uses its slice again as soon as it has
// the outcome.
func TestLargeBesideSmall(t *testing.T) {
	for name, pair := range map[string]func(*testing.T) (client, server net.Conn){"TCP": tcpPair, "TLS": tlsPair, "pipe": pipePair} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			s := newSocket(nil)
			s.conn, s.raw, s.outbox.max = server, rawConn(server), -1
			const callers, each = 6, 20
			var running sync.WaitGroup
			for i := range callers {
				running.Go(func() {
					size := 50 + i
					if i%2 == 0 {
						size = 1<<20 - i
					}
					data := make([]byte, size)
					for n := range each {
						copy(data, letter(n, size))
						data[0] = byte(i)
						m, outcome := startAt(t, s, data)
						var err error
						if n%5 == 4 { // it leaves, and does not wait
							var decided bool
							if err, decided = s.outbox.Abandon(m, context.Canceled); !decided {
								err = <-outcome
							}
						} else {
							err = <-outcome
						}
						if err != nil && err != ErrLeft && err != context.Canceled {
							t.Error(err)
						}
						clear(data)
					}
				})
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				last := [callers]byte{}
				for {
					data, err := readFrame(client)
					if err != nil {
						return
					}
					i, which := data[0], data[1]
					if i >= callers || which <= last[i] {
						t.Errorf("message %q of caller %d after %q", which, i, last[i])
						return
					}
					last[i] = which
					if !bytes.Equal(data[1:], bytes.Repeat([]byte{which}, len(data)-1)) {
						t.Errorf("message %q of caller %d is not as it was sent", which, i)
						return
					}
				}
			}()
			running.Wait()
			s.running.Wait()
			server.Close()
			<-done
		})
	}
}

// readFrame reads one frame as the client.
func readFrame(r io.Reader) ([]byte, error) {
	var h [maxHead]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return nil, err
	}
	size, more := int(h[1]), 0
	switch size {
	case 126:
		more = 2
	case 127:
		more = 8
	}
	if more > 0 {
		if _, err := io.ReadFull(r, h[2:2+more]); err != nil {
			return nil, err
		}
		size = 0
		for _, b := range h[2 : 2+more] {
			size = size<<8 | int(b)
		}
	}
	data := make([]byte, size)
	_, err := io.ReadFull(r, data)
	return data, err
}

func pipePair(t *testing.T) (client, server net.Conn) {
	client, server = net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// Over a connection without a descriptor, a write may wait. What is kept is written as it lies, in chunks; what is the caller's
// is copied, because the caller may leave meanwhile.
func TestPieces(t *testing.T) {
	for _, kept := range []bool{false, true} {
		data := make([]byte, 3*chunkSize)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		copied, largest := 0, 0
		var got []byte
		s := newSocket(func(p []byte) (int, error) {
			if at := len(got) - len(frameOf(data)) + len(data); at < 0 || &p[0] != &data[at] {
				copied += len(p)
			}
			largest = max(largest, len(p))
			got = append(got, p...)
			return len(p), nil
		})
		m := NewMessage(true, data, nil)
		if kept {
			m.Keep()
		}
		if pending, err := s.outbox.Start(m); !pending {
			t.Fatal(err)
		}
		s.running.Wait()
		want := len(data) + int(m.head)
		if kept {
			want = chunkSize // the header, and the first bytes with it
		}
		if !bytes.Equal(got, frameOf(data)) || copied != want || largest > chunkSize {
			t.Errorf("kept %t: %s", kept, fmt.Sprintf("%d bytes were written, %d of them copied, want %d; up to %d at once", len(got), copied, want, largest))
		}
	}
}

// tlsPair is tcpPair over TLS.
func tlsPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	plainClient, plainServer := tcpPair(t)
	cert, pool := testutil.NewCertificate(t)
	secureClient := tls.Client(plainClient, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	secureServer := tls.Server(plainServer, &tls.Config{Certificates: []tls.Certificate{cert}})
	failed := make(chan error, 1)
	go func() { failed <- secureServer.Handshake() }()
	if err := errors.Join(secureClient.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	return secureClient, secureServer
}
