package main

import (
	"fmt"
	"net/http"
	"time"
)

// Promise is a promise with its violations.
type Promise struct {
	Text  string
	Count int      // violations
	First []string // some of them
}

// mostDetails is how many violations of one promise are printed in full.
const mostDetails = 5

func (p *Promise) broken(format string, args ...any) {
	if p.Count++; p.Count <= mostDetails {
		p.First = append(p.First, fmt.Sprintf(format, args...))
	}
}

// How much more a worker may use at the end than before: live heap after a collection, and resident memory.
const (
	heapSlack           = 512 << 10
	rssFactor, rssSlack = 1.25, 4 << 20
)

// forwardGrace is how long after a worker's successor is ready another worker may still not reach it: it waits for a second after
// it has tried in vain, and an opening may have come too early.
const forwardGrace = 2 * time.Second

// restartGrace is how long after a worker's successor is ready a request may still hit a connection to the dead one.
const restartGrace = time.Second

// The promises, in the order of Judge's results.
const (
	promiseAddressee = "no message reached a client it was not meant for"
	promiseReceived  = "no push answered 204 with confirm=received was not received"
	promiseBefore    = "no push was confirmed before it was received"
	promiseNever     = "no push answered 400, 410, 413, 429, 502 or 503, or that found no listener, was received"
	promiseOnce      = "no message arrived twice"
	promiseOrder     = "each publisher's messages to one client arrived in order"
	promiseFirst     = "a push answered before another one to the same client began arrived first"
	promiseWhole     = "every message arrived whole and unchanged"
	promiseWritten   = "no message answered 204 was missing before a confirmed one"
	promiseClosed    = "no push after the answer to a DELETE found the connection"
	promiseAnswer    = "every push was answered in time, except to a worker that was killed or stopped"
	promiseForward   = "no worker failed to reach another one, or to hear from it, unless one of them was killed or stopped"
	promiseCounts    = "a worker that was never stopped counted the same outcomes"
	promiseResources = "each worker's goroutines, descriptors and memory are back where they began"
)

// judge compares what publishers were told with what clients read.
type judge struct {
	*Ledger
	promises []*Promise
	byText   map[string]*Promise
	received [][]int // how often each publisher's messages were received, by Seq
}

// Judge compares what publishers were told with what clients read.
func Judge(l *Ledger) []*Promise {
	j := &judge{Ledger: l, byText: map[string]*Promise{}}
	for _, text := range []string{promiseAddressee, promiseReceived, promiseBefore, promiseNever, promiseOnce, promiseOrder,
		promiseFirst, promiseWhole, promiseWritten, promiseClosed, promiseAnswer, promiseForward, promiseCounts, promiseResources} {
		p := &Promise{Text: text}
		j.promises = append(j.promises, p)
		j.byText[text] = p
	}
	for _, pushes := range l.Pushes {
		j.received = append(j.received, make([]int, len(pushes)))
	}
	for _, c := range l.Conns {
		j.readings(c)
	}
	j.answers()
	j.counts()
	j.resources()
	return j.promises
}

func (j *judge) broken(promise, format string, args ...any) {
	j.byText[promise].broken(format, args...)
}

// readings judges what a client read on one connection.
func (j *judge) readings(c *Conn) {
	last := map[int]int{} // Seq by publisher
	var begun *Push       // the latest to begin of those read so far
	for i := range c.Receipts {
		r := &c.Receipts[i]
		if r.Fault != "" {
			j.broken(promiseWhole, "%s at %v: %s", c.ID, r.At, r.Fault)
		}
		p := j.push(r)
		switch {
		case p == nil && r.Fault == "":
			j.broken(promiseAddressee, "%s at %v: nobody has sent %+v", c.ID, r.At, r.Message)
		case p == nil:
			continue
		case p.To != c.ID:
			j.broken(promiseAddressee, "%s at %v: it got %v", c.ID, r.At, p)
			continue
		case p.Message != r.Message:
			j.broken(promiseWhole, "%s at %v: %+v came as %+v", c.ID, r.At, p.Message, r.Message)
		}
		if p == nil {
			continue
		}
		n := &j.received[p.Publisher][p.Seq]
		if *n++; *n > 1 {
			j.broken(promiseOnce, "%v: again at %v", p, r.At)
			continue // says nothing about the order
		}
		if p.outcome() == Received && r.At > p.End {
			j.broken(promiseBefore, "%v: read at %v", p, r.At)
		}
		if before, ok := last[p.Publisher]; ok && p.Seq < before && !p.isLost() {
			j.broken(promiseOrder, "%v: read after number %d of the same publisher", p, before)
		}
		last[p.Publisher] = max(last[p.Publisher], p.Seq)
		switch {
		case begun == nil || p.Start > begun.Start:
			begun = p
		case p.End < begun.Start && p.Status != 0 && !p.isLost():
			j.broken(promiseFirst, "%v: answered before this began, but read after it: %v", p, begun)
		}
	}
}

