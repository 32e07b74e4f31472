package socket

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// A push that comes by two ways is taken once. What else is wrong with the second does not matter, unless the session has ended.
func TestMarks(t *testing.T) {
	shared := new(Shared)
	never := awayOutbox(shared, Saved{}, 0)
	never.ForgetMarks()
	for range 2 { // it has not been loaded: nothing is recorded
		newSender(t, "x", marked(1)).push(never).heard(ErrBuffered)
	}
	if never.spoken.moving != nil {
		t.Error("marks are recorded")
	}
	saved := mustFreeze(t, never)
	if !slices.Equal(saved.Marks, []uint64{1}) {
		t.Errorf("%d", saved.Marks)
	}
	saved.Marks = append(saved.Marks, 2)
	o := awayOutbox(shared, saved, 0)
	repeated := func(mark uint64, change ...func(*Message)) {
		t.Helper()
		newSender(t, strings.Repeat("x", 2<<20), append(change, marked(mark))...).push(o).heard(ErrRepeated)
		s := newSender(t, "x", append(change, marked(mark))...)
		o.StartAll([]*Message{s.Message})
		s.heard(ErrRepeated)
	}
	repeated(1)
	repeated(2, hasty)
	newSender(t, "x", marked(3), hasty).push(o).heard(ErrSuspended)
	repeated(3)
	newSender(t, strings.Repeat("x", 2<<20), marked(4)).push(o).heard(ErrFull)
	repeated(4)
	for range 2 {
		newSender(t, "x").push(o).heard(ErrBuffered) // without a mark
	}
	before := mustFreeze(t, o)
	repeated(1)
	fresh := newSender(t, "fresh", marked(5)).push(o)
	repeated(5)
	again := mustFreeze(t, o)
	if want := []uint64{1, 2, 3, 4}; !slices.Equal(before.Marks, want) || !slices.Equal(again.Marks, want) {
		t.Errorf("the copies have %d and %d", before.Marks, again.Marks)
	}
	fresh.leave(o)
	o.Thaw()
	repeated(5)
	o.ForgetMarks()
	newSender(t, "x", marked(1)).push(o).heard(ErrBuffered)
	newSender(t, "x", marked(1)).push(o).heard(ErrBuffered)
	if o.spoken.moving != nil {
		t.Error("marks are still recorded")
	}
	ended := awayOutbox(shared, saved, 0)
	ended.End()
	newSender(t, "x", marked(1)).push(ended).heard(ErrClosed)
}

// Several messages that are started at once may be tried twice, which is not the same as to come twice.
func TestMarkTriedTwice(t *testing.T) {
	withRawSession(t, func(t *testing.T, m *model) {
		m.outbox.Detach(m.socket)
		m.outbox.End()
		m.outbox.Forget()
		m.outbox = m.newOutbox(1 << 20)
		m.outbox.Load(Saved{}, 0)
		if _, err := m.resume(0); err != nil {
			t.Fatal(err)
		}
		m.rest()
		m.socket.compress = false
		size := 40 << 10 // MaxPending is 64 KiB
		all := []*sender{newSender(t, strings.Repeat("a", size), marked(1)), newSender(t, strings.Repeat("b", size), marked(2))}
		m.outbox.StartAll([]*Message{all[0].Message, all[1].Message})
		synctest.Wait()
		for _, s := range all {
			s.heard(nil)
		}
		m.drain()
	})
}

// Marks stay as long as what they belong to: confirmed by the client or by its endpoint, sent again, and left behind.
func TestMarksAreKept(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		for i := range uint64(3) {
			newSender(t, fmt.Sprint(i), marked(i+1)).push(m.outbox)
		}
		m.drain()
		m.outbox.Detach(m.socket)
		m.path.cut()
		if _, err := m.resume(2); err != nil { // the last two are written again
			t.Fatal(err)
		}
		newSender(t, "4", confirming, marked(4)).push(m.outbox)
		m.rest()
		saved := mustFreeze(t, m.outbox)
		if !slices.Equal(saved.Marks, []uint64{2, 3, 4}) || saved.Messages[0].Mark != 2 {
			t.Errorf("%d", saved.Marks)
		}
		m.outbox.Thaw()
		testutil.Pass(retainFor + time.Second)
		if saved := mustFreeze(t, m.outbox); len(saved.Marks) > 0 {
			t.Errorf("%d, after a while", saved.Marks)
		}
		m.path.cut()
	})
}
