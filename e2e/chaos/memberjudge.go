package main

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"
)

// The promises about users and groups, in the order of JudgeMembers' results.
const (
	promiseGone     = "nobody was said to be gone while a connected member had her greeting"
	promiseComplete = "no answer said to be complete left out a connected member who had her greeting"
	promiseOthers   = "no message reached a connection that was not a member's"
	promiseTwice    = "no message arrived twice at one connection"
	promiseUnsent   = "no message arrived where it was refused or excepted, or at all if nothing was said to be written"
	promiseRead     = "every member said to have received a message had, before the answer"
	promiseLost     = "every message said to be written arrived, unless the connection ended"
	promiseCounted  = "counts agree with lines, and with what arrived"
	promisePresence = "nobody was said to be there who was somebody else, or had left long before"
	promiseOut      = "no message reached a connection after DELETE had closed it"
	promiseSound    = "every message arrived whole and unchanged, users and groups"
	promiseSaid     = "every request about a user or a group was answered in time, except by a worker that was killed or stopped"
)

// answerWait is how long an answer to a request that is no push may take.
const answerWait = 5 * time.Second

// linkMargin is how long a worker waits for the answer of another one, beyond the push's timeout.
const linkMargin = 5 * time.Second

// arrival is a message that was read.
type arrival struct {
	member *Member
	at     time.Duration
}

// memberJudge compares what publishers were told about users and groups with what clients read.
type memberJudge struct {
	*MemberLedger
	promises []*Promise
	byText   map[string]*Promise
	present  map[string][]present
	byID     map[string]*Member
	deletes  map[string][]*Request
	arrived  map[*Request][]arrival

	// Apart is what is not as it should be, and what docs/delivery.md says of: whoever connects while the directory cannot be reached is found
	// a while later.
	apart       map[string]int
	refused     map[string]int // pushes to somebody who was there that were refused for want of the directory
	latestApart time.Duration  // after the directory was back
}

// JudgeMembers compares what publishers were told about users and groups with what clients read.
func JudgeMembers(l *MemberLedger) *memberJudge {
	j := &memberJudge{
		MemberLedger: l, byText: map[string]*Promise{}, present: map[string][]present{}, byID: map[string]*Member{},
		deletes: map[string][]*Request{}, arrived: map[*Request][]arrival{}, apart: map[string]int{}, refused: map[string]int{},
	}
	for _, text := range []string{promiseGone, promiseComplete, promiseOthers, promiseTwice, promiseUnsent, promiseRead, promiseLost,
		promiseCounted, promisePresence, promiseOut, promiseSound, promiseSaid} {
		p := &Promise{Text: text}
		j.promises = append(j.promises, p)
		j.byText[text] = p
	}
	for worker, losses := range j.Losses {
		j.Losses[worker] = joined(losses, j.Grace)
	}
	for r := range j.requests {
		if r.Asked == deleted {
			j.deletes[r.To] = append(j.deletes[r.To], r)
		}
	}
	for _, m := range j.Members {
		j.byID[m.ID] = m
		j.presence(m)
	}
	for _, all := range j.present {
		slices.SortFunc(all, func(a, b present) int { return cmp.Compare(a.from, b.from) })
	}
	for _, m := range j.Members {
		j.readings(m)
	}
	for r := range j.requests {
		j.answer(r)
		if r.isPush() {
			j.push(r)
		}
		if r.Asked == got {
			j.list(r)
		}
		j.whole(r)
	}
	return j
}

func (j *memberJudge) requests(yield func(*Request) bool) {
	for _, of := range j.Requests {
		for i := range of {
			if !yield(&of[i]) {
				return
			}
		}
	}
}

func (j *memberJudge) broken(promise, format string, args ...any) {
	j.byText[promise].broken(format, args...)
}

// readings judges what a client read on one connection.
func (j *memberJudge) readings(m *Member) {
	for i := range m.Receipts {
		receipt := &m.Receipts[i]
		if receipt.Fault != "" {
			j.broken(promiseSound, "%s at %v: %s", m.ID, receipt.At, receipt.Fault)
		}
		r := j.request(receipt)
		switch {
		case r == nil && receipt.Fault == "":
			j.broken(promiseOthers, "%s at %v: nobody has sent %+v", m.ID, receipt.At, receipt.Message)
		case r == nil:
			continue
		case !m.isOf(r):
			j.broken(promiseOthers, "%v: read by %v", r, m)
			continue
		case r.Message != receipt.Message:
			j.broken(promiseSound, "%s at %v: %+v came as %+v", m.ID, receipt.At, r.Message, receipt.Message)
		}
		if r == nil {
			continue
		}
		if slices.ContainsFunc(j.arrived[r], func(a arrival) bool { return a.member == m }) {
			j.broken(promiseTwice, "%v: again at %v, at %v", r, receipt.At, m)
			continue
		}
		j.arrived[r] = append(j.arrived[r], arrival{m, receipt.At})
		if slices.Contains(r.Except, m.ID) {
			j.broken(promiseUnsent, "%v: excepted, and read by %v", r, m)
		}
		for _, d := range j.deletes[m.User] {
			isClosed := d.Status == http.StatusOK && d.Counts.Complete && d.End < r.Start && !slices.Contains(d.Except, m.ID)
			if isClosed && slices.ContainsFunc(j.present[m.User], func(p present) bool { return p.Member == m && p.isSure && p.covers(d.Start, d.Start) }) {
				j.broken(promiseOut, "%v: read by %v after %v", r, m, d)
			}
		}
	}
}

