package wspush

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestRegistry(t *testing.T) {
	// The first three have the digits in common that the registry uses as a key; the fourth only shares their shard.
	ids := []string{
		"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
		"1b9d6bcd-0000-4000-8000-0000fbbd4bed",
		"1b9d6bcd-bbfd-4b2d-9b5d-ab8efbbd4bed",
		"10000000-bbfd-4b2d-9b5d-ab8df0000000",
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}, {2, 0, 1, 3}} {
		r := newRegistry()
		conns := make([]*Conn, len(ids))
		for i, id := range ids {
			conns[i] = &Conn{id: id}
			r.add(conns[i])
			r.setOpen(conns[i])
		}
		stray := &Conn{id: ids[0]} // never added
		left := slices.Clone(order)
		for {
			r.remove(stray)
			for i, id := range ids {
				c, ok := r.get(strings.Clone(id))
				if want := slices.Contains(left, i); ok != want || ok && c != conns[i] {
					t.Fatalf("order %v, %v left: get(%d) = %v, %v", order, left, i, c, ok)
				}
			}
			if all := slices.Collect(r.all()); r.len() != len(left) || len(all) != len(left) {
				t.Fatalf("order %v, %v left: len %d, all %v", order, left, r.len(), all)
			}
			if len(left) == 0 {
				break
			}
			r.remove(conns[left[0]])
			r.remove(conns[left[0]])
			left = left[1:]
		}
	}
}

// A connection is found from add on, but counted and listed only once it is open; one that has been removed stays so.
func TestRegistryOpen(t *testing.T) {
	r := newRegistry()
	c := &Conn{id: "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"}
	check := func(step string, found bool, listed int) {
		t.Helper()
		if _, ok := r.get(c.id); ok != found || r.len() != listed || len(slices.Collect(r.all())) != listed {
			t.Errorf("%s: found %v, len %d, all %v", step, ok, r.len(), slices.Collect(r.all()))
		}
	}
	r.setOpen(c)
	check("opened before it was added", false, 0)
	r.add(c)
	check("added", true, 0)
	r.setOpen(c)
	r.setOpen(c)
	check("opened twice", true, 1)
	r.remove(c)
	r.setOpen(c)
	check("opened after it was removed", false, 0)
	r.add(c)
	r.remove(c)
	check("removed before it was open", false, 0)
}

// An ID in any letter case is the same ID (RFC 9562 section 4). Nothing else that is like one is.
func TestRegistryText(t *testing.T) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	r := newRegistry()
	r.add(&Conn{id: id})
	for _, same := range []string{id, strings.ToUpper(id), "1B9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", id[:35] + "D"} {
		if c, ok := r.get(same); !ok || c.id != id {
			t.Errorf("not found as %q", same)
		}
	}
	for _, other := range []string{
		"", id[:35], id + "0", strings.ToUpper(id[:35]) + "0", "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""),
		"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4be\xed", strings.Repeat("\xff", 36),
		strings.ReplaceAll(id, "-", "_"), strings.ReplaceAll(id, "b", "\x0b"), strings.ReplaceAll(id, "1", "A"),
	} {
		if _, ok := r.get(other); ok {
			t.Errorf("found as %q", other)
		}
	}
}

func BenchmarkRegistry(b *testing.B) {
	const entries = 1 << 20
	r := newRegistry()
	conns := make([]Conn, entries)
	ids := make([]string, entries)
	for i := range conns {
		conns[i].id = uuid.NewString()
		ids[i] = strings.Clone(conns[i].id) // as in a request: the same text, but not the same string
		r.add(&conns[i])
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
	more := make([]Conn, 1<<16)
	for i := range more {
		more[i].id = uuid.NewString()
	}
	b.Run("add and remove", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			c := &more[i%len(more)]
			r.add(c)
			r.setOpen(c)
			r.remove(c)
		}
	})
}
