package wspush

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
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

func TestMemberList(t *testing.T) {
	l := memberList{instance: 7, total: 1000, ids: [][16]byte{{1}, {2}}, since: []int64{3, -4}}
	got, err := readMemberList(l.append(nil))
	if err != nil || got.instance != 7 || got.total != 1000 || !slices.Equal(got.ids, l.ids) || !slices.Equal(got.since, l.since) {
		t.Errorf("%+v, %v", got, err)
	}
	l.total = 1
	for _, bad := range [][]byte{nil, make([]byte, 8), l.append(nil), append(make([]byte, 8), 1, 2)} {
		if got, err := readMemberList(bad); err == nil {
			t.Errorf("%x: %+v", bad, got)
		}
	}
	if most := (memberList{total: maxListed, ids: make([][16]byte, maxListed), since: make([]int64, maxListed)}); len(most.append(nil)) > 4<<20 {
		t.Errorf("a list of %d is too long for a reply", maxListed)
	}
}

// FuzzMemberReply: whatever another worker answers, what is read of it is what would be written again.
func FuzzMemberReply(f *testing.F) {
	f.Add((&memberReply{instance: 1, excepted: 2, counts: [outcomes]int{3, 4}, lines: appendLine(nil, [16]byte{1}, 5, 6)}).append(nil))
	f.Add((&memberList{instance: 1, total: 2, ids: [][16]byte{{1}}, since: []int64{1}}).append(nil))
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
		if l, err := readMemberList(b); err == nil && (l.total < len(l.ids) || len(l.ids) != len(l.since)) {
			t.Errorf("%+v", l)
		}
	})
}
