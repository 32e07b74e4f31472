package socket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// recorder is a Mover that does nothing by itself.
type recorder struct {
	given []*Message
	calls []string
}

func (r *recorder) Carry(m *Message) { r.note(m, "carry %s", m.Data()) }

func (r *recorder) Await(m *Message, place uint64) { r.note(m, "await %d", place) }

func (r *recorder) Withdraw(m *Message, cause error) {
	r.calls = append(r.calls, fmt.Sprintf("withdraw %d: %v", slices.Index(r.given, m), cause))
}

func (r *recorder) note(m *Message, format string, what any) {
	r.given, r.calls = append(r.given, m), append(r.calls, fmt.Sprintf(format, what))
}

func (r *recorder) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(r.calls, want) {
		t.Errorf("the Mover got %q, want %q", r.calls, want)
	}
	r.calls = nil
}

// A sender is one that waits for an outcome.
type sender struct {
	*Message
	t        *testing.T
	outcomes []error
}

// errSilence is the outcome of a message whose sender has heard nothing.
var errSilence = errors.New("nothing")

func newSender(t *testing.T, text string, change ...func(*Message)) *sender {
	s := &sender{t: t}
	s.Message = NewMessage(false, []byte(text), func(err error) { s.outcomes = append(s.outcomes, err) })
	for _, f := range change {
		f(s.Message)
	}
	return s
}

func confirming(m *Message) { m.Confirm() }
func hasty(m *Message)      { m.IfAway(false) }
func patient(m *Message)    { m.IfAway(true) }

func marked(mark uint64) func(*Message) { return func(m *Message) { m.SetMark(mark) } }

// push starts to send the message.
func (s *sender) push(o *Outbox) *sender {
	if pending, err := o.Start(s.Message); !pending {
		s.outcomes = append(s.outcomes, err)
	}
	return s
}

// leave has the sender give up.
func (s *sender) leave(o *Outbox) {
	if err, decided := o.Abandon(s.Message, context.Canceled); decided {
		s.outcomes = append(s.outcomes, err)
	}
}

// heard checks what the sender has heard, which is nothing or one outcome.
func (s *sender) heard(want error) {
	s.t.Helper()
	got := errSilence
	if len(s.outcomes) > 0 {
		got = s.outcomes[0]
	}
	if got != want || len(s.outcomes) > 1 {
		s.t.Errorf("the sender of %.20q has heard %v, want %v", s.Data(), s.outcomes, want)
	}
}

