//go:build unix

package socket

import (
	"net"
	"syscall"
)

// rawConn returns the descriptor behind conn if writing to it directly writes the same bytes that conn.Write would.
// Only the standard library's own types qualify: a type that embeds one of them may change what Write means.
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

// writeNonblock does one write(2) and reports how much the kernel took; a full socket buffer is (0, nil).
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
