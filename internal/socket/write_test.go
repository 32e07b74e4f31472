package socket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// scripted is a connection whose writes are the test's.
type scripted struct {
	net.Conn
	write func(p []byte) (int, error)
}

func (c scripted) Write(p []byte) (int, error)      { return c.write(p) }
func (c scripted) SetWriteDeadline(time.Time) error { return nil }
func (c scripted) Close() error                     { return nil }

// newSocket makes an open Socket over a connection with this Write.
func newSocket(write func(p []byte) (int, error)) *Socket {
	return opened(new(Shared), &Socket{
		conn: scripted{write: write}, over: make(chan struct{}), writeTimeout: time.Minute, traffic: new(stripe), owner: owner(func(error) {}),
	})
}

// opened attaches an Outbox that takes messages to s.
func opened(sh *Shared, s *Socket) *Socket {
	o := new(Outbox)
	o.Init(sh, 1<<20)
	o.attach(s)
	o.stage = stageOpen
	return s
}

// owner is called with a failure, and ignores answers.
type owner func(error)

func (o owner) Failed(err error) { o(err) }
func (o owner) Answered()        {}
func (o owner) Greeted()         {}

// push starts a message and returns its outcome.
func push(t *testing.T, s *Socket, data string) error {
	t.Helper()
	settled := make(chan error, 1)
	m := NewMessage(false, []byte(data), func(err error) { settled <- err })
	pending, err := s.outbox.Start(m)
	if pending {
		err = <-settled
	}
	return err
}

func awaitOver(t *testing.T, s *Socket) {
	t.Helper()
	select {
	case <-s.over:
	case <-time.After(10 * time.Second):
		t.Fatal("the socket is never over")
	}
	s.running.Wait()
}

// A connection is cut during a write that succeeds all the same: the end of that write begins phaseOver, because no other write
// will fail and do so.
func TestCutWithinWrite(t *testing.T) {
	for name, cut := range map[string]func(*Socket){"Cut": (*Socket).Cut, "Reset": (*Socket).Reset} {
		var s *Socket
		s = newSocket(func(p []byte) (int, error) {
			cut(s)
			return len(p), nil
		})
		if err := push(t, s, "last"); err != nil {
			t.Errorf("%s: a message that was written: %v", name, err)
		}
		awaitOver(t, s)
		if err := push(t, s, "late"); err != ErrClosed {
			t.Errorf("%s: a message after that: %v", name, err)
		}
		if s.outbox.waiting != 0 {
			t.Errorf("%s: %d bytes still count as waiting", name, s.outbox.waiting)
		}
	}
}

// A write that fails settles everything, and is reported once. What has begun may have arrived; the rest has not.
func TestWriteFails(t *testing.T) {
	broken := errors.New("broken")
	writes, reports := 0, 0
	s := newSocket(nil)
	s.owner = owner(func(err error) {
		if err != broken {
			t.Errorf("reported: %v", err)
		}
		reports++
	})
	var second error
	s.conn = scripted{write: func(p []byte) (int, error) {
		if writes++; writes == 1 {
			m := NewMessage(false, []byte("second"), func(err error) { second = err })
			if pending, err := s.outbox.Start(m); !pending || err != nil {
				t.Errorf("Start: %v, %v", pending, err)
			}
			return len(p), nil
		}
		return 1, broken
	}}
	if err := push(t, s, string(make([]byte, 2*chunkSize))); err != ErrBroken {
		t.Errorf("a message that was broken off: %v", err)
	}
	awaitOver(t, s)
	if second != ErrClosed || reports != 1 || s.outbox.waiting != 0 {
		t.Errorf("the message behind it: %v; %d reports; %d bytes waiting", second, reports, s.outbox.waiting)
	}
}

// Pings and pongs do not pile up, and overtake the messages that have not begun.
func TestControlFrames(t *testing.T) {
	s := newSocket(nil)
	var out []byte
	s.conn = scripted{write: func(p []byte) (int, error) {
		if len(out) == 0 { // within the first message
			m := NewMessage(false, []byte("second"), nil)
			s.outbox.Start(m)
			for range 3 {
				s.Ping()
				s.gotPing([]byte("old"))
			}
			s.gotPing([]byte("new"))
		}
		out = append(out, p...)
		return len(p), nil
	}}
	if err := push(t, s, "first"); err != nil {
		t.Fatal(err)
	}
	s.running.Wait()
	want := "\x81\x05first" + "\x89\x011" + "\x8a\x03new" + "\x81\x06second"
	if string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
	// The number stays the same until it is answered.
	for _, tt := range []struct{ pong, want string }{{"", "1"}, {"0", "1"}, {"1", "2"}, {"1", "2"}, {"2", "3"}} {
		s.gotPong([]byte(tt.pong))
		out = append([]byte{}, "x"...)
		s.Ping()
		s.running.Wait()
		if got := string(out); got != "x\x89\x01"+tt.want {
			t.Errorf("after the pong %q: %q, want %q", tt.pong, got, tt.want)
		}
	}
}

// startAll starts messages together, and returns the outcome of each, which must come once.
func startAll(t *testing.T, s *Socket, data ...string) []error {
	t.Helper()
	outcomes := make([]chan error, len(data))
	messages := make([]*Message, len(data))
	for i, d := range data {
		outcomes[i] = make(chan error, 2)
		m := NewMessage(false, []byte(d), func(err error) { outcomes[i] <- err })
		messages[i] = m
	}
	s.outbox.StartAll(messages)
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

	s.outbox.stage = stageGreeting
	if errs := startAll(t, s, "a", "b"); errs[0] != ErrFull || errs[1] != ErrFull {
		t.Errorf("before anything may be sent: %v", errs)
	}
	s.outbox.stage = stageEnded
	if errs := startAll(t, s, "a", "b"); errs[0] != ErrClosed || errs[1] != ErrClosed {
		t.Errorf("after the end: %v", errs)
	}
	s.outbox.StartAll(nil)
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
	s.conn, s.raw = server, rawConn(server)
	if s.raw == nil {
		t.Skip("this system has no direct writes")
	}
	s.outbox.max = 1000
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
	if _, err := io.ReadFull(client, got); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if want := "\x81\x03" + data[i]; string(got[5*i:5*i+5]) != want {
			t.Fatalf("message %d is %q", i, got[5*i:5*i+5])
		}
	}
	if n := s.outbox.shared.pendingAll.cost.Load(); n != 0 {
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
