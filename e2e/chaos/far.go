package main

import (
	"context"
	"net"
)

// far is the network of some clients: something in between can lose packets silently on both sides.
type far interface {
	dial(ctx context.Context, worker int) (net.Conn, error)
	cut(oneWay bool) error // oneWay: only what clients send is lost
	mend() error
	close()
	String() string
}

// receiveBuffer is the kernel's buffer for one client: soon full when it does not read.
const receiveBuffer = 64 << 10
