//go:build unix

package socket

import (
	"net"
	"syscall"
)

// rawConn returns the descriptor behind conn, if a write to it does the same as conn.Write. Only the standard library's own
// types qualify: a type that embeds one of them may change what Write means.
func rawConn(conn net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, _ = c.SyscallConn()
	case *net.UnixConn:
		raw, _ = c.SyscallConn()
	}
	return raw
}

// writeNonblock makes one system call, and returns how much the kernel took: 0 if the socket's buffer is full.
func writeNonblock(fd uintptr, g *gather) (int, error) {
	for {
		n, err := writeOnce(int(fd), g)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}

// writeOnce calls write(2) for a single piece, and writev(2) for several.
func writeOnce(fd int, g *gather) (int, error) {
	if g.n == 1 {
		return syscall.Write(fd, g.pieces[0])
	}
	return writev(fd, g)
}
