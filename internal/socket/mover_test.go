package socket

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// Once a session has left, the Mover has what senders wait for, in order, and tells them the outcomes.
func TestLeave(t *testing.T) {
	shared := new(Shared)
	o := awayOutbox(shared, Saved{
		Begun: 1, Messages: []SavedMessage{{Unconfirmed: Unconfirmed{Data: []byte("begun")}, Waits: true, Confirm: true}},
	}, 0)
	o.ForgetMarks()
	newSender(t, "accepted").push(o)
	waits := newSender(t, "waits", patient).push(o)
	leaves := newSender(t, "leaves", confirming).push(o)
	mustFreeze(t, o)
	fresh := newSender(t, "\x06fresh", marked(7), hasty).push(o)
	leaves.leave(o)
	leaves.heard(errSilence)
	to := new(recorder)
	if !o.Leave(to) || o.Leave(to) {
		t.Fatal("Leave")
	}
	to.expect(t, "await 0", "await 2", "await 3", "carry \x06fresh", "withdraw 2: context canceled")
	expectPending(t, shared, int64(len("_fresh")+messageOverhead))
	if n, size := shared.Buffered(); n != 0 || size != 0 {
		t.Errorf("%d messages of %d bytes are buffered", n, size)
	}
	text := []byte("late")
	late := newSender(t, "", confirming)
	late.Prepare(true, text, late.settled)
	late.Confirm()
	late.CopyIfWaiting()
	late.push(o)
	clear(text)
	to.expect(t, "carry late")
	if m := to.given[3]; m.Binary() || m.Confirms() || !m.Hasty() || m.Patient() || m.Mark() != 7 {
		t.Errorf("%+v", m)
	}
	if m := to.given[4]; !m.Binary() || !m.Confirms() || m.Hasty() || m.Patient() || m.Mark() != 0 || string(m.Data()) != "late" {
		t.Errorf("%+v", m)
	}
	fresh.leave(o)
	to.expect(t, "withdraw 3: context canceled")
	fresh.heard(errSilence)
	o.Settle(to.given[3], 0, context.Canceled)
	o.Settle(to.given[3], 0, nil)
	fresh.heard(context.Canceled)
	o.Settle(to.given[4], time.Second, nil)
	o.Settle(to.given[4], time.Minute, ErrFull)
	if late.heard(nil); late.RoundTrip() != time.Second {
		t.Error(late.RoundTrip())
	}
	o.Settle(to.given[1], 0, ErrSuspended)
	waits.heard(ErrSuspended)
	o.Settle(to.given[2], 0, nil) // it was too late to withdraw it
	leaves.heard(nil)
	waits.Prepare(false, []byte("next"), waits.settled) // by its sender, who has it again
	waits.push(o)
	to.expect(t, "carry next")
	o.Settle(to.given[1], 0, ErrBroken)
	waits.heard(ErrSuspended)
	o.Settle(to.given[5], 0, nil)
	if len(waits.outcomes) != 2 {
		t.Errorf("%v", waits.outcomes)
	}
	expectPending(t, shared, 0)
	if o.Pending() != 0 || len(o.spoken.moving.given) != 1 {
		t.Errorf("%d bytes wait, %d messages are given away", o.Pending(), len(o.spoken.moving.given))
	}
}

// A session that has left is over: nothing is unconfirmed, and nothing but pushes has an effect.
func TestLeft(t *testing.T) {
	shared := new(Shared)
	o := awayOutbox(shared, Saved{}, 0)
	newSender(t, "accepted").push(o)
	saved := mustFreeze(t, o)
	to := new(recorder)
	o.Leave(to)
	if _, err := o.Freeze(0, false); err != ErrClosed {
		t.Error(err)
	}
	if _, err := o.Resume(new(Socket), 0); err != ErrClosed {
		t.Error(err)
	}
	if _, ok := o.Save(); ok || o.End() || o.Detach(new(Socket)) || len(o.Unconfirmed()) > 0 {
		t.Error("it has not ended")
	}
	o.Thaw()
	o.ForgetMarks()
	o.Forget()
	if again := o.Confirm(); again != 0 {
		t.Error(again)
	}
	newSender(t, "late").push(o)
	o.StartAll([]*Message{newSender(t, "later").Message, newSender(t, "latest").Message})
	to.expect(t, "carry late", "carry later", "carry latest")
	expectTexts(t, saved, "accepted")
	for _, m := range to.given {
		o.Settle(m, 0, nil)
	}
	expectPending(t, shared, 0)
}

