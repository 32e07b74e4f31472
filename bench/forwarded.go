package main

import (
	"context"
	"net"
	"time"
)

var forwardedMetrics = []string{
	"forwarded-rate", "forwarded-cpu", "forwarded-first", "forwarded-second", "forwarded-bulk-rate", "forwarded-bulk-cpu",
}

// runForwarded measures pushes that come to another worker than the one that holds the connection, beside pushes that come to
// that one.
func runForwarded(ctx context.Context, r *run, s server) error {
	err := r.under(ctx, s, pingRarely, func(h *host, l *loader) error { return r.measureForwarded(ctx, h, l, "wspush direct") })
	if err != nil {
		return err
	}
	s.start = r.startPair
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error { return r.measureForwarded(ctx, h, l, h.name) })
}

// startPair starts two workers. The clients are connected to the second, and their addresses lead to the first.
func (r *run) startPair(ctx context.Context, ping time.Duration) (*host, error) {
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
	pair := *second
	pair.all = []int{first.pid, second.pid}
	pair.close = func() {
		second.close()
		first.close()
	}
	return &pair, nil
}

// measureForwarded pushes one message a request, and then many.
func (r *run) measureForwarded(ctx context.Context, h *host, l *loader, name string) error {
	if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
		return err
	}
	p, err := r.post(ctx, h, l, 0, 0, r.plan.push)
	if err != nil {
		return err
	}
	r.addPushes("forwarded", name, r.plan.posted, p)
	each := func(i int) float64 { return micro(p.CPUs[i]) / float64(p.Pushes) }
	if len(p.CPUs) > 1 {
		r.add("forwarded-first", name, r.plan.posted, each(0))
	}
	r.add("forwarded-second", name, r.plan.posted, each(len(p.CPUs)-1))

	if !r.wants("forwarded-bulk-rate", "forwarded-bulk-cpu") {
		return nil
	}
	if p, err = r.bulk(ctx, h, l, h.way, 0, 1); err != nil {
		return err
	}
	r.addPushes("forwarded-bulk", name, r.plan.posted, p)
	return nil
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
