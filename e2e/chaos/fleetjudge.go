package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	promiseOne       = "no member has the message twice by the lines of an answer"
	promiseAddress   = "Wspush-Address is an address of the session that was pushed to"
	promiseShutdown  = "no session ended with its worker that another one could have"
	comeBackWithin   = 2 * time.Second // a client that has not been told to stay away, after it was cut off
	fleetGrace       = 6 * time.Second // after something was wrong with a worker, or between workers
	engineGrace      = 20 * time.Second
	takingLasts      = 5 * time.Second // at most, and nobody can say meanwhile what becomes of a message whose time is over
	unreachableAfter = 5 * time.Second
)

// findFleetFates is findFates for several workers at a time. A session goes by its ID in notes, and by the sealed IDs of all its workers
// elsewhere: those are made one, which is the first that its client was told.
func (j *sessionJudge) findFleetFates() {
	for _, text := range []string{promiseOne, promiseAddress, promiseShutdown} {
		p := &Promise{Text: text}
		j.promises = append(j.promises, p)
		j.byText[text] = p
	}
	for _, s := range j.Sessions {
		f := &fate{Session: s, process: -1, at: map[int]bool{}, has: map[*SessionPush]possession{}}
		j.fates = append(j.fates, f)
		for _, id := range s.Addresses {
			if other := j.byID[id]; other != nil && other != f {
				j.broken(promiseOnWire, "%v has the address %s of %v", f, id, other)
			}
			j.byID[id] = f
		}
	}
	byNote := map[string]*fate{}
	for _, notes := range j.Notes {
		for i := range notes {
			if n := &notes[i]; n.Sealed != "" && j.byID[n.Sealed] != nil {
				if f := j.byID[n.Sealed]; byNote[n.ID] != nil && byNote[n.ID] != f {
					j.broken(promiseOnWire, "%v and %v are one", f, byNote[n.ID])
				} else {
					byNote[n.ID] = f
				}
			}
		}
	}
	for process, notes := range j.Notes {
		for i := range notes {
			n := &notes[i]
			f := byNote[n.ID]
			if f == nil {
				f = &fate{Session: &Session{ID: n.Sealed, Client: -1}, isGhost: true, process: process, at: map[int]bool{}, has: map[*SessionPush]possession{}}
				byNote[n.ID] = f
				j.fates = append(j.fates, f)
			}
			j.byID[n.Sealed] = f
			f.raw = n.ID
			j.note(f, process, n)
		}
	}
	for _, f := range j.fates {
		for _, key := range append([]string{f.User}, f.Groups...) {
			j.byKey[key] = append(j.byKey[key], f)
		}
		j.findFleetEnd(f)
	}
	for i, f := range j.fates { // IDs are too long to be read
		f.ID = fmt.Sprint("#", i)
		j.byID[f.ID] = f
	}
	canonical := func(id *string) {
		if f := j.byID[*id]; f != nil {
			*id = f.ID
		}
	}
	for i := range j.Deletes {
		canonical(&j.Deletes[i].To)
	}
	for i := range j.Pushes {
		for k := range j.Pushes[i] {
			p := &j.Pushes[i][k]
			if f := j.byID[p.To]; f != nil {
				p.name = f.ID
			}
			seen := map[string]bool{}
			for n := range p.Members {
				canonical(&p.Members[n].ID)
				// One that is about to move may be refused by the worker that it leaves, and have the message at the other.
				if isAccepted := p.outcomeOf(p.Members[n].Status).isAccepted(); !isAccepted {
					continue
				} else if seen[p.Members[n].ID] {
					j.broken(promiseOne, "%v: %s%s", p, p.Members[n].ID, j.byID[p.Members[n].ID].historyOf(p))
				}
				seen[p.Members[n].ID] = true
			}
			if p.Moved == "" {
				continue
			}
			if moved := p.Moved; j.byID[moved] == nil || j.byID[moved] != j.byID[p.To] {
				j.broken(promiseAddress, "%v: %s", p, moved)
			}
		}
	}
}

// note takes one note of a process.
func (j *sessionJudge) note(f *fate, process int, n *Note) {
	at := n.At.Sub(j.Fleet.Start)
	f.history = append(f.history, passed{at, process, n})
	switch n.Cause {
	case "":
		f.at[process] = true
		if !n.Resumed {
			f.process = process
			if f.isGhost {
				f.User, f.Groups = n.User, n.Groups
			}
		}
	case "moved":
		delete(f.at, process)
		f.moved = max(f.moved, at)
		if len(n.Unconfirmed) > 0 {
			j.broken(promiseConcluded, "%v: it has moved from process %d, and %d messages are Unconfirmed", f, process, len(n.Unconfirmed))
		}
	default:
		delete(f.at, process)
		f.notes++
		f.ended, f.endedBy = n, process
	}
}

