// Package sendbuffer sets how much the system takes for a connection whose other side does not read.
package sendbuffer

import "net"

// Set sets the size in bytes of the system's send buffer (SO_SNDBUF) of a connection, or of the one that it stands on. It does nothing if
// size is negative, or if there is no such buffer.
func Set(conn net.Conn, size int) {
	if size < 0 {
		return
	}
	for {
		switch c := conn.(type) {
		case interface{ SetWriteBuffer(bytes int) error }:
			_ = c.SetWriteBuffer(size) // it fails only if the connection is closed already
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}
