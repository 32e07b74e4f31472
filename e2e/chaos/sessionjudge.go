package main

import (
	"net/http"
	"slices"
	"time"
)

// The promises about sessions, in the order of JudgeSessions' results.
const (
	promiseArrived     = "every message that was accepted arrived, or was Unconfirmed when its session ended"
	promiseConfirmed   = "every message answered 204 with confirm=received had been read before the answer"
	promiseExactlyOnce = "no message arrived twice, or is Unconfirmed twice, or is Unconfirmed as not written and arrived"
	promiseInOrder     = "messages arrived in order, each publisher's and those that were answered before others began; and so were those Unconfirmed"
	promiseRefused     = "no message that was refused arrived, or is Unconfirmed"
	promiseMeant       = "no session got, or left, a message that was not for it, or that nobody has pushed"
	promiseIntact      = "every message arrived whole and unchanged"
	promiseNothingLost = "no client was told that anything is lost, unless its worker had been killed or stopped without a file, or it had been away too long"
	promiseTold        = "every client whose session had ended was told, and none went on"
	promiseFound       = "no push to a session that lived was gone or unknown"
	promiseAddsUp      = "as many members have a message as the answer counts"
	promiseOnWire      = "clients saw nothing on the wire that they should not"
	promiseConcluded   = "OnDisconnect was called once for each session, unless its worker was killed"
	promiseReplied     = "every push was answered in time, except by a worker that was being stopped"
)

// retainTime is how long at least a message stays that has been confirmed. A page that comes back later may have missed what its endpoint had.
const retainTime = 10 * time.Second

// fate is what is known of a session beside what its client knows.
type fate struct {
	*Session
	isGhost bool // no client knows of it: nobody read the hello
	process int  // in which it began
	notes   int  // how many say that it ended
	ended   *Note
	until   time.Duration // it lived at least until then
	stop    *Stop         // with which it ended, unless it had before
	killed  bool          // with that, and nothing is known of what was left

	has map[*SessionPush]possession

	// Where there are several processes at a time:
	raw     string        // ID
	history []passed      // notes, by time
	at      map[int]bool  // processes that have noted that it is there, and not that it is not any longer
	moved   time.Duration // when it was last noted to have moved
	endedBy int           // process
}

// possession is what there is of a message in a session.
type possession uint8

const (
	inLog possession = 1 << iota
	inAside
	isUnwritten // Unconfirmed
	isWritten   // the same, and it may have arrived
)

// sessionJudge compares what publishers were told with what clients read, and with what was Unconfirmed.
type sessionJudge struct {
	*SessionLedger
	promises []*Promise
	byText   map[string]*Promise
	fates    []*fate
	byID     map[string]*fate
	byKey    map[string][]*fate // of a user or a group
	holders  map[*SessionPush]int
}

// JudgeSessions compares what publishers were told with what clients read, and with what was Unconfirmed.
func JudgeSessions(l *SessionLedger) *sessionJudge {
	j := &sessionJudge{
		SessionLedger: l, byText: map[string]*Promise{}, byID: map[string]*fate{}, byKey: map[string][]*fate{}, holders: map[*SessionPush]int{},
	}
	for _, text := range []string{promiseArrived, promiseConfirmed, promiseExactlyOnce, promiseInOrder, promiseRefused, promiseMeant, promiseIntact,
		promiseNothingLost, promiseTold, promiseFound, promiseAddsUp, promiseOnWire, promiseConcluded, promiseReplied} {
		p := &Promise{Text: text}
		j.promises = append(j.promises, p)
		j.byText[text] = p
	}
	if l.Fleet != nil {
		j.findFleetFates()
	} else {
		j.findFates()
	}
	for _, f := range j.fates {
		j.ends(f)
		j.readings(f)
		j.leftovers(f)
		for p := range f.has {
			j.holders[p]++
		}
	}
	for i := range l.Pushes {
		for k := range l.Pushes[i] {
			j.answer(&l.Pushes[i][k])
		}
	}
	return j
}

func (j *sessionJudge) broken(promise, format string, args ...any) {
	j.byText[promise].broken(format, args...)
}

