package socket

import (
	"errors"
	"strings"
	"testing"
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
		m := s.NewMessage(false, []byte(data), func(err error) { outcome <- err })
		m.Confirm()
		if _, err := s.Start(m); err != nil {
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
		m := s.NewMessage(false, []byte(data), func(err error) { outcome <- err })
		if confirm {
			m.Confirm()
		} else {
			m.settled = nil
		}
		if _, err := s.Start(m); err != nil {
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
	if len(outcome) > 0 || s.queue.unconfirmed.n != 1 {
		t.Fatalf("%d outcomes, %d unconfirmed messages; want none, and 1", len(outcome), s.queue.unconfirmed.n)
	}
	s.gotPong([]byte("1"))
	if len(outcome) == 0 {
		t.Fatal("the right pong has not confirmed the message")
	}
	if err := <-outcome; err != nil {
		t.Error(err)
	}
}
