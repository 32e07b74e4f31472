package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/wspush/wspush"
)

// site is everything that runs.
type site struct {
	settings
	address   string // of the page
	pushes    []net.Listener
	workers   []*wspush.Worker
	servers   []*http.Server // of the page and the WebSockets, one for each worker
	nginx     *nginx         // nil if there is one worker
	operators *http.Server   // of the metrics; nil if there is none
	directory closer         // nil if there is none
	failed    chan error     // what has ended by itself; has room for all
}

// closer closes the client of a directory's engine.
type closer func() error

// start starts it all. Call stop afterwards, also if it fails.
func (s *site) start() error {
	if s.count > 1 {
		if _, err := findNginx(); err != nil {
			return err // now, and not when all the rest runs
		}
	}
	if err := s.listenForPushes(); err != nil {
		return err
	}
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	var pages []string
	for _, push := range s.pushes {
		page := s.listen
		if s.count > 1 {
			page = "127.0.0.1:0" // for nginx alone
		}
		listener, err := net.Listen("tcp", page)
		if err != nil {
			return err
		}
		if err := s.startWorker(listener, push, cluster); err != nil {
			return errors.Join(err, listener.Close())
		}
		pages = append(pages, listener.Addr().String())
	}
	if s.metrics != "" {
		if err := s.serveMetrics(); err != nil {
			return err
		}
	}
	s.address = pages[0]
	if s.count > 1 {
		s.nginx, err = startNginx(s.listen, pages, s.failed)
		if err != nil {
			return err
		}
		s.address = s.nginx.address
	}
	return nil
}

// listenForPushes listens before there are workers, since each is told where the others are.
func (s *site) listenForPushes() error {
	host, first, err := net.SplitHostPort(s.push)
	if err != nil {
		return fmt.Errorf("-push: %w", err)
	}
	port, err := net.LookupPort("tcp", first)
	if err != nil {
		return fmt.Errorf("-push: %w", err)
	}
	for range s.count {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("-push: %w", err)
		}
		s.pushes = append(s.pushes, listener)
		if port != 0 {
			port++
		}
	}
	return nil
}

// cluster is what the workers share, with which each finds the members of a user or a group at the others: a directory, or, if they are
// all in this process, their addresses. One worker by itself needs nothing.
func (s *site) cluster() (*wspush.Cluster, error) {
	c := &wspush.Cluster{Keys: [][]byte{s.key}}
	if !s.keyShared {
		c.Address = localAddress(s.pushes[0]).Addr().String() // nobody else has the key, so loopback is no reason for a warning
	}
	var err error
	switch {
	case s.redis != "":
		c.Directory, s.directory, err = openRedis(s.redis)
	case s.nats != "":
		c.Directory, s.directory, err = openNATS(s.nats)
	case s.count > 1:
		var peers []string
		for _, listener := range s.pushes {
			peers = append(peers, localAddress(listener).String())
		}
		c.Peers = func(context.Context) ([]string, error) { return peers, nil }
	default:
		return nil, nil
	}
	return c, err
}

// localAddress is where this process reaches a listener of its own.
func localAddress(l net.Listener) netip.AddrPort {
	at := l.Addr().(*net.TCPAddr).AddrPort()
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	return at
}

func (s *site) startWorker(page, push net.Listener, cluster *wspush.Cluster) error {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		Listener:      push,
		Cluster:       cluster,
		AuthorizePush: wspush.BearerTokens(s.token), // required: names of users and groups can be guessed
	})
	if err != nil {
		return err
	}
	s.workers = append(s.workers, worker)
	handler, err := newHandler(&app{worker: worker, token: s.token, resume: s.resume, fleet: s.count > 1 || s.keyShared})
	if err != nil {
		return err
	}
	// No ReadTimeout: a bulk request may last as long as it likes, and the worker bounds its silence.
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	s.servers = append(s.servers, server)
	go func() { // ends with the server
		if err := server.Serve(page); err != http.ErrServerClosed {
			s.failed <- err
		}
	}()
	return nil
}

// stop ends what has been started: the workers first, since http.Server.Shutdown ignores WebSockets, and nginx after all that it leads to.
func (s *site) stop() error {
	var workers, servers []func(context.Context) error
	for _, w := range s.workers {
		workers = append(workers, w.Shutdown)
	}
	for _, server := range s.servers {
		servers = append(servers, server.Shutdown)
	}
	err := errors.Join(within(s.grace-reserve, workers), within(reserve, servers))
	if s.nginx != nil {
		err = errors.Join(err, s.nginx.stop())
	}
	if s.directory != nil {
		err = errors.Join(err, s.directory())
	}
	if s.operators != nil { // last, so that they see how the others stop
		err = errors.Join(err, s.operators.Close())
	}
	for _, listener := range s.pushes {
		listener.Close() // only if its worker has not been started
	}
	return err
}

// within calls all at once, and waits for them.
func within(timeout time.Duration, all []func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, f := range all {
		running.Go(func() { errs[i] = f(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}
