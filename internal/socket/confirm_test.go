package socket

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Cut is called, and the pong to the previous ping is read, while the end of a message is being written, and that write succeeds:
// the message is settled all the same.
func TestCutWhileConfirming(t *testing.T) {
	var s *Socket
	s = newSocket(func(p []byte) (int, error) {
		if strings.Contains(string(p), "second") {
			s.refuse()             // of Cut, which is about to close the connection
			s.gotPong([]byte("1")) // had already come in
		}
		return len(p), nil
	})
	outcome := make(chan error, 2)
	for _, data := range []string{"first", "second"} {
		m := NewMessage(false, []byte(data), func(err error) { outcome <- err })
		m.Confirm()
		if _, err := s.outbox.Start(m); err != nil {
			t.Fatal(err)
		}
		s.running.Wait()
	}
	for range 2 {
		if err := <-outcome; !errors.Is(err, ErrBroken) {
			t.Error(err)
		}
	}
}

// A client that guesses the number of a ping, and answers it before it is out, confirms nothing.
func TestPongBeforeItsPing(t *testing.T) {
	var s *Socket
	outcome := make(chan error, 1)
	start := func(data string, confirm bool) {
		m := NewMessage(false, []byte(data), func(err error) { outcome <- err })
		if confirm {
			m.Confirm()
		} else {
			m.settled = nil
		}
		if _, err := s.outbox.Start(m); err != nil {
			t.Error(err)
		}
	}
	s = newSocket(func(p []byte) (int, error) {
		if strings.Contains(string(p), "first") {
			start("second", true)
			s.gotPong([]byte("1")) // which would be the answer to the ping behind the second
		}
		return len(p), nil
	})
	start("first", false)
	s.running.Wait()
	if len(outcome) > 0 || s.outbox.unconfirmed.n != 1 {
		t.Fatalf("%d outcomes, %d unconfirmed messages; want none, and 1", len(outcome), s.outbox.unconfirmed.n)
	}
	s.gotPong([]byte("1"))
	if len(outcome) == 0 {
		t.Fatal("the right pong has not confirmed the message")
	}
	if err := <-outcome; err != nil {
		t.Error(err)
	}
}

// lent is data that its lender wants back.
type lent struct {
	t        *testing.T
	s        *Socket
	data     []byte
	returned int
	outcomes chan error
}

// lend makes a message of data that is spoilt as soon as it is given back.
func lend(t *testing.T, s *Socket, data string, confirm bool) (*lent, *Message) {
	l := &lent{t: t, s: s, data: []byte(data), outcomes: make(chan error, 2)}
	m := NewMessage(false, l.data, func(err error) { l.outcomes <- err })
	if confirm {
		m.Confirm()
	}
	m.Keep()
	m.Lend(l)
	return l, m
}

func (l *lent) GiveBack() {
	if len(l.outcomes) > 0 {
		l.t.Error("the data is given back after the outcome")
	}
	l.returned++
	clear(l.data)
}

// expect fails the test unless the data has been given back, so often, when everything waits.
func (l *lent) expect(returned int) {
	l.t.Helper()
	synctest.Wait()
	l.s.outbox.mu.Lock()
	defer l.s.outbox.mu.Unlock()
	if l.returned != returned {
		l.t.Errorf("the data has been given back %d times, want %d", l.returned, returned)
	}
}

// The data of a message that is to be confirmed is given back when it is written, and before anyone hears of its outcome.
func TestLentUntilWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newKernel(nil)
		l, m := lend(t, s, strings.Repeat("a", 40_000), true)
		if pending, err := s.outbox.Start(m); !pending || err != nil {
			t.Fatal(pending, err)
		}
		l.expect(0)
		k.makeRoom(30_000) // of 40,004
		l.expect(0)
		if s.outbox.shared.pendingAll.cost.Load() == 0 {
			t.Error("a message that waits to be written does not count")
		}
		k.makeRoom(100_000)
		l.expect(1)
		if m.data != nil || m.lender != nil || s.outbox.shared.pendingAll.cost.Load() != 0 {
			t.Error("the message keeps its data, or counts, while it waits for its pong")
		}
		if got := string(k.taken()[4:40_004]); got != strings.Repeat("a", 40_000) {
			t.Error("the client is sent other data")
		}
		s.gotPong([]byte("1"))
		if err := <-l.outcomes; err != nil {
			t.Error(err)
		}
		s.running.Wait()
	})
}

