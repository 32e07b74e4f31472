package socket

import (
	"fmt"
	"strings"
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
