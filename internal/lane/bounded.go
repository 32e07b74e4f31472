package lane

import (
	"net"
	"sync"
	"time"
)

// boundedConn is a connection under TLS on which no write waits for longer than limit, whatever deadline is set meanwhile.
//
// The HTTP/2 server of net/http clears the write deadline after each of its writes (http.HTTP2Config.WriteByteTimeout). If it does
// so while it is closing the connection, it clears the deadline of TLS's last alert as well, and a publisher that does not read
// would keep the connection for ever.
type boundedConn struct {
	net.Conn
	limit time.Duration

	mu       sync.Mutex // guards deadline, and the setting of the connection's own
	deadline time.Time  // the one that was set; zero: none
}

func (c *boundedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	err := c.boundLocked()
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// NetConn returns the connection underneath.
func (c *boundedConn) NetConn() net.Conn { return c.Conn }

// SetWriteDeadline sets the deadline of writes, also of one that is under way: no later than limit from now.
func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return c.boundLocked()
}

func (c *boundedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *boundedConn) boundLocked() error {
	bound := time.Now().Add(c.limit)
	if !c.deadline.IsZero() && c.deadline.Before(bound) {
		bound = c.deadline
	}
	return c.Conn.SetWriteDeadline(bound)
}
