package main

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// valve is a client's connection that can be told to stop reading. A client that hears nothing for long gives up: it may be
// that its server has gone without its knowledge.
type valve struct {
	net.Conn

	mu      sync.Mutex    // guards what follows
	shut    chan struct{} // closed when reading may go on; nil while it may
	silence time.Duration // that a client bears
	closed  bool
}

// clientSilence is more than a healthy worker leaves between two pings.
const clientSilence = 3*pingInterval + time.Second

func newValve(conn net.Conn) *valve { return &valve{Conn: conn, silence: clientSilence} }

// Read waits while the client is stalled. What it has read before has been dealt with.
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

// stall stops reading until resume; false if it has stopped already, or for good.
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

// dial connects to an address in figures, with a buffer that is soon full.
func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		return setOption(c, unix.SO_RCVBUF, receiveBuffer)
	}}
	return d.DialContext(ctx, "tcp", address)
}