// passed is a note in the history of a session.
type passed struct {
	at      time.Duration
	process int
	note    *Note
}

// findFleetEnd finds out until when a session lived at least, and whether it may have been lost with a worker that was killed.
func (j *sessionJudge) findFleetEnd(f *fate) {
	slices.SortStableFunc(f.history, func(a, b passed) int { return int(a.at - b.at) })
	f.until = never
	for process := range j.Stops {
		s := &j.Stops[process]
		if s.Kind != kill || f.ended != nil {
			continue
		}
		// It was there, or was on its way there, or its note was torn.
		if f.at[process] || len(f.at) == 0 && s.To > f.moved-time.Second {
			f.killed, f.stop, f.until = true, s, min(f.until, s.From)
		}
	}
	if f.ended != nil {
		at := f.ended.At.Sub(j.Fleet.Start)
		if f.ended.Cause == "shutdown" {
			at = min(at, j.Stops[f.endedBy].From)
		}
		f.until = min(f.until, at-time.Second)
	}
	switch away := f.Ends - f.Alive; {
	case f.isGhost:
		f.until = 0
	case f.End == left, f.End == closed:
		f.until = min(f.until, f.Ends)
	case f.End == lost && away >= resumeWindow:
		f.until = min(f.until, f.Alive+resumeWindow)
	}
	for _, d := range j.Deletes {
		if e := j.byID[d.To]; e == f {
			f.until = min(f.until, d.End)
		}
	}
}

// endsInFleet is the rest of ends for several workers.
func (j *sessionJudge) endsInFleet(f *fate) {
	for _, m := range f.Missed {
		if (m.Had == never || m.At-m.Had < retainTime) && !f.killed {
			j.broken(promiseNothingLost, "%v: missed %d after %d at %v; the first of them was read at %v", f, m.Count, m.After, m.At, m.Had)
		}
	}
	away := f.Ends - f.Alive
	if f.ended != nil && f.ended.Cause == "shutdown" {
		s := &j.Stops[f.endedBy]
		isLast := s.Kind == finish
		// Without a register of owners there is nobody to hand sessions to.
		isAbandoned := j.Fleet.Directory == amongPeers && f.Ends-s.From >= j.Fleet.Drains[f.endedBy]*2/3-comeBackWithin
		if !isLast && !isAbandoned && j.Fleet.Orderly {
			j.broken(promiseShutdown, "%v: at process %d, which was told to stop at %v\n%s", f, f.endedBy, s.From, f.story())
		}
	}
	wasDeleted := slices.ContainsFunc(j.Deletes, func(d Delete) bool { return j.byID[d.To] == f && d.End <= f.Ends })
	switch {
	case f.End == lost && f.Why == "expired" && away < resumeWindow:
		j.broken(promiseNothingLost, "%v: %s, and a worker had last heard of it at %v\n%s", f, f.Why, f.Alive, f.story())
	case f.End == lost && f.until > f.Ends && !f.mayBeUnreachable(j):
		j.broken(promiseNothingLost, "%v: %s, and a worker had last heard of it at %v\n%s", f, f.Why, f.Alive, f.story())
	case f.End == lost && f.Why != "expired" && f.Why != "unknown" && f.Why != "unreachable":
		j.broken(promiseOnWire, "%v: the reason is %q", f, f.Why)
	case f.End == closed && !wasDeleted && !f.Overtaken:
		j.broken(promiseNothingLost, "%v: closed with %s\n%s", f, f.Why, f.story())
	case f.End == lives:
		j.broken(promiseTold, "%v: its client does not know of its end\n%s", f, f.story())
	}
}

// mayBeUnreachable reports whether the owner of a session could perhaps not be reached for as long as it takes to give it up.
func (f *fate) mayBeUnreachable(j *sessionJudge) bool {
	return !j.Fleet.Orderly && f.Why == "unreachable" && f.Ends-f.Alive >= unreachableAfter
}

// story tells what became of a session.
func (f *fate) story() (text string) { return f.storyBetween(0, never) }

// historyOf tells where a session was when a message was pushed to it, and when the message was read. It is "" where there is one worker.
func (f *fate) historyOf(p *SessionPush) string {
	if f.at == nil {
		return ""
	}
	text := fmt.Sprintf("\n      through process %d; read", p.Via)
	for i := range f.Log {
		if r := &f.Log[i]; r.Publisher == p.Publisher && r.Seq == p.Seq {
			text += fmt.Sprintf(" as number %d at %v;", i+1, r.At)
		}
	}
	return text + "\n" + f.story()
}

