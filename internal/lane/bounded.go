package lane

import (
	"net"
	"sync"
	"time"
)

// boundedConn is a connection under TLS on which no write waits for longer than limit, whatever deadline is set meanwhile, and on which a
// handshake may not be too long.
//
// The HTTP/2 server of net/http clears the write deadline after each of its writes (http.HTTP2Config.WriteByteTimeout). If it does
// so while it is closing the connection, it clears the deadline of TLS's last alert as well, and a publisher that does not read
// would keep the connection for ever.
type boundedConn struct {
	net.Conn
	limit time.Duration

	// These belong to the goroutine that shakes hands, and are read by others afterwards.
	isShaking bool
	left      int // bytes that may be read until that is over

	mu       sync.Mutex // guards deadline, and the setting of the connection's own
	deadline time.Time  // the one that was set; zero: none
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if !c.isShaking {
		return c.Conn.Read(p)
	}
	if c.left <= 0 {
		return 0, errHello
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
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
