package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// memberGrace is how long after the directory is back a worker may still have something to tell it, and how old a list of peers may be.
const memberGrace = 6 * time.Second

// memberLimit is how long a worker may be without the directory and is asked all the same, less what it takes to notice both.
const memberLimit = doubtTime - 5*time.Second

// runMembers is run with users and groups: the chaos; the end of it; and the judgement.
func runMembers(ctx context.Context, set setting, dir string, enclosed bool, out io.Writer) error {
	s, err := newSite(set, dir, enclosed)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Fprintf(out, "seed %d: %v, %d workers that find each other's members by %s, %d clients, %d publishers\n",
		set.seed, set.duration, set.workers, set.directory, set.clients, set.publishers)
	books := &memberBooks{live: map[string]map[*Member]bool{}, losses: make([][]Loss, set.workers)}
	users, groups := set.clients*5/8, 1+set.clients/10
	newPublisher := func() *memberPublisher {
		return &memberPublisher{site: s, members: books, book: books.publisher(), random: s.random(), users: users, groups: groups}
	}

	living, disperse := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer func() {
		disperse()
		clients.Wait()
	}()
	for i := range set.clients {
		c := &memberClient{client: client{site: s, route: s.routeOf(i % 19), random: s.random()}, members: books}
		c.user, c.stays = "u"+strconv.Itoa(i%users), i%5 < 2
		c.groups = []string{everybody, "g" + strconv.Itoa(1+c.random.IntN(groups-1))}
		clients.Go(func() {
			sleep(living, 2*time.Second*time.Duration(i)/time.Duration(set.clients))
			c.live(living)
		})
	}
	for i := range wanderers {
		c := &memberClient{client: client{site: s, route: direct, random: s.random()}, members: books, user: "w" + strconv.Itoa(i), wanders: true}
		clients.Go(func() { c.live(living) })
	}
	sleep(ctx, 3*time.Second)
	mid, end := context.WithTimeout(ctx, set.duration)
	defer end()
	var publishers sync.WaitGroup
	for range set.publishers {
		p := newPublisher()
		publishers.Go(func() { p.work(mid) })
	}
	for i := range wanderers {
		p := newPublisher()
		p.only = "w" + strconv.Itoa(i)
		publishers.Go(func() { p.work(mid) })
	}
	c := &memberChaos{site: s, members: books}
	began := s.since()
	done := carryOut(mid, out, memberSchedule(set.seed, set.duration, set.workers, memberKinds(set.directory)), event.what, c.happen)
	publishers.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	took := s.since() - began

	back := Promise{Text: "in the end every user was found through every worker"}
	if missing := sweepUsers(ctx, users, newPublisher, 30*time.Second); missing > 0 {
		back.broken("of %d users, %d were not", users, missing)
	}
	disperse()
	clients.Wait()
	s.http.CloseIdleConnections()
	l := books.closed()
	l.Pauses, l.Margin, l.Grace, l.Limit = s.pulse.all(), answerMargin, memberGrace, memberLimit
	for _, sl := range s.slots {
		l.Downs, l.Stopped = append(l.Downs, sl.downs), append(l.Stopped, sl.stopped)
	}
	s.stop()
	verdicts := JudgeMembers(l)
	f := newMemberFigures(s, l, verdicts, done, took)
	f.print(out)
	promises := append(verdicts.promises, &s.faults, &back, f.enough(memberKinds(set.directory)))
	failed := verdict(out, promises)
	if set.json != "" {
		err = writeJSON(set.json, f, promises)
	}
	if failed {
		return errors.Join(errBroken, err)
	}
	return err
}

// sweepUsers pushes to every user until each has confirmed one, and returns how many have not in time. It takes any worker for each attempt.
func sweepUsers(ctx context.Context, users int, newPublisher func() *memberPublisher, within time.Duration) (missing int) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	keys := make(chan string, users)
	for i := range users {
		keys <- "u" + strconv.Itoa(i)
	}
	close(keys)
	var all sync.WaitGroup
	var found atomic.Int64
	for range 16 {
		p := newPublisher()
		all.Go(func() {
			for key := range keys {
				for ctx.Err() == nil {
					if p.push(key).outcome() == Received {
						found.Add(1)
						break
					}
					sleep(ctx, 200*time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return users - int(found.Load())
}
