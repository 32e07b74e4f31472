package main

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// greetingWait is how long a greeting waits for the directory at the most: one that came sooner, while the directory could be
// reached, came when the directory knew.
const greetingWait = 250 * time.Millisecond

// span is a time, both ends included.
type span struct{ from, to time.Duration }

func (s span) covers(from, to time.Duration) bool { return s.from <= from && to <= s.to }

// present is a connection that was somebody's or in a group for a time.
type present struct {
	*Member
	span
	isSure bool // the directory knew it
}

// joined returns the windows in order, those that are nearly one as one.
func joined(windows []Window, grace time.Duration) (all []Window) {
	slices.SortFunc(windows, func(a, b Window) int { return cmp.Compare(a.From, b.From) })
	for _, w := range windows {
		if n := len(all); n > 0 && w.From <= all[n-1].To+grace {
			all[n-1].To = max(all[n-1].To, w.To)
			continue
		}
		all = append(all, w)
	}
	return all
}

// knownFrom returns from when on the directory surely knew a connection.
func (j *memberJudge) knownFrom(m *Member) time.Duration {
	from := m.Greeted
	if m.Greeted-m.Dialled >= greetingWait {
		from += j.Grace
	}
	for _, loss := range j.Losses[m.Worker] {
		if loss.From <= from && from <= loss.To+j.Grace {
			from = loss.To + j.Grace
		}
	}
	return from
}

// presence notes when a connection was whose.
func (j *memberJudge) presence(m *Member) {
	known := j.knownFrom(m)
	to := min(m.Alive, m.Left)
	for _, r := range j.deletes[m.User] {
		if m.Dialled <= r.End && !slices.Contains(r.Except, m.ID) {
			to = min(to, r.Start)
		}
	}
	for _, key := range append([]string{m.User}, m.Groups...) {
		j.note(key, m, m.Greeted, known, to)
	}
	for i, c := range m.Changes {
		if !c.Join || c.Status != http.StatusNoContent {
			continue
		}
		until := to
		for _, next := range m.Changes[i+1:] {
			if next.Group == c.Group && !next.Join {
				until = min(until, next.Start)
			}
		}
		j.note(c.Group, m, c.End, c.End, until)
	}
}

// note notes that a connection was somebody's, as the directory knew from some time on, save while it had not heard of the worker for long.
func (j *memberJudge) note(key string, m *Member, from, known, to time.Duration) {
	add := func(from, to time.Duration, isSure bool) {
		if from <= to {
			j.present[key] = append(j.present[key], present{m, span{from, to}, isSure})
		}
	}
	add(from, to, false)
	for _, loss := range j.Losses[m.Worker] {
		if loss.To-loss.From > j.Limit && loss.From+j.Limit >= known {
			add(known, min(to, loss.From+j.Limit), true)
			known = loss.To + j.Grace
		}
	}
	add(known, to, true)
}

// isPresent reports whether at any time of a request somebody was there. Sure means that the directory knew.
func (j *memberJudge) isPresent(r *Request, isSure bool) bool {
	at := r.Start
	for _, p := range j.present[r.To] {
		if p.isSure != isSure || p.to < at || p.from > at {
			continue
		}
		if at = p.to; at >= r.End {
			return true
		}
	}
	return false
}

// isOf reports whether a message for this key, pushed in this time, may reach a connection.
func (m *Member) isOf(r *Request) bool {
	if m.User == r.To || slices.Contains(m.Groups, r.To) {
		return true
	}
	could := false
	for _, c := range m.Changes {
		switch {
		case c.Group != r.To:
		case c.Join && c.Start <= r.End:
			could = true
		case !c.Join && c.Status == http.StatusNoContent && c.End < r.Start:
			could = false
		}
	}
	return could
}

// during returns some of those who were there.
func (j *memberJudge) during(r *Request, isSure bool) (there []string) {
	for _, p := range j.present[r.To] {
		if p.isSure == isSure && p.from <= r.End && p.to >= r.Start && len(there) < 3 {
			there = append(there, fmt.Sprintf("%v, there from %v to %v", p.Member, p.from, p.to))
		}
	}
	return there
}

// noteApart notes how long after the directory was back it happened.
func (j *memberJudge) noteApart(r *Request) {
	for _, p := range j.present[r.To] {
		for _, loss := range j.Losses[p.Worker] {
			if !p.isSure && p.covers(r.Start, r.Start) && loss.To < r.Start && r.Start < loss.To+j.Grace {
				j.latestApart = max(j.latestApart, r.Start-loss.To)
			}
		}
	}
}
