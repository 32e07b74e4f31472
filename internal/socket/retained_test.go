package socket

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// What an endpoint has confirmed is there for a page that lost it, for 10 s, and then the page is told that it is not.
func TestRetained(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		for _, text := range []string{"2", "3", "4"} {
			if err := m.text(text); err != nil {
				t.Fatal(err)
			}
		}
		m.drain()
		testutil.Pass(ConfirmAfter)
		m.drain()
		if m.answer(); m.outbox.spoken.confirmed != 4 {
			t.Fatalf("%d are confirmed", m.outbox.spoken.confirmed)
		}
		testutil.Pass(retainFor - time.Millisecond)
		m.outbox.Detach(m.socket)
		if from, err := m.resume(2); from != 2 || err != nil {
			t.Fatal(from, err)
		}
		m.saw("3", "4")
		m.answer() // the ping behind the hello, before both
		testutil.Pass(ConfirmAfter)
		m.drain()
		m.answer()
		testutil.Pass(retainFor)
		synctest.Wait()
		if n := m.shared.pendingAll.cost.Load(); n != 0 {
			t.Errorf("%d bytes are kept", n)
		}
		if from, err := m.resume(2); from != 4 || err != nil {
			t.Errorf("from %d, %v, want 4: two are missed", from, err)
		}
		m.saw()
		if err := m.text("5"); err != nil {
			t.Error(err)
		}
		m.drain()
		m.saw("5")
	})
}

// One session retains no more than a few times what may be unconfirmed, however fast it is written to.
func TestRetainedIsBounded(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		for range 1000 {
			if err := m.text(strings.Repeat("x", 1000)); err != nil && err != errWaits {
				t.Fatal(err)
			}
			m.drain()
			m.answer()
			if n := m.shared.pendingAll.retained.cost.Load(); n > (retainTimes+1)*16<<10 {
				t.Fatalf("%d bytes are retained", n)
			}
		}
		if n := m.shared.pendingAll.retained.cost.Load(); n < (retainTimes-1)*16<<10 {
			t.Errorf("%d bytes are retained", n)
		}
	})
}

// What is only retained makes room for what somebody else is sent.
func TestRetainedMakesRoom(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.shared.SetMaxPending(100_000)
		if err := m.text(strings.Repeat("x", 60_000)); err != nil {
			t.Fatal(err)
		}
		m.drain()
		if m.answer(); m.shared.pendingAll.cost.Load() < 60_000 || m.shared.Pending() > 1000 {
			t.Fatalf("%d bytes count, %d as waiting", m.shared.pendingAll.cost.Load(), m.shared.Pending())
		}
		m.outbox.Detach(m.socket)
		if err := m.text(strings.Repeat("y", 60_000)); err != ErrBuffered {
			t.Error(err)
		}
		if err := m.text(strings.Repeat("z", 60_000)); err != ErrFull { // nothing accepted is dropped
			t.Error(err)
		}
		if from, err := m.resume(1); from != 2 || err != nil {
			t.Errorf("from %d, %v", from, err)
		}
		m.saw(strings.Repeat("y", 60_000))
	})
}

// A message to many sessions is held once, and counts once, while they keep it, are away, and write it again.
func TestKeptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, size = 1000, 50_000
		sh := &Shared{kernel: func(_ uintptr, g *gather) (int, error) { return g.size, nil }}
		data := []byte(strings.Repeat("x", size))
		p := sh.NewPayload(false, data)
		var outboxes []*Outbox
		for i := range n {
			o := new(Outbox)
			o.Init(sh, 1<<20)
			o.Speak()
			o.Keep(256<<10, ignored{})
			s := newIgnored()
			o.attach(s)
			s.Hold(nil, nil)
			if i%2 == 0 {
				o.Detach(s)
			}
			m := new(Message)
			m.PrepareShared(p, func(error) {})
			if pending, err := o.Start(m); pending || err != nil && err != ErrBuffered {
				t.Fatal(pending, err)
			}
			outboxes = append(outboxes, o)
		}
		check := func(suspended int) {
			t.Helper()
			if got, want := sh.Pending(), int64(size+n*messageOverhead+suspended*suspendedCost); got != want {
				t.Errorf("%d bytes count, want %d", got, want)
			}
		}
		check(n / 2)
		for _, o := range outboxes {
			if s := o.socket; s != nil {
				s.running.Wait()
				o.Detach(s)
			}
		}
		check(n)
		for _, o := range outboxes {
			o.End()
		}
		for _, o := range outboxes {
			if all := o.Unconfirmed(); len(all) != 1 || &all[0].Data[0] != &outboxes[0].Unconfirmed()[0].Data[0] {
				t.Fatalf("%d are unconfirmed, or the data is another copy", len(all))
			}
		}
		for _, o := range outboxes {
			o.Forget()
		}
		if sh.Pending() != 0 {
			t.Errorf("%d bytes count in the end", sh.Pending())
		}
	})
}

