//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

package lane

import "net"

// resetOf returns nil: a reset cannot be known of before something is written.
func resetOf(net.Conn) func() error { return nil }