// A message is given up that is written and not confirmed: by its caller, or because no more pongs can come.
func TestLentAndUnconfirmed(t *testing.T) {
	for outcome, giveUp := range map[error]func(s *Socket, m *Message, l *lent){
		ErrUnconfirmed: func(s *Socket, m *Message, l *lent) {
			if err, decided := s.outbox.Abandon(m, errors.New("left")); decided {
				l.outcomes <- err
			}
		},
		ErrBroken: func(s *Socket, _ *Message, _ *lent) { s.Cut() },
	} {
		synctest.Test(t, func(t *testing.T) {
			s, k := newKernel(nil)
			k.makeRoom(100)
			l, m := lend(t, s, "message", true)
			if pending, err := s.outbox.Start(m); !pending || err != nil {
				t.Fatal(pending, err)
			}
			l.expect(1)
			giveUp(s, m, l)
			if err := <-l.outcomes; err != outcome || s.outbox.unconfirmed.n != 0 {
				t.Errorf("the outcome is %v, want %v; %d messages wait", err, outcome, s.outbox.unconfirmed.n)
			}
			l.expect(1)
			s.running.Wait()
		})
	}
}

// Data is never given back while the message may yet be written, nor when it was withdrawn, nor without a confirmation: it is the
// sender's then who knows from the outcome.
func TestLentAndSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := errors.New("left")
		s, k := newKernel(nil)
		s.outbox.max = 100_000
		begun, m := lend(t, s, strings.Repeat("a", 40_000), true)
		if pending, err := s.outbox.Start(m); !pending || err != nil {
			t.Fatal(pending, err)
		}
		withdrawn, other := lend(t, s, strings.Repeat("b", 10_000), true)
		if pending, err := s.outbox.Start(other); !pending || err != nil {
			t.Fatal(pending, err)
		}
		refused, excess := lend(t, s, strings.Repeat("c", 100_000), true)
		if _, err := s.outbox.Start(excess); err != ErrFull {
			t.Fatal(err)
		}
		k.makeRoom(30_000)
		synctest.Wait()
		if err, decided := s.outbox.Abandon(m, left); err != ErrLeft || !decided {
			t.Fatal(err, decided)
		}
		if err, decided := s.outbox.Abandon(other, left); err != left || !decided {
			t.Fatal(err, decided)
		}
		plain, m := lend(t, s, strings.Repeat("d", 10_000), false)
		if pending, err := s.outbox.Start(m); !pending || err != nil {
			t.Fatal(pending, err)
		}
		k.makeRoom(100_000)
		if err := <-plain.outcomes; err != nil {
			t.Error(err)
		}
		for _, l := range []*lent{begun, withdrawn, refused, plain} {
			l.expect(0)
		}
		if got := string(k.taken()[4:40_004]); got != strings.Repeat("a", 40_000) {
			t.Error("the client is sent other data")
		}
		s.gotPong([]byte("1"))
		s.running.Wait()
	})
}

// The pong comes before Start has returned: the data is given back before that.
func TestLentAndConfirmedAtOnce(t *testing.T) {
	var s *Socket
	s, k := newKernel(nil)
	k.take = func(p []byte) (int, error) {
		s.gotPong([]byte("1"))
		return len(p), nil
	}
	l, m := lend(t, s, "at once", true)
	if pending, err := s.outbox.Start(m); pending || err != nil || l.returned != 1 {
		t.Errorf("Start: %v, %v; given back %d times", pending, err, l.returned)
	}
}

// What is compressed is given back at once: only the compressed data waits, and counts.
func TestLentAndCompressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newKernel(nil)
		s.compress = true
		l, m := lend(t, s, strings.Repeat("compressible ", 1000), false)
		if pending, err := s.outbox.Start(m); !pending || err != nil {
			t.Fatal(pending, err)
		}
		l.expect(1)
		random := make([]byte, 5000)
		rand.Read(random)
		incompressible, other := lend(t, s, string(random), false)
		if pending, err := s.outbox.Start(other); !pending || err != nil {
			t.Fatal(pending, err)
		}
		incompressible.expect(0)
		k.makeRoom(100_000)
		if err := <-l.outcomes; err != nil {
			t.Error(err)
		}
		if err := <-incompressible.outcomes; err != nil {
			t.Error(err)
		}
		l.expect(1)
		incompressible.expect(0)
		got := k.taken()
		if n := len(got); !slices.Equal(got[n-5000:], random) {
			t.Error("the client is sent other data")
		}
		s.running.Wait()
	})
}
