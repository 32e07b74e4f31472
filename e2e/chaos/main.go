// Command chaos proves that wspush keeps its promises while everything goes wrong: workers behind nginx are killed, drained
// and restarted, clients stop reading, packets get lost, buffers fill up; users and groups move while their directory fails; clients with
// sessions are cut off and come back. Clients and publishers keep books, which are compared at the end. See ../README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// setting holds the flags.
type setting struct {
	duration   time.Duration
	clients    int
	workers    int
	publishers int
	seed       uint64
	verbose    bool
	json       string
	loopback   bool
	directory  string
	sessions   bool
	orderly    bool
}

// errBroken means that a promise was broken, which has been printed.
var errBroken = errors.New("a promise is broken")

func main() {
	args := os.Args[1:]
	var err error
	switch {
	case len(args) > 0 && args[0] == "worker":
		err = worker(args[1:])
	case len(args) > 0 && args[0] == "session-worker":
		err = sessionWorker(args[1:])
	case len(args) > 0 && args[0] == "nats":
		err = natsServer(args[1:])
	case len(args) > 0 && args[0] == "enclosed":
		err = test(args[1:], true, os.Stdout)
	default:
		err = test(args, false, os.Stdout)
	}
	var ended *exec.ExitError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &ended): // it has printed why
		os.Exit(max(1, ended.ExitCode()))
	default:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// test is the whole program, in a network namespace of its own if possible.
func test(args []string, enclosed bool, out io.Writer) error {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set := setting{seed: rand.Uint64N(1e6)}
	flags.DurationVar(&set.duration, "duration", 3*time.Minute, "for how long things go wrong; at least 15s")
	flags.IntVar(&set.clients, "clients", 2000, "how many `clients`")
	flags.IntVar(&set.workers, "workers", 3, "how many `workers`")
	flags.IntVar(&set.publishers, "publishers", 96, "how many `publishers`, each of which waits for one answer at a time")
	flags.Uint64Var(&set.seed, "seed", set.seed, "of what goes wrong when; another one each time by default")
	flags.StringVar(&set.json, "json", "", "write the figures to this `file`, too")
	flags.BoolVar(&set.verbose, "v", false, "workers log at debug level")
	flags.BoolVar(&set.loopback, "loopback", false, "make no network namespaces; far clients are behind a forwarder")
	flags.StringVar(&set.directory, "directory", "", "push to users and groups, which workers find by this: redis, nats or `peers`")
	flags.BoolVar(&set.sessions, "sessions", false, "clients have sessions, at one worker or, with -directory, at any; by default 150 of them, and 24 publishers")
	flags.BoolVar(&set.orderly, "orderly", false, "with -sessions and -directory: workers are only replaced in order, each twice")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if set.sessions {
		set.ofSessions(flags)
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case set.sessions:
		if err := set.checkSessions(); err != nil {
			return err
		}
	case set.orderly:
		return errors.New("-orderly is for -sessions")
	case set.directory != "" && !slices.Contains([]string{inRedis, inNATS, amongPeers}, set.directory):
		return fmt.Errorf("-directory %q is none of redis, nats and peers", set.directory)
	case set.duration < 15*time.Second, set.clients < 100, set.workers < 2, set.publishers < 1:
		return errors.New("too little for everything to happen: at least 15s, 100 clients, 2 workers and a publisher are needed")
	}
	if !enclosed && !set.loopback {
		entered, err := enclose(append(args, fmt.Sprintf("-seed=%d", set.seed)))
		if entered {
			return err
		}
		fmt.Fprintf(out, "no network namespaces: %v\n", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "wspush-chaos-")
	if err != nil {
		return err
	}
	whole := run
	switch {
	case set.isFleet():
		whole = runFleet
	case set.directory != "":
		whole = runMembers
	case set.sessions:
		whole = runSessions
	}
	err = whole(ctx, set, dir, enclosed, out)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(out, "the logs are kept in", dir)
		return err
	}
	os.RemoveAll(dir)
	return err
}

// run is the test itself: a storm on each worker, after which it is measured; the chaos; the end of that, and of
// everything; and the judgement.
func run(ctx context.Context, set setting, dir string, enclosed bool, out io.Writer) error {
	s, err := newSite(set, dir, enclosed)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Fprintf(out, "seed %d: %v, %d workers behind nginx %s, %d clients, %d publishers\nfar clients are %v\n",
		set.seed, set.duration, set.workers, s.balancer.version, set.clients, set.publishers, s.far)
	resources, err := s.storms(ctx)
	if err != nil {
		return err
	}

	clients := s.gather(set.clients, 2*time.Second, s.routeOf)
	defer clients.disperse()
	cameAll := s.sweep(ctx, 20*time.Second)
	mid, end := context.WithTimeout(ctx, set.duration)
	defer end()
	var publishers sync.WaitGroup
	for range set.publishers {
		p := s.publisher()
		p.forwards = true
		publishers.Go(func() { p.work(mid) })
	}
	c := &chaos{site: s}
	began := s.since()
	done := carryOut(mid, out, schedule(set.seed, set.duration, set.workers, set.clients), event.String, c.happen)
	publishers.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	took := s.since() - began

	back := Promise{Text: "every client came back, and confirmed a last push"}
	if !cameAll || !s.sweep(ctx, 20*time.Second) {
		back.broken("of %d clients, %d are connected", set.clients, s.addresses.len())
	}
	clients.disperse()
	s.http.CloseIdleConnections()
	s.settle(resources)
	l := s.books.closed()
	l.Workers, l.Pauses, l.Margin = resources, s.pulse.all(), answerMargin
	for _, sl := range s.slots {
		l.Downs = append(l.Downs, sl.downs)
	}
	s.stop()
	f := newFigures(s, l, done, took)
	f.print(out)
	promises := append(Judge(l), &s.faults, &back, f.enough())
	failed := verdict(out, promises)
	if set.json != "" {
		err = f.write(set.json, promises)
	}
	if failed {
		return errors.Join(errBroken, err)
	}
	return err
}

// answerMargin is how late an answer may be on a machine that is busy with all of this.
const answerMargin = 3 * time.Second

// routeOf spreads clients over the routes: of twenty, fourteen are behind nginx, and one is far away.
func (s *site) routeOf(i int) route {
	switch n := i % 20; {
	case n < 14:
		return balanced
	case n < 19:
		return direct
	}
	return remote
}
