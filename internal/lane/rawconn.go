//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package lane

import (
	"net"
	"syscall"
)

// rawBelow returns the system's connection that c is or stands on, or nil if there is none that is known.
func rawBelow(c net.Conn) syscall.RawConn {
	for {
		switch upper := c.(type) {
		case interface{ NetConn() net.Conn }: // *tls.Conn too
			c = upper.NetConn()
		case *counted:
			c = upper.Conn
		case *net.TCPConn, *net.UnixConn:
			raw, err := upper.(syscall.Conn).SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		default:
			return nil
		}
	}
}
