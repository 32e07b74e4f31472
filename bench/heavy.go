package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

var (
	broadcastMetrics = []string{"broadcast-100", "broadcast-4k", "broadcast-16k", "broadcast-64k", "broadcast-256k"}
	largeMetrics     = []string{"post-64k", "post-1m"}
)

// sizes are the sizes of messages that metrics are named for, in bytes.
var sizes = map[string]int{
	"broadcast-100": 100, "broadcast-4k": 4 << 10, "broadcast-16k": 16 << 10, "broadcast-64k": 64 << 10, "broadcast-256k": 256 << 10,
	"post-64k": 64 << 10, "post-1m": 1 << 20,
}

// runBroadcast has the server send one message after the other to all of its clients.
func runBroadcast(ctx context.Context, r *run, s server) error {
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		for _, metric := range broadcastMetrics {
			if !r.wants(metric) {
				continue
			}
			if _, err := r.broadcast(ctx, h, l, sizes[metric], r.plan.warm); err != nil {
				return err
			}
			each, err := r.broadcast(ctx, h, l, sizes[metric], r.plan.broadcast)
			if err != nil {
				return err
			}
			r.add(metric, h.name, r.plan.posted, micro(each))
		}
		return nil
	})
}

// broadcast returns how much of the server's CPU a message to everybody costs for each of them. The next message is sent when
// everybody has read the last.
func (r *run) broadcast(ctx context.Context, h *host, l *loader, size int, d time.Duration) (each time.Duration, err error) {
	return r.toEverybody(ctx, h, l, "/bench/broadcast", size, d)
}

// toEverybody is broadcast with the path at which a server sends a message to everybody.
func (r *run) toEverybody(ctx context.Context, h *host, l *loader, path string, size int, d time.Duration) (each time.Duration, err error) {
	before, err := h.cpuOfAll()
	if err != nil {
		return 0, err
	}
	all := 0
	for begin := time.Now(); all == 0 || time.Since(begin) < d; {
		if _, err := l.count(ctx, true); err != nil {
			return 0, err
		}
		body, err := h.ask(ctx, time.Minute, http.MethodPost, fmt.Sprint(path, "?size=", size))
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(string(body))
		if err != nil {
			return 0, err
		}
		c, err := l.arrived(ctx, n)
		if err != nil {
			return 0, err
		}
		if n != r.plan.posted || c.Messages != n {
			return 0, fmt.Errorf("of a message to %d clients, %d were sent, and %d came", r.plan.posted, n, c.Messages)
		}
		all += n
	}
	after, err := h.cpuOfAll()
	return (after - before) / time.Duration(all), err
}

// runLarge pushes large messages by POST. Two for the same client may meet, and neither is to be refused.
func runLarge(ctx context.Context, r *run, s server) error {
	if s.name == "wspush" {
		s.start = func(ctx context.Context, ping time.Duration) (*host, error) {
			return startGo(ctx, s.name, r.program(s.name), ping, "-max-pending", "-1")
		}
	}
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		for _, metric := range largeMetrics {
			if !r.wants(metric) {
				continue
			}
			p, err := r.watch(ctx, h, l, order.Order{
				Do: order.Push, Size: sizes[metric], Publishers: publishers, Warm: r.plan.warm, For: r.plan.push, PIDs: h.pids(),
			})
			if err != nil {
				return err
			}
			r.add(metric, h.name, r.plan.posted, micro(p.CPU)/float64(p.Pushes))
		}
		return nil
	})
}