// at returns when a connection read a message, or never.
func (j *memberJudge) at(r *Request, id string) time.Duration {
	for _, a := range j.arrived[r] {
		if a.member.ID == id {
			return a.at
		}
	}
	return never
}

// push judges what a publisher was told of a push.
func (j *memberJudge) push(r *Request) {
	arrived := j.arrived[r]
	if r.outcome() == Never && len(arrived) > 0 {
		j.broken(promiseUnsent, "%v: read by %v", r, arrived[0].member)
	}
	has := map[int]int{}
	for _, line := range r.Members {
		has[line.Status]++
		at := j.at(r, line.ID)
		m := j.byID[line.ID]
		switch {
		case m == nil: // its client was cut off before it had read the greeting
		case !m.isOf(r):
			j.broken(promiseOthers, "%v: there is a line for %v", r, m)
		case line.Status == http.StatusNoContent && r.Confirm && at > r.End:
			j.broken(promiseRead, "%v: read at %v by %v", r, at, m)
		case line.Status == http.StatusNoContent && at == never && m.Alive > r.End:
			j.broken(promiseLost, "%v: not read by %v", r, m)
		case line.Status != http.StatusNoContent && line.Status != http.StatusGatewayTimeout && at != never:
			j.broken(promiseUnsent, "%v: refused with %d, and read by %v", r, line.Status, m)
		}
	}
	if !r.Counts.isCounted {
		return
	}
	c := &r.Counts
	refused := 0
	for _, n := range c.Refused {
		refused += n
	}
	if r.Asked == listed {
		no := len(r.Members) - has[http.StatusNoContent] - has[http.StatusGatewayTimeout]
		if has[http.StatusNoContent] != c.Written+c.Received || has[http.StatusGatewayTimeout] > c.Unknown || no > refused {
			j.broken(promiseCounted, "%v: lines %v", r, has)
		}
	}
	if r.Confirm && c.Written > 0 || !r.Confirm && c.Received > 0 || c.Answered > c.Workers || c.Complete && c.Answered < c.Workers {
		j.broken(promiseCounted, "%v", r)
	}
	if c.Unknown == 0 && len(arrived) > c.Written+c.Received {
		j.broken(promiseCounted, "%v: read by %d", r, len(arrived))
	}
	early := 0
	for _, a := range arrived {
		if a.at <= r.End {
			early++
		}
	}
	unread := c.Received + c.Written - len(arrived)
	if r.Confirm {
		unread = c.Received - early
	}
	if unread > 0 {
		// Those whose greeting was not read are not in the books, and what was written to those that ended may be lost.
		for _, p := range j.present[r.To] {
			if !p.isSure && !r.Confirm && p.from <= r.End && p.Alive <= r.End && p.Alive > r.Start-time.Minute && j.at(r, p.ID) == never {
				unread--
			}
		}
		if unread > j.ungreeted(r) {
			promise := promiseLost
			if r.Confirm {
				promise = promiseRead
			}
			j.broken(promise, "%v: read by %d, by %d of them in time", r, len(arrived), early)
		}
	}
}

// ungreeted returns how many members the answer may count that are not in the books: their clients were cut off before they had read the
// greeting. That takes a worker that ends.
func (j *memberJudge) ungreeted(r *Request) int {
	for worker := range j.Downs {
		if during(j.Downs[worker], r, 12*time.Second) || during(j.Stopped[worker], r, 12*time.Second) {
			return math.MaxInt
		}
	}
	return 0
}

// during reports whether a request was made in one of the windows, or within a grace after it.
func during(windows []Window, r *Request, grace time.Duration) bool {
	return slices.ContainsFunc(windows, func(w Window) bool { return r.Start <= w.To+grace && r.End >= w.From })
}

