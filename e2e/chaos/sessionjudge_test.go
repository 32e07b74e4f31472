package main

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func at(seconds int) time.Duration { return time.Duration(seconds) * second }

// soundSessions is a ledger that keeps every promise about sessions. Session a lives through a restart from 20 s to 21 s, and is lost with the
// process that is killed from 40 s to 41 s; b expires at 30 s; c is deleted at 15 s; d is the client's of a after that, and leaves at 60 s; nobody knows
// of e but the worker. Group g1 is a, b and e.
func soundSessions() *SessionLedger {
	var pushes []SessionPush
	push := func(aim pushAim, to string, start int, status int, members ...Line) *SessionPush {
		p := SessionPush{Aim: aim}
		p.Message = Message{To: to, Seq: len(pushes), Nonce: 1<<63 + uint64(len(pushes)), Size: 200}
		p.Timeout, p.Start, p.Status, p.Members = second, at(start), status, members
		p.End = p.Start + second/2
		if aim == toOne {
			p.Members = []Line{{to, status}}
		}
		pushes = append(pushes, p)
		return &pushes[len(pushes)-1]
	}
	push(toOne, "a", 2, 204).Confirm = true // 0
	push(toOne, "a", 3, 204)
	push(toOne, "a", 4, 202)
	push(toOne, "a", 5, 409).Keep = "0s"
	push(toOne, "a", 6, 0).GaveUp = true
	push(toMany, "*", 7, 204, Line{"a", 204}, Line{"b", 204}) // 5
	push(toNamed, "g1", 8, 200).Counts = Counts{Written: 2, Buffered: 1, Complete: true}
	push(toListed, "g1", 9, 200, Line{"a", 204}, Line{"b", 204}, Line{"e", 204}).Counts = Counts{Written: 3, Complete: true}
	push(toOne, "b", 12, 202)
	push(toOne, "c", 13, 204)
	push(toOne, "c", 16, 410) // 10
	push(toOne, "a", 20, 0).NotSent = true
	push(toOne, "a", 38, 204) // 12: it is lost with the process
	push(toOne, "d", 45, 204).Confirm = true
	push(toNamed, "g1", 50, 410)
	push(toOne, "d", 51, 204) // 15
	read := func(numbers ...int) (log []Receipt) {
		for _, n := range numbers {
			log = append(log, Receipt{Message: pushes[n].Message, At: pushes[n].Start + second/4})
		}
		return log
	}
	unconfirmed := func(written bool, numbers ...int) (left []Left) {
		for _, n := range numbers {
			left = append(left, Left{Message: pushes[n].Message, Written: written})
		}
		return left
	}
	g := []string{"g1"}
	return &SessionLedger{
		Pushes: [][]SessionPush{pushes},
		Sessions: []*Session{
			{ID: "a", Groups: g, Began: second, Log: read(0, 1, 2, 5, 6, 7), Alive: at(39), End: lost, Why: "unknown", Ends: at(42)},
			{ID: "b", Groups: g, Began: second, Log: read(5), Alive: at(10), End: lost, Why: "expired", Ends: at(32)},
			{ID: "c", Began: second, Log: read(9), Alive: at(14), End: closed, Why: "4001", Ends: at(15) + second/2},
			{ID: "d", Began: at(42), Log: read(13, 15), Alive: at(59), End: left, Ends: at(60)},
		},
		Notes: [][]Note{
			{
				{ID: "a", Groups: g}, {ID: "b", Groups: g}, {ID: "c"}, {ID: "e", Groups: g},
				{ID: "c", Cause: "closed"}, {ID: "a", Cause: "moved"}, {ID: "b", Cause: "moved"}, {ID: "e", Cause: "moved"},
			},
			{{ID: "b", Cause: "away", Unconfirmed: slices.Concat(unconfirmed(true, 5), unconfirmed(false, 6, 7, 8))},
				{ID: "e", Cause: "away", Unconfirmed: unconfirmed(false, 6, 7)}},
			{{ID: "d"}, {ID: "d", Cause: "client"}},
		},
		Stops:   []Stop{{Window{at(20), at(21)}, restart}, {Window{at(40), at(41)}, kill}, {Window{at(61), never}, finish}},
		Deletes: []Delete{{"c", at(15)}},
		Margin:  second,
	}
}

