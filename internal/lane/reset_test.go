package lane

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// A publisher that has closed its side is reset only if it has left and is written to; a deadline ends the wait.
func TestResetOf(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	publisher, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	await := resetOf(handedOverWith(&boundedConn{Conn: &counted{Conn: server}}, nil, nil))
	if await == nil {
		if runtime.GOOS != "windows" {
			t.Fatal("it is not known")
		}
		t.Skip("cannot be known on this system")
	}
	within := func(d time.Duration) error {
		if err := server.SetReadDeadline(time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
		return await()
	}
	if err := publisher.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write([]byte("still there")); err != nil {
		t.Fatal(err)
	}
	if err := within(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half of it is closed: %v", err)
	}
	if _, err := publisher.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	publisher.Close()
	if err := within(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing has been written since: %v", err)
	}
	if _, err := server.Write([]byte("gone")); err != nil {
		t.Fatal(err)
	}
	if err := within(10 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it has left: %v", err)
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if resetOf(one) != nil {
		t.Error("of a pipe nothing is known")
	}
}
