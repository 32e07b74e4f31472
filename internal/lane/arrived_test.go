package lane

import (
	"net"
	"runtime"
	"testing"
)

// What has arrived is known without reading it, through all that a Listener puts around a connection.
func TestArrived(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	arrived := Arrived(handedOverWith(&boundedConn{Conn: &counted{Conn: server}}, nil, nil))
	if arrived == nil {
		switch runtime.GOOS {
		case "linux", "darwin", "freebsd":
			t.Fatal("it is not known")
		}
		t.Skip("cannot be known on this system")
	}
	if arrived() {
		t.Error("nothing has been sent")
	}
	if _, err := client.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	var buf [1]byte
	for range 2 {
		if _, err := server.Read(buf[:]); err != nil {
			t.Fatal(err)
		}
		if got, want := arrived(), buf[0] == 'a'; got != want {
			t.Errorf("after %q: %v", buf, got)
		}
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if Arrived(one) != nil {
		t.Error("of a pipe nothing is known")
	}
}
