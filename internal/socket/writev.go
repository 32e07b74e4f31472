//go:build dragonfly || freebsd || linux || netbsd

package socket

import (
	"syscall"
	"unsafe"
)

// vector is the pieces of a gather as the kernel reads them.
type vector [maxPieces]syscall.Iovec

// writev calls writev(2) once.
func writev(fd int, g *gather) (int, error) {
	for i, p := range g.pieces[:g.n] {
		g.vector[i].Base = unsafe.SliceData(p)
		g.vector[i].SetLen(len(p))
	}
	n, _, errno := syscall.Syscall(syscall.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&g.vector)), uintptr(g.n))
	clear(g.vector[:g.n]) // so that it keeps nothing alive
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
