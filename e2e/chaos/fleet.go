package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// fleet is several workers with sessions, which find each other's members and sessions. There are twice as many places as workers, so that
// a successor can start before its predecessor is told to stop.
type fleet struct {
	*site
	key         string
	directories []string     // of each place
	links       []*forwarder // to each place, by which the other workers reach it

	mu        sync.Mutex // guards what follows
	processes []*member
	open      []*member // those that clients come to
	up        []*member // those that publishers ask
	cuts      []Window
	losses    []Window
}

// member is one process of the fleet.
type member struct {
	number int // of the process
	slot   *slot
	notes  string
	drain  time.Duration // for its Shutdown
	ready  time.Duration
	stop   Stop
}

// isFleet reports whether there are several workers with sessions.
func (set *setting) isFleet() bool { return set.sessions && set.directory != "" }

func (set *setting) checkFleet() error {
	switch {
	case !slices.Contains([]string{inRedis, inNATS, amongPeers}, set.directory):
		return fmt.Errorf("-directory %q is none of redis, nats and peers", set.directory)
	case set.workers < 2, set.clients < 20, set.publishers < 1:
		return errors.New("too little for everything to happen: at least 2 workers, 20 clients and a publisher are needed")
	case set.duration < shortestFleet(set):
		return fmt.Errorf("too little for everything to happen: at least %v are needed", shortestFleet(set))
	}
	return nil
}

// newFleet makes the ways between workers, whose push ports are every other one of ports. The site's slots come later.
func newFleet(s *site, ports, directories []string, key string) (*fleet, error) {
	f := &fleet{site: s, key: key, directories: directories}
	for i := range directories {
		link, err := newForwarder([]string{"127.0.0.1:" + ports[2*i]})
		if err != nil {
			f.close()
			return nil, err
		}
		f.links = append(f.links, link)
	}
	return f, nil
}

func (f *fleet) close() {
	for _, link := range f.links {
		link.close()
	}
}

// addressOf is where the other workers reach one.
func (f *fleet) addressOf(sl *slot) string { return f.links[sl.number].listeners[0].Addr().String() }

// command returns the arguments of the latest process of a place.
func (f *fleet) command(sl *slot) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var m *member
	for _, other := range f.processes {
		if other.slot == sl {
			m = other
		}
	}
	unconfirmed := littleUnconfirmed
	if f.seed%2 == 0 {
		unconfirmed = muchUnconfirmed
	}
	return []string{
		"session-worker", "-notes", m.notes, "-unconfirmed", strconv.Itoa(unconfirmed), "-key", f.key, "-address", f.addressOf(sl),
		"-directory", f.directories[sl.number], "-drain", m.drain.String(),
	}
}

// start starts a process at a place. The caller holds slot.turn, or nobody else has the slot yet.
func (f *fleet) start(sl *slot) error {
	f.mu.Lock()
	m := &member{number: len(f.processes), slot: sl, drain: shortDrain, stop: Stop{Window: Window{never, never}, Kind: finish}}
	if m.number%2 == 1 {
		m.drain = longDrain
	}
	m.notes = filepath.Join(f.dir, fmt.Sprintf("notes%d", m.number))
	f.processes = append(f.processes, m)
	f.mu.Unlock()
	if err := f.listPeers(m); err != nil {
		return err
	}
	if err := sl.start(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.ready = f.since()
	f.open, f.up = append(f.open, m), append(f.up, m)
	return nil
}

// listPeers writes the list that workers read, with one more.
func (f *fleet) listPeers(more ...*member) error {
	if f.setting.directory != amongPeers {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, m := range append(more, f.up...) {
		all = append(all, f.addressOf(m.slot))
	}
	return f.site.listPeers(all)
}

// oldest returns the process that has been there for the longest time.
func (f *fleet) oldest() *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.MinFunc(f.open, func(a, b *member) int { return a.number - b.number })
}

// stop ends a process: by SIGKILL, or in order.
func (f *fleet) stop(m *member, kind eventKind) {
	f.mu.Lock()
	m.stop = Stop{Window{f.since(), never}, kind}
	f.open = slices.DeleteFunc(slices.Clone(f.open), func(other *member) bool { return other == m })
	f.mu.Unlock()
	m.slot.told()
	if kind == kill {
		_ = m.slot.process.stop(syscall.SIGKILL, time.Second)
	} else if err := m.slot.process.stop(syscall.SIGTERM, m.drain+2*time.Second); err != nil {
		f.fault("process %d was told to stop: %v", m.number, err)
	}
	f.mu.Lock()
	m.stop.To = f.since()
	f.up = slices.DeleteFunc(slices.Clone(f.up), func(other *member) bool { return other == m })
	m.slot.process = nil
	f.mu.Unlock()
	if err := f.listPeers(); err != nil {
		f.fault("%v", err)
	}
}

// end stops all processes, one after the other.
func (f *fleet) end() {
	for {
		f.mu.Lock()
		n := len(f.open)
		f.mu.Unlock()
		if n == 0 {
			return
		}
		f.stop(f.oldest(), finish)
	}
}

// isFree reports whether no process has the place.
func (f *fleet) isFree(sl *slot) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(f.up, func(m *member) bool { return m.slot == sl })
}

// forClient returns the place of a worker for a client to come to. A balancer does not always know at once which workers take clients.
func (f *fleet) forClient(r *rand.Rand) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.open
	if r.IntN(20) == 0 {
		from = f.up
	}
	if len(from) == 0 {
		return 0
	}
	return from[r.IntN(len(from))].slot.number
}