// What is given to a Mover is bounded by what may wait for a client, and for all of them.
func TestLeftIsBounded(t *testing.T) {
	shared := new(Shared)
	o := awayOutbox(shared, Saved{}, 0)
	mustFreeze(t, o)
	to := new(recorder)
	o.Leave(to)
	const size = 100 << 10
	var all []*sender
	for {
		s := newSender(t, strings.Repeat("x", size)).push(o)
		if len(s.outcomes) > 0 {
			s.heard(ErrFull)
			break
		}
		all = append(all, s)
	}
	if len(all) != 1<<20/(size+messageOverhead) {
		t.Errorf("%d are let in", len(all))
	}
	expectPending(t, shared, int64(len(all))*(size+messageOverhead))
	o.StartAll([]*Message{newSender(t, strings.Repeat("x", size)).Message})
	if len(to.given) != len(all) {
		t.Errorf("%d are carried", len(to.given))
	}
	o.Settle(to.given[0], 0, nil)
	newSender(t, strings.Repeat("x", size)).push(o).heard(errSilence)
	for _, m := range to.given {
		o.Settle(m, 0, nil)
	}
	expectPending(t, shared, 0)
	shared.SetMaxPending(size)
	newSender(t, strings.Repeat("x", size/2)).push(o).heard(errSilence)
	newSender(t, strings.Repeat("x", size/2)).push(o).heard(ErrFull)
}

type lender struct{ gaveBack bool }

func (l *lender) GiveBack() { l.gaveBack = true }

// The Mover reads the data while the sender may have it back, or shares it with others.
func TestCarriedData(t *testing.T) {
	shared := new(Shared)
	o := awayOutbox(shared, Saved{}, 0)
	mustFreeze(t, o)
	to := new(recorder)
	o.Leave(to)
	data, lent := []byte("lent"), new(lender)
	m := NewMessage(false, data, func(error) {})
	m.Lend(lent)
	if pending, err := o.Start(m); !pending || !lent.gaveBack {
		t.Error(pending, err, lent.gaveBack)
	}
	clear(data)
	shares := shared.NewPayload(false, bytes.Repeat([]byte("x"), 1000))
	for range 2 {
		m := new(Message)
		m.PrepareShared(shares, func(error) {})
		if pending, err := o.Start(m); !pending {
			t.Error(err)
		}
	}
	if string(to.given[0].Data()) != "lent" || &to.given[1].Data()[0] != &to.given[2].Data()[0] {
		t.Errorf("%q", to.given[0].Data())
	}
	expectPending(t, shared, int64(len("lent")+1000+3*messageOverhead))
	for _, m := range to.given {
		o.Settle(m, 0, nil)
	}
	expectPending(t, shared, 0)
}

// A message that was compressed for the WebSocket of the session is carried as it was pushed.
func TestCompressedIsCarried(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.socket.compress = true
		text := strings.Repeat("x", 2000)
		compressed := newSender(t, text, confirming)
		m.outbox.mu.Lock()
		if !m.outbox.wantsCompressionLocked(compressed.Message, 0) {
			t.Fatal("it is not to be compressed")
		}
		m.outbox.compressLocked(compressed.Message)
		m.outbox.mu.Unlock()
		mustFreeze(t, m.outbox) // while it was being compressed
		to := new(recorder)
		m.outbox.Leave(to)
		compressed.push(m.outbox)
		to.expect(t, "carry "+text)
		m.outbox.Settle(to.given[0], 0, nil)
		compressed.heard(nil)
		expectPending(t, m.shared, 0)
		m.path.cut()
	})
}

