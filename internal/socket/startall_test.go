package socket

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

// startAll starts messages together, and returns the outcome of each, which must come once.
func startAll(t *testing.T, s *Socket, data ...string) []error {
	t.Helper()
	outcomes := make([]chan error, len(data))
	messages := make([]*Message, len(data))
	for i, d := range data {
		outcomes[i] = make(chan error, 2)
		m, err := s.NewMessage(false, []byte(d), func(err error) { outcomes[i] <- err })
		if err != nil {
			t.Fatal(err)
		}
		messages[i] = m
	}
	s.StartAll(messages)
	errs := make([]error, len(data))
	for i := range errs {
		errs[i] = <-outcomes[i]
	}
	s.running.Wait()
	for i := range errs {
		if len(outcomes[i]) > 0 {
			t.Errorf("message %d has two outcomes", i)
		}
	}
	return errs
}

// Messages that are started together are written in their order, and each gets its outcome.
func TestStartAll(t *testing.T) {
	var written []byte
	s := newSocket(func(p []byte) (int, error) { written = append(written, p...); return len(p), nil })
	for i, err := range startAll(t, s, "a", "b", "c") {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if got := string(written); got != "\x81\x01a\x81\x01b\x81\x01c" {
		t.Errorf("%q was written", got)
	}

	s.phase = phaseGreeting
	if errs := startAll(t, s, "a", "b"); errs[0] != ErrFull || errs[1] != ErrFull {
		t.Errorf("before anything may be sent: %v", errs)
	}
	s.phase = phaseClosing
	if errs := startAll(t, s, "a", "b"); errs[0] != ErrClosed || errs[1] != ErrClosed {
		t.Errorf("after the end: %v", errs)
	}
	s.StartAll(nil)
}

// A write that fails breaks the message that it has begun; nothing of the others was written.
func TestStartAllFails(t *testing.T) {
	failure := errors.New("broken")
	s := newSocket(func(p []byte) (int, error) { return 2, failure })
	failed := 0
	s.owner = owner(func(err error) { failed++ })
	if errs := startAll(t, s, "aaa", "b", "c"); errs[0] != ErrBroken || errs[1] != ErrClosed || errs[2] != ErrClosed {
		t.Errorf("outcomes %v", errs)
	}
	if failed != 1 {
		t.Errorf("the owner was told %d times", failed)
	}
}

// Over TCP, messages that go out together make room for each other: only for a client that does not read are they refused.
func TestStartAllMakesRoom(t *testing.T) {
	client, server := tcpPair(t)
	s := newSocket(nil)
	s.conn, s.raw = server, newDirect(server)
	if s.raw == nil {
		t.Skip("this system has no direct writes")
	}
	s.queue.max = 1000
	data := make([]string, 50)
	for i := range data {
		data[i] = fmt.Sprintf("%03d", i)
	}
	for i, err := range startAll(t, s, data...) {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	got := make([]byte, 5*len(data))
	if _, err := client.Read(got); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if want := "\x81\x03" + data[i]; string(got[5*i:5*i+5]) != want {
			t.Fatalf("message %d is %q", i, got[5*i:5*i+5])
		}
	}
	if n := s.queue.all.cost.Load(); n != 0 {
		t.Errorf("%d bytes are counted for nothing", n)
	}
}

// tcpPair returns the two ends of a connection.
func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	testutil.NoLeak(t)
	return client, server
}
