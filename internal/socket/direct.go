package socket

import (
	"net"
	"syscall"
)

// direct writes to a connection's descriptor, past net.Conn: without waiting, and without an allocation. The goroutine that has
// the turn owns it.
type direct struct {
	conn   syscall.RawConn
	kernel func(fd uintptr, g *gather) (int, error) // writeNonblock, except in tests
	write  func(fd uintptr) bool                    // writes g; made once, because a closure for each write would be an allocation

	g   *gather
	n   int
	err error
}

// newDirect returns nil if only the connection itself can write.
func newDirect(conn net.Conn) *direct {
	raw := rawConn(conn)
	if raw == nil {
		return nil
	}
	return newDirectTo(raw, writeNonblock)
}

func newDirectTo(conn syscall.RawConn, kernel func(fd uintptr, g *gather) (int, error)) *direct {
	d := &direct{conn: conn, kernel: kernel}
	d.write = func(fd uintptr) bool {
		d.n, d.err = d.kernel(fd, d.g)
		return true
	}
	return d
}

// tryWrite writes as much as the kernel takes at once, which may be nothing.
func (d *direct) tryWrite(g *gather) (n int, err error) {
	d.g, d.n, d.err = g, 0, nil
	err = d.conn.Write(d.write)
	d.g = nil
	if d.err != nil {
		err = d.err
	}
	return d.n, err
}
