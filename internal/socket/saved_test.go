package socket

import (
	"bytes"
	"testing"
	"time"
)

type noKeeper struct{}

func (noKeeper) Kept() {}

// awayOutbox makes the outbox of a session whose client is away.
func awayOutbox(shared *Shared, saved Saved, now time.Duration) *Outbox {
	o := new(Outbox)
	o.Init(shared, 1<<20)
	o.Speak()
	o.Keep(16<<10, noKeeper{})
	o.Load(saved, now)
	return o
}

// What several sessions have is counted once, before and after, and each counts by itself as long as its client is away.
func TestSavedShared(t *testing.T) {
	const size = 10_000
	shared := new(Shared)
	payload := shared.NewPayload(true, bytes.Repeat([]byte("x"), size))
	var all []Saved
	for range 2 {
		o := awayOutbox(shared, Saved{}, time.Hour)
		m := new(Message)
		m.PrepareShared(payload, nil)
		if _, err := o.Start(m); err != ErrBuffered {
			t.Fatal(err)
		}
		saved, ok := o.Save()
		if !ok || len(saved.Messages) != 1 || saved.MaxUnconfirmed != 16<<10 {
			t.Fatalf("%v, %+v", ok, saved)
		}
		all = append(all, saved)
	}
	if n := shared.Pending(); n != 0 {
		t.Errorf("%d bytes are counted when all are saved", n)
	}
	if a, b := all[0].Messages[0], all[1].Messages[0]; a.Held == nil || a.Held != b.Held || &a.Data[0] != &b.Data[0] {
		t.Error("what they share is not known as shared")
	}
	next := new(Shared)
	a, b := awayOutbox(next, all[0], time.Hour), awayOutbox(next, all[1], time.Hour)
	if n := next.Pending(); n != 2*suspendedCost+size+2*messageOverhead {
		t.Errorf("%d bytes are counted", n)
	}
	if now := a.now(); now < time.Hour || now > time.Hour+time.Minute {
		t.Errorf("it is %v by the connection's clock", now)
	}
	for i, o := range []*Outbox{a, b} {
		if !o.End() {
			t.Error("End")
		}
		if n := next.Pending(); n != int64(1-i)*(suspendedCost+size+messageOverhead) {
			t.Errorf("%d bytes are counted after %d", n, i+1)
		}
	}
}

// What is no session, or not yet one, cannot be saved.
func TestSavedNone(t *testing.T) {
	shared := new(Shared)
	o := new(Outbox)
	o.Init(shared, 1<<20)
	if _, ok := o.Save(); ok {
		t.Error("a plain connection")
	}
	o.Speak()
	o.Keep(16<<10, noKeeper{})
	if _, ok := o.Save(); ok || o.stage != stageGreeting {
		t.Error("before Hold")
	}
}

// No Freeze says that somebody waits for what is confirmed. If another process does, there is nothing to wait for.
func TestLoadConfirmedWaits(t *testing.T) {
	o := awayOutbox(new(Shared), Saved{}, 0)
	senders := o.Load(Saved{Confirmed: 1, Begun: 1, Messages: []SavedMessage{{Waits: true}}}, 0)
	if done, err := o.Attach(senders[0], nil); !done || err != nil {
		t.Error(done, err)
	}
	if _, retained := o.shared.pendingAll.retained.list(&o.spoken.session); len(retained) != 1 || retained[0].waiter != nil {
		t.Errorf("%+v", retained)
	}
}

// Whoever waits for what is loaded goes on as before while the client is away.
func TestLoadAbsence(t *testing.T) {
	o := awayOutbox(new(Shared), Saved{}, 0)
	senders := o.Load(Saved{Messages: []SavedMessage{{Waits: true, Hasty: true}, {Waits: true, Patient: true}, {Waits: true, Confirm: true}}}, 0)
	for i, m := range senders {
		if m.Hasty() != (i == 0) || m.Patient() != (i == 1) || m.Confirms() != (i == 2) {
			t.Errorf("%d: hasty: %t, patient: %t, confirmed: %t", i, m.Hasty(), m.Patient(), m.Confirms())
		}
	}
}

// A message that was written by another Outbox counts as written when it is loaded: the two need not have the same clock.
func TestLoadRoundTrip(t *testing.T) {
	o := awayOutbox(new(Shared), Saved{}, 0)
	senders := o.Load(Saved{Begun: 1, Messages: []SavedMessage{{Waits: true, Confirm: true}}}, time.Hour)
	if _, err := o.Freeze(1, true); err != nil {
		t.Fatal(err)
	}
	if done, err := o.Attach(senders[0], nil); !done || err != nil || senders[0].RoundTrip() > time.Minute {
		t.Error(done, err, senders[0].RoundTrip())
	}
}