func mustFreeze(t *testing.T, o *Outbox) Saved {
	t.Helper()
	saved, err := o.Freeze(0, false)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// rest has the endpoint read all there is, and answer all pings.
func (m *model) rest() {
	for m.drain(); len(m.pings) > 0; m.drain() {
		m.answer()
	}
}

// texts returns what the messages of a copy say.
func (s *Saved) texts() (all []string) {
	for _, m := range s.Messages {
		all = append(all, string(m.Data))
	}
	return all
}

func expectTexts(t *testing.T, saved Saved, want ...string) {
	t.Helper()
	if got := saved.texts(); !slices.Equal(got, want) {
		t.Errorf("the copy has %.40q, want %q", got, want)
	}
}

func expectPending(t *testing.T, shared *Shared, want int64) {
	t.Helper()
	if got := shared.pendingAll.cost.Load(); got != want {
		t.Errorf("%d bytes count for all, want %d", got, want)
	}
}

// Whatever comes while a session stands still waits, within the limits, and can be withdrawn; if the session does not leave, it becomes what it
// would have if the client had been away.
func TestFrozen(t *testing.T) {
	shared := new(Shared)
	o := awayOutbox(shared, Saved{}, 0)
	o.ForgetMarks()
	before := newSender(t, "before").push(o)
	before.heard(ErrBuffered)
	expectTexts(t, mustFreeze(t, o), "before")
	senders := map[string]struct {
		change []func(*Message)
		thawed error
	}{
		"plain":               {nil, ErrBuffered},
		"hasty":               {[]func(*Message){hasty}, ErrSuspended},
		"patient":             {[]func(*Message){patient}, errSilence},
		"confirmed":           {[]func(*Message){confirming}, errSilence},
		"hasty, confirmed":    {[]func(*Message){hasty, confirming}, ErrSuspended},
		"patient, confirmed":  {[]func(*Message){patient, confirming}, errSilence},
		"plain, to be copied": {[]func(*Message){(*Message).CopyIfWaiting}, ErrBuffered},
	}
	frozen := make(map[string]*sender)
	for name, s := range senders {
		frozen[name] = newSender(t, name, s.change...).push(o)
		frozen[name].heard(errSilence)
	}
	withdrawn := newSender(t, "withdrawn").push(o)
	withdrawn.leave(o)
	withdrawn.heard(context.Canceled)
	all := []*Message{newSender(t, "a").Message, newSender(t, "b", hasty).Message}
	o.StartAll(all)
	for _, m := range all {
		if m.done {
			t.Error(m.err)
		}
	}
	large := newSender(t, strings.Repeat("x", 1<<20)).push(o)
	large.heard(ErrFull)
	expectTexts(t, mustFreeze(t, o), "before")
	o.Thaw()
	for name, s := range senders {
		frozen[name].heard(s.thawed)
	}
	if all[0].err != ErrBuffered || all[1].err != ErrSuspended {
		t.Error(all[0].err, all[1].err)
	}
	after := newSender(t, "after", hasty).push(o)
	after.heard(ErrSuspended)
	if o.spoken.moving != nil {
		t.Error("it is still known that the session was to move")
	}
	if n := o.Pending(); n != int(shared.pendingAll.cost.Load())-suspendedCost {
		t.Errorf("%d bytes wait, and %d count for all", n, shared.pendingAll.cost.Load())
	}
	o.Thaw() // which does nothing
	if o.Leave(new(recorder)) {
		t.Error("it leaves")
	}
}

// What is no session, or has ended, or is not open yet, cannot be frozen; and what is frozen does not go on by itself.
func TestFreezeRefused(t *testing.T) {
	shared := new(Shared)
	plain := new(Outbox)
	plain.Init(shared, 1<<20)
	closed := func(o *Outbox, what string) {
		t.Helper()
		if _, err := o.Freeze(0, false); err != ErrClosed {
			t.Errorf("%s: %v", what, err)
		}
		if o.Leave(new(recorder)) {
			t.Errorf("%s leaves", what)
		}
		o.Thaw()
		o.ForgetMarks()
	}
	closed(plain, "a plain connection")
	plain.Speak()
	closed(plain, "a connection without a session")
	plain.Keep(16<<10, noKeeper{})
	closed(plain, "a session that is not open")
	o := awayOutbox(shared, Saved{}, 0)
	if _, err := o.Freeze(1, true); err != ErrOffset || o.isFrozenLocked() || o.spoken.moving.confirmed != nil {
		t.Errorf("%v, and frozen: %t", err, o.isFrozenLocked())
	}
	mustFreeze(t, o)
	if _, err := o.Freeze(1, true); err != ErrOffset || !o.isFrozenLocked() {
		t.Errorf("%v, and frozen: %t", err, o.isFrozenLocked())
	}
	if _, err := o.Resume(new(Socket), 0); err != ErrFrozen {
		t.Error(err)
	}
	if o.Detach(new(Socket)) {
		t.Error("it had a WebSocket")
	}
	if !o.End() {
		t.Error("End")
	}
	closed(o, "a session that has ended")
}

// What waits for the WebSocket is in the copy, and the other Outbox learns who waits for what. Nobody is told that the client is away.
func TestFreezeConnected(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.socket.compress, m.path.room = false, 1000
		written := newSender(t, "written", confirming, marked(1)).push(m.outbox)
		under := newSender(t, strings.Repeat("u", 5000), patient, marked(2)).push(m.outbox)
		synctest.Wait()
		rest := map[string]*sender{
			"plain":              newSender(t, "plain", marked(3)),
			"hasty":              newSender(t, "hasty", hasty),
			"patient":            newSender(t, "patient", patient),
			"confirmed":          newSender(t, "confirmed", confirming),
			"hasty, confirmed":   newSender(t, "hasty, confirmed", hasty, confirming),
			"patient, confirmed": newSender(t, "patient, confirmed", patient, confirming),
		}
		names := []string{"plain", "hasty", "patient", "confirmed", "hasty, confirmed", "patient, confirmed"}
		for _, name := range names {
			rest[name].push(m.outbox)
		}
		data := []byte("leaves")
		leaves := newSender(t, "", patient)
		leaves.Prepare(false, data, leaves.settled)
		leaves.IfAway(true)
		leaves.push(m.outbox)
		saved := mustFreeze(t, m.outbox)
		if !m.outbox.spoken.suspended {
			t.Error("it does not count as a session without a WebSocket")
		}
		written.heard(errSilence)
		under.heard(ErrBuffered)
		rest["plain"].heard(ErrBuffered)
		for _, name := range names[1:] {
			rest[name].heard(errSilence)
		}
		expectTexts(t, saved, append(append([]string{"greeting", "written", strings.Repeat("u", 5000)}, names...), "leaves")...)
		if saved.Released != 0 || saved.Confirmed != 1 || saved.Begun != 3 || !slices.Equal(saved.Marks, []uint64{1, 2, 3}) {
			t.Errorf("released %d, confirmed %d, begun %d, marks %d", saved.Released, saved.Confirmed, saved.Begun, saved.Marks)
		}
		type waits struct{ waits, confirm, hasty, patient bool }
		for i, want := range []waits{
			{}, {true, true, false, false}, {}, {}, {true, false, true, false}, {true, false, false, true}, {true, true, false, false},
			{true, true, true, false}, {true, true, false, true}, {true, false, false, true},
		} {
			e := saved.Messages[i]
			if got := (waits{e.Waits, e.Confirm, e.Hasty, e.Patient}); got != want {
				t.Errorf("%.10q: %+v, want %+v", e.Data, got, want)
			}
			if e.Written != (i < 2) {
				t.Errorf("%.10q is written: %t", e.Data, e.Written)
			}
		}
		leaves.leave(m.outbox)
		leaves.heard(errSilence)
		m.outbox.Thaw()
		leaves.heard(context.Canceled)
		if clear(data); string(saved.Messages[len(saved.Messages)-1].Data) != "leaves" {
			t.Error("the copy has the data of the sender")
		}
		written.heard(errSilence)
		rest["hasty"].heard(ErrSuspended)
		rest["patient"].heard(errSilence)
		rest["hasty, confirmed"].heard(ErrSuspended)
		rest["patient, confirmed"].leave(m.outbox)
		rest["patient, confirmed"].heard(context.Canceled)
		m.path.cut()
		synctest.Wait()
		if from, err := m.resume(1); from != 1 || err != nil {
			t.Fatal(from, err)
		}
		m.rest()
		m.saw("written", strings.Repeat("u", 5000), "plain", "patient", "confirmed")
		rest["patient"].heard(nil)
		rest["confirmed"].heard(nil)
		written.heard(nil)
	})
}

