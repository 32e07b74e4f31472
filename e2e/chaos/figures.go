package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// figures are the numbers of a run.
type figures struct {
	Seed       uint64
	Took       float64 // seconds, for the whole run
	Seconds    float64 // of chaos
	Clients    int
	Publishers int
	Far        string
	Nginx      string

	Pushes    map[string]int // by answer
	Forwarded map[string]int // those of Pushes for which the worker that was asked had to ask another one
	Answered  struct {       // confirmed ones, in ms
		P50, P99, RTTP50, RTTP99 float64
	}
	Latest      float64 // most ms by which an answer came after its timeout
	LatestPush  string  // the push it was for
	Pauses      int     // times that this program was kept from running
	Longest     float64 // ms, the longest of those
	Received    int     // messages
	Unknown     int     // those of unknown outcome
	Deletes     int
	Connections int // in all
	Events      map[eventKind]int
	Counts      map[string]map[string]int
	Workers     []Resources
}

func newFigures(s *site, l *Ledger, events map[eventKind]int, took time.Duration) *figures {
	f := &figures{
		Seed: s.seed, Took: s.since().Seconds(), Seconds: took.Seconds(), Clients: s.clients, Publishers: s.publishers,
		Far: s.far.String(), Nginx: s.balancer.version,
		Pushes: map[string]int{}, Forwarded: map[string]int{}, Deletes: len(l.Deletes), Connections: len(l.Conns),
		Events: events, Counts: s.counts, Workers: l.Workers,
	}
	f.Pauses, f.Longest = len(l.Pauses), ms(longest(l.Pauses))
	var answered, rtt []float64
	latest := &Push{}
	for _, pushes := range l.Pushes {
		for i := range pushes {
			p := &pushes[i]
			f.Pushes[p.answer()]++
			if p.isForwarded() {
				f.Forwarded[p.answer()]++
			}
			if p.Status != 0 && p.late() > latest.late() {
				latest = p
			}
			if p.outcome() == Received {
				answered = append(answered, ms(p.End-p.Start))
				rtt = append(rtt, p.RTT)
			}
		}
	}
	f.Latest, f.LatestPush = ms(latest.late()), latest.String()
	f.Answered.P50, f.Answered.P99 = percentile(answered, 50), percentile(answered, 99)
	f.Answered.RTTP50, f.Answered.RTTP99 = percentile(rtt, 50), percentile(rtt, 99)
	for _, c := range l.Conns {
		f.Received += len(c.Receipts)
		for i := range c.Receipts {
			if p := l.push(&c.Receipts[i]); p != nil && p.outcome() == Unknown {
				f.Unknown++
			}
		}
	}
	return f
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile sorts values.
func percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)*p/100]
}

// The names of answers.
const (
	answerReceived = "204 received"
	answerWritten  = "204 written"
	answerNobody   = "nobody listened"
	answerNone     = "no answer"
	answerGaveUp   = "given up by the publisher"
)

// answers are the ones that a run must include.
var answers = []string{
	answerReceived, answerWritten, "400", "410", "413", "429", "502", "503", "504 open", "504 gone", answerNobody, answerNone,
}

func (p *Push) answer() string {
	switch {
	case p.outcome() == Received:
		return answerReceived
	case p.outcome() == Written:
		return answerWritten
	case p.NotSent:
		return answerNobody
	case p.Status == 0:
		return answerNone
	}
	return strings.TrimSpace(fmt.Sprint(p.Status, " ", p.Connection))
}

