package wspush

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"
)

// The index agrees with a model, whatever comes and goes, and in whatever order.
func TestMembers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	x := &newMembers().users
	model := make(map[string]map[*member]bool)
	var all []*member
	for i := range 400 {
		all = append(all, &member{conn: new(Conn), name: fmt.Sprint("name ", i%17), at: absent})
	}
	for range 20_000 {
		m := all[random.IntN(len(all))]
		if model[m.name][m] {
			x.remove(m)
			x.remove(m)
			delete(model[m.name], m)
			continue
		}
		x.remove(m) // which does nothing
		x.add(m)
		if model[m.name] == nil {
			model[m.name] = make(map[*member]bool)
		}
		model[m.name][m] = true
		got := found(x, m.name, math.MaxInt)
		if len(got) != len(model[m.name]) || x.count(m.name) != len(got) {
			t.Fatalf("%d members, counted %d, want %d", len(got), x.count(m.name), len(model[m.name]))
		}
		for i, g := range got {
			if !model[m.name][g] || g.at != i || slices.Index(got, g) != i {
				t.Fatalf("%d: at %d, in the model %v", i, g.at, model[m.name][g])
			}
		}
	}
	names, size := 0, 0
	for name, set := range model {
		size += len(set)
		if len(set) > 0 {
			names++
		}
		if got := found(x, name, 3); len(got) != min(3, len(set)) {
			t.Errorf("%s: %d of %d", name, len(got), len(set))
		}
	}
	if int(x.names.Load()) != names || int(x.size.Load()) != size {
		t.Errorf("%d names of %d, want %d of %d", x.names.Load(), x.size.Load(), names, size)
	}
}

// All members have the name as one string, whatever becomes of the first.
func TestMembersShareName(t *testing.T) {
	x := &newMembers().groups
	all := make([]*member, 5)
	for i := range all {
		all[i] = &member{name: string([]byte("a name")), at: absent}
		x.add(all[i])
		if i == 2 {
			x.remove(all[0])
		}
	}
	for _, m := range all[1:] {
		if unsafe.StringData(m.name) != unsafe.StringData(all[1].name) {
			t.Error("a copy of its own")
		}
	}
}

// What the index takes is bounded by what is in it, not by what has been, and is given back when all have left.
func TestMembersMemory(t *testing.T) {
	const users, room = 100_000, 100_000
	x := newMembers()
	all := make([]*member, 0, users+room)
	before := heapOf()
	for i := range users {
		all = append(all, &member{name: fmt.Sprint("user ", i), at: absent})
	}
	withNames := heapOf()
	for _, m := range all {
		x.users.add(m)
	}
	full := heapOf()
	each := (full - withNames) / users
	t.Logf("%d bytes a name in the index, %d with its member", each, (full-before)/users)
	if each > 100 {
		t.Errorf("a name with one member takes %d bytes", each)
	}
	for range room {
		m := &member{name: "the room", at: absent}
		x.groups.add(m)
		all = append(all, m)
	}
	for _, m := range all[users : users+room-10] {
		x.groups.remove(m)
	}
	s := x.groups.shard("the room")
	if set := s.sets["the room"]; len(found(&x.groups, "the room", room)) != 10 || cap(*set.more) > 64 {
		t.Errorf("10 members that are left of %d have room for %d", room, cap(*set.more))
	}
	for _, m := range all {
		x.users.remove(m)
		x.groups.remove(m)
	}
	clear(all)
	if left := heapOf() - before; left > 200_000 {
		t.Errorf("%d bytes are left of %d", left, full-before)
	}
	runtime.KeepAlive(all)
	runtime.KeepAlive(x)
}

// Members come, go and are looked for at the same time. In the end nobody is left.
func TestMembersConcurrent(t *testing.T) {
	x := &newMembers().groups
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 2000 {
				m := &member{conn: new(Conn), name: fmt.Sprint(i % 3), at: absent}
				x.add(m)
				if !slices.Contains(found(x, m.name, math.MaxInt), m) {
					t.Error("a member is not found")
				}
				x.remove(m)
			}
		})
	}
	all.Wait()
	if x.names.Load() != 0 || x.size.Load() != 0 || x.count("0") != 0 {
		t.Errorf("%d names of %d are left", x.names.Load(), x.size.Load())
	}
}

// found returns what find finds.
func found(x *index, name string, most int) []*member {
	only, several := x.find(name, most)
	if only != nil {
		return []*member{only}
	}
	return several
}

func heapOf() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
