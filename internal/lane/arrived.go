//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package lane

import (
	"net"
	"syscall"
)

// Arrived returns a function that reports whether bytes have arrived on a hijacked connection, of a Listener or of any other server,
// that nobody has read from the kernel yet. It returns nil if that cannot be known.
func Arrived(c net.Conn) func() bool {
	raw := rawBelow(c)
	if raw == nil {
		return nil
	}
	return func() (has bool) {
		_ = raw.Read(func(fd uintptr) bool {
			var first [1]byte
			n, _, err := syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK) // the descriptor does not block
			has = err == nil && n > 0
			return true
		})
		return has
	}
}