// findFates brings together what is known of each session.
func (j *sessionJudge) findFates() {
	for _, s := range j.Sessions {
		f := &fate{Session: s, process: -1}
		if j.byID[s.ID] != nil {
			j.broken(promiseOnWire, "two sessions have the ID %s", s.ID)
			continue
		}
		j.byID[s.ID] = f
		j.fates = append(j.fates, f)
	}
	for process, notes := range j.Notes {
		for i := range notes {
			n := &notes[i]
			f := j.byID[n.ID]
			if f == nil {
				f = &fate{Session: &Session{ID: n.ID}, isGhost: true, process: process}
				j.byID[n.ID] = f
				j.fates = append(j.fates, f)
			}
			switch n.Cause {
			case "":
			case "moved": // to the next process, with all that is Unconfirmed
				if len(n.Unconfirmed) > 0 || process >= len(j.Stops) || j.Stops[process].Kind != restart {
					j.broken(promiseConcluded, "%v: it has moved from process %d, and %d messages are Unconfirmed", f, process, len(n.Unconfirmed))
				}
				continue
			default:
				f.notes++
				f.ended = n
				continue
			}
			f.process = process
			if f.isGhost {
				f.User, f.Groups = n.User, n.Groups
			}
		}
	}
	for _, f := range j.fates {
		f.has = map[*SessionPush]possession{}
		if f.process < 0 { // its note was torn when its process was killed
			f.process = slices.IndexFunc(j.Stops, func(s Stop) bool { return s.From >= f.Began })
		}
		for _, key := range append([]string{f.User}, f.Groups...) {
			j.byKey[key] = append(j.byKey[key], f)
		}
		j.findEnd(f)
	}
}

// findEnd finds out until when a session lived at least.
func (j *sessionJudge) findEnd(f *fate) {
	f.until = never
	for i := max(f.process, 0); i < len(j.Stops); i++ {
		if s := &j.Stops[i]; s.Kind != restart {
			f.until, f.stop = s.From, s
			f.killed = s.Kind == kill && f.ended == nil
			break
		}
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
		if d.To == f.ID {
			f.until = min(f.until, d.End)
		}
	}
}

// ends judges how a session ended.
func (j *sessionJudge) ends(f *fate) {
	if f.notes > 1 || f.notes == 0 && !f.killed {
		j.broken(promiseConcluded, "%v: %d times", f, f.notes)
	}
	if f.isGhost {
		return
	}
	for _, fault := range f.Faults {
		j.broken(promiseOnWire, "%v: %s", f, fault)
	}
	if j.Fleet != nil {
		j.endsInFleet(f)
		return
	}
	for _, m := range f.Missed {
		if m.Had == never || m.At-m.Had < retainTime {
			j.broken(promiseNothingLost, "%v: missed %d after %d at %v; the first of them was read at %v", f, m.Count, m.After, m.At, m.Had)
		}
	}
	wasDeleted := slices.ContainsFunc(j.Deletes, func(d Delete) bool { return d.To == f.ID && d.End <= f.Ends })
	switch {
	case f.End == lost && f.until > f.Ends, f.Why == "expired" && f.Ends-f.Alive < resumeWindow:
		j.broken(promiseNothingLost, "%v: %s, and the worker had last heard of it at %v", f, f.Why, f.Alive)
	case f.End == lost && f.Why != "expired" && f.Why != "unknown":
		j.broken(promiseOnWire, "%v: the reason is %q", f, f.Why)
	case f.End == closed && !wasDeleted && !f.Overtaken:
		j.broken(promiseNothingLost, "%v: closed with %s", f, f.Why)
	case f.stop == nil:
	case f.End == lives:
		j.broken(promiseTold, "%v: it ended at %v", f, f.stop.From)
	case f.Alive > f.stop.To:
		j.broken(promiseTold, "%v: it went on at %v, and its process had ended at %v", f, f.Alive, f.stop.From)
	}
}

// readings judges what the client of a session read.
func (j *sessionJudge) readings(f *fate) {
	o := sequence{j: j, f: f, last: map[int]*SessionPush{}}
	for i := range f.Log {
		if f.Log[i].Publisher >= 0 { // otherwise it is one of those in Missed
			j.reading(f, &f.Log[i], inLog, &o)
		}
	}
	for n := range f.Aside {
		r := f.Aside[n]
		j.reading(f, &r, inAside, nil)
	}
}

