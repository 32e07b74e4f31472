//go:build unix && !(dragonfly || freebsd || linux || netbsd)

package socket

import "syscall"

type vector struct{}

// writev writes one piece after another: the standard library has no writev(2) for this system.
func writev(fd int, g *gather) (n int, err error) {
	for _, p := range g.pieces[:g.n] {
		m, err := syscall.Write(fd, p)
		switch {
		case err != nil && n == 0:
			return 0, err
		case err != nil:
			return n, nil // the next write reports it
		}
		if n += m; m < len(p) {
			break
		}
	}
	return n, nil
}
