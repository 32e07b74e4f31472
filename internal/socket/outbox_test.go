package socket

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// A list holds what a slice would, whatever is inserted and removed.
func TestList(t *testing.T) {
	var l list
	var want []*Message
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 10_000 {
		at := random.IntN(len(want) + 1)
		switch {
		case at < len(want) && random.IntN(2) == 0:
			l.remove(want[at])
			want = slices.Delete(want, at, at+1)
		case at < len(want):
			m := new(Message)
			l.insert(m, want[at])
			want = slices.Insert(want, at, m)
		default:
			m := new(Message)
			l.insert(m, nil)
			want = append(want, m)
		}
		var forward, backward []*Message
		for m := l.first; m != nil; m = m.next {
			forward = append(forward, m)
		}
		for m := l.last; m != nil; m = m.prev {
			backward = append(backward, m)
		}
		slices.Reverse(backward)
		if !slices.Equal(forward, want) || !slices.Equal(backward, want) || l.n != len(want) {
			t.Fatalf("step %d: the list has %d messages forwards, %d backwards, and counts %d; want %d", step, len(forward), len(backward), l.n, len(want))
		}
	}
}

// stalled is a socket whose client does not read: a first message is being written until release is called. Behind it, n more
// wait.
func stalled(t *testing.T, n int, confirm bool) (s *Socket, messages []*Message, outcomes chan error, release func()) {
	t.Helper()
	writing, proceed := make(chan struct{}, 1), make(chan struct{})
	s = newSocket(func(p []byte) (int, error) {
		select {
		case writing <- struct{}{}:
		default:
		}
		<-proceed
		return len(p), nil
	})
	s.outbox.max = -1
	outcomes = make(chan error, n+1)
	start := func(data string, confirm bool) *Message {
		m := NewMessage(false, []byte(data), func(err error) { outcomes <- err })
		if confirm {
			m.Confirm()
		}
		if pending, err := s.outbox.Start(m); !pending {
			t.Fatalf("message %s is not pending: %v", data, err)
		}
		return m
	}
	start("first", false)
	<-writing
	for i := range n {
		messages = append(messages, start(strconv.Itoa(i), confirm))
	}
	return s, messages, outcomes, func() {
		close(proceed)
		s.running.Wait()
	}
}

// cut makes it impossible to walk through the list, from either end, until mend is called.
func (l *list) cut() (mend func()) {
	next, prev := l.first.next, l.last.prev
	l.first.next, l.last.prev = nil, nil
	return func() { l.first.next, l.last.prev = next, prev }
}

// Giving up a message must not search for it: thousands of callers may leave at once, and each search would be done while all
// others wait for the lock.
func TestAbandonDoesNotSearch(t *testing.T) {
	cause := context.Canceled
	t.Run("waiting", func(t *testing.T) {
		s, messages, outcomes, release := stalled(t, 9, false)
		mend := s.outbox.messages.cut()
		if err, decided := s.outbox.Abandon(messages[4], cause); err != cause || !decided {
			t.Errorf("Abandon: %v, decided: %t", err, decided)
		}
		mend()
		if n := s.outbox.messages.n; n != 9 {
			t.Errorf("%d messages are left, want 9", n)
		}
		release()
		for range 9 {
			if err := <-outcomes; err != nil {
				t.Error(err)
			}
		}
		if len(outcomes) > 0 || s.outbox.waiting != 0 || s.outbox.shared.pendingAll.cost.Load() != 0 {
			t.Errorf("%d outcomes too many; %d bytes count as waiting, %d for all clients", len(outcomes), s.outbox.waiting, s.outbox.shared.pendingAll.cost.Load())
		}
	})
	t.Run("unconfirmed", func(t *testing.T) {
		s, messages, outcomes, release := stalled(t, 9, true)
		release()
		if err := <-outcomes; err != nil || len(outcomes) > 0 || s.outbox.unconfirmed.n != 9 {
			t.Fatalf("the first message: %v; %d more outcomes; %d unconfirmed", err, len(outcomes), s.outbox.unconfirmed.n)
		}
		mend := s.outbox.unconfirmed.cut()
		if err, decided := s.outbox.Abandon(messages[4], cause); err != ErrUnconfirmed || !decided {
			t.Errorf("Abandon: %v, decided: %t", err, decided)
		}
		mend()
		if n := s.outbox.unconfirmed.n; n != 8 {
			t.Errorf("%d messages are unconfirmed, want 8", n)
		}
	})
}

