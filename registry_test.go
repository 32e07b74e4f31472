package wspush

import (
	"testing"

	"github.com/google/uuid"
)

func BenchmarkRegistry(b *testing.B) {
	const entries = 1 << 20
	r := newRegistry()
	ids := make([]string, entries)
	c := new(Conn)
	for i := range ids {
		ids[i] = uuid.NewString()
		r.add(ids[i], c)
	}
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok := r.get(ids[i%entries]); !ok {
				b.Fatal("not there")
			}
		}
	})
	b.Run("lookup/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, ok := r.get(ids[i%entries]); !ok {
					b.Error("not there")
					return
				}
			}
		})
	})
	more := make([]string, 1<<16)
	for i := range more {
		more[i] = uuid.NewString()
	}
	b.Run("add+remove", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			id := more[i%len(more)]
			r.add(id, c)
			r.remove(id)
		}
	})
}
