//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// site is what all scenarios share.
type site struct {
	host   string // an address of loopback that nothing else uses, so that a port stays free while nobody listens there
	dir    string
	key    []byte // of the cluster
	certs  *certificates
	failed atomic.Bool

	mu    sync.Mutex      // guards what follows
	given map[string]bool // addresses that port has returned
}

func newSite() (*site, error) {
	dir, err := os.MkdirTemp("", "links")
	if err != nil {
		return nil, err
	}
	s := &site{host: fmt.Sprintf("127.%d.%d.%d", 1+mathrand.IntN(250), mathrand.IntN(250), 1+mathrand.IntN(250)), dir: dir, key: make([]byte, 32), given: make(map[string]bool)}
	_, _ = rand.Read(s.key) // never fails
	if s.certs, err = newCertificates(s.host, dir); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *site) close() { _ = os.RemoveAll(s.dir) }

// port returns an address at which nobody listens, another one each time.
func (s *site) port() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		l, err := net.Listen("tcp", s.host+":0")
		if err != nil {
			panic(err) // no ports are left
		}
		at := l.Addr().String()
		_ = l.Close()
		if !s.given[at] { // the system may choose one again
			s.given[at] = true
			return at
		}
	}
}

// scene is one scenario, with the processes that it has started.
type scene struct {
	*site
	ctx     context.Context
	name    string
	dir     string
	broken  atomic.Bool // a check has failed
	mu      sync.Mutex  // guards what follows
	began   []*process
	clients []*http.Transport
}

// check prints one result.
func (s *scene) check(what string, err error) {
	if err == nil {
		fmt.Printf("ok - %s: %s\n", s.name, what)
		return
	}
	s.failed.Store(true)
	s.broken.Store(true)
	fmt.Printf("not ok - %s: %s\n    %s\n", s.name, what, strings.ReplaceAll(err.Error(), "\n", "\n    "))
}

// starts is check for what the rest of a scenario needs. It prints nothing if all is well.
func (s *scene) starts(errs ...error) bool {
	for _, err := range errs {
		if err != nil {
			s.check("it starts", err)
			return false
		}
	}
	return true
}

// close ends the processes, workers in good order, and prints what they have said if something failed.
func (s *scene) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults bytes.Buffer
	for _, t := range s.clients {
		t.CloseIdleConnections()
	}
	for _, p := range s.began {
		if err := p.stop(); err != nil {
			fmt.Fprintf(&faults, "%s: %v\n", p.name, err)
		}
		if text := p.said.String(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "panic:") {
			fmt.Fprintf(&faults, "%s has said:\n%s\n", p.name, text)
		}
	}
	var err error
	if faults.Len() > 0 {
		err = fmt.Errorf("%s", strings.TrimSpace(faults.String()))
	}
	s.check("its processes end in order, and have logged no error", err)
	if s.broken.Load() {
		for _, p := range s.began {
			fmt.Printf("--- %s: %s:\n%s", s.name, p.name, p.said.String())
		}
	}
}

// http returns a client of this scenario's own.
func (s *scene) http(config *tls.Config) *http.Client {
	t := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true, TLSClientConfig: config}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, t)
	return &http.Client{Transport: t, Timeout: 45 * time.Second}
}

// sleep waits for d, but no longer than ctx lasts.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// await waits until done, for at most d.
func await(ctx context.Context, d time.Duration, done func() bool) bool {
	for end := time.Now().Add(d); !done(); sleep(ctx, 10*time.Millisecond) {
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
	}
	return true
}
