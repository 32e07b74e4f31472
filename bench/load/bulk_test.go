package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// Answers are read alike, whatever they come in.
func TestAnswers(t *testing.T) {
	const stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"5\r\nhello\r\n7\r\n, world\r\n0\r\nTrailer: x\r\n\r\n" +
		"HTTP/1.1 204 No Content\r\n\r\n" +
		"HTTP/1.1 201 Created\r\ncontent-length: 3\r\nConnection: close\r\n\r\nabc"
	want := []string{"200 hello, world false", "204  false", "201 abc true"}
	for size := 1; size <= len(stream); size++ {
		var got []string
		var body []byte
		var a answers
		a.part = func(part []byte) error {
			body = append(body, part...)
			return nil
		}
		a.end = func() error {
			got = append(got, fmt.Sprintf("%d %s %v", a.status, body, a.closes))
			body = nil
			return nil
		}
		for rest := stream; rest != ""; {
			n := min(size, len(rest))
			if err := a.feed([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("in pieces of %d: got %q, want %q", size, got, want)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	for _, stream := range []string{
		"SSH-2.0\r\n\r\n",
		"HTTP/1.1 what\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
	} {
		var a answers
		a.part = func([]byte) error { return nil }
		a.end = func() error { return nil }
		if a.feed([]byte(stream)) == nil {
			t.Errorf("%q: no error", stream)
		}
	}
}

// The answer to every push is to come once, and the last line is to name all lines.
func TestLines(t *testing.T) {
	for _, test := range []struct {
		targets int
		answer  string
		want    string // part of the error
	}{
		{1, `{"line":2,"status":204} {"line":1,"status":204} {"lines":2}`, ""},
		{2, `{"line":1,"index":1,"status":204} {"line":2,"index":0,"status":204} {"line":1,"index":0,"status":204} {"line":2,"index":1,"status":204} {"lines":2}`, ""},
		{1, `{"line":1,"status":204} {"line":1,"status":204}`, "a second time"},
		{1, `{"line":3,"status":204}`, "to nothing"},
		{1, `{"line":1,"index":0,"status":204}`, "to nothing"},
		{2, `{"line":1,"status":204}`, "to nothing"},
		{2, `{"line":1,"index":2,"status":204}`, "to nothing"},
		{1, `{"line":1}`, "to nothing"},
		{1, `{"line":1,"status":204} {"lines":2}`, "1 pushes not answered"},
		{1, `{"line":1,"status":204} {"line":2,"status":204}`, "0 of 2 lines"},
	} {
		f := new(lines)
		b := &bulking{ledger: ledger{targets: test.targets, report: order.Report{Refused: map[int]int{}}}}
		p := &bulkPublisher{lines: 2, flying: 2 * test.targets, ended: true, answers: answers{status: 200}}
		body := strings.ReplaceAll(test.answer, " ", "\n") + "\n"
		var err error
		for _, part := range []string{body[:10], body[10:]} {
			if err == nil {
				err = f.part(b, p, []byte(part))
			}
		}
		if err == nil {
			err = f.answered(b, p)
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.answer, err, test.want)
		}
	}
}

// A message is to come to its targets, to each of them once.
func TestArrived(t *testing.T) {
	l := &loop{begin: time.Now()}
	g := l.newLedger(order.Order{Clients: 4, Targets: 2})
	g.place = []int{2, 3, 0, 1}
	number := g.next()
	message := appendMessage(nil, 0, 3, number) // for the places 3 and 0
	for _, index := range []int{1, 2, 2, 0, 3, 4} {
		g.arrived(l, index, message, len(message))
	}
	g.arrived(l, 1, appendMessage(nil, 0, 3, number+1), order.Size) // which was never sent
	g.arrived(l, 1, message[1:], len(message)-1)
	if r := g.report; r.Received != 2 || r.Twice != 1 || r.Stray != 5 {
		t.Errorf("%d have come, %d of them twice, and %d to others", r.Received, r.Twice, r.Stray)
	}
}

// A message may come in several frames, and each of them in pieces.
func TestFrames(t *testing.T) {
	l := &loop{begin: time.Now(), clients: []client{{state: open}}}
	g := &bulking{ledger: l.newLedger(order.Order{Clients: 1})}
	l.task = g
	message := appendMessage(nil, 0, 0, g.next())
	l.takeFrame(0, opText, message[:40], len(message[:40]))
	l.takeFrame(0, 0x80|opPong, nil, 0)
	l.takeFrame(0, opContinuation, message[40:60], len(message[40:60]))
	l.takeFrame(0, 0x80|opContinuation, message[60:], len(message[60:]))
	if g.report.Received != 1 || g.report.Stray != 0 || l.clients[0].messages != 1 {
		t.Errorf("%+v", g.report)
	}
}