func (j *sessionJudge) reading(f *fate, r *Receipt, where possession, o *sequence) {
	if r.Fault != "" {
		j.broken(promiseIntact, "%v at %v: %s", f, r.At, r.Fault)
		return
	}
	p := j.meant(f, r.Message)
	if p == nil {
		return
	}
	if f.has[p] != 0 {
		j.broken(promiseExactlyOnce, "%v: %v came again at %v%s", f, p, r.At, f.historyOf(p))
		return
	}
	f.has[p] |= where
	switch p.outcomeFor(f.Session) {
	case Never:
		j.broken(promiseRefused, "%v: %v came at %v%s", f, p, r.At, f.historyOf(p))
	case Received:
		if r.At > p.End {
			j.broken(promiseConfirmed, "%v: %v came at %v%s", f, p, r.At, f.historyOf(p))
		}
	}
	if o != nil {
		o.follow(p)
	}
}

// meant returns the push of a message, or nil if it is not for this session.
func (j *sessionJudge) meant(f *fate, m Message) *SessionPush {
	p := j.push(m)
	switch {
	case p == nil:
		j.broken(promiseMeant, "%v: nobody has pushed %+v", f, m)
	case !p.isFor(f.Session):
		j.broken(promiseMeant, "%v: it is not for this session: %v", f, p)
	case p.Message != m:
		j.broken(promiseIntact, "%v: %+v has become %+v", f, p.Message, m)
	default:
		return p
	}
	return nil
}

// leftovers judges what was Unconfirmed.
func (j *sessionJudge) leftovers(f *fate) {
	if f.ended == nil {
		return
	}
	o := sequence{j: j, f: f, last: map[int]*SessionPush{}}
	for _, m := range f.ended.Unconfirmed {
		if m.Fault != "" {
			j.broken(promiseIntact, "%v: Unconfirmed: %s", f, m.Fault)
			continue
		}
		p := j.meant(f, m.Message)
		switch {
		case p == nil:
			continue
		case f.has[p]&(isWritten|isUnwritten) != 0, !m.Written && f.has[p] != 0:
			j.broken(promiseExactlyOnce, "%v: %v is Unconfirmed, written: %v%s", f, p, m.Written, f.historyOf(p))
		case p.outcomeFor(f.Session) == Never:
			j.broken(promiseRefused, "%v: %v is Unconfirmed%s", f, p, f.historyOf(p))
		}
		if f.has[p] |= isUnwritten; m.Written {
			f.has[p] |= isWritten
		}
		o.follow(p)
	}
}

// sequence judges the order of messages.
type sequence struct {
	j     *sessionJudge
	f     *fate
	last  map[int]*SessionPush // by publisher
	begun *SessionPush         // the latest to begin of those so far
}

// follow is told of one message after another.
func (o *sequence) follow(p *SessionPush) {
	// The lines of one request are in order to one session; those to users and groups go their own way.
	last := o.last[p.Publisher]
	isOwnWay := last != nil && last.Start == p.Start && (last.isNamed() || p.isNamed())
	if last != nil && p.Seq < last.Seq && p.isAnswered() && !isOwnWay && !o.j.mayLag(p, o.f) {
		o.j.broken(promiseInOrder, "%v: %v after %v%s", o.f, p, last, o.f.historyOf(p))
	}
	if last == nil || p.Seq > last.Seq {
		o.last[p.Publisher] = p
	}
	switch {
	case o.begun == nil || p.Start > o.begun.Start:
		o.begun = p
	case p.End < o.begun.Start && p.isAnswered() && !o.j.mayLag(p, o.f):
		o.j.broken(promiseInOrder, "%v: %v was answered before this began, and came after it: %v", o.f, p, o.begun)
	}
}

