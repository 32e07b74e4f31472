package main

import (
	"context"
	"time"
)

var (
	bearerMetrics = []string{"bearer-cpu", "bearer-rate"}
	tlsMetrics    = []string{"tls-cpu", "tls-rate"}
)

// runBearer measures pushes by POST that have to prove themselves with a token, beside pushes that need not.
func runBearer(ctx context.Context, r *run, s server) error {
	open := func(h *host, l *loader) error { return r.measurePosts(ctx, h, l, "bearer", "wspush open") }
	if err := r.under(ctx, s, pingRarely, open); err != nil {
		return err
	}
	s.start = r.startWith("-bearer", "wspush", s.name)
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error { return r.measurePosts(ctx, h, l, "bearer", h.name) })
}

// runTLS measures pushes by POST over TLS with HTTP/1.1. The clients' WebSockets have no TLS.
func runTLS(ctx context.Context, r *run, s server) error {
	s.start = r.startWith("-tls", s.name, s.name)
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error { return r.measurePosts(ctx, h, l, "tls", h.name) })
}

// startWith starts one of our own servers with a flag more.
func (r *run) startWith(flag, program, name string) func(context.Context, time.Duration) (*host, error) {
	return func(ctx context.Context, ping time.Duration) (*host, error) {
		return startGo(ctx, name, r.program(program), ping, flag)
	}
}

// measurePosts pushes by POST at saturation.
func (r *run) measurePosts(ctx context.Context, h *host, l *loader, what, name string) error {
	if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
		return err
	}
	p, err := r.post(ctx, h, l, 0, 0, r.plan.push)
	if err != nil {
		return err
	}
	r.addPushes(what, name, r.plan.posted, p)
	return nil
}