// forPublisher returns a process for a publisher to ask.
func (f *fleet) forPublisher(r *rand.Rand) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.up
	if len(from) == 0 {
		from = f.processes
	}
	return from[r.IntN(len(from))].number
}

// living returns the processes that are there.
func (f *fleet) living() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.up)
}

// place returns the place of a process.
func (f *fleet) place(process int) *slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.processes[process].slot
}

// disturbed notes that something is wrong from now on, in one of the lists of windows, and returns what notes the end of that.
func (f *fleet) disturbed(windows *[]Window) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := len(*windows)
	*windows = append(*windows, Window{f.since(), never})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		(*windows)[i].To = f.since()
	}
}

// History is what became of the processes of a fleet. Stops are in the ledger.
type History struct {
	Directory string
	Orderly   bool
	Ready     []time.Duration // of each process
	Drains    []time.Duration // for how long its Shutdown may take
	Cuts      []Window        // something was wrong between workers
	Losses    []Window        // something was wrong with the directory
	Start     time.Time       // of the clock of the rest
}

// history returns what became of the processes, once none is left.
func (f *fleet) history(l *SessionLedger) {
	h := &History{Directory: f.setting.directory, Orderly: f.orderly, Cuts: f.cuts, Losses: f.losses, Start: f.begin}
	var files sessionWorkers
	for _, m := range f.processes {
		h.Ready, h.Drains = append(h.Ready, m.ready), append(h.Drains, m.drain)
		l.Stops = append(l.Stops, m.stop)
		files.notes = append(files.notes, m.notes)
	}
	l.Fleet, l.Notes = h, files.read(f.fault)
}

// runFleet is runSessions with several workers.
func runFleet(ctx context.Context, set setting, dir string, enclosed bool, out io.Writer) error {
	s, err := newSite(set, dir, enclosed)
	if err != nil {
		return err
	}
	defer s.close()
	how := "replaced, killed and cut off"
	if set.orderly {
		how = "replaced in order"
	}
	fmt.Fprintf(out, "seed %d: %v, %d workers with sessions, which find each other's by %s and are %s, %d clients, %d publishers\nfar clients are %v\n",
		set.seed, set.duration, set.workers, set.directory, how, set.clients, set.publishers, s.far)
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
	c := &fleetChaos{
		sessionChaos: sessionChaos{
			site: s, books: books, clients: clients, newPublisher: newPublisher, random: s.random(), holding: make([]sync.Mutex, roads),
		},
		fleet: s.fleet,
	}
	began := s.since()
	done := carryOut(mid, out, fleetSchedule(&set), event.ofFleet, c.happen)
	publishers.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	took := s.since() - began

	back := Promise{Text: "in the end every client had its session, and confirmed a last push"}
	if missing := sweepSessions(ctx, clients, books, newPublisher(), 60*time.Second); missing > 0 {
		back.broken("of %d clients, %d had not", len(clients), missing)
		for _, c := range clients {
			if s := c.state(); s != "" {
				fmt.Fprintln(out, s)
			}
		}
		if stacks, err := os.Create(filepath.Join(dir, "stacks")); err == nil {
			_ = pprof.Lookup("goroutine").WriteTo(stacks, 2)
			stacks.Close()
		}
	}
	old := Promise{Text: "in the end every address that a session has had led to it, through any worker"}
	tried := 0
	if set.orderly && set.directory != amongPeers {
		tried = s.fleet.sweepAddresses(ctx, clients, books, newPublisher, &old)
	}
	disperse()
	s.http.CloseIdleConnections()
	s.fleet.end()
	s.stop() // nothing is left; the logs are read
	l := books.closed()
	l.Pauses, l.Margin = s.pulse.all(), answerMargin
	s.fleet.history(l)
	verdicts := JudgeSessions(l)
	f := newSessionFigures(s, l, verdicts, done, took)
	f.print(out)
	if tried > 0 {
		fmt.Fprintf(out, "addresses tried in the end, through each worker: %d\n\n", tried)
	}
	promises := append(verdicts.promises, &s.faults, &back, &old, f.enoughOfFleet(&set, l))
	failed := verdict(out, promises)
	if set.json != "" {
		err = writeJSON(set.json, f, promises)
	}
	if failed {
		return errors.Join(errBroken, err)
	}
	return err
}

// sweepAddresses pushes to every address that a session has had, through every worker, and returns how many there were.
func (f *fleet) sweepAddresses(ctx context.Context, clients []*sessionClient, books *sessionBooks, newPublisher func() *sessionPublisher, old *Promise) int {
	type trial struct {
		to  addressee
		via int
	}
	var trials []trial
	for _, c := range clients {
		if w := c.present(); w != nil {
			for _, id := range books.addresses(w.session) {
				for _, m := range f.living() {
					trials = append(trials, trial{addressee{w.session.ID, id}, m.number})
				}
			}
		}
	}
	var next atomic.Int64
	var mu sync.Mutex // guards old
	var all sync.WaitGroup
	for range 8 {
		p := newPublisher()
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(trials)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				t := trials[i]
				r := p.begin(toOne, t.to.id)
				r.Target, r.Via = t.to.target, t.via
				r.Confirm, r.Keep, r.Timeout = true, "", 5*time.Second
				p.post(ctx, &r)
				if p.end(r); r.outcomeOf(r.Status) != Received {
					mu.Lock()
					old.broken("%v, at the address %s, through process %d", &r, t.to.target, t.via)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return len(trials)
}