// answer judges a push, and what it was answered.
func (j *sessionJudge) answer(p *SessionPush) {
	j.reply(p)
	if p.Aim != toNamed {
		for _, l := range p.Members {
			f := j.byID[l.ID]
			if f == nil {
				j.broken(promiseMeant, "%v: nobody knows of %s", p, l.ID)
				continue
			}
			j.outcome(p, f, p.outcomeOf(l.Status))
			if (l.Status == http.StatusGone || l.Status == http.StatusGatewayTimeout) && f.livedThrough(p) && !j.isExcused(p) && !(l.Status == http.StatusGatewayTimeout && f.isMoving(p)) {
				j.broken(promiseFound, "%v: %v, until %v%s", p, f, f.until, j.whereabouts(p))
			}
		}
	}
	if !p.isNamed() {
		return
	}
	mayLose := false
	for _, f := range j.byKey[p.To] {
		mayLose = mayLose || f.killed
		isLeftOut := p.Aim == toListed && p.Status == http.StatusOK && p.Counts.Complete &&
			!slices.ContainsFunc(p.Members, func(l Line) bool { return l.ID == f.ID })
		if f.livedThrough(p) && (p.Status == http.StatusGone || isLeftOut) && !j.isLossy(p) {
			j.broken(promiseFound, "%v: %v, until %v", p, f, f.until)
		}
	}
	n, c := j.holders[p], p.Counts
	accepted := c.Written + c.Received + c.Buffered
	switch {
	case p.Status == 0:
	case p.Status != http.StatusOK && accepted > 0, n > accepted+c.Unknown && c.Answered >= c.Workers, n < accepted && !mayLose:
		j.broken(promiseAddsUp, "%v: %d have it%s", p, n, j.whoHas(p))
	}
}

// livedThrough reports whether the session lived all the time of a push.
func (f *fate) livedThrough(p *SessionPush) bool {
	return !f.isGhost && f.Began <= p.Start && p.End < f.until
}

// outcome judges what became of a message in a session.
func (j *sessionJudge) outcome(p *SessionPush, f *fate, o Outcome) {
	switch has := f.has[p]; {
	case !o.isAccepted(), has&inLog != 0:
	case o == Received && has&inAside == 0:
		j.broken(promiseConfirmed, "%v: %v has not got it%s", p, f, f.historyOf(p))
	case has == 0 && f.killed:
	case has == inAside && f.End != lives, has&(isWritten|isUnwritten) != 0:
	default:
		j.broken(promiseArrived, "%v: %v has not got it%s", p, f, f.historyOf(p))
	}
}

// reply judges a single answer.
func (j *sessionJudge) reply(p *SessionPush) {
	isStopping := j.isStopping(p)
	switch {
	case p.late()-j.paused(p) > j.Margin && !isStopping:
		j.broken(promiseReplied, "%v: %v late, of which the publisher did not run for %v", p, p.late(), j.paused(p))
	case p.NotSent:
		if !isStopping {
			j.broken(promiseReplied, "%v: and the worker was up", p)
		}
	case !p.isAnswered():
		if !p.GaveUp && !isStopping {
			j.broken(promiseReplied, "%v: and the worker was up", p)
		}
	case p.Fault != "":
		j.broken(promiseReplied, "%v", p)
	case p.Status == http.StatusServiceUnavailable, p.Status == http.StatusBadGateway && j.Fleet != nil:
		if !isStopping && !j.isExcused(p) && !j.isToNobody(p) {
			j.broken(promiseReplied, "%v: and the worker was up%s", p, j.whereabouts(p))
		}
	case !slices.Contains(sessionStatuses, p.Status):
		j.broken(promiseReplied, "%v: not an answer to this", p)
	}
}

// sessionStatuses are those that pushes to sessions may get, beside 503 of a worker that stops.
var sessionStatuses = []int{
	http.StatusOK, http.StatusAccepted, http.StatusNoContent,
	http.StatusConflict, http.StatusGone, http.StatusTooManyRequests, http.StatusGatewayTimeout,
}

// isStopping reports whether the worker was being stopped, or had just been, for any part of a push.
func (j *sessionJudge) isStopping(p *SessionPush) bool {
	if j.Fleet != nil {
		return j.isAskedInVain(p)
	}
	return slices.ContainsFunc(j.Stops, func(s Stop) bool { return p.Start <= s.To+restartGrace && p.End >= s.From })
}

// paused returns for how long of a push its publisher was not running.
func (j *sessionJudge) paused(p *SessionPush) (total time.Duration) {
	for _, w := range j.Pauses {
		total += max(0, min(p.End, w.To)-max(p.Start, w.From))
	}
	return total
}