// A sender that is still writing its own message when the session moves hears what becomes of it there, from Start.
func TestMovesDuringWrite(t *testing.T) {
	for name, want := range map[string]error{"confirmed": ErrUnconfirmed, "plain": ErrBuffered} {
		t.Run(name, func(t *testing.T) {
			withRawSession(t, func(t *testing.T, m *model) {
				s := newSender(t, "2")
				if name == "confirmed" {
					s.Confirm()
				}
				m.stopWrite(func() { s.push(m.outbox) }, func() {
					expectTexts(t, mustFreeze(t, m.outbox), "greeting", "2")
					to := new(recorder)
					m.outbox.Leave(to)
					for _, given := range to.given {
						m.outbox.Settle(given, 0, ErrUnconfirmed)
					}
					s.heard(errSilence)
				})
				s.heard(want)
				expectPending(t, m.shared, 0)
				m.path.cut()
			})
		})
	}
}

// What waits in a copy gets its sender wherever it is by then.
func TestAttach(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.outbox.Detach(m.socket)
		m.path.cut()
		saved := Saved{Released: 1, Confirmed: 1, Begun: 2, Messages: []SavedMessage{
			{Unconfirmed: Unconfirmed{Data: []byte("begun")}, Waits: true, Confirm: true},
			{Unconfirmed: Unconfirmed{Data: []byte("accepted")}},
			{Unconfirmed: Unconfirmed{Data: []byte("written")}, Waits: true, Patient: true},
			{Unconfirmed: Unconfirmed{Data: []byte("confirmed")}, Waits: true, Confirm: true},
			{Unconfirmed: Unconfirmed{Data: []byte("hasty")}, Waits: true, Hasty: true},
			{Unconfirmed: Unconfirmed{Data: []byte("withdrawn")}, Waits: true, Confirm: true},
		}}
		m.outbox.End()
		m.outbox.Forget()
		m.outbox = m.newOutbox(16 << 10)
		senders := m.outbox.Load(saved, time.Second)
		if len(senders) != 6 || senders[1] != nil {
			t.Fatal(senders)
		}
		attach := func(i int, want error) *sender {
			t.Helper()
			s := newSender(t, "")
			s.Message = senders[i]
			if done, err := m.outbox.Attach(senders[i], func(err error) { s.outcomes = append(s.outcomes, err) }); done {
				s.outcomes = append(s.outcomes, err)
			}
			s.heard(want)
			return s
		}
		begun := attach(0, errSilence)
		if err, decided := m.outbox.Abandon(senders[5], context.Canceled); err != context.Canceled || !decided {
			t.Error(err, decided)
		}
		attach(5, context.Canceled)
		if _, err := m.resume(1); err != nil {
			t.Fatal(err)
		}
		m.saw("begun", "accepted", "written", "confirmed", "hasty")
		attach(2, nil)
		attach(4, nil)
		confirmed := attach(3, errSilence)
		testutil.Pass(time.Second)
		m.rest()
		if confirmed.heard(nil); confirmed.RoundTrip() != time.Second {
			t.Error(confirmed.RoundTrip())
		}
		begun.heard(nil)
	})
}

// A sender that gives up what has begun, before anybody knows of it, hears so when somebody does.
func TestAttachAbandoned(t *testing.T) {
	shared := new(Shared)
	o := awayOutbox(shared, Saved{}, 0)
	senders := o.Load(Saved{Begun: 1, Messages: []SavedMessage{
		{Unconfirmed: Unconfirmed{Data: []byte("begun")}, Waits: true, Confirm: true},
		{Unconfirmed: Unconfirmed{Data: []byte("not begun")}, Waits: true, Confirm: true},
	}}, 0)
	if err, decided := o.Abandon(senders[0], context.Canceled); err != ErrUnconfirmed || !decided {
		t.Error(err, decided)
	}
	if done, err := o.Attach(senders[0], nil); err != ErrUnconfirmed || !done {
		t.Error(err, done)
	}
	o.disownLocked(senders[1])
	if done, err := o.Attach(senders[1], nil); err != ErrLeft || !done {
		t.Error(err, done)
	}
}
