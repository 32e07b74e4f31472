package wspush

import "testing"

// Those that wait have their turns in order, and one that leaves passes its turn on. What is left when a request ends is given back.
func TestBulkRoomLine(t *testing.T) {
	all := &allBulkRoom{limit: 10 * bulkStep}
	request := func() *bulkRequest {
		return &bulkRequest{changed: make(chan struct{}, 1), room: bulkRoom{all: all}}
	}
	told := func(b *bulkRequest) bool {
		select {
		case <-b.changed:
			return true
		default:
			return false
		}
	}
	first, large, small, late := request(), request(), request(), request()
	first.reserve(bulkFree + 10*bulkStep)
	if first.takeLocked(1); all.held.Load() != 10*bulkStep {
		t.Errorf("%d bytes are held", all.held.Load())
	}
	for _, b := range []*bulkRequest{large, small} {
		if b.takeLocked(bulkFree + 1) {
			t.Error("there is room beyond the limit")
		}
		b.waitForRoomLocked(true)
	}
	first.room.reserved -= 2 * bulkStep
	first.countLocked()
	switch {
	case !told(large) || told(small):
		t.Error("another one than the first in line is told")
	case large.takeLocked(bulkFree + 4*bulkStep):
		t.Error("there is room beyond the limit")
	case small.takeLocked(bulkFree+1) || late.takeLocked(bulkFree+1):
		t.Error("the first in line is overtaken")
	case !late.takeLocked(bulkFree):
		t.Error("what each may hold in any case has to wait")
	}
	large.exitLineLocked()
	if !told(small) || !small.takeLocked(bulkFree+1) {
		t.Error("the next one has no turn")
	}
	small.exitLineLocked()
	for _, b := range []*bulkRequest{first, small} {
		b.endRoom()
	}
	if all.held.Load() != 0 || all.isPressed.Load() {
		t.Errorf("%d bytes are held for ever", all.held.Load())
	}
	if !late.takeLocked(bulkFree + 100*bulkStep) {
		t.Error("one that is larger than the limit has no turn when there is nothing else")
	}
}
