package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// memberFigures are the numbers of a run with users and groups.
type memberFigures struct {
	Seed      uint64
	Directory string
	Took      float64 // seconds, for the whole run
	Seconds   float64 // of chaos
	Clients   int

	Requests    map[Asked]map[string]int // by answer
	ToUsers     int                      // pushes
	ToGroups    int                      // pushes
	Incomplete  int                      // pushes that somebody received, and that are not complete
	Outcomes    map[string]int           // of members, as the answers count them
	Messages    int                      // received
	Unknown     int                      // those of unknown outcome as a whole
	Connections int
	Wrong       map[string]int // that must be none
	Apart       map[string]int // what docs/delivery.md says of
	Refused     map[string]int // pushes to somebody who was there that were refused for want of the directory
	LatestApart float64        // seconds after the directory was back
	Latest      string         // the request that was answered latest, and by how much
	Pauses      int
	Longest     float64 // ms
	Events      map[eventKind]int
	Counts      map[string]map[string]int
}

func newMemberFigures(s *site, l *MemberLedger, j *memberJudge, events map[eventKind]int, took time.Duration) *memberFigures {
	f := &memberFigures{
		Seed: s.seed, Directory: s.setting.directory, Took: s.since().Seconds(), Seconds: took.Seconds(), Clients: s.clients,
		Requests: map[Asked]map[string]int{}, Outcomes: map[string]int{}, Connections: len(l.Members), Wrong: map[string]int{},
		Apart: j.apart, Refused: j.refused, LatestApart: j.latestApart.Seconds(), Events: events, Counts: s.counts,
	}
	f.Pauses, f.Longest = len(l.Pauses), ms(longest(l.Pauses))
	var latest time.Duration
	for r := range j.requests {
		if f.Requests[r.Asked] == nil {
			f.Requests[r.Asked] = map[string]int{}
		}
		f.Requests[r.Asked][r.answer()]++
		if r.Status != 0 && r.isPush() && r.late() > latest {
			latest, f.Latest = r.late(), fmt.Sprintf("%.0f ms after its timeout: %v", ms(r.late()), r)
		}
		if !r.isPush() {
			continue
		}
		if isGroup(r.To) {
			f.ToGroups++
		} else {
			f.ToUsers++
		}
		c := &r.Counts
		f.Outcomes["written"] += c.Written
		f.Outcomes["received"] += c.Received
		f.Outcomes["unknown"] += c.Unknown
		f.Outcomes["excepted"] += c.Excepted
		for kind, n := range c.Refused {
			f.Outcomes["refused: "+kind] += n
		}
		if r.Status == http.StatusOK && !c.Complete {
			f.Incomplete++
		}
		f.Messages += len(j.arrived[r])
		if r.outcome() == Unknown {
			f.Unknown += len(j.arrived[r])
		}
	}
	for what, promise := range map[string]string{
		"said to be gone while a connected member had her greeting": promiseGone,
		"left out a connected member, and said to be complete":      promiseComplete,
		"reached others":                                      promiseOthers,
		"arrived twice":                                       promiseTwice,
		"not written, and arrived":                            promiseUnsent,
		"received, and not read before the answer":            promiseRead,
		"written, and not read, at a connection that went on": promiseLost,
	} {
		f.Wrong[what] = j.byText[promise].Count
	}
	return f
}

// answer names the answer to a request.
func (r *Request) answer() string {
	switch {
	case r.NotSent:
		return answerNobody
	case r.Status == 0:
		return answerNone
	case r.Status == http.StatusOK && r.isPush() && r.outcome() == Received:
		return "200 received"
	case r.Status == http.StatusOK && r.isPush():
		return "200 written"
	}
	return strings.TrimSpace(fmt.Sprint(r.Status, " ", r.Type))
}

func (f *memberFigures) print(out io.Writer) {
	total := 0
	for _, answers := range f.Requests {
		for _, n := range answers {
			total += n
		}
	}
	fmt.Fprintf(out, "\nchaos with users and groups, by %s, of %.0f s, %.0f s in all\nrequests: %d; pushes to users %d, to groups %d\n",
		f.Directory, f.Seconds, f.Took, total, f.ToUsers, f.ToGroups)
	for _, asked := range slices.Sorted(maps.Keys(f.Requests)) {
		fmt.Fprintf(out, "%s:\n", asked)
		printCounts(out, f.Requests[asked])
	}
	fmt.Fprintf(out, "pushes with a member who has the message, and not complete: %d\n", f.Incomplete)
	fmt.Fprintln(out, "members, as the answers count them:")
	printCounts(out, f.Outcomes)
	fmt.Fprintf(out, "messages received: %d, of which %d of pushes of unknown outcome; connections: %d\n", f.Messages, f.Unknown, f.Connections)
	fmt.Fprintf(out, "the latest answer to a push came %s\n", f.Latest)
	fmt.Fprintf(out, "pauses, in which this process did not run: %d, up to %.0f ms\n", f.Pauses, f.Longest)
	for _, what := range slices.Sorted(maps.Keys(f.Counts)) {
		fmt.Fprintf(out, "%s:\n", what)
		printCounts(out, f.Counts[what])
	}
	fmt.Fprintln(out, "what went wrong:")
	printCounts(out, f.Events)
	fmt.Fprintln(out, "counted apart, since the connection came while its worker was without the directory, or had been for too long:")
	printCounts(out, f.Apart)
	if f.LatestApart > 0 {
		fmt.Fprintf(out, "  the latest of these %.2f s after the directory was back\n", f.LatestApart)
	}
	fmt.Fprintln(out, "pushes to somebody who was there that were refused for want of the directory:")
	printCounts(out, f.Refused)
	fmt.Fprintln(out, "what must not be:")
	printCounts(out, f.Wrong)
	fmt.Fprintln(out)
}

// leastMemberRate is how many pushes a second somebody must have received, on any machine.
const leastMemberRate = 40

// enough judges whether enough happened.
func (f *memberFigures) enough(kinds []eventKind) *Promise {
	p := &Promise{Text: "enough happened: each kind of event and of answer, and many pushes that were received"}
	for _, k := range kinds {
		if f.Events[k] == 0 {
			p.broken("nothing of the kind %q", k)
		}
	}
	received := 0
	all := map[string]int{}
	for _, asked := range []Asked{pushed, listed, bulked, got, headed, deleted} {
		if len(f.Requests[asked]) == 0 {
			p.broken("no %s", asked)
		}
		for answer, n := range f.Requests[asked] {
			all[answer] += n
		}
		received += f.Requests[asked]["200 received"]
	}
	need := []string{"200 received", "200 written", "410 gone", "502 unreachable"}
	if f.Directory != amongPeers {
		need = append(need, "503 directory")
	}
	for _, answer := range need {
		if all[answer] == 0 {
			p.broken("no answer %q", answer)
		}
	}
	if float64(received) < leastMemberRate*f.Seconds {
		p.broken("%d pushes received in %.0f s", received, f.Seconds)
	}
	if f.Connections < 2*f.Clients {
		p.broken("%d connections of %d clients", f.Connections, f.Clients)
	}
	return p
}

// writeJSON writes figures and promises.
func writeJSON(file string, figures any, promises []*Promise) error {
	data, err := json.MarshalIndent(struct {
		Figures  any
		Promises []*Promise
	}{figures, promises}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o666)
}
