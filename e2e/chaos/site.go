package main

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// site is everything in one run: workers, nginx in front of them, and what clients and publishers share.
type site struct {
	setting
	dir      string
	begin    time.Time
	slots    []*slot
	balancer *balancer
	far      far
	http     *http.Client
	engine   *engine        // of the directory; nil if there is none
	ways     []*way         // of each worker to the engine
	spare    [][]string     // ports for each worker to move to
	roads    []*forwarder   // of clients with sessions
	workers  sessionWorkers // the processes of the worker that has sessions
	fleet    *fleet         // those of several; nil if there is one

	pulse     *pulse
	addresses addressBook
	books     Books
	pushed    atomic.Int64 // pushes so far
	streams   atomic.Uint64

	mu     sync.Mutex // guards the fields below
	counts map[string]map[string]int
	faults Promise // failures that nobody caused
}

// sparePorts is how many ports a worker moves between, besides its first.
const sparePorts = 3

const promiseOrderly = "workers started, stopped in order and in time, logged no error, and greeted every client first"

// newSite starts everything. In its own namespace, this process can use any ports.
func newSite(set setting, dir string, enclosed bool) (_ *site, err error) {
	s := &site{
		setting: set, dir: dir, begin: time.Now(), counts: map[string]map[string]int{}, faults: Promise{Text: promiseOrderly},
		http: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 1000, IdleConnTimeout: time.Minute, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.pulse = newPulse(s.since)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	host := "127.0.0.1"
	if enclosed {
		host = "" // for the far clients
		if err := ip("link set lo up"); err != nil {
			return nil, err
		}
	}
	s.betweenStops(finish, restart) // which is the first stop of a worker with sessions
	places := set.workers
	if set.isFleet() {
		places *= 2 // for successors that start first
	}
	need := 2*places + 1
	if set.directory != "" {
		need += 1 + sparePorts*set.workers
	}
	ports, err := choosePorts(need, enclosed)
	if err != nil {
		return nil, err
	}
	directories := make([]string, places)
	if set.directory != "" {
		spare := ports[2*places+2:]
		for range set.workers {
			s.spare, spare = append(s.spare, spare[:sparePorts]), spare[sparePorts:]
		}
		var pushes []string
		for i := range places {
			pushes = append(pushes, "127.0.0.1:"+ports[2*i])
		}
		if directories, err = s.startDirectory("127.0.0.1:"+ports[2*places+1], pushes); err != nil {
			return nil, err
		}
	}
	var key [32]byte
	_, _ = cryptorand.Read(key[:]) // never fails
	var public, publicPorts []string
	if set.isFleet() {
		if s.fleet, err = newFleet(s, ports, directories, hex.EncodeToString(key[:])); err != nil {
			return nil, err
		}
	}
	for i := range places {
		log, err := os.Create(filepath.Join(dir, fmt.Sprintf("worker%d.log", i)))
		if err != nil {
			return nil, err
		}
		sl := &slot{
			number: i, push: "127.0.0.1:" + ports[2*i], public: net.JoinHostPort(host, ports[2*i+1]),
			verbose: set.verbose, log: log, since: s.since, fault: s.fault,
		}
		sl.command = func() []string {
			return []string{"worker", "-key", hex.EncodeToString(key[:]), "-directory", directories[i]}
		}
		if set.sessions {
			sl.command = s.sessionCommand
		}
		s.slots = append(s.slots, sl)
		switch {
		case set.isFleet():
			sl.command = func() []string { return s.fleet.command(sl) }
			if i < set.workers {
				err = s.fleet.start(sl)
			}
		default:
			err = sl.start()
		}
		if err != nil {
			return nil, err
		}
		public, publicPorts = append(public, sl.local()), append(publicPorts, ports[2*i+1])
	}
	if set.sessions {
		return s, s.layRoads(public, publicPorts, enclosed)
	}
	ended := func(err error) { s.fault("nginx ended of itself: %v", err) }
	s.balancer, err = startBalancer(dir, "127.0.0.1:"+ports[2*places], public, ended)
	if err != nil {
		return nil, err
	}
	switch {
	case set.directory != "": // everybody is near
	case enclosed:
		s.far, err = newLink(publicPorts)
	default:
		s.far, err = newForwarder(public)
	}
	return s, err
}

// choosePorts returns ports that the system does not give to connections, so that a worker can get its own again. Nobody is
// listening on them.
func choosePorts(n int, enclosed bool) (ports []string, err error) {
	for port := 7000; len(ports) < n; port++ {
		if !enclosed {
			port = 15000 + rand.IntN(15000)
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			if port == 65535 {
				return nil, err
			}
			continue
		}
		defer l.Close() // or it might be chosen again
		ports = append(ports, strconv.Itoa(port))
	}
	return ports, nil
}

// local is where clients reach the worker without the balancer.
func (s *slot) local() string {
	_, port, _ := net.SplitHostPort(s.public)
	return net.JoinHostPort("127.0.0.1", port)
}

// workerAt returns the worker whose push listener has this address, or -1.
func (s *site) workerAt(push string) int {
	return slices.IndexFunc(s.slots, func(sl *slot) bool { return sl.pushAddress() == push })
}

// since is the time since the run began.
func (s *site) since() time.Duration { return time.Since(s.begin) }

// random returns a source for the caller alone. Only the schedule is the same for the same seed: see schedule.
func (s *site) random() *rand.Rand { return rand.New(rand.NewPCG(s.seed, s.streams.Add(1))) }

func (s *site) count(what, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[what] == nil {
		s.counts[what] = map[string]int{}
	}
	s.counts[what][kind]++
}

func (s *site) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.broken(format, args...)
}

// sweep waits for every client to confirm one message, and reports whether all did in time.
func (s *site) sweep(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for ; ctx.Err() == nil; sleep(ctx, 100*time.Millisecond) {
		if s.addresses.len() < s.clients {
			continue
		}
		targets := make(chan *target, s.clients)
		for _, t := range s.addresses.all() {
			targets <- t
		}
		close(targets)
		var all sync.WaitGroup
		var confirmed atomic.Int64
		for range 16 {
			p := s.publisher()
			all.Go(func() {
				for t := range targets {
					if p.push(t, kind{size: 200, confirm: true, timeout: 5 * time.Second}).outcome() == Received {
						confirmed.Add(1)
					}
				}
			})
		}
		if all.Wait(); int(confirmed.Load()) >= s.clients {
			return true
		}
	}
	return false
}

// close ends everything that is still running.
func (s *site) close() {
	if s.far != nil {
		s.far.close()
	}
	if s.balancer != nil {
		s.balancer.stop()
	}
	for _, sl := range s.slots {
		if sl.process != nil {
			sl.kill(sl.process)
		}
		sl.log.Close()
	}
	s.stopDirectory()
	if s.fleet != nil {
		s.fleet.close()
	}
	for _, r := range s.roads {
		r.close()
	}
	s.pulse.close()
}

// sleep waits for d, but no longer than ctx lasts.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
