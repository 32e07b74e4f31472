package main

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// valve is a client's connection that can be told to stop reading. After a long silence the client gives up: its server may
// be gone without its knowledge.
type valve struct {
	net.Conn

	mu      sync.Mutex    // guards the fields below
	shut    chan struct{} // closed when reading may go on; nil while not shut
	silence time.Duration // after which the client gives up
	closed  bool
}

// clientSilence is more than a healthy worker leaves between two pings.
const clientSilence = 3*pingInterval + time.Second

func newValve(conn net.Conn) *valve { return &valve{Conn: conn, silence: clientSilence} }

// Read waits while the client is stalled. Everything read before has been processed.
func (v *valve) Read(p []byte) (int, error) {
	for {
		v.mu.Lock()
		shut := v.shut
		if shut == nil {
			_ = v.SetReadDeadline(time.Now().Add(v.silence))
			v.mu.Unlock()
			return v.Conn.Read(p)
		}
		v.mu.Unlock()
		<-shut
	}
}

// stall stops reading until resume; it returns false if reading has already stopped, or has ended.
func (v *valve) stall() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut != nil || v.closed {
		return false
	}
	v.shut = make(chan struct{})
	return true
}

func (v *valve) resume() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut != nil {
		close(v.shut)
		v.shut = nil
	}
}

// hurry bounds how long the rest may take.
func (v *valve) hurry(d time.Duration) {
	v.resume()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.silence, v.closed = d, true
	_ = v.SetReadDeadline(time.Now().Add(d))
}

func (v *valve) Close() error {
	v.hurry(0)
	return v.Conn.Close()
}

// dial connects to a numeric address, with a buffer that soon fills up.
func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		return setOption(c, unix.SO_RCVBUF, receiveBuffer)
	}}
	return d.DialContext(ctx, "tcp", address)
}