// A client that says what it has received confirms that, whether it was written in full, retained or cut off, and the copy is of the rest.
func TestFreezeKnown(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.socket.compress = false
		for i := range 3 { // which are confirmed by one pong, and retained
			newSender(t, fmt.Sprint("retained ", i), marked(uint64(i+1))).push(m.outbox)
		}
		newSender(t, "ping", confirming).push(m.outbox)
		m.rest()
		m.path.room = 1000
		kept := newSender(t, "kept", confirming, marked(4)).push(m.outbox)
		under := newSender(t, strings.Repeat("u", 5000), confirming, marked(5)).push(m.outbox)
		synctest.Wait()
		behind := newSender(t, "behind", confirming, marked(6)).push(m.outbox)
		freeze := func(offset uint64, want ...string) {
			t.Helper()
			saved, err := m.outbox.Freeze(offset, true)
			if err != nil {
				t.Fatal(err)
			}
			expectTexts(t, saved, want...)
			if saved.Released != offset || saved.Begun != 7 || saved.Confirmed != max(offset, 5) || !slices.Equal(saved.Marks, []uint64{1, 2, 3, 4, 5, 6}) {
				t.Errorf("at %d: released %d, confirmed %d, begun %d, marks %d", offset, saved.Released, saved.Confirmed, saved.Begun, saved.Marks)
			}
			m.checkBuffered()
		}
		if _, err := m.outbox.Freeze(8, true); err != ErrOffset || m.outbox.socket == nil {
			t.Fatal(err)
		}
		freeze(2, "retained 1", "retained 2", "ping", "kept", strings.Repeat("u", 5000), "behind")
		freeze(4, "ping", "kept", strings.Repeat("u", 5000), "behind")
		kept.heard(errSilence)
		freeze(6, strings.Repeat("u", 5000), "behind")
		kept.heard(nil)
		under.heard(errSilence)
		freeze(7, "behind")
		under.heard(nil)
		behind.heard(errSilence)
		saved, err := m.outbox.Freeze(3, true) // a client that has forgotten, or another one
		if expectTexts(t, saved, "behind"); saved.Released != 7 || err != nil {
			t.Error(saved.Released, err)
		}
		to := new(recorder)
		if !m.outbox.Leave(to) {
			t.Fatal("Leave")
		}
		to.expect(t, "await 7")
		expectPending(t, m.shared, 0)
		m.path.cut()
	})
}

// A session that ends while it stands still ends as one whose client is away.
func TestEndFrozen(t *testing.T) {
	for name, end := range map[string]func(o *Outbox) (saved Saved, ok bool){
		"End":  func(o *Outbox) (Saved, bool) { return Saved{}, o.End() },
		"Save": (*Outbox).Save,
	} {
		t.Run(name, func(t *testing.T) {
			shared := new(Shared)
			o := awayOutbox(shared, Saved{Begun: 1, Messages: []SavedMessage{{Unconfirmed: Unconfirmed{Data: []byte("begun")}, Waits: true, Confirm: true}}}, 0)
			o.ForgetMarks()
			newSender(t, "accepted").push(o)
			waits := newSender(t, "waits", patient).push(o)
			leaves := newSender(t, "leaves", patient).push(o)
			mustFreeze(t, o)
			fresh := newSender(t, "fresh").push(o)
			leaves.leave(o)
			saved, ok := end(o)
			if !ok {
				t.Fatal("it has not ended")
			}
			waits.heard(ErrClosed)
			fresh.heard(ErrClosed)
			leaves.heard(context.Canceled)
			all := o.Unconfirmed()
			if len(all) != 2 || string(all[0].Data) != "begun" || string(all[1].Data) != "accepted" {
				t.Errorf("%+v", all)
			}
			if name == "Save" {
				expectTexts(t, saved, "begun", "accepted")
				for _, m := range saved.Messages {
					if m.Waits || m.Confirm {
						t.Errorf("%q waits", m.Data)
					}
				}
			}
			if o.Leave(new(recorder)) || o.spoken.moving != nil {
				t.Error("it is still frozen")
			}
			o.Forget()
			expectPending(t, shared, 0)
		})
	}
}
