package main

import (
	"context"
	"net"
)

// far is where some clients are: behind something that can lose what is sent, without a word to either side.
type far interface {
	dial(ctx context.Context, worker int) (net.Conn, error)
	cut(oneWay bool) error // whether only what clients send is lost
	mend() error
	close()
	String() string
}

// receiveBuffer is the kernel's for one client: soon full when it does not read.
const receiveBuffer = 64 << 10
