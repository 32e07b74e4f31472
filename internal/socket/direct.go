package socket

import "syscall"

// A kernel makes one write to a descriptor, past net.Conn, that does not wait. It returns how much was taken: 0 if there is no room.
type kernel func(fd uintptr, g *gather) (int, error)

// tryWrite writes as much of g as the kernel takes at once, which may be nothing.
func (g *gather) tryWrite(conn syscall.RawConn) (n int, err error) {
	g.took, g.err = 0, nil
	err = conn.Write(g.write)
	if g.err != nil {
		err = g.err
	}
	return g.took, err
}
