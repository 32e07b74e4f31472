package main

import (
	"net/http"
	"slices"
	"testing"
)

// soundMembers is a ledger that keeps every promise about users and groups. User u1 has a and b, at workers 0 and 1, of which b leaves at 20 s; c is user
// u2's, in group r1 from 3 s to 15 s, and comes when worker 1 is without the directory. Worker 1 is without it from 30 s to 31 s. Nobody is user x1.
func soundMembers() *MemberLedger {
	a := &Member{ID: "a", User: "u1", Groups: []string{"g1"}, Worker: 0, Dialled: second, Greeted: second + second/10, Alive: 60 * second, Left: never}
	b := &Member{ID: "b", User: "u1", Groups: []string{"g1"}, Worker: 1, Dialled: second, Greeted: second + second/10, Alive: 20 * second, Left: 20 * second}
	c := &Member{
		ID: "c", User: "u2", Worker: 0, Dialled: second, Greeted: second + second/10, Alive: 60 * second, Left: never,
		Changes: []Change{
			{Group: "r1", Join: true, Start: 2 * second, End: 3 * second, Status: 204},
			{Group: "r1", Start: 15 * second, End: 16 * second, Status: 204},
		},
	}
	d := &Member{ID: "d", User: "u3", Worker: 1, Dialled: 30 * second, Greeted: 30*second + second/2, Alive: 60 * second, Left: never}
	var requests []Request
	request := func(asked Asked, to string, start int, status int) *Request {
		seq := len(requests)
		requests = append(requests, Request{
			Message: Message{To: to, Seq: seq, Nonce: 1<<63 + uint64(seq), Size: 200}, Asked: asked, Confirm: asked == listed || asked == pushed,
			Timeout: second, Start: second * 1 * 1, Status: status,
		})
		r := &requests[seq]
		r.Start = second * 1
		for range start - 1 {
			r.Start += second
		}
		r.End = r.Start + second/2
		r.Counts = Counts{Workers: 2, Answered: 2, Complete: true, isCounted: true}
		return r
	}
	read := func(m *Member, r *Request) {
		m.Receipts = append(m.Receipts, Receipt{Message: r.Message, At: r.Start + second/4})
	}
	r := request(listed, "u1", 5, http.StatusOK) // 0
	r.Counts.Received, r.Members = 2, []Line{{"a", 204}, {"b", 204}}
	read(a, r)
	read(b, r)
	r = request(pushed, "g1", 6, http.StatusOK) // 1
	r.Counts.Received, r.Counts.Excepted, r.Except = 1, 1, []string{"b"}
	read(a, r)
	r = request(listed, "r1", 7, http.StatusOK) // 2
	r.Confirm = false
	r.Counts.Written, r.Members = 1, []Line{{"c", 204}}
	read(c, r)
	request(pushed, "x1", 8, http.StatusGone) // 3
	request(pushed, "r1", 25, http.StatusGone)
	request(pushed, "u3", 31, http.StatusGone) // 5: counted apart
	r = request(got, "u1", 10, http.StatusOK)  // 6
	r.Counts.Total, r.Members = 2, []Line{{"a", 0}, {"b", 0}}
	r = request(bulked, "u2", 11, http.StatusGatewayTimeout) // 7
	r.Counts.Unknown, r.Counts.Complete, r.Counts.Answered = 1, false, 1
	r = request(pushed, "u2", 12, http.StatusServiceUnavailable) // 8
	r.Counts.Complete, r.Counts.Answered = false, 1
	request(headed, "x1", 13, http.StatusGone)   // 9
	r = request(listed, "u1", 14, http.StatusOK) // 10: one is busy
	r.Counts.Received, r.Counts.Refused, r.Members = 1, map[string]int{"busy": 1}, []Line{{"a", 204}, {"b", 429}}
	read(a, r)
	r = request(deleted, "u2", 50, http.StatusOK) // 11
	r.Counts = Counts{Closed: 1, Workers: 2, Answered: 2, Complete: true, isCounted: true}
	request(pushed, "u2", 52, http.StatusGone) // 12
	return &MemberLedger{
		Requests: [][]Request{requests}, Members: []*Member{a, b, c, d}, Downs: make([][]Window, 2), Stopped: make([][]Window, 2),
		Losses: [][]Loss{nil, {{30 * second, 31 * second}}}, Margin: second, Grace: 2 * second, Limit: 150 * second,
	}
}

