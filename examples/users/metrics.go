package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	wspushprom "github.com/wspush/wspush/prometheus"
)

// serveMetrics serves what operators ask for at an address of its own, to which nothing leads browsers.
func (s *site) serveMetrics() error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for i, worker := range s.workers {
		opts := new(wspushprom.Options)
		if s.count > 1 {
			opts.ConstLabels = prometheus.Labels{"worker": strconv.Itoa(i + 1)}
		}
		registry.MustRegister(wspushprom.New(worker, opts))
	}
	listener, err := net.Listen("tcp", s.metrics)
	if err != nil {
		return fmt.Errorf("-metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.serveHealth)
	s.operators = &http.Server{Addr: listener.Addr().String(), Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { // ends with the server
		if err := s.operators.Serve(listener); err != http.ErrServerClosed {
			s.failed <- err
		}
	}()
	return nil
}

// serveHealth is the readiness probe: may new clients come? That users and groups may not be found, because the directory does not answer, is
// no reason to say no: clients connect all the same.
func (s *site) serveHealth(w http.ResponseWriter, _ *http.Request) {
	for _, worker := range s.workers {
		switch {
		case worker.Draining():
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		case worker.Failed() != nil: // its clients could not be pushed to
			http.Error(w, "failed", http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "ready")
}

// probe asks another process whether it is ready. It is for images that have no shell, and no curl.
func probe(ctx context.Context, url string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("-probe: %w", err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
