package lane

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A write to a peer that does not read ends after the limit, or at the deadline if that is earlier, also when the deadline is
// changed or cleared while the write waits.
func TestBoundedConn(t *testing.T) {
	const limit = 10 * time.Second
	for name, tt := range map[string]struct {
		before, meanwhile func(net.Conn) error
		want              time.Duration
	}{
		"no deadline":         {nil, nil, limit},
		"an earlier deadline": {func(c net.Conn) error { return c.SetWriteDeadline(time.Now().Add(time.Second)) }, nil, time.Second},
		"a later deadline":    {func(c net.Conn) error { return c.SetDeadline(time.Now().Add(time.Hour)) }, nil, limit},
		"cleared meanwhile": {func(c net.Conn) error { return c.SetWriteDeadline(time.Now().Add(5 * time.Second)) },
			func(c net.Conn) error { return c.SetWriteDeadline(time.Time{}) }, time.Second + limit},
		"set meanwhile": {nil, func(c net.Conn) error { return c.SetDeadline(time.Now().Add(time.Second)) }, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peer, raw := net.Pipe()
				defer peer.Close()
				c := &boundedConn{Conn: raw, limit: limit}
				defer c.Close()
				if tt.before != nil {
					if err := tt.before(c); err != nil {
						t.Fatal(err)
					}
				}
				start := time.Now()
				if tt.meanwhile != nil {
					defer time.AfterFunc(time.Second, func() {
						if err := tt.meanwhile(c); err != nil {
							t.Error(err)
						}
					}).Stop()
				}
				_, err := c.Write([]byte("x"))
				if took := time.Since(start); took != tt.want || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v after %v, want a timeout after %v", err, took, tt.want)
				}
			})
		})
	}
}
