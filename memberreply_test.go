package wspush

import (
	"reflect"
	"strings"
	"testing"
)

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
