package main

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/wspush/wspush/stats"
)

const second = time.Second

// sound is a ledger that keeps every promise. Publisher 0 sent five messages to a and two to b. Worker 1 was down from 20 s
// to 21 s.
func sound() *Ledger {
	push := func(to string, seq int, start time.Duration, status int, confirm bool) Push {
		return Push{
			Message: Message{To: to, Seq: seq, Nonce: 1<<63 + uint64(seq), Size: 200},
			Confirm: confirm, Timeout: second, Start: start, End: start + second/2, Status: status,
		}
	}
	pushes := []Push{
		push("a", 0, 1*second, 204, true),
		push("a", 1, 2*second, 204, false),
		push("a", 2, 3*second, 504, true),
		push("b", 3, 4*second, 204, true),
		push("a", 4, 5*second, 204, true),
		push("a", 5, 6*second, 429, true),
		push("b", 6, 20*second, 0, true), // to the worker that is down
	}
	pushes[6].Worker, pushes[6].Via = 1, 1
	read := func(n int) Receipt { return Receipt{Message: pushes[n].Message, At: pushes[n].Start + second/4} }
	used := Report{Goroutines: 6, Descriptors: 11, Heap: 8 << 20, RSS: 30 << 20}
	after := used
	after.Stats = stats.Snapshot{Written: 4, Confirmed: 3, Refused: 1, Unknown: 1}
	return &Ledger{
		Pushes:  [][]Push{pushes},
		Deletes: []Delete{{"b", 10 * second}},
		Conns: []*Conn{
			{ID: "a", Receipts: []Receipt{read(0), read(1), read(2), read(4)}},
			{ID: "b", Receipts: []Receipt{read(3)}},
		},
		Downs:   [][]Window{nil, {{20 * second, 21 * second}}},
		Workers: []Resources{{"worker 0", used, after}, {"worker 1", used, used}},
		Margin:  second,
	}
}

