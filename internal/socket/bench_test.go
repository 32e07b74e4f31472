package socket

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

// One message on its way through the outbox: it is framed, given to a write, and accounted for.
func BenchmarkFrame(b *testing.B) {
	for _, size := range []int{100, 1000, 16_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			s, m, data, g := newSocket(nil), new(Message), make([]byte, size), new(gather)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				m.Prepare(true, data, nil)
				s.outbox.addLocked(m)
				s.outbox.fillLocked(g, 1)
				if s.outbox.wroteLocked(attempt{n: g.size}, s.traffic); !m.done {
					b.Fatal("not all of it")
				}
			}
		})
	}
}

// A message from a client that sends one at a time.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			conn := &script{}
			s := newSocket(nil)
			s.conn, s.readLimit = conn, 1<<20
			raw := masked(testutil.Binary, strings.Repeat("x", size))
			b.ReportAllocs()
			for b.Loop() {
				conn.pieces = [][]byte{raw}
				s.Await()
				s.TakePings()
				if _, data, err := s.Read(true); err != nil || len(data) != size {
					b.Fatal(len(data), err)
				}
			}
		})
	}
}

// A push to a client that answers each ping at once, plain and to a session, but for the system's part of it.
func BenchmarkKeep(b *testing.B) {
	for name, keeps := range map[string]bool{"plain": false, "session": true} {
		b.Run(name, func(b *testing.B) {
			var s *Socket
			pings := 0
			shared := &Shared{kernel: func(_ uintptr, g *gather) (int, error) {
				if p := g.pieces[0]; g.size < 40 && p[0]&opBits == opPing {
					pings++
				}
				return g.size, nil
			}}
			shared.SetMaxPending(32 << 20)
			o := new(Outbox)
			o.Init(shared, 1<<20)
			if keeps {
				o.Speak()
				o.Keep(256<<10, ignored{})
			}
			s = &Socket{owner: owner(func(error) {}), raw: always{}, traffic: new(stripe)}
			o.attach(s)
			s.Hold(nil, nil)
			m, data := new(Message), make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				m.Prepare(true, data, nil)
				if pending, err := o.Start(m); pending || err != nil {
					b.Fatal(pending, err)
				}
				if s.awaitsPongLocked() {
					s.running.Wait()
					s.gotPong(strconv.AppendUint(nil, s.pings, 10))
				}
			}
			b.ReportMetric(float64(pings)/float64(b.N), "pings/op")
		})
	}
}

// always is a descriptor that takes everything.
type always struct{ syscall.RawConn }

func (always) Write(f func(uintptr) bool) error { f(0); return nil }

type ignored struct{}

func (ignored) Kept() {}
