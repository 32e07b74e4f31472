package socket

import (
	"net"
	"syscall"
)

// direct writes to a connection's descriptor, past net.Conn: without waiting, and without an allocation. The goroutine that has
// the turn owns it.
type direct struct {
	conn  syscall.RawConn
	write func(fd uintptr) bool // writes p; made once, because a closure for each write would be an allocation

	p   []byte
	n   int
	err error
}

// newDirect returns nil if only the connection itself can write.
func newDirect(conn net.Conn) *direct {
	raw := rawConn(conn)
	if raw == nil {
		return nil
	}
	d := &direct{conn: raw}
	d.write = func(fd uintptr) bool {
		d.n, d.err = writeNonblock(fd, d.p)
		return true
	}
	return d
}

// tryWrite writes as much as the kernel takes at once, which may be nothing.
func (d *direct) tryWrite(p []byte) (n int, err error) {
	d.p, d.n, d.err = p, 0, nil
	err = d.conn.Write(d.write)
	d.p = nil
	if d.err != nil {
		err = d.err
	}
	return d.n, err
}
