package main

import (
	"context"
	"net"
	"time"
)

// pair is two workers that share their keys. The clients are connected to the second.
type pair struct {
	*host // the second, with the processes of both

	direct, forwarded route
}

// route is a way to the connections.
type route struct {
	series string // what is measured on it
	push   string // host:port of the worker that publishers push to
	worker *host  // that worker
}

// startPair starts two workers. The addresses that clients are greeted with lead to the first.
func (r *run) startPair(ctx context.Context, ping time.Duration) (*pair, error) {
	addrA, addrB, err := twoFreeAddrs()
	if err != nil {
		return nil, err
	}
	start := func(push string) (*host, error) {
		return startGo(ctx, "wspush", r.program("wspush"), ping, "-push", push, "-cluster", "-public", "http://"+addrA)
	}
	first, err := start(addrA)
	if err != nil {
		return nil, err
	}
	second, err := start(addrB)
	if err != nil {
		first.close()
		return nil, err
	}
	both := *second
	both.all = []int{first.pid, second.pid}
	both.close = func() {
		second.close()
		first.close()
	}
	return &pair{
		host:      &both,
		direct:    route{series: "wspush direct", push: addrB, worker: second},
		forwarded: route{series: "wspush", push: addrA, worker: first},
	}, nil
}

// twoFreeAddrs finds two ports that nobody listens on.
func twoFreeAddrs() (first, second string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	second, err = freeAddr() // another one, while the first is taken
	return l.Addr().String(), second, err
}
