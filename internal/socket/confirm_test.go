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
		m, err := s.NewMessage(false, []byte(data), func(err error) { outcome <- err })
		if err != nil {
			t.Fatal(err)
		}
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
