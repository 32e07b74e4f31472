//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package lane

import (
	"net"
	"os"
	"syscall"
)

// resetOf returns a function that waits until a connection whose other end has been closed, or half of it, is reset, and returns an
// error that says so, or that of the wait: the read deadline's, for example. It returns nil if that cannot be known.
func resetOf(c net.Conn) (await func() error) {
	raw := rawBelow(c)
	if raw == nil {
		return nil
	}
	return func() error {
		var reset error
		err := raw.Read(func(fd uintptr) bool { // again for each event on the connection
			code, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
			switch {
			case err != nil:
				reset = os.NewSyscallError("getsockopt", err)
			case code != 0:
				reset = os.NewSyscallError("read", syscall.Errno(code))
			}
			return reset != nil
		})
		if reset != nil {
			return reset
		}
		return err
	}
}