// whereabouts tells where the session was when a message was pushed to it, and which worker the address named.
func (j *sessionJudge) whereabouts(p *SessionPush) (text string) {
	f := j.byID[p.To]
	if f == nil || f.at == nil {
		return ""
	}
	for _, h := range f.history {
		if h.note.Sealed == p.Target {
			text = fmt.Sprintf(", at the address of process %d, which was told to stop at %v and ended at %v", h.process, j.Stops[h.process].From, j.Stops[h.process].To)
			break
		}
	}
	return text + f.historyOf(p)
}

// whoHas tells where the sessions of a user or a group were that have a message, and what the answer says of them.
func (j *sessionJudge) whoHas(p *SessionPush) (text string) {
	if j.Fleet == nil {
		return ""
	}
	for _, f := range j.byKey[p.To] {
		text += fmt.Sprintf("\n      %s %s, has it: %v, %v", f.ID, f.End, f.has[p], p.outcomeFor(f.Session))
		if near := f.storyBetween(p.Start-time.Second, p.End+time.Second); near != "" {
			text += ":\n" + strings.TrimSuffix(near, "\n")
		}
	}
	return text
}

func (f *fate) storyBetween(from, to time.Duration) (text string) {
	for _, p := range f.history {
		if p.at < from || p.at > to {
			continue
		}
		what := "began"
		switch {
		case p.note.Cause != "":
			what = "ended: " + p.note.Cause
		case p.note.Resumed:
			what = "resumed"
		}
		text += fmt.Sprintf("      at process %d %s at %v\n", p.process, what, p.at)
	}
	return text
}

// mayLag reports whether a message may come after later ones: a worker that was asked has given it up, and it was on its way to another.
func (j *sessionJudge) mayLag(p *SessionPush, f *fate) bool {
	return j.Fleet != nil && p.outcomeFor(f.Session) == Unknown
}

// isMoving reports whether a session may have been about to move when the time of a push was over.
func (f *fate) isMoving(p *SessionPush) bool {
	return slices.ContainsFunc(f.history, func(h passed) bool {
		return h.note.Cause == "moved" && h.at >= p.Start && h.at <= p.End+takingLasts
	})
}

// isAskedInVain reports whether the process that a publisher has asked was stopping, or had ended.
func (j *sessionJudge) isAskedInVain(p *SessionPush) bool {
	return p.Via < len(j.Stops) && p.End >= j.Stops[p.Via].From
}

// isExcused reports whether something was wrong with a worker, or between workers, so that one cannot say, or say in time, what became of a push.
func (j *sessionJudge) isExcused(p *SessionPush) bool {
	if j.Fleet == nil {
		return false
	}
	if j.Fleet.Orderly {
		return p.Via < len(j.Stops) && p.End >= j.Stops[p.Via].From || j.Fleet.Directory == amongPeers && j.isNearStop(p)
	}
	return j.isNearStop(p) || within(j.Fleet.Cuts, p, fleetGrace) || within(j.Fleet.Losses, p, engineGrace)
}

// isToNobody reports whether a push may have been to a session that had ended, or to several: its worker, or none, then says so.
func (j *sessionJudge) isToNobody(p *SessionPush) bool {
	if j.Fleet == nil || p.isNamed() {
		return false
	}
	for _, l := range p.Members {
		isUnreached := l.Status == http.StatusServiceUnavailable || l.Status == http.StatusBadGateway
		if f := j.byID[l.ID]; isUnreached && f != nil && f.livedThrough(p) {
			return false
		}
	}
	return true
}

// isNearStop reports whether any worker was stopping, or had just ended.
func (j *sessionJudge) isNearStop(p *SessionPush) bool {
	return slices.ContainsFunc(j.Stops, func(s Stop) bool { return p.Start <= s.To+fleetGrace && p.End >= s.From })
}

// isLossy reports whether a directory, or the workers' list, may not have had everybody at the time of a push.
func (j *sessionJudge) isLossy(p *SessionPush) bool {
	return j.Fleet != nil && !j.Fleet.Orderly && (within(j.Fleet.Losses, p, engineGrace) || j.isExcused(p) && p.Status != http.StatusGone)
}

func within(windows []Window, p *SessionPush, grace time.Duration) bool {
	return slices.ContainsFunc(windows, func(w Window) bool { return p.Start <= w.To+grace && p.End >= w.From })
}
