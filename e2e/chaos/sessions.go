package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// ofSessions sets what a run with sessions has by default.
func (set *setting) ofSessions(flags *flag.FlagSet) {
	isSet := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { isSet[f.Name] = true })
	if !isSet["clients"] {
		set.clients = 150
	}
	if !isSet["workers"] && set.directory == "" {
		set.workers = 1
	}
	if !isSet["publishers"] {
		set.publishers = 24
	}
}

// checkSessions reports a setting in which not everything can happen.
func (set *setting) checkSessions() error {
	switch {
	case set.isFleet():
		return set.checkFleet()
	case set.orderly:
		return errors.New("-orderly needs a -directory: without one there is one worker")
	case set.workers != 1:
		return errors.New("several workers with sessions need a -directory")
	case set.duration < shortestSessions, set.clients < 20, set.publishers < 1:
		return fmt.Errorf("too little for everything to happen: at least %v, 20 clients and a publisher are needed", shortestSessions)
	}
	return nil
}

// layRoads makes the ways of clients to the workers.
func (s *site) layRoads(workers, ports []string, enclosed bool) (err error) {
	for range roads {
		f, err := newForwarder(workers)
		if err != nil {
			return err
		}
		s.roads = append(s.roads, f)
	}
	if enclosed {
		s.far, err = newLink(ports)
	} else {
		s.far, err = newForwarder(workers)
	}
	return err
}

// runSessions is run with sessions: the chaos; the end of it; and the judgement.
func runSessions(ctx context.Context, set setting, dir string, enclosed bool, out io.Writer) error {
	events := sessionSchedule(set.seed, set.duration, set.clients)
	var stops []eventKind
	for _, e := range events {
		if e.isStop() {
			stops = append(stops, e.Kind)
		}
	}
	stops = append(stops, finish) // in the end
	s, err := newSite(set, dir, enclosed)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Fprintf(out, "seed %d: %v, a worker with sessions, %d clients, %d publishers\nfar clients are %v\n",
		set.seed, set.duration, set.clients, set.publishers, s.far)
	books := &sessionBooks{}
	groups, users := 1+set.clients/10, 1+set.clients/2
	newPublisher := func() *sessionPublisher {
		return &sessionPublisher{site: s, books: books, book: books.publisher(), random: s.random(), groups: groups, users: users}
	}

	clients, disperse := s.gatherSessions(ctx, books, groups, users)
	defer disperse()
	sleep(ctx, time.Second)
	mid, end := context.WithTimeout(ctx, set.duration)
	defer end()
	var publishers sync.WaitGroup
	for range set.publishers {
		p := newPublisher()
		publishers.Go(func() { p.work(mid) })
	}
	c := &sessionChaos{
		site: s, books: books, clients: clients, newPublisher: newPublisher, random: s.random(),
		stops: stops, holding: make([]sync.Mutex, roads),
	}
	began := s.since()
	done := carryOut(mid, out, events, event.ofSessions, c.happen)
	publishers.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	took := s.since() - began

	back := Promise{Text: "in the end every client had its session, and confirmed a last push"}
	if missing := sweepSessions(ctx, clients, books, newPublisher(), 60*time.Second); missing > 0 {
		back.broken("of %d clients, %d had not", len(clients), missing)
	}
	disperse()
	s.http.CloseIdleConnections()
	books.stop(finish, s.since)
	s.obstruct()
	s.stop()
	l := books.closed()
	l.Pauses, l.Margin, l.Notes = s.pulse.all(), answerMargin, s.workers.read(s.fault)
	verdicts := JudgeSessions(l)
	f := newSessionFigures(s, l, verdicts, done, took)
	f.print(out)
	promises := append(verdicts.promises, &s.faults, &back, f.enough())
	failed := verdict(out, promises)
	if set.json != "" {
		err = writeJSON(set.json, f, promises)
	}
	if failed {
		return errors.Join(errBroken, err)
	}
	return err
}

// gatherSessions has clients come, until disperse is called.
func (s *site) gatherSessions(ctx context.Context, books *sessionBooks, groups, users int) (clients []*sessionClient, disperse func()) {
	living, cancel := context.WithCancel(ctx)
	var crowd sync.WaitGroup
	for i := range s.clients {
		c := &sessionClient{
			site: s, books: books, number: i, user: "u" + strconv.Itoa(i%users), road: i%(roads+1) - 1, random: s.random(), compress: i%3 == 0,
			orders: make(chan command, 1),
		}
		c.groups = []string{"g" + strconv.Itoa(i%groups)}
		if other := "g" + strconv.Itoa(c.random.IntN(groups)); other != c.groups[0] {
			c.groups = append(c.groups, other)
		}
		clients = append(clients, c)
		crowd.Go(func() { c.live(living) })
	}
	return clients, func() {
		cancel()
		crowd.Wait()
	}
}

// isStop reports whether the worker is stopped.
func (e event) isStop() bool { return e.Kind == restart || e.Kind == finish || e.Kind == kill }

// sweepSessions pushes to every client until each has confirmed one message, and returns how many have not in time. What was pushed before has
// arrived then.
func sweepSessions(ctx context.Context, clients []*sessionClient, books *sessionBooks, p *sessionPublisher, within time.Duration) int {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	missing := map[*sessionClient]bool{}
	for _, c := range clients {
		missing[c] = true
	}
	for ; len(missing) > 0 && ctx.Err() == nil; sleep(ctx, 100*time.Millisecond) {
		for c := range missing {
			if w := c.present(); w != nil && p.confirm(books.addresseeOf(w.session)) {
				delete(missing, c)
			}
		}
	}
	return len(missing)
}