// answers judges what publishers were told.
func (j *judge) answers() {
	confirmed := map[string]time.Duration{} // by connection: the start of the last confirmed push
	for _, pushes := range j.Pushes {
		for i := range pushes {
			if p := &pushes[i]; p.outcome() == Received {
				confirmed[p.To] = max(confirmed[p.To], p.Start)
			}
		}
	}
	deleted := map[string]time.Duration{}
	for _, d := range j.Deletes {
		if at, ok := deleted[d.To]; !ok || d.End < at {
			deleted[d.To] = d.End
		}
	}
	for publisher, pushes := range j.Pushes {
		for i := range pushes {
			p, n := &pushes[i], j.received[publisher][i]
			outcome := p.outcome()
			switch {
			case outcome == Received && n == 0:
				j.broken(promiseReceived, "%v", p)
			case outcome == Never && n > 0:
				j.broken(promiseNever, "%v: received", p)
			case outcome == Written && n == 0 && p.End < confirmed[p.To]:
				j.broken(promiseWritten, "%v: a push that began at %v was confirmed", p, confirmed[p.To])
			}
			if at, ok := deleted[p.To]; ok && p.Start > at && (outcome == Received || outcome == Written || n > 0) {
				j.broken(promiseClosed, "%v: closed at %v", p, at)
			}
			j.answer(p)
		}
	}
}

// answer judges a single answer.
func (j *judge) answer(p *Push) {
	switch {
	case p.late()-j.paused(p) > j.Margin:
		j.broken(promiseAnswer, "%v: %v late, of which the publisher did not run for %v", p, p.late(), j.paused(p))
	case p.Status == 0 && !j.wasDown(p.Via, p, restartGrace):
		j.broken(promiseAnswer, "%v: no answer, and the worker was up", p)
	case p.Status != 0 && p.Fault != "":
		j.broken(promiseAnswer, "%v", p)
	case p.Status != 0 && p.outcome() == Unknown && p.Status != http.StatusGatewayTimeout:
		j.broken(promiseAnswer, "%v: not an answer to a push", p)
	}
	isCut := p.Status == http.StatusBadGateway || p.Status != 0 && p.isLost()
	if isCut && !j.wasDown(p.Worker, p, forwardGrace) && !j.wasDown(p.Via, p, forwardGrace) {
		j.broken(promiseForward, "%v", p)
	}
}

// paused returns for how long of a push its publisher was not running.
func (j *judge) paused(p *Push) (total time.Duration) {
	for _, w := range j.Pauses {
		total += max(0, min(p.End, w.To)-max(p.Start, w.From))
	}
	return total
}

// wasDown reports whether a worker was down, or had been a moment ago, for any part of a push.
func (j *judge) wasDown(worker int, p *Push, grace time.Duration) bool {
	for _, w := range j.Downs[worker] {
		if p.Start <= w.To+grace && p.End >= w.From {
			return true
		}
	}
	return false
}

// counts compares the counts of workers that had to answer everything with the publishers' books.
func (j *judge) counts() {
	for worker, w := range j.Workers {
		if len(j.Downs[worker]) > 0 {
			continue
		}
		n := map[Outcome]int64{}
		var open int64 // whatever the publisher was told, the worker may not have heard of it, or may have made something of it
		for _, pushes := range j.Pushes {
			for i := range pushes {
				p := &pushes[i]
				switch {
				case p.Worker != worker, p.NotSent:
				case p.isLost(), p.isForwarded() && (p.Status == http.StatusBadGateway || p.Status == http.StatusServiceUnavailable):
					open++
				default:
					n[p.outcome()]++
				}
			}
		}
		s := w.After.Stats
		confirmed, written := int64(s.Confirmed)-n[Received], int64(s.Written)-n[Received]-n[Written]
		refused, unknown := int64(s.Refused)-n[Never], int64(s.Unknown)-n[Unknown]
		if min(confirmed, written, refused, unknown) < 0 || confirmed > written || written+refused+unknown > open {
			j.broken(promiseCounts, "%s: %+v, publishers were told %v, and %d are open", w.Worker, s, n, open)
		}
	}
}

// resources judges whether anything leaked.
func (j *judge) resources() {
	for _, w := range j.Workers {
		b, a := w.Before, w.After
		if a.Goroutines != b.Goroutines {
			j.broken(promiseResources, "%s: %d goroutines, before %d", w.Worker, a.Goroutines, b.Goroutines)
		}
		if a.Descriptors != b.Descriptors {
			j.broken(promiseResources, "%s: %d descriptors, before %d", w.Worker, a.Descriptors, b.Descriptors)
		}
		if a.Heap > b.Heap+heapSlack {
			j.broken(promiseResources, "%s: %d KB live on the heap, before %d KB", w.Worker, a.Heap>>10, b.Heap>>10)
		}
		if judgeResident && float64(a.RSS) > rssFactor*float64(b.RSS)+rssSlack {
			j.broken(promiseResources, "%s: %d KB resident, before %d KB", w.Worker, a.RSS>>10, b.RSS>>10)
		}
	}
}

func (p *Push) String() string {
	how := "push"
	if p.Confirm {
		how = "confirmed push"
	}
	answer := fmt.Sprint(p.Status)
	switch {
	case p.NotSent:
		answer = "nobody listened"
	case p.Status == 0:
		answer = "no answer"
	}
	if p.Fault != "" {
		answer += " (" + p.Fault + ")"
	}
	return fmt.Sprintf("%s %d/%d of %d bytes to %s at worker %d through %d, %v to %v, timeout %v: %s",
		how, p.Publisher, p.Seq, p.Size, p.To, p.Worker, p.Via, p.Start, p.End, p.Timeout, answer)
}
