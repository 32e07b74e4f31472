package main

import (
	"testing"
	"time"
)

// movedSessions is a ledger that keeps every promise about sessions at several workers. Session a begins at process 0, moves to 1 at 10 s, and leaves at
// 40 s; process 0 is told to stop at 20 s; b is at process 2, which is killed at 30 s.
func movedSessions(kind eventKind) *SessionLedger {
	var pushes []SessionPush
	push := func(to, target string, start int, status int) {
		p := SessionPush{Aim: toOne, Target: target}
		p.Message = Message{To: to, Seq: len(pushes), Nonce: 1<<63 + uint64(len(pushes)), Size: 200}
		p.Timeout, p.Start, p.End, p.Status, p.Via = second, at(start), at(start)+second/2, status, 1
		p.Members = []Line{{to, status}}
		pushes = append(pushes, p)
	}
	push("a0", "a0", 5, 204)
	push("a0", "a0", 12, 202) // through its old address
	push("a0", "a1", 15, 204)
	push("b2", "b2", 25, 204) // 3: it is lost with the process
	read := func(numbers ...int) (log []Receipt) {
		for _, n := range numbers {
			log = append(log, Receipt{Message: pushes[n].Message, At: pushes[n].Start + second/4})
		}
		return log
	}
	begin := time.Unix(0, 0)
	note := func(id, sealed string, when int, cause string) Note {
		return Note{ID: id, Sealed: sealed, At: begin.Add(at(when)), Cause: cause}
	}
	back := note("a", "a1", 10, "")
	back.Resumed = true
	return &SessionLedger{
		Pushes: [][]SessionPush{pushes},
		Sessions: []*Session{
			{ID: "a0", Addresses: []string{"a0", "a1"}, Began: second, Log: read(0, 1, 2), Alive: at(39), End: left, Ends: at(40)},
			{ID: "b2", Addresses: []string{"b2"}, Began: second, Alive: at(29), End: lost, Why: "unreachable", Ends: at(42)},
		},
		Notes: [][]Note{
			{note("a", "a0", 1, ""), note("a", "a0", 10, "moved")},
			{back, note("a", "a1", 40, "client")},
			{note("b", "b2", 1, "")},
		},
		Stops:  []Stop{{Window{at(20), at(24)}, renew}, {Window{at(50), at(51)}, finish}, {Window{at(30), at(30)}, kind}},
		Margin: second,
		Fleet:  &History{Directory: inRedis, Orderly: kind != kill, Ready: make([]time.Duration, 3), Drains: []time.Duration{at(6), at(6), at(6)}, Start: begin},
	}
}

func TestJudgeFleet(t *testing.T) {
	for name, test := range map[string]struct {
		change func(l *SessionLedger)
		want   string // the promise that is broken; "" for none
	}{
		"sound":                {func(*SessionLedger) {}, ""},
		"lost":                 {func(l *SessionLedger) { l.Sessions[0].Log = l.Sessions[0].Log[:2] }, promiseArrived},
		"twice":                {func(l *SessionLedger) { l.Sessions[0].Log = append(l.Sessions[0].Log, l.Sessions[0].Log[0]) }, promiseExactlyOnce},
		"out of order":         {func(l *SessionLedger) { log := l.Sessions[0].Log; log[1], log[2] = log[2], log[1] }, promiseInOrder},
		"gone":                 {func(l *SessionLedger) { p := &l.Pushes[0][1]; p.Status, p.Members[0].Status = 410, 410 }, promiseFound},
		"another's address":    {func(l *SessionLedger) { l.Pushes[0][1].Moved = "b2" }, promiseAddress},
		"its own address":      {func(l *SessionLedger) { l.Pushes[0][1].Moved = "a1" }, ""},
		"two owners":           {func(l *SessionLedger) { n := l.Notes[1][1]; n.Sealed = "a0"; l.Notes[0] = append(l.Notes[0], n) }, promiseConcluded},
		"moved, with leftover": {func(l *SessionLedger) { l.Notes[0][1].Unconfirmed = []Left{{}} }, promiseConcluded},
		"not told":             {func(l *SessionLedger) { l.Sessions[1].End = lives }, promiseTold},
	} {
		t.Run(name, func(t *testing.T) {
			l := movedSessions(kill)
			test.change(l)
			got := map[string]bool{}
			for _, p := range JudgeSessions(l).promises {
				if p.Count > 0 {
					got[p.Text] = true
					t.Log(p.Text, p.First)
				}
			}
			if (test.want == "") != (len(got) == 0) || test.want != "" && !got[test.want] {
				t.Errorf("broken: %v", got)
			}
		})
	}
}

// Without a kill, nothing is excused: a session that ends with its worker is a violation, and one that is lost.
func TestJudgeOrderlyFleet(t *testing.T) {
	l := movedSessions(renew)
	l.Notes[2] = append(l.Notes[2], Note{ID: "b", Sealed: "b2", At: time.Unix(30, 0), Cause: "shutdown"})
	broken := map[string]bool{}
	for _, p := range JudgeSessions(l).promises {
		broken[p.Text] = p.Count > 0
	}
	if !broken[promiseShutdown] || !broken[promiseArrived] {
		t.Errorf("%v", broken)
	}
}
