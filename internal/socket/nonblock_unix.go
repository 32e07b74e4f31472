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

// writeNonblock calls write(2) once, and returns how much the kernel took: 0 if the socket's buffer is full.
func writeNonblock(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), p)
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
