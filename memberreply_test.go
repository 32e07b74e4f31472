package wspush

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMemberReply(t *testing.T) {
	m := memberReply{instance: math.MaxUint64, excepted: 3}
	m.counts[outcomeDone], m.counts[outcomeBusy], m.counts[outcomeLost] = 100_000, 1, 2
	m.lines = appendLine(appendLine(nil, [16]byte{1}, outcomeDone, time.Second), [16]byte{2}, outcomeBusy, 0)
	got, err := readMemberReply(m.append(nil))
	if err != nil || got.instance != m.instance || got.excepted != 3 || got.counts != m.counts || !bytes.Equal(got.lines, m.lines) || got.total() != 100_003 {
		t.Errorf("%+v, %v", got, err)
	}
	var ids []byte
	got.eachLine(func(id [16]byte, code uint8, roundTrip time.Duration) {
		ids = append(ids, id[0], code)
		if want := map[byte]time.Duration{1: time.Second}[id[0]]; roundTrip != want {
			t.Error(roundTrip)
		}
	})
	if !slices.Equal(ids, []byte{1, outcomeDone, 2, outcomeBusy}) {
		t.Error(ids)
	}
	unknown := append(binary.BigEndian.AppendUint64(nil, 1), 0, 200, 7, endOfCounts)
	if got, err := readMemberReply(unknown); err != nil || got.counts[outcomeLost] != 7 {
		t.Errorf("an outcome of a later version: %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 8), make([]byte, 9), unknown[:len(unknown)-1], append(binary.AppendUvarint(make([]byte, 8), math.MaxUint64), endOfCounts)} {
		if got, err := readMemberReply(bad); err == nil {
			t.Errorf("%x: %+v", bad, got)
		}
	}
}

// What one worker tells another of its members arrives, as far as it fits, and nothing that is malformed does.
func TestMemberList(t *testing.T) {
	list := memberList{instance: 7, total: 3, members: []listedMember{
		{[16]byte{1}, 1_700_000_000_000_000_000, "ann"}, {[16]byte{2}, 2, ""}, {[16]byte{3}, 3, strings.Repeat("ä", 128)},
	}}
	b := list.append(nil)
	if got, err := readMemberList(b); err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%+v, %v", got, err)
	}
	whole := 0
	for n := range b {
		if _, err := readMemberList(b[:n]); err == nil {
			whole++ // it ends after a member
		}
	}
	if whole != 3 {
		t.Errorf("%d beginnings are lists, want 3: without members, with one, with two", whole)
	}
	list.total = 2
	if _, err := readMemberList(list.append(nil)); err == nil {
		t.Error("more are listed than there are")
	}
	if _, err := readMemberList(append(b[:len(b):len(b)], 0xff)); err == nil {
		t.Error("something follows")
	}

	// Of members with the longest names, fewer fit.
	list = memberList{total: maxListed, members: make([]listedMember, maxListed)}
	for i := range list.members {
		list.members[i].user = strings.Repeat("x", 256)
	}
	b = list.append(nil)
	got, err := readMemberList(b)
	if len(b) > maxListBytes || err != nil || got.total != maxListed || len(got.members) < 14_000 {
		t.Errorf("%d bytes, %d of %d members, %v", len(b), len(got.members), got.total, err)
	}
}

// FuzzMemberReply: whatever another worker answers, what is read of it is what would be written again.
func FuzzMemberReply(f *testing.F) {
	f.Add((&memberReply{instance: 1, excepted: 2, counts: [outcomeCount]int{3, 4}, lines: appendLine(nil, [16]byte{1}, 5, 6)}).append(nil))
	f.Add((&memberList{instance: 1, total: 2, members: []listedMember{{[16]byte{1}, 1, "ann"}}}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := readMemberReply(b); err == nil {
			if m.total() < 0 || m.excepted < 0 {
				t.Errorf("%+v", m)
			}
			again, err := readMemberReply(m.append(nil))
			if err != nil || again.counts != m.counts || again.excepted != m.excepted {
				t.Errorf("%+v, %+v, %v", m, again, err)
			}
			m.eachLine(func([16]byte, uint8, time.Duration) {})
		}
		if l, err := readMemberList(b); err == nil && l.total < len(l.members) {
			t.Errorf("%+v", l)
		}
	})
}
