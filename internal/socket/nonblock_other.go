//go:build !unix

package socket

import (
	"errors"
	"net"
	"syscall"
)

// rawConn returns nil: this system has no write that reports a full buffer at once, so every write goes through net.Conn.
func rawConn(net.Conn) syscall.RawConn { return nil }

type vector struct{}

func writeNonblock(uintptr, *gather) (int, error) { return 0, errors.ErrUnsupported }
