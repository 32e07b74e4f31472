//go:build !unix

package socket

import (
	"errors"
	"net"
	"syscall"
)

// rawConn finds nothing here: where there is no write that reports a full buffer at once, every write goes through net.Conn.
func rawConn(net.Conn) syscall.RawConn { return nil }

func writeNonblock(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