func TestJudge(t *testing.T) {
	resident := []string{promiseResources}
	if !judgeResident {
		resident = nil
	}
	for name, test := range map[string]struct {
		spoil  func(*Ledger)
		broken []string
	}{
		"nothing":                      {func(*Ledger) {}, nil},
		"a confirmed message was lost": {func(l *Ledger) { l.Conns[1].Receipts = nil }, []string{promiseReceived}},
		"a written message was lost, and later ones arrived": {
			func(l *Ledger) { l.Conns[0].Receipts = slices.Delete(l.Conns[0].Receipts, 1, 2) }, []string{promiseWritten},
		},
		"a written message was lost with all after it": {func(l *Ledger) {
			l.Pushes[0][4].Status = 504
			l.Workers[0].After.Stats = stats.Snapshot{Written: 3, Confirmed: 2, Refused: 1, Unknown: 2}
			l.Conns[0].Receipts = l.Conns[0].Receipts[:1]
		}, nil},
		"a message of unknown outcome was lost": {
			func(l *Ledger) { l.Conns[0].Receipts = slices.Delete(l.Conns[0].Receipts, 2, 3) }, nil,
		},
		"a message without an answer arrived": {func(l *Ledger) {
			l.Deletes = nil
			l.Conns[1].Receipts = append(l.Conns[1].Receipts, Receipt{Message: l.Pushes[0][6].Message, At: 20 * second})
		}, nil},
		"confirmed before it was received": {func(l *Ledger) { l.Conns[1].Receipts[0].At = 5 * second }, []string{promiseBefore}},
		"refused, and received all the same": {func(l *Ledger) {
			l.Conns[0].Receipts = append(l.Conns[0].Receipts, Receipt{Message: l.Pushes[0][5].Message, At: 7 * second})
		}, []string{promiseNever}},
		"nobody listened, and received all the same": {func(l *Ledger) {
			l.Deletes = nil
			l.Pushes[0][6].NotSent = true
			l.Conns[1].Receipts = append(l.Conns[1].Receipts, Receipt{Message: l.Pushes[0][6].Message, At: 20 * second})
		}, []string{promiseNever}},
		"arrived twice": {func(l *Ledger) {
			l.Conns[0].Receipts = slices.Insert(l.Conns[0].Receipts, 1, l.Conns[0].Receipts[0])
		}, []string{promiseOnce}},
		"arrived twice, the second time late": {func(l *Ledger) {
			l.Conns[0].Receipts = append(l.Conns[0].Receipts, l.Conns[0].Receipts[0])
		}, []string{promiseOnce}},
		"of unknown outcome, and arrived twice": {func(l *Ledger) {
			l.Conns[0].Receipts = slices.Insert(l.Conns[0].Receipts, 3, l.Conns[0].Receipts[2])
		}, []string{promiseOnce}},
		"out of order": {func(l *Ledger) {
			r := l.Conns[0].Receipts
			r[1], r[2] = r[2], r[1]
		}, []string{promiseOrder, promiseFirst}},
		"out of order, of one that gave up": {func(l *Ledger) {
			l.Pushes[0][2].End = 8 * second
			r := l.Conns[0].Receipts
			r[2], r[3] = r[3], r[2]
			l.Margin = 10 * second
		}, []string{promiseOrder}},
		"out of order, of two publishers": {func(l *Ledger) {
			other := l.Pushes[0][0]
			other.Publisher, other.Status = 1, 504
			l.Pushes = append(l.Pushes, []Push{other})
			l.Workers[0].After.Stats.Unknown++
			l.Conns[0].Receipts = append(l.Conns[0].Receipts, Receipt{Message: other.Message, At: 7 * second})
		}, []string{promiseFirst}},
		"of two publishers at the same time, in whatever order": {func(l *Ledger) {
			other := l.Pushes[0][0]
			other.Publisher, other.Status, other.Start, other.End = 1, 504, 4*second, 5*second
			l.Pushes = append(l.Pushes, []Push{other})
			l.Workers[0].After.Stats.Unknown++
			l.Conns[0].Receipts = append(l.Conns[0].Receipts, Receipt{Message: other.Message, At: 7 * second})
		}, nil},
		"arrived at another client, too": {func(l *Ledger) {
			l.Conns[1].Receipts = append(l.Conns[1].Receipts, l.Conns[0].Receipts[1])
		}, []string{promiseAddressee}},
		"arrived at another client instead": {func(l *Ledger) {
			l.Conns[0].Receipts, l.Conns[1].Receipts = append(l.Conns[0].Receipts, l.Conns[1].Receipts...), nil
		}, []string{promiseAddressee, promiseReceived}},
		"nobody's": {func(l *Ledger) {
			l.Conns[1].Receipts = append(l.Conns[1].Receipts, Receipt{Message: Message{To: "b", Publisher: 7}})
		}, []string{promiseAddressee}},
		"of a run before this": {func(l *Ledger) { l.Conns[1].Receipts[0].Nonce++ }, []string{promiseAddressee, promiseReceived}},
		"mangled":              {func(l *Ledger) { l.Conns[1].Receipts[0].Fault = "100 bytes of 200" }, []string{promiseWhole}},
		"not even readable": {func(l *Ledger) {
			l.Conns[1].Receipts = append(l.Conns[1].Receipts, Receipt{Message: Message{Publisher: -1}, Fault: "not a message"})
		}, []string{promiseWhole}},
		"pushed after DELETE": {func(l *Ledger) { l.Deletes[0].End = 3 * second }, []string{promiseClosed}},
		"answered late":       {func(l *Ledger) { l.Pushes[0][2].End = 6 * second }, []string{promiseAnswer}},
		"answered late, by a publisher that did not run": {func(l *Ledger) {
			l.Pushes[0][2].End = 6 * second
			l.Pauses = []Window{{2 * second, 3 * second}, {4 * second, 5*second + second/2}}
		}, nil},
		"answered late, by a publisher that did not run for a part of it": {func(l *Ledger) {
			l.Pushes[0][2].End = 6 * second
			l.Pauses = []Window{{2 * second, 3 * second}, {5 * second, 5*second + second/2}}
		}, []string{promiseAnswer}},
		"no answer, late": {func(l *Ledger) { l.Pushes[0][6].End = 26 * second }, []string{promiseAnswer}},
		"no answer, while the worker was up": {func(l *Ledger) {
			l.Downs[1][0].From, l.Downs[1][0].To = 21*second, 22*second
		}, []string{promiseAnswer}},
		"no answer, after the worker was up again": {func(l *Ledger) {
			l.Downs[1][0].From, l.Downs[1][0].To = 18*second, 18*second+second/2
		}, []string{promiseAnswer}},
		"a wrong answer":   {func(l *Ledger) { l.Pushes[0][2].Fault = "the problem is {}" }, []string{promiseAnswer}},
		"a strange answer": {func(l *Ledger) { l.Pushes[0][2].Status = 500 }, []string{promiseAnswer}},
		"forwarded, and refused because the other worker was down": {func(l *Ledger) {
			l.Pushes[0][6].Via, l.Pushes[0][6].Status = 0, 502
		}, nil},
		"forwarded, and refused although the other worker was up": {func(l *Ledger) {
			l.Pushes[0][6].Via, l.Pushes[0][6].Status = 0, 502
			l.Downs[1][0] = Window{30 * second, 31 * second}
		}, []string{promiseForward}},
		"forwarded, and lost although the other worker was up": {func(l *Ledger) {
			l.Pushes[0][6].Via, l.Pushes[0][6].Status = 0, 504
			l.Downs[1][0] = Window{30 * second, 31 * second}
		}, []string{promiseForward}},
		"forwarded, refused, and received all the same": {func(l *Ledger) {
			l.Deletes = nil
			l.Pushes[0][6].Via, l.Pushes[0][6].Status = 0, 502
			l.Conns[1].Receipts = append(l.Conns[1].Receipts, Receipt{Message: l.Pushes[0][6].Message, At: 20 * second})
		}, []string{promiseNever}},
		"not forwarded, and refused as if it were": {func(l *Ledger) { l.Pushes[0][6].Status = 502 }, []string{promiseAnswer}},
		"no answer, from a worker that was up":     {func(l *Ledger) { l.Pushes[0][6].Via = 0 }, []string{promiseAnswer}},
		"forwarded by a worker that was killed, and late": {func(l *Ledger) {
			l.Pushes[0][2].Via, l.Pushes[0][2].Status = 1, 0
			l.Downs[1] = append(l.Downs[1], Window{3 * second, 4 * second})
			r := l.Conns[0].Receipts
			r[2], r[3] = r[3], r[2]
		}, nil},
		"forwarded by a worker that was killed, and not counted": {func(l *Ledger) {
			l.Pushes[0][2].Via, l.Pushes[0][2].Status = 1, 0
			l.Downs[1] = append(l.Downs[1], Window{3 * second, 4 * second})
			l.Workers[0].After.Stats.Unknown = 0
		}, nil},
		"forwarded by a worker that was killed, and counted twice": {func(l *Ledger) {
			l.Pushes[0][2].Via, l.Pushes[0][2].Status = 1, 0
			l.Downs[1] = append(l.Downs[1], Window{3 * second, 4 * second})
			l.Workers[0].After.Stats.Unknown = 2
		}, []string{promiseCounts}},
		"forwarded and answered, and not counted": {func(l *Ledger) {
			l.Pushes[0][1].Via = 1
			l.Workers[0].After.Stats.Written--
		}, []string{promiseCounts}},
		"counted wrong":   {func(l *Ledger) { l.Workers[0].After.Stats.Unknown++ }, []string{promiseCounts}},
		"a goroutine":     {func(l *Ledger) { l.Workers[1].After.Goroutines++ }, []string{promiseResources}},
		"a descriptor":    {func(l *Ledger) { l.Workers[0].After.Descriptors++ }, []string{promiseResources}},
		"heap":            {func(l *Ledger) { l.Workers[0].After.Heap += 2 << 20 }, []string{promiseResources}},
		"resident":        {func(l *Ledger) { l.Workers[0].After.RSS += 20 << 20 }, resident},
		"a little memory": {func(l *Ledger) { l.Workers[0].After.Heap += 64 << 10 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := sound()
			test.spoil(l)
			var broken []string
			promises := Judge(l)
			for _, p := range promises {
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
			if failed := verdict(io.Discard, promises); failed != (len(test.broken) > 0) {
				t.Errorf("failed: %v", failed)
			}
		})
	}
}