func (f *figures) print(out io.Writer) {
	total := 0
	for _, n := range f.Pushes {
		total += n
	}
	fmt.Fprintf(out, "\nchaos of %.0f s, %.0f s in all\npushes: %d\n", f.Seconds, f.Took, total)
	printCounts(out, f.Pushes)
	fmt.Fprintln(out, "of these, forwarded by the worker that was asked:")
	printCounts(out, f.Forwarded)
	fmt.Fprintf(out, "confirmed pushes, p50 and p99: round trip %.2f and %.1f ms, answered after %.2f and %.1f ms\n",
		f.Answered.RTTP50, f.Answered.RTTP99, f.Answered.P50, f.Answered.P99)
	fmt.Fprintf(out, "the latest answer came %.0f ms after its timeout: %s\n", f.Latest, f.LatestPush)
	fmt.Fprintf(out, "pauses, in which a process did not run: clients and publishers %d, up to %.0f ms", f.Pauses, f.Longest)
	for _, w := range f.Workers {
		fmt.Fprintf(out, "; %s %d, %.0f ms", w.Worker, w.After.Pauses, ms(w.After.Longest))
	}
	fmt.Fprintln(out)
	fmt.Fprintf(out, "messages received: %d, of which %d of unknown outcome\n", f.Received, f.Unknown)
	fmt.Fprintf(out, "connections: %d; closed by DELETE: %d\n", f.Connections, f.Deletes)
	for _, what := range slices.Sorted(maps.Keys(f.Counts)) {
		fmt.Fprintf(out, "%s:\n", what)
		printCounts(out, f.Counts[what])
	}
	fmt.Fprintln(out, "what went wrong:")
	printCounts(out, f.Events)
	fmt.Fprintln(out, "workers:                goroutines  descriptors   live heap, KB     resident, KB")
	for _, w := range f.Workers {
		b, a := w.Before, w.After
		fmt.Fprintf(out, "  %-20s  %4d %4d    %4d %4d     %6d %6d    %7d %7d\n", w.Worker, b.Goroutines, a.Goroutines,
			b.Descriptors, a.Descriptors, b.Heap>>10, a.Heap>>10, b.RSS>>10, a.RSS>>10)
	}
	fmt.Fprintln(out)
}

// printCounts prints the most frequent first.
func printCounts[K ~string](out io.Writer, counts map[K]int) {
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, k := range kinds {
		fmt.Fprintf(out, "%9d  %s\n", counts[k], k)
	}
}

// leastRate is how many confirmed pushes a second a run needs, on any machine, to mean anything.
const leastRate = 50

// leastForwarded is how many of them must have been forwarded.
const leastForwarded = 10

// enough judges whether enough happened: a run that proves nothing must not pass.
func (f *figures) enough() *Promise {
	p := &Promise{Text: "enough happened: each kind of event and of answer, and many confirmed pushes"}
	for _, k := range eventKinds {
		if f.Events[k] == 0 {
			p.broken("nothing of the kind %q", k)
		}
	}
	for _, answer := range answers {
		if f.Pushes[answer] == 0 {
			p.broken("no push with the answer %q", answer)
		}
	}
	if n := f.Pushes[answerReceived]; float64(n) < leastRate*f.Seconds {
		p.broken("%d confirmed pushes in %.0f s", n, f.Seconds)
	}
	if n := f.Forwarded[answerReceived]; float64(n) < leastForwarded*f.Seconds {
		p.broken("%d confirmed pushes in %.0f s were forwarded", n, f.Seconds)
	}
	if f.Deletes == 0 {
		p.broken("no DELETE")
	}
	if f.Connections < 2*f.Clients {
		p.broken("%d connections of %d clients", f.Connections, f.Clients)
	}
	return p
}

// verdict prints a result for each promise, and reports whether any is broken.
func verdict(out io.Writer, promises []*Promise) bool {
	passed, failed := 0, 0
	for _, p := range promises {
		if p.Count == 0 {
			passed++
			fmt.Fprintf(out, "ok - %s\n", p.Text)
			continue
		}
		failed++
		fmt.Fprintf(out, "not ok - %s: %d violations\n", p.Text, p.Count)
		for _, v := range p.First {
			fmt.Fprintf(out, "    %s\n", v)
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	return failed > 0
}

// write writes the figures as JSON.
func (f *figures) write(file string, promises []*Promise) error {
	data, err := json.MarshalIndent(struct {
		*figures
		Promises []*Promise
	}{f, promises}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o666)
}
