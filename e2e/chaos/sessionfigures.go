package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// sessionFigures are the numbers of a run with sessions.
type sessionFigures struct {
	Seed       uint64
	Took       float64 // seconds, for the whole run
	Seconds    float64 // of chaos
	Clients    int
	Publishers int
	Far        string

	Pushes      map[pushAim]map[string]int // by answer, but those to users and groups that somebody has: these are 200
	Outcomes    map[string]int             // of sessions, as the answers tell or count them
	Messages    int                        // received
	Again       int                        // got once more, by pages that had forgotten them
	Aside       int                        // read by an endpoint whose page had given it up, and never by a page
	Unconfirmed map[string]int             // messages, by whether they had been written
	Sessions    int
	Ghosts      int // whose client never read the hello
	Resumes     int
	Moves       int            // from one worker to another
	Ends        map[string]int // sessions, by how their clients saw them end
	Killed      int            // sessions that a killed worker had
	Latest      string         // the push that was answered latest, and by how much
	Pauses      int
	Longest     float64 // ms
	Events      map[eventKind]int
	Counts      map[string]map[string]int
}

func newSessionFigures(s *site, l *SessionLedger, j *sessionJudge, events map[eventKind]int, took time.Duration) *sessionFigures {
	f := &sessionFigures{
		Seed: s.seed, Took: s.since().Seconds(), Seconds: took.Seconds(), Clients: s.clients, Publishers: s.publishers, Far: s.far.String(),
		Pushes: map[pushAim]map[string]int{}, Outcomes: map[string]int{}, Unconfirmed: map[string]int{}, Ends: map[string]int{},
		Events: events, Counts: s.counts,
	}
	f.Pauses, f.Longest = len(l.Pauses), ms(longest(l.Pauses))
	var latest time.Duration
	for i := range l.Pushes {
		for k := range l.Pushes[i] {
			p := &l.Pushes[i][k]
			f.add(p)
			if p.isAnswered() && p.late() > latest {
				latest, f.Latest = p.late(), fmt.Sprintf("%.0f ms after its timeout: %v", ms(p.late()), p)
			}
		}
	}
	for _, fate := range j.fates {
		if fate.killed {
			f.Killed++
		}
		if fate.ended != nil {
			for _, m := range fate.ended.Unconfirmed {
				if m.Written {
					f.Unconfirmed["written"]++
				} else {
					f.Unconfirmed["not written"]++
				}
			}
		}
		if fate.isGhost {
			f.Ghosts++
			continue
		}
		f.Sessions++
		f.Resumes += fate.Resumes
		f.Messages += len(fate.Log)
		f.Again += fate.Again
		f.Aside += len(fate.Aside)
		f.Ends[strings.TrimSpace(string(fate.End)+" "+fate.Why)]++
	}
	return f
}

// add counts a push.
func (f *sessionFigures) add(p *SessionPush) {
	if f.Pushes[p.Aim] == nil {
		f.Pushes[p.Aim] = map[string]int{}
	}
	f.Pushes[p.Aim][strings.TrimSpace(p.answer())]++
	if !p.isNamed() {
		for _, l := range p.Members {
			f.Outcomes[string(p.outcomeOf(l.Status))]++
		}
		return
	}
	f.Outcomes[string(Written)] += p.Counts.Written
	f.Outcomes[string(Received)] += p.Counts.Received
	f.Outcomes[string(Buffered)] += p.Counts.Buffered
	f.Outcomes[string(Unknown)] += p.Counts.Unknown
	for _, n := range p.Counts.Refused {
		f.Outcomes[string(Never)] += n
	}
}

func (f *sessionFigures) print(out io.Writer) {
	fmt.Fprintf(out, "\nchaos with sessions, of %.0f s, %.0f s in all\n", f.Seconds, f.Took)
	for _, aim := range slices.Sorted(maps.Keys(f.Pushes)) {
		fmt.Fprintf(out, "pushes to %s:\n", aim)
		printCounts(out, f.Pushes[aim])
	}
	fmt.Fprintln(out, "their outcomes, for each session:")
	printCounts(out, f.Outcomes)
	fmt.Fprintf(out, "messages received: %d; once more, by pages that had forgotten them: %d; only by an endpoint that its page had given up: %d\n",
		f.Messages, f.Again, f.Aside)
	fmt.Fprintln(out, "messages in Unconfirmed:")
	printCounts(out, f.Unconfirmed)
	fmt.Fprintf(out, "sessions: %d, and %d whose client never read the hello; resumed: %d times; had by a worker that was killed: %d\nends of sessions:\n",
		f.Sessions, f.Ghosts, f.Resumes, f.Killed)
	printCounts(out, f.Ends)
	fmt.Fprintf(out, "the latest answer came %s\npauses, in which clients and publishers did not run: %d, up to %.0f ms\n", f.Latest, f.Pauses, f.Longest)
	for _, what := range slices.Sorted(maps.Keys(f.Counts)) {
		fmt.Fprintf(out, "%s:\n", what)
		printCounts(out, f.Counts[what])
	}
	fmt.Fprintln(out, "what went wrong:")
	printCounts(out, f.Events)
	fmt.Fprintln(out)
}

// How much a run needs, on any machine, to mean anything: accepted messages a second, and resumptions of each client a minute.
const (
	leastAccepted = 50
	leastResumes  = 3
)

// enough judges whether enough happened.
func (f *sessionFigures) enough() *Promise {
	p := &Promise{Text: "enough happened: each kind of event and of outcome, and many messages"}
	for _, k := range slices.Concat(sessionKinds, stopKinds) {
		if f.Events[k] == 0 {
			p.broken("nothing of the kind %q", k)
		}
	}
	for _, o := range []Outcome{Received, Written, Buffered, Never, Unknown} {
		if f.Outcomes[string(o)] == 0 {
			p.broken("no message that was %s", o)
		}
	}
	for _, answer := range []string{"409 suspended", "429 busy", answerNobody, answerGaveUp} {
		if f.Pushes[toOne][answer] == 0 {
			p.broken("no push with the answer %q", answer)
		}
	}
	for _, written := range []string{"written", "not written"} {
		if f.Unconfirmed[written] == 0 {
			p.broken("nothing was Unconfirmed and %s", written)
		}
	}
	for _, end := range []string{"lost expired", "lost unknown", "left"} {
		if f.Ends[end] == 0 {
			p.broken("no session that ended with %q", end)
		}
	}
	if n := f.Outcomes[string(Received)] + f.Outcomes[string(Written)] + f.Outcomes[string(Buffered)]; float64(n) < leastAccepted*f.Seconds {
		p.broken("%d messages accepted in %.0f s", n, f.Seconds)
	}
	if float64(f.Resumes) < leastResumes*float64(f.Clients)*f.Seconds/60 {
		p.broken("%d resumptions of %d clients", f.Resumes, f.Clients)
	}
	if f.Again == 0 || f.Killed == 0 {
		p.broken("%d messages came once more, and %d sessions were killed", f.Again, f.Killed)
	}
	return p
}
