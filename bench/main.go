// Command bench compares wspush with other ways to do the same, all in one run, each as a process of its own, over
// loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := bench(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is one run of the benchmark.
type run struct {
	plan    plan
	round   int
	results *Results
	only    []string // the metrics that are wanted; empty: all of the group
	dir     string   // where the programs are
	log     io.Writer
}

// server is something to measure.
type server struct {
	name  string
	start func(ctx context.Context, ping time.Duration) (*host, error)
}

// installed is a server that is no part of this repository, and is measured where it is installed.
type installed struct {
	version string
	start   func(ctx context.Context, ping time.Duration) (*host, error)
}

// finders look for such servers.
var finders = map[string]func(*run) (*installed, error){
	"nchan": findNchan,
}

func bench(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		isQuick = flags.Bool("quick", false, "take about a minute: one round, fewer connections, rough figures")
		isSmoke = flags.Bool("smoke", false, "take some seconds: see that everything works; the figures mean nothing")
		only    = flags.String("only", "", "measure these `metrics`, separated by commas")
		group   = flags.String("group", "", "measure this `group`, and not the comparison: "+strings.Join(groups, ", "))
		which   = flags.String("servers", "", "measure these `servers`, separated by commas: "+strings.Join(append([]string{"wspush"}, peers...), ", "))
		rounds  = flags.Int("rounds", 0, "measure so `often`, and report medians (default 5; 1 with -quick or -smoke)")
		out     = flags.String("out", "", "write the results to this `directory` (default results, or results and the group;\n"+
			"results/quick for what is not the whole; nowhere with -smoke)")
		report = flags.String("report", "", "measure nothing: make table and charts anew from results.json in this `directory`")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *report != "" {
		return reportFrom(*report, stdout)
	}
	r := &run{plan: full, log: os.Stderr}
	switch {
	case *isSmoke:
		r.plan = smoke
	case *isQuick:
		r.plan = quick
	}
	if *rounds > 0 {
		r.plan.rounds = *rounds
	}
	name := *group
	if name != "" && !slices.Contains(groups, name) {
		return fmt.Errorf("there is no group %q", name)
	}
	if err := r.setOnly(*only, name); err != nil {
		return err
	}
	if err := checkDescriptors(r.plan.most()); err != nil {
		return err
	}
	begin := time.Now()
	r.results = &Results{
		Date:     begin.UTC().Truncate(time.Second),
		Command:  strings.Join(append([]string{"go run ."}, args...), " "),
		Group:    name,
		Quick:    *isQuick || *isSmoke,
		Machine:  thisMachine(),
		Versions: map[string]string{},
	}
	var err error
	if r.dir, err = os.MkdirTemp("", "wspush-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if err := r.build(ctx); err != nil {
		return err
	}
	servers, err := r.servers(*which)
	if err != nil {
		return err
	}
	if err := r.rounds(ctx, servers); err != nil {
		return err
	}
	r.results.Took = time.Since(begin).Round(time.Second).String()
	r.results.Table(stdout)

	dir := *out
	switch {
	case dir != "":
	case *isSmoke:
		dir = filepath.Join(r.dir, "results") // to see that it can be done
	case *isQuick || *only != "" || *which != "" || *rounds > 0:
		dir = filepath.Join("results", "quick") // and keep what the whole run has found out
	default:
		dir = filepath.Join("results", name)
	}
	if err := r.results.WriteFiles(dir); err != nil {
		return err
	}
	if *out != "" || !*isSmoke {
		fmt.Fprintf(stdout, "\nWritten to %s.\n", dir)
	}
	return nil
}

// setOnly notes which metrics of the group are wanted.
func (r *run) setOnly(list, group string) error {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		switch m, ok := metricNamed(name); {
		case !ok:
			return fmt.Errorf("there is no metric %q", name)
		case m.group != group:
			return fmt.Errorf("%q is of another group: see -group %s", name, m.group)
		}
		r.only = append(r.only, name)
	}
	return nil
}

// build builds the servers and the load generator.
func (r *run) build(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // it may have to download modules
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", r.dir+string(filepath.Separator), "./load", "./returns", "./servers/...")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, output)
	}
	return nil
}

// program is the path of a program that build has built.
func (r *run) program(name string) string { return filepath.Join(r.dir, name) }

// servers returns the servers to measure.
func (r *run) servers(list string) ([]server, error) {
	wanted := append([]string{"wspush"}, r.results.peers()...)
	if list != "" {
		wanted = strings.Split(list, ",")
	}
	var all []server
	for _, name := range wanted {
		switch name = strings.TrimSpace(name); {
		case slices.Contains(goServers, name):
			all = append(all, r.goServer(name, name))
			r.results.Versions[name] = versionOf(name, r.program(name))
		case finders[name] != nil:
			found, err := finders[name](r)
			if err != nil {
				r.note("%s was not measured: %v", name, err)
				continue
			}
			all = append(all, server{name, found.start})
			r.results.Versions[name] = found.version
		default:
			return nil, fmt.Errorf("there is no server %q", name)
		}
	}
	return all, nil
}

func (r *run) goServer(name, program string) server {
	return server{name, func(ctx context.Context, ping time.Duration) (*host, error) {
		return startGo(ctx, name, r.program(program), ping)
	}}
}

// rounds measures everything. Within a round the servers take turns, each time beginning with another, so that whatever
// changes on the machine meanwhile meets all of them alike.
func (r *run) rounds(ctx context.Context, servers []server) error {
	for r.round = range r.plan.rounds {
		for _, sc := range scenarios {
			if sc.group() != r.results.Group || !r.wants(sc.metrics...) {
				continue
			}
			for i := range servers {
				s := servers[(i+r.round)%len(servers)]
				if !slices.Contains(sc.servers, s.name) {
					continue
				}
				fmt.Fprintf(r.log, "round %d of %d: %s: %s\n", r.round+1, r.plan.rounds, s.name, strings.Join(sc.metrics, ", "))
				if err := sc.run(ctx, r, s); err != nil {
					if ctx.Err() != nil {
						return errors.New("interrupted")
					}
					err = fmt.Errorf("%s: %w", s.name, err)
					if s.name == "wspush" {
						return err
					}
					// One failure of a peer's is not to cost the run. Its other rounds count.
					r.note("in round %d, %v", r.round+1, err)
				}
			}
		}
	}
	return nil
}

// wants reports whether one of the metrics is wanted.
func (r *run) wants(metrics ...string) bool {
	if len(r.only) == 0 {
		return true
	}
	return slices.ContainsFunc(metrics, func(m string) bool { return slices.Contains(r.only, m) })
}

// add adds what a round has found out.
func (r *run) add(metric, server string, conns int, value float64) {
	m, ok := metricNamed(metric)
	if !ok {
		panic("unknown metric " + metric)
	}
	if len(r.only) > 0 && !slices.Contains(r.only, metric) {
		return
	}
	for i := range r.results.Series {
		s := &r.results.Series[i]
		if s.Metric == metric && s.Server == server && s.Conns == conns {
			s.Samples = append(s.Samples, value)
			return
		}
	}
	r.results.Series = append(r.results.Series, Series{Metric: metric, Server: server, Conns: conns, Unit: m.unit, Samples: []float64{value}})
}

// note says something about the run, once.
func (r *run) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if !slices.Contains(r.results.Notes, n) {
		r.results.Notes = append(r.results.Notes, n)
	}
}