// is sent to somebody else.
func TestRetainedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, size = 10, 50_000
		sh := &Shared{kernel: func(_ uintptr, g *gather) (int, error) { return g.size, nil }}
		p := sh.NewPayload(false, []byte(strings.Repeat("x", size)))
		start := func(o *Outbox) {
			t.Helper()
			m := new(Message)
			m.PrepareShared(p, func(error) {})
			if pending, err := o.Start(m); pending || err != nil {
				t.Fatal(pending, err)
			}
		}
		confirm := func(o *Outbox) {
			o.Confirm()
			o.socket.running.Wait()
			o.socket.gotPong([]byte(strconv.FormatUint(o.socket.pings, 10)))
		}
		check := func(when string, want int) {
			t.Helper()
			if got := sh.Pending(); got != int64(want) {
				t.Errorf("%s, %d bytes count as waiting, want %d", when, got, want)
			}
		}
		outboxes := make([]*Outbox, n)
		for i := range outboxes {
			o := new(Outbox)
			o.Init(sh, 1<<20)
			o.Speak()
			o.Keep(256<<10, ignored{})
			o.attach(newIgnored())
			o.socket.Hold(nil, nil)
			start(o)
			outboxes[i] = o
		}
		testutil.Pass(ConfirmAfter)
		for i, o := range outboxes {
			check(fmt.Sprintf("with %d confirmed", i), size+(n-i)*messageOverhead)
			confirm(o)
		}
		check("with all confirmed", 0)
		if got := sh.pendingAll.cost.Load(); got != size+n*messageOverhead {
			t.Errorf("%d bytes count with what is retained, want %d", got, size+n*messageOverhead)
		}

		s := newIgnored()
		outboxes[0].prepare(s)
		if from, err := outboxes[0].Resume(s, 0); from != 0 || err != nil {
			t.Fatal(from, err)
		}
		check("when one has it sent again", size+messageOverhead)
		s.Release()
		s.running.Wait()
		testutil.Pass(ConfirmAfter)
		confirm(outboxes[0])
		check("with that confirmed", 0)
		start(outboxes[1])
		check("when it is sent to somebody", size+messageOverhead)
		testutil.Pass(ConfirmAfter)
		confirm(outboxes[1])
		check("with that confirmed", 0)

		testutil.Pass(retainFor)
		synctest.Wait()
		if got := sh.pendingAll.cost.Load() + sh.pendingAll.retained.cost.Load(); got != 0 {
			t.Errorf("%d bytes count in the end", got)
		}
	})
}

// A stream of messages to many sessions does not fill the memory with what all of them have had, although each session has but a part in it.
func TestRetainedOnceIsBounded(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		for range 100 {
			message := new(Message)
			message.PrepareShared(m.shared.NewPayload(false, []byte(strings.Repeat("x", 10_000))), func(error) {})
			_, _ = m.outbox.Start(message)
			m.drain()
			m.answer()
			if n := m.shared.pendingAll.cost.Load(); n > (retainTimes+2)*16<<10 {
				t.Fatalf("%d bytes are kept", n)
			}
		}
	})
}

// newIgnored makes a WebSocket of which whatever is written is gone.
func newIgnored() *Socket {
	return &Socket{owner: owner(func(error) {}), raw: always{}, traffic: new(stripe), writeTimeout: -1}
}

// What a client says to have received is not retained any more, in the middle of what one pong has confirmed too, and is counted no more.
func TestRetainedIsShortened(t *testing.T) {
	shared, held := new(Shared), new(Holding)
	data := bytes.Repeat([]byte("x"), 1000)
	saved := Saved{Confirmed: 3, Begun: 3, Messages: []SavedMessage{
		{Unconfirmed: Unconfirmed{Data: data}, Held: held}, {Unconfirmed: Unconfirmed{Data: data}}, {Unconfirmed: Unconfirmed{Data: data}, Held: held},
	}}
	o := awayOutbox(shared, saved, 0)
	const size = 1000 + messageOverhead
	for offset, want := range []int64{2*size + messageOverhead, 2 * size, size, 0} {
		if _, err := o.Freeze(uint64(offset), true); err != nil {
			t.Fatal(err)
		}
		all := &shared.pendingAll
		if all.retained.cost.Load() != want || all.cost.Load() != want+suspendedCost || o.spoken.retainedSize != int64(3-offset)*size {
			t.Errorf("at %d: %d bytes are retained, %d of this session, and %d count for all", offset, all.retained.cost.Load(), o.spoken.retainedSize, all.cost.Load())
		}
	}
}
