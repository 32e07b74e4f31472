package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// site is everything that runs: the workers, the publisher, and nginx in front of them.
type site struct {
	address   string // where nginx listens
	publicURL string
	token     string
	keys      [][]byte
	dir       string // nginx's files
	restart   time.Duration
	stdout    io.Writer
	places    []*place // the workers', then the publisher's
	nginx     *process
	died      chan *process // has room for every process
	due       chan *place   // places whose process must be restarted; has room for every place
}

// place is where one child runs, and its successors: at the same addresses, where nginx and the other workers look for it.
type place struct {
	Number  int       // the worker's, from 1
	At      addresses // At and Number also go into nginx.conf
	role    string
	process *process    // nil if none is running
	timer   *time.Timer // starts the next one; nil before the first has ended
}

func (p *place) String() string {
	if p.role == roleWorker {
		return fmt.Sprint(p.role, " ", p.Number)
	}
	return p.role
}

func newSite(address string, workers int, restart time.Duration, stdout io.Writer) (*site, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	s := &site{
		address: address, publicURL: "http://" + address, token: rand.Text(), keys: [][]byte{key},
		restart: restart, stdout: stdout,
	}
	for n := range workers {
		s.places = append(s.places, &place{Number: n + 1, role: roleWorker})
	}
	s.places = append(s.places, &place{role: rolePublisher})
	s.died = make(chan *process, len(s.places)+1)
	s.due = make(chan *place, len(s.places))
	var err error
	s.dir, err = os.MkdirTemp("", "wspush-workers-")
	return s, err
}

// run starts everything, and returns when ctx ends or something irreplaceable does. Call stop afterwards.
func (s *site) run(ctx context.Context) error {
	// Look for nginx before anything is started, since it may be missing.
	program, err := findNginx()
	if err != nil {
		return err
	}
	for _, p := range s.places {
		if err := s.start(p); err != nil {
			return err
		}
	}
	if s.nginx, err = startNginx(program, s); err != nil {
		return err
	}
	s.say("nginx: pid %d, %s", s.nginx.pid(), s.address)
	s.say("Open %s/", s.publicURL)
	s.say("For the command on the page, in a shell of your own: export PUSH_TOKEN=%s", s.token)
	for {
		select {
		case <-ctx.Done():
			s.say("stopping")
			return nil
		case dead := <-s.died:
			if dead == s.nginx {
				return fmt.Errorf("nginx has ended: %s", ending(dead.err))
			}
			s.bury(dead)
		case p := <-s.due:
			if err := s.start(p); err != nil {
				s.say("%v", err) // its port may be in use for the moment
				s.schedule(p)
			}
		}
	}
}

// start starts a child in its place.
func (s *site) start(p *place) (err error) {
	set := settings{Number: p.Number, PublicURL: s.publicURL, PushToken: s.token, At: p.At}
	if p.role == roleWorker {
		set.Workers, set.Keys = len(s.places)-1, s.keys
	}
	var at addresses
	if p.process, at, err = startChild(p.String(), p.role, set, s.died); err != nil {
		return err
	}
	p.At = at
	if p.role == roleWorker {
		s.say("%v: pid %d, %s, its push listener %s", p, p.process.pid(), at.App, at.Push)
	} else {
		s.say("%v: pid %d, %s", p, p.process.pid(), at.App)
	}
	return nil
}

// bury handles a child that ended on its own: everything else goes on.
func (s *site) bury(dead *process) {
	for _, p := range s.places {
		if p.process != dead {
			continue
		}
		p.process = nil
		then := "it is not restarted"
		if s.restart > 0 {
			then = "the next one starts in " + s.restart.String()
			s.schedule(p)
		}
		s.say("%v, pid %d, has ended (%s); %s", p, dead.pid(), ending(dead.err), then)
	}
}

func (s *site) schedule(p *place) { p.timer = time.AfterFunc(s.restart, func() { s.due <- p }) }

// ending describes how a process ended.
func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// stop ends everything, in this order: the publisher, which answers its pending requests; the workers, which close their
// clients, and for that need nginx; nginx. It waits for each and removes the files.
func (s *site) stop() error {
	var workers, publishers []*process
	for _, p := range s.places {
		if p.timer != nil {
			p.timer.Stop()
		}
		switch {
		case p.process == nil:
		case p.role == roleWorker:
			workers = append(workers, p.process)
		default:
			publishers = append(publishers, p.process)
		}
	}
	err := errors.Join(stopAll(publishers), stopAll(workers))
	if s.nginx != nil {
		err = errors.Join(err, s.nginx.stop())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// stopAll stops processes concurrently.
func stopAll(all []*process) error {
	errs := make([]error, len(all))
	var stopping sync.WaitGroup
	for i, p := range all {
		stopping.Go(func() { errs[i] = p.stop() })
	}
	stopping.Wait()
	return errors.Join(errs...)
}

func (s *site) say(format string, args ...any) { fmt.Fprintf(s.stdout, format+"\n", args...) }
