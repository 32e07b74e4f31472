package testutil

import (
	"errors"
	"syscall"
)

// Windows reports these numbers of its own, and not what package syscall calls ECONNRESET and ECONNREFUSED there.
const (
	wsaeConnReset   = syscall.Errno(10054)
	wsaeConnRefused = syscall.Errno(10061)
)

// IsReset reports whether err says that the peer has reset the connection.
func IsReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, wsaeConnReset)
}

// IsRefused reports whether err says that nobody listens at the address.
func IsRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaeConnRefused)
}