// notKilled has the process of a told to stop, in place of being killed.
func notKilled(l *SessionLedger) {
	l.Stops[1].Kind = finish
	l.Notes[1] = append(l.Notes[1], Note{ID: "a", Cause: "shutdown", Unconfirmed: []Left{{Message: l.Pushes[0][12].Message}}})
}

// aside has only an endpoint have read a message whose page had given it up.
func aside(l *SessionLedger, session, push int) {
	s := l.Sessions[session]
	i := slices.IndexFunc(s.Log, func(r Receipt) bool { return r.Seq == push })
	s.Aside = map[uint64]Receipt{uint64(i + 1): s.Log[i]}
	s.Log = slices.Delete(s.Log, i, i+1)
}

func TestJudgeSessions(t *testing.T) {
	// drop removes what a session's client read of one push, and add has it read it, last.
	drop := func(l *SessionLedger, session, push int) {
		s := l.Sessions[session]
		s.Log = slices.DeleteFunc(s.Log, func(r Receipt) bool { return r.Seq == push })
	}
	add := func(l *SessionLedger, session, push int) {
		p := l.Pushes[0][push]
		l.Sessions[session].Log = append(l.Sessions[session].Log, Receipt{Message: p.Message, At: p.Start + second/4})
	}
	rest := func(l *SessionLedger, process, note int) *[]Left { return &l.Notes[process][note].Unconfirmed }
	for name, test := range map[string]struct {
		spoil  func(l *SessionLedger, p []SessionPush)
		broken []string
	}{
		"nothing": {func(*SessionLedger, []SessionPush) {}, nil},

		// Every message that was accepted.
		"a written message is nowhere":             {func(l *SessionLedger, _ []SessionPush) { drop(l, 2, 9) }, []string{promiseArrived}},
		"one of several targets has not got it":    {func(l *SessionLedger, _ []SessionPush) { drop(l, 1, 5); *rest(l, 1, 0) = (*rest(l, 1, 0))[1:] }, []string{promiseArrived}},
		"a buffered message is nowhere":            {func(l *SessionLedger, _ []SessionPush) { *rest(l, 1, 0) = (*rest(l, 1, 0))[:3] }, []string{promiseArrived}},
		"a member of a list has not got it":        {func(l *SessionLedger, _ []SessionPush) { *rest(l, 1, 1) = (*rest(l, 1, 1))[:1] }, []string{promiseArrived}},
		"a member that is counted has not":         {func(l *SessionLedger, _ []SessionPush) { *rest(l, 1, 1) = (*rest(l, 1, 1))[1:] }, nil}, // a may have lost it with its process
		"the same, and no member was killed":       {func(l *SessionLedger, _ []SessionPush) { notKilled(l); *rest(l, 1, 1) = (*rest(l, 1, 1))[1:] }, []string{promiseAddsUp}},
		"more members have it than are counted":    {func(_ *SessionLedger, p []SessionPush) { p[6].Counts.Buffered = 0 }, []string{promiseAddsUp}},
		"a member of unknown outcome has it":       {func(_ *SessionLedger, p []SessionPush) { p[6].Counts.Buffered, p[6].Counts.Unknown = 0, 1 }, nil},
		"killed, and it had not got all":           {func(l *SessionLedger, _ []SessionPush) { drop(l, 0, 2) }, nil},
		"killed, and one that was confirmed":       {func(l *SessionLedger, _ []SessionPush) { drop(l, 0, 0) }, []string{promiseConfirmed}},
		"not killed, and a message was lost":       {func(l *SessionLedger, _ []SessionPush) { notKilled(l); drop(l, 0, 2) }, []string{promiseArrived}},
		"only an endpoint has it, and it ended":    {func(l *SessionLedger, p []SessionPush) { notKilled(l); aside(l, 0, 2) }, nil},
		"only an endpoint has one to be confirmed": {func(l *SessionLedger, p []SessionPush) { aside(l, 0, 0) }, nil},
		"only an endpoint has it, and it goes on": {func(l *SessionLedger, p []SessionPush) {
			aside(l, 3, 15)
			l.Sessions[3].End = lives
		}, []string{promiseArrived, promiseTold}},
		"one to be confirmed is only Unconfirmed": {func(l *SessionLedger, p []SessionPush) {
			drop(l, 3, 13)
			*rest(l, 2, 1) = []Left{{Message: p[13].Message, Written: true}}
		}, []string{promiseConfirmed}},
		"confirmed before it was read": {func(l *SessionLedger, _ []SessionPush) { l.Sessions[3].Log[0].At = at(46) }, []string{promiseConfirmed}},

		// Once, in order, and for whom it was.
		"twice": {func(l *SessionLedger, _ []SessionPush) { add(l, 3, 15) }, []string{promiseExactlyOnce}},
		"twice, and the second time aside": {func(l *SessionLedger, p []SessionPush) {
			l.Sessions[3].Aside = map[uint64]Receipt{3: {Message: p[15].Message, At: p[15].Start}}
		}, []string{promiseExactlyOnce}},
		"given up, and twice":                 {func(l *SessionLedger, _ []SessionPush) { add(l, 0, 4); add(l, 0, 4) }, []string{promiseExactlyOnce}},
		"Unconfirmed twice":                   {func(l *SessionLedger, _ []SessionPush) { u := rest(l, 1, 0); *u = append(*u, (*u)[3]) }, []string{promiseExactlyOnce}},
		"Unconfirmed, not written, and there": {func(l *SessionLedger, _ []SessionPush) { (*rest(l, 1, 0))[0].Written = false }, []string{promiseExactlyOnce}},
		"out of order":                        {func(l *SessionLedger, _ []SessionPush) { r := l.Sessions[3].Log; r[0], r[1] = r[1], r[0] }, []string{promiseInOrder}},
		"out of order, of two publishers": {func(l *SessionLedger, p []SessionPush) {
			l.Pushes = append(l.Pushes, []SessionPush{p[13]})
			q := &l.Pushes[1][0]
			q.Publisher, q.Seq, q.Confirm = 1, 0, false
			l.Sessions[3].Log = append(l.Sessions[3].Log, Receipt{Message: q.Message, At: at(52)})
		}, []string{promiseInOrder}},
		"out of order, of one that gave up": {func(l *SessionLedger, _ []SessionPush) { add(l, 0, 4) }, nil},
		"out of order in Unconfirmed":       {func(l *SessionLedger, _ []SessionPush) { u := *rest(l, 1, 0); u[1], u[2] = u[2], u[1] }, []string{promiseInOrder}},
		"out of order, of the same request": {func(l *SessionLedger, p []SessionPush) {
			p[13].Start, p[13].End, p[15].Start, p[15].End = at(45), at(46), at(45), at(46)
			r := l.Sessions[3].Log
			r[0], r[1] = Receipt{Message: p[15].Message, At: at(45)}, Receipt{Message: p[13].Message, At: at(45)}
		}, []string{promiseInOrder}},
		"of the same request, and one was for a group": {func(l *SessionLedger, p []SessionPush) {
			p[13].Start, p[13].End, p[15].Start, p[15].End = at(45), at(46), at(45), at(46)
			p[13].Aim, p[13].To, p[13].Status, p[13].Members, p[13].Counts = toNamed, "g2", 200, nil, Counts{Received: 1, Complete: true}
			l.Sessions[3].Groups = []string{"g2"}
			r := l.Sessions[3].Log
			r[0], r[1] = Receipt{Message: p[15].Message, At: at(45)}, Receipt{Message: p[13].Message, At: at(45)}
		}, nil},
		"refused, and there":           {func(l *SessionLedger, _ []SessionPush) { add(l, 0, 3) }, []string{promiseRefused, promiseInOrder}},
		"nobody listened, and there":   {func(l *SessionLedger, _ []SessionPush) { add(l, 0, 11) }, []string{promiseRefused}},
		"refused, and Unconfirmed":     {func(_ *SessionLedger, p []SessionPush) { p[8].Status, p[8].Members = 429, []Line{{"b", 429}} }, []string{promiseRefused}},
		"a list without it, and there": {func(_ *SessionLedger, p []SessionPush) { p[7].Members, p[7].Counts.Written = p[7].Members[:2], 2 }, []string{promiseRefused, promiseAddsUp}},
		"somebody else's":              {func(l *SessionLedger, _ []SessionPush) { add(l, 3, 12) }, []string{promiseMeant}},
		"another group's":              {func(l *SessionLedger, _ []SessionPush) { l.Sessions[0].Groups = nil }, []string{promiseMeant, promiseAddsUp}},
		"nobody's":                     {func(l *SessionLedger, _ []SessionPush) { l.Sessions[3].Log[1].Nonce++ }, []string{promiseMeant, promiseArrived}},
		"somebody else's Unconfirmed":  {func(l *SessionLedger, p []SessionPush) { (*rest(l, 1, 1))[0].Message = p[9].Message }, []string{promiseMeant}},
		"a member that nobody knows":   {func(_ *SessionLedger, p []SessionPush) { p[7].Members = append(p[7].Members, Line{"f", 429}) }, []string{promiseMeant}},
		"mangled":                      {func(l *SessionLedger, _ []SessionPush) { l.Sessions[3].Log[1].Fault = "100 bytes of 200" }, []string{promiseIntact, promiseArrived}},
		"text for binary":              {func(l *SessionLedger, _ []SessionPush) { l.Sessions[3].Log[1].Size++ }, []string{promiseIntact, promiseArrived}},
		"mangled in Unconfirmed":       {func(l *SessionLedger, _ []SessionPush) { (*rest(l, 1, 0))[0].Fault = "100 bytes of 200" }, []string{promiseIntact}},

		// What clients are told.
		"missed": {func(l *SessionLedger, _ []SessionPush) {
			l.Sessions[3].Missed = []Missed{{Count: 2, After: 5, At: at(58), Had: never}}
		}, []string{promiseNothingLost}},
		"missed, and read just now": {func(l *SessionLedger, _ []SessionPush) {
			l.Sessions[3].Missed = []Missed{{Count: 2, After: 5, At: at(58), Had: at(49)}}
		}, []string{promiseNothingLost}},
		"missed, and read long ago": {func(l *SessionLedger, _ []SessionPush) {
			l.Sessions[3].Missed = []Missed{{Count: 2, After: 5, At: at(58), Had: at(47)}}
		}, nil},
		"lost in a restart":                 {func(l *SessionLedger, _ []SessionPush) { l.Stops[1].Kind = restart }, []string{promiseNothingLost, promiseArrived, promiseConcluded, promiseFound}},
		"expired too soon":                  {func(l *SessionLedger, _ []SessionPush) { l.Sessions[1].Alive = l.Sessions[1].Ends - resumeWindow + 1 }, []string{promiseNothingLost}},
		"killed, and said to have expired":  {func(l *SessionLedger, _ []SessionPush) { l.Sessions[0].Why = "expired" }, []string{promiseNothingLost}},
		"no reason":                         {func(l *SessionLedger, _ []SessionPush) { l.Sessions[0].Why = "" }, []string{promiseOnWire}},
		"closed, and nobody has deleted it": {func(l *SessionLedger, _ []SessionPush) { l.Deletes = nil }, []string{promiseNothingLost}},
		"overtaken by a handshake of its own": {func(l *SessionLedger, _ []SessionPush) {
			l.Deletes, l.Sessions[2].Why, l.Sessions[2].Overtaken = nil, "3909", true
		}, nil},
		"not told":                     {func(l *SessionLedger, _ []SessionPush) { l.Sessions[0].End, l.Sessions[0].Why = lives, "" }, []string{promiseTold}},
		"it went on after its process": {func(l *SessionLedger, _ []SessionPush) { l.Sessions[0].Alive = at(41) + second/2 }, []string{promiseTold}},
		"left before its client had noticed": {func(l *SessionLedger, _ []SessionPush) {
			l.Sessions[0].End, l.Sessions[0].Ends, l.Sessions[0].Why = left, at(44), ""
		}, nil},
		"a fault on the wire": {func(l *SessionLedger, _ []SessionPush) { l.Sessions[3].Faults = []string{"number 1 was another"} }, []string{promiseOnWire}},
		"an ID twice":         {func(l *SessionLedger, _ []SessionPush) { l.Sessions = append(l.Sessions, &Session{ID: "d"}) }, []string{promiseOnWire}},

		// What the application is told.
		"OnDisconnect twice":                      {func(l *SessionLedger, _ []SessionPush) { l.Notes[2] = append(l.Notes[2], l.Notes[2][1]) }, []string{promiseConcluded}},
		"no OnDisconnect":                         {func(l *SessionLedger, _ []SessionPush) { l.Notes[2] = l.Notes[2][:1] }, []string{promiseConcluded}},
		"no OnDisconnect of one that was deleted": {func(l *SessionLedger, _ []SessionPush) { l.Stops[1].Kind = finish }, []string{promiseArrived, promiseConcluded}},

		// What publishers are told.
		"gone while it lives": {func(l *SessionLedger, p []SessionPush) {
			p[13].Status, p[13].Members = 410, []Line{{"d", 410}}
			drop(l, 3, 13)
		}, []string{promiseFound}},
		"unknown while it lives":           {func(_ *SessionLedger, p []SessionPush) { p[15].Status, p[15].Members = 504, []Line{{"d", 504}} }, []string{promiseFound}},
		"a group gone, and a member lives": {func(l *SessionLedger, _ []SessionPush) { l.Sessions[3].Groups = []string{"g1"} }, []string{promiseFound}},
		"left out of a list": {func(l *SessionLedger, p []SessionPush) {
			notKilled(l)
			drop(l, 0, 7)
			p[7].Members, p[7].Counts.Written = p[7].Members[1:], 2
		}, []string{promiseFound}},
		"late":                           {func(_ *SessionLedger, p []SessionPush) { p[15].End = at(54) }, []string{promiseReplied}},
		"late, by one that did not run":  {func(l *SessionLedger, p []SessionPush) { p[15].End = at(54); l.Pauses = []Window{{at(51), at(53)}} }, nil},
		"no answer":                      {func(_ *SessionLedger, p []SessionPush) { p[15].Status, p[15].Members = 0, []Line{{"d", 0}} }, []string{promiseReplied}},
		"no answer to one of several":    {func(_ *SessionLedger, p []SessionPush) { p[5].Members[1].Status = 0 }, []string{promiseReplied}},
		"nobody listened":                {func(_ *SessionLedger, p []SessionPush) { p[4].NotSent = true }, []string{promiseReplied}},
		"a wrong answer":                 {func(_ *SessionLedger, p []SessionPush) { p[15].Fault = "Wspush-Buffered is 21" }, []string{promiseReplied}},
		"a strange answer":               {func(_ *SessionLedger, p []SessionPush) { p[3].Status = http.StatusNotFound }, []string{promiseReplied}},
		"503 although nothing was wrong": {func(_ *SessionLedger, p []SessionPush) { p[3].Status = http.StatusServiceUnavailable }, []string{promiseReplied}},
	} {
		t.Run(name, func(t *testing.T) {
			l := soundSessions()
			test.spoil(l, l.Pushes[0])
			var broken []string
			for _, p := range JudgeSessions(l).promises {
				if p.Count > 0 {
					broken = append(broken, p.Text)
					t.Log(p.First)
				}
			}
			slices.Sort(test.broken)
			slices.Sort(broken)
			if !slices.Equal(broken, test.broken) {
				t.Errorf("broken: %q, want %q", broken, test.broken)
			}
		})
	}
}