func TestJudgeMembers(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(l *MemberLedger, r []Request)
		broken []string
	}{
		"nothing":          {func(*MemberLedger, []Request) {}, nil},
		"gone while there": {func(_ *MemberLedger, r []Request) { r[3].To = "u1" }, []string{promiseGone}},
		"gone while one went and another came": {func(l *MemberLedger, r []Request) {
			r[3].To, l.Members[0].Greeted, l.Members[0].Dialled = "g1", 8*second+second/4, 8*second+second/5
			l.Members[1].Left = 8*second + 2*second/5
			l.Members[0].Receipts, l.Members[1].Receipts = nil, nil
			for i := range r {
				if i != 3 {
					r[i].Asked, r[i].Status, r[i].Members, r[i].Counts = pushed, http.StatusServiceUnavailable, nil, Counts{}
				}
			}
			l.Members[2].Receipts = nil
		}, []string{promiseGone}},
		"gone after one went and before another came": {func(l *MemberLedger, r []Request) {
			r[3].To, l.Members[0].Greeted, l.Members[0].Dialled = "g1", 8*second+second/4, 8*second+second/5
			l.Members[1].Left = 8*second + second/5
			l.Members[0].Receipts, l.Members[1].Receipts = nil, nil
			for i := range r {
				if i != 3 {
					r[i].Asked, r[i].Status, r[i].Members, r[i].Counts = pushed, http.StatusServiceUnavailable, nil, Counts{}
				}
			}
			l.Members[2].Receipts = nil
		}, nil},
		"gone, by HEAD": {func(_ *MemberLedger, r []Request) { r[9].To = "u1" }, []string{promiseGone}},
		"nobody, by GET": {func(_ *MemberLedger, r []Request) {
			r[6].Counts.Total, r[6].Members = 0, nil
		}, []string{promiseGone}},
		"gone, of a group that it has joined": {func(_ *MemberLedger, r []Request) {
			r[4].Start, r[4].End = 9*second, 9*second+second/2
		}, []string{promiseGone}},
		"gone, of who came long after the directory was back": {func(l *MemberLedger, r []Request) {
			l.Members[3].Dialled, l.Members[3].Greeted = 34*second, 34*second+second/10
			r[5].Start, r[5].End = 36*second, 36*second+second/2
		}, []string{promiseGone}},
		"gone, of who came before the directory was lost": {func(l *MemberLedger, r []Request) {
			l.Members[3].Dialled, l.Members[3].Greeted = 20*second, 20*second+second/10
		}, []string{promiseGone}},
		"gone, long after who came while the directory was lost": {func(_ *MemberLedger, r []Request) {
			r[5].Start, r[5].End = 36*second, 36*second+second/2
		}, []string{promiseGone}},
		"gone, of a worker that has been without the directory for too long": {func(l *MemberLedger, r []Request) {
			l.Members[3].Dialled, l.Members[3].Greeted, l.Members[3].Alive = 20*second, 20*second+second/10, 300*second
			l.Losses[1][0].To = 250 * second
			r[5].Start, r[5].End = 200*second, 200*second+second/2
		}, nil},
		"gone, of a worker that has not been without the directory for that long": {func(l *MemberLedger, r []Request) {
			l.Members[3].Dialled, l.Members[3].Greeted, l.Members[3].Alive = 20*second, 20*second+second/10, 300*second
			l.Losses[1][0].To = 250 * second
			r[5].Start, r[5].End = 170*second, 170*second+second/2
		}, []string{promiseGone}},
		"gone, although the greeting was slow, a while later": {func(l *MemberLedger, r []Request) {
			l.Members[3].Dialled, l.Members[3].Greeted = 10*second, 11*second
			r[5].Start, r[5].End = 14*second, 14*second+second/2
		}, []string{promiseGone}},
		"gone, while the greeting was slow": {func(l *MemberLedger, r []Request) {
			l.Members[3].Dialled, l.Members[3].Greeted = 10*second, 11*second
			r[5].Start, r[5].End = 12*second, 12*second+second/2
		}, nil},
		"complete, and without one of them": {func(l *MemberLedger, r []Request) {
			r[0].Counts.Received, r[0].Members = 1, r[0].Members[:1]
			l.Members[1].Receipts = nil
		}, []string{promiseComplete}},
		"complete, and one was not counted": {func(_ *MemberLedger, r []Request) { r[1].Counts.Excepted = 0 }, []string{promiseComplete}},
		"not complete, and without one of them": {func(l *MemberLedger, r []Request) {
			r[0].Counts.Received, r[0].Counts.Complete, r[0].Members = 1, false, r[0].Members[:1]
			l.Members[1].Receipts = nil
		}, nil},
		"listed without one of them": {func(_ *MemberLedger, r []Request) { r[6].Members = r[6].Members[:1] }, []string{promiseComplete}},
		"listed with somebody else": {func(_ *MemberLedger, r []Request) {
			r[6].Members = append(r[6].Members, Line{"c", 0})
		}, []string{promisePresence}},
		"listed with who had left": {func(_ *MemberLedger, r []Request) {
			r[6].Start, r[6].End = 28*second, 28*second+second/2
		}, []string{promisePresence}},
		"reached somebody else": {func(l *MemberLedger, _ []Request) {
			l.Members[2].Receipts = append(l.Members[2].Receipts, l.Members[0].Receipts[0])
		}, []string{promiseOthers}},
		"a line for somebody else": {func(_ *MemberLedger, r []Request) { r[0].Members[0].ID = "c" }, []string{promiseOthers, promiseComplete}},
		"reached who had left the group": {func(l *MemberLedger, r []Request) {
			l.Members[2].Receipts = append(l.Members[2].Receipts, Receipt{Message: r[4].Message, At: 25 * second})
		}, []string{promiseOthers}},
		"nobody's": {func(l *MemberLedger, _ []Request) {
			l.Members[2].Receipts = append(l.Members[2].Receipts, Receipt{Message: Message{To: "u2", Publisher: 7}})
		}, []string{promiseOthers}},
		"twice": {func(l *MemberLedger, _ []Request) {
			l.Members[1].Receipts = append(l.Members[1].Receipts, l.Members[1].Receipts[0])
		}, []string{promiseTwice}},
		"excepted, and read": {func(l *MemberLedger, r []Request) {
			l.Members[1].Receipts = append(l.Members[1].Receipts, Receipt{Message: r[1].Message, At: 6 * second})
		}, []string{promiseUnsent, promiseCounted}},
		"busy, and read": {func(l *MemberLedger, r []Request) {
			l.Members[1].Receipts = append(l.Members[1].Receipts, Receipt{Message: r[10].Message, At: 14 * second})
		}, []string{promiseUnsent, promiseCounted}},
		"nothing written, and read": {func(l *MemberLedger, r []Request) {
			l.Members[2].Receipts = append(l.Members[2].Receipts, Receipt{Message: r[8].Message, At: 12 * second})
		}, []string{promiseUnsent, promiseCounted}},
		"unknown, and read": {func(l *MemberLedger, r []Request) {
			l.Members[2].Receipts = append(l.Members[2].Receipts, Receipt{Message: r[7].Message, At: 12 * second})
		}, nil},
		"received, and not read": {func(l *MemberLedger, _ []Request) { l.Members[1].Receipts = nil }, []string{promiseRead}},
		"received, and read later": {func(l *MemberLedger, r []Request) {
			l.Members[0].Receipts[1].At = r[1].End + 1
		}, []string{promiseRead}},
		"written, and not read": {func(l *MemberLedger, _ []Request) { l.Members[2].Receipts = nil }, []string{promiseLost}},
		"written, and not read, at a connection that ended": {func(l *MemberLedger, r []Request) {
			l.Members[2].Receipts, l.Members[2].Alive = nil, 7*second+second/4
		}, nil},
		"counts without a line":    {func(_ *MemberLedger, r []Request) { r[0].Counts.Received++ }, []string{promiseCounted, promiseRead}},
		"complete, and one silent": {func(_ *MemberLedger, r []Request) { r[3].Counts.Answered-- }, []string{promiseCounted}},
		"read after DELETE": {func(l *MemberLedger, r []Request) {
			r[12].Status, r[12].Counts.Received = http.StatusOK, 1
			l.Members[2].Receipts = append(l.Members[2].Receipts, Receipt{Message: r[12].Message, At: 52 * second})
		}, []string{promiseOut}},
		"mangled": {func(l *MemberLedger, _ []Request) { l.Members[0].Receipts[0].Fault = "100 bytes of 200" }, []string{promiseSound}},
		"late":    {func(_ *MemberLedger, r []Request) { r[3].End = 11 * second }, []string{promiseSaid}},
		"late, while another worker is paused": {func(l *MemberLedger, r []Request) {
			r[3].End, l.Stopped[1] = 14*second, []Window{{7 * second, 15 * second}}
		}, nil},
		"later than that": {func(l *MemberLedger, r []Request) {
			r[3].End, l.Stopped[1] = 17*second, []Window{{7 * second, 18 * second}}
		}, []string{promiseSaid}},
		"no answer": {func(_ *MemberLedger, r []Request) { r[3].Status = 0 }, []string{promiseSaid}},
		"no answer, from a worker that was paused": {func(l *MemberLedger, r []Request) {
			r[3].Status, r[3].Counts = 0, Counts{}
			l.Stopped[0] = []Window{{7 * second, 9 * second}}
		}, nil},
		"a strange answer": {func(_ *MemberLedger, r []Request) { r[3].Status = 500 }, []string{promiseSaid}},
		"a wrong answer":   {func(_ *MemberLedger, r []Request) { r[3].Fault = "the answer is {" }, []string{promiseSaid}},
	} {
		t.Run(name, func(t *testing.T) {
			l := soundMembers()
			test.spoil(l, l.Requests[0])
			var broken []string
			j := JudgeMembers(l)
			for _, p := range j.promises {
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
			if name == "nothing" && j.apart["said to be gone"] != 1 {
				t.Errorf("apart: %v", j.apart)
			}
		})
	}
}