// list judges who was said to be there.
func (j *memberJudge) list(r *Request) {
	for _, line := range r.Members {
		m := j.byID[line.ID]
		if m == nil {
			continue
		}
		if !m.isOf(r) {
			j.broken(promisePresence, "%v: says that %v is there", r, m)
		}
		lagging := during(j.Stopped[m.Worker], &Request{Start: m.Left, End: r.End}, time.Second)
		if m.Left != never && m.Left+answerWait < r.Start && !lagging {
			j.broken(promisePresence, "%v: says that %v is there", r, m)
		}
		for _, w := range j.Downs[m.Worker] {
			if w.From > m.Greeted && w.From+drainTimeout+2*time.Second < r.Start {
				j.broken(promisePresence, "%v: says that %v is there, whose worker was told to end at %v", r, m, w.From)
			}
		}
	}
}

// whole judges whether somebody who was there was left out.
func (j *memberJudge) whole(r *Request) {
	if r.isGone() {
		switch {
		case j.isPresent(r, true):
			j.broken(promiseGone, "%v: there were %v", r, j.during(r, true))
		case j.isPresent(r, false):
			j.apart["said to be gone"]++
			j.noteApart(r)
		}
		return
	}
	if r.isPush() && r.Type == "directory" && j.isPresent(r, true) {
		when := "while the worker that was asked had it"
		if during(j.Losses[r.Via], r, j.Grace) {
			when = "while the worker that was asked was without it, or until a moment after"
		}
		j.refused[when]++
	}
	if r.Status != http.StatusOK || !r.Counts.Complete || r.Asked == headed || r.Asked == deleted {
		return
	}
	there, missing, perhaps := map[*Member]bool{}, []present(nil), 0
	for _, p := range j.present[r.To] {
		if p.from > r.Start {
			break
		}
		if !p.covers(r.Start, r.End) {
			continue
		}
		isNamed := slices.Contains(r.Except, p.ID) || slices.ContainsFunc(r.Members, func(l Line) bool { return l.ID == p.ID })
		switch {
		case p.isSure:
			if there[p.Member] = true; !isNamed {
				missing = append(missing, p)
			}
		case !isNamed:
			perhaps++
		}
	}
	switch {
	case r.Asked == listed || r.Asked == got:
		if len(missing) > 0 {
			j.broken(promiseComplete, "%v: %d of %d were left out, such as %v", r, len(missing), len(there), missing[0].Member)
		} else if perhaps > 0 {
			j.apart["left out"]++
			j.noteApart(r)
		}
	default:
		c := &r.Counts
		counted := c.Written + c.Received + c.Unknown + c.Excepted
		for _, n := range c.Refused {
			counted += n
		}
		if counted < len(there) {
			j.broken(promiseComplete, "%v: there were %d, such as %v", r, len(there), missing[0].Member)
		}
	}
}

// answer judges whether a request had a proper answer in time.
func (j *memberJudge) answer(r *Request) {
	timeout := r.Timeout
	if !r.isPush() {
		timeout = answerWait
	}
	var paused time.Duration
	for _, w := range j.Pauses {
		paused += max(0, min(r.End, w.To)-max(r.Start, w.From))
	}
	stood := during(j.Stopped[r.Via], r, restartGrace) || during(j.Downs[r.Via], r, restartGrace)
	late := r.End - r.Start - timeout
	for _, stopped := range j.Stopped { // the others wait for its answer
		if during(stopped, r, restartGrace) {
			late = min(late, max(0, late-linkMargin))
			break
		}
	}
	switch {
	case stood:
	case late-paused > j.Margin:
		j.broken(promiseSaid, "%v: %v late, of which the publisher did not run for %v", r, late, paused)
	case r.Status == 0:
		j.broken(promiseSaid, "%v: no answer, and the worker was up", r)
	}
	switch r.Status {
	case 0, http.StatusOK, http.StatusGone, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if r.Status != 0 && r.Fault != "" {
			j.broken(promiseSaid, "%v", r)
		}
	default:
		j.broken(promiseSaid, "%v: not an answer to that", r)
	}
}

func (m *Member) String() string {
	return fmt.Sprintf("%.12s… of %s at worker %d, dialled at %v, greeted at %v, alive at %v", m.ID[max(0, len(m.ID)-40):], m.User, m.Worker,
		m.Dialled, m.Greeted, m.Alive)
}

func (r *Request) String() string {
	how := string(r.Asked)
	if r.Confirm {
		how += " to be confirmed"
	}
	answer := fmt.Sprint(r.Status, " ", r.Type)
	switch {
	case r.NotSent:
		answer = "nobody listened"
	case r.Status == 0:
		answer = "no answer"
	}
	if r.Fault != "" {
		answer += " (" + r.Fault + ")"
	}
	if r.Counts.isCounted {
		answer += fmt.Sprintf(" %+v", r.Counts)
	}
	return fmt.Sprintf("%s %d/%d for %s through worker %d, %v to %v, timeout %v: %s",
		how, r.Publisher, r.Seq, r.To, r.Via, r.Start, r.End, r.Timeout, answer)
}