// A message is given up once, however many callers give it up, and in whatever order: no other is affected.
func TestAbandonAll(t *testing.T) {
	const n = 2000
	for _, written := range []bool{false, true} {
		s, messages, outcomes, release := stalled(t, n, true)
		want := error(context.Canceled)
		if written {
			release()
			want = ErrUnconfirmed
		}
		for _, i := range rand.Perm(n) {
			if err, decided := s.outbox.Abandon(messages[i], context.Canceled); err != want || !decided {
				t.Errorf("written %t, message %d: %v, decided: %t", written, i, err, decided)
			}
			if err, decided := s.outbox.Abandon(messages[i], context.DeadlineExceeded); decided {
				t.Errorf("written %t, message %d, again: %v", written, i, err)
			}
		}
		if !written {
			release()
		}
		if err := <-outcomes; err != nil || len(outcomes) > 0 {
			t.Errorf("written %t: the first message: %v; %d outcomes too many", written, err, len(outcomes))
		}
		if o := s.outbox; o.messages.n+o.unconfirmed.n+o.waiting+o.toConfirm != 0 || o.shared.pendingAll.cost.Load() != 0 {
			t.Errorf("written %t: left in the outbox: %d messages, %d unconfirmed, %d bytes, %d to confirm, %d bytes for all clients",
				written, o.messages.n, o.unconfirmed.n, o.waiting, o.toConfirm, o.shared.pendingAll.cost.Load())
		}
	}
}

// What joins a long queue visits nothing of it: it would do so once for each message, under the lock.
func TestStartAllVisitsOnlyItsOwn(t *testing.T) {
	s, messages, _, release := stalled(t, 3, false)
	waits := messages[1]
	s.outbox.shared.pendingAll.cost.Add(-int64(waits.cost)) // a visit would count it
	waits.counted = false
	before := s.outbox.shared.pendingAll.cost.Load()
	own := make([]*Message, 5)
	cost := int64(0)
	for i := range own {
		own[i] = NewMessage(true, []byte("x"), nil)
		cost += int64(own[i].cost)
	}
	s.outbox.StartAll(own)
	if waits.counted {
		t.Error("a message that waited before was visited")
	}
	if got := s.outbox.shared.pendingAll.cost.Load() - before; got != cost {
		t.Errorf("the new messages count %d bytes for all clients, want %d", got, cost)
	}
	release()
	if n := s.outbox.shared.pendingAll.cost.Load(); n != 0 {
		t.Errorf("%d bytes are counted for nothing", n)
	}
}

// Before it is attached to a socket, an outbox refuses everything, and keeps nothing of it.
func TestOutboxWithoutSocket(t *testing.T) {
	var sh Shared
	var o Outbox
	o.Init(&sh, 1<<20)
	for _, size := range []int{0, compressFrom, 1 << 20} {
		data := make([]byte, size)
		if pending, err := o.Start(NewMessage(true, data, nil)); pending || err != ErrFull {
			t.Errorf("%d bytes: pending: %t, %v", size, pending, err)
		}
		var outcomes []error
		settle := func(err error) { outcomes = append(outcomes, err) }
		confirmed, shared := NewMessage(true, data, settle), new(Message)
		confirmed.Confirm()
		shared.PrepareShared(sh.NewPayload(true, data), settle)
		if o.StartAll([]*Message{confirmed, shared}); !slices.Equal(outcomes, []error{ErrFull, ErrFull}) {
			t.Errorf("two messages of %d bytes: %v", size, outcomes)
		}
		if o.Admits(size) {
			t.Errorf("there is room for %d bytes", size)
		}
	}
	if o.Pending() != 0 || sh.Pending() != 0 || sh.Deflations() != 0 {
		t.Errorf("%d bytes wait, %d for all; %d were compressed", o.Pending(), sh.Pending(), sh.Deflations())
	}
}

// The end of a write visits only the messages that the write was given, also while the socket is closing and when a caller has
// left: with many small writes to a slow client, a visit to the others would cost the square of their number.
func TestWroteVisitsOnlyWhatWasWritten(t *testing.T) {
	o := Outbox{max: -1, shared: new(Shared), stage: stageEnded}
	messages := make([]*Message, 5)
	outcomes := make([]error, len(messages))
	sentinel := errors.New("none yet")
	for i := range messages {
		messages[i] = &Message{head: 2, cost: 1, settled: func(err error) { outcomes[i] = err }}
		outcomes[i] = sentinel
		o.addLocked(messages[i])
	}
	left := errors.New("left")
	messages[1].left = left // during the write that it was given to
	messages[4].left = left // a visit would settle it
	o.fillLocked(new(gather), 3)
	p := o.wroteLocked(attempt{n: 2}, new(stripe))
	if want := []error{nil, left, ErrClosed, sentinel, sentinel}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
	if p.frames != 1 || o.messages.n != 2 {
		t.Errorf("%+v; %d messages are left", p, o.messages.n)
	}
}
