package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wspush/wspush/bench/internal/order"
)

// pushing POSTs messages and watches them arrive.
type pushing struct {
	ledger
	order      order.Order
	publishers []publisher
	idle       []int // publishers that wait for a push
	random     *rand.Rand
	heads      [][]byte // of the requests to each client
	more       []byte   // what a message has beyond order.Size

	due      time.Duration // when the next push is, at a given rate
	gap      time.Duration
	answered int
	err      error
}

// publisher is one keep-alive connection, with at most one request under way.
type publisher struct {
	output
	rest []byte
}

func (l *loop) newPushing(o order.Order) (*pushing, error) {
	t := &pushing{ledger: l.newLedger(o), order: o, random: rand.New(rand.NewPCG(1, 2))}
	switch {
	case t.clients == 0 || t.clients > len(l.clients):
		return nil, errors.New("there are not so many clients to push to")
	case t.size < order.Size:
		return nil, fmt.Errorf("a message has at least %d bytes", order.Size)
	}
	t.more = bytes.Repeat([]byte{filling}, t.size-order.Size)
	for i := range l.clients[:t.clients] {
		to := l.clients[i].url
		if o.Push != "" {
			to = fmt.Sprintf(o.Push, i)
		}
		head, err := requestHead(to, "", t.size)
		if err != nil {
			return nil, err
		}
		t.heads = append(t.heads, head)
	}
	u, err := url.Parse(l.clients[0].url)
	if err != nil {
		return nil, err
	}
	t.publishers = make([]publisher, o.Publishers)
	for i := range t.publishers {
		fd, err := dialPublisher(u, cmp.Or(o.At, u.Host))
		if err != nil {
			return nil, err
		}
		t.publishers[i].fd = fd
		if err := l.watch(fd, isPublisher, i); err != nil {
			return nil, err
		}
		t.idle = append(t.idle, i)
	}
	t.due = t.progress
	if o.Rate > 0 {
		t.gap = time.Duration(float64(time.Second) / o.Rate)
	}
	return t, nil
}

func (t *pushing) step(l *loop) (*order.Report, error) {
	if t.err == nil {
		t.err = t.advance(l)
	}
	finished := t.phase == draining && len(t.idle) == len(t.publishers) &&
		(t.report.Received >= t.report.Accepted || l.now()-t.progress > quiet)
	if t.err == nil && !finished {
		if l.now()-t.progress > stall {
			t.err = fmt.Errorf("nothing has been answered for %v", stall)
		} else {
			return nil, nil
		}
	}
	for _, p := range t.publishers {
		unix.Close(p.fd)
	}
	if t.err != nil {
		return nil, t.err
	}
	return t.conclude(), nil
}

// advance goes to the next phase when it is time, and sends what is due.
func (t *pushing) advance(l *loop) error {
	if err := t.turn(l, t.answered); err != nil {
		return err
	}
	if t.phase == draining {
		return nil
	}
	for len(t.idle) > 0 {
		from := l.now()
		if t.gap > 0 {
			if from < t.due {
				return l.alarm(t.due - from)
			}
			from = t.due // not when it is sent: what has to wait for a publisher has waited
			t.due += t.gap
		}
		p := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		if err := t.push(l, p, from); err != nil {
			return err
		}
	}
	return nil
}

// push sends one request, whose message begins with when it began, for whom it is, and its number.
func (t *pushing) push(l *loop, publisher int, from time.Duration) error {
	index := t.random.IntN(t.clients)
	p := &t.publishers[publisher]
	p.out = appendMessage(append(p.out, t.heads[index]...), from, index, t.next())
	p.out = append(p.out, t.more...)
	return p.flush(l, publisher)
}

// readPublisher takes an answer.
func (t *pushing) readPublisher(l *loop, index int) {
	p := &t.publishers[index]
	if p.blocked {
		if t.err = p.flush(l, index); t.err != nil {
			return
		}
	}
	n := copy(l.buf, p.rest)
	m, err := unix.Read(p.fd, l.buf[n:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil || m == 0:
		t.err = errors.New("the server closed a publisher's connection")
		return
	}
	status, ok, err := answer(l.buf[:n+m])
	switch {
	case err != nil:
		t.err = err
		return
	case !ok:
		p.rest = append(p.rest[:0], l.buf[:n+m]...)
		return
	}
	p.rest = p.rest[:0]
	t.progress = l.now()
	t.answered++
	if status/100 == 2 {
		t.report.Accepted++
	} else {
		t.report.Refused[status]++
	}
	t.idle = append(t.idle, index)
}

// answer reads a whole answer, whose body does not matter.
func answer(b []byte) (status int, ok bool, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, false, nil
	}
	head, body := b[:end], b[end+4:]
	if len(head) < 12 {
		return 0, false, fmt.Errorf("not an answer: %q", head)
	}
	status, err = strconv.Atoi(string(head[9:12]))
	if err != nil {
		return 0, false, fmt.Errorf("not an answer: %q", head)
	}
	length := 0
	const name = "Content-Length: "
	if i := bytes.Index(head, []byte(name)); i >= 0 {
		value, _, _ := bytes.Cut(head[i+len(name):], []byte("\r"))
		if length, err = strconv.Atoi(string(value)); err != nil {
			return 0, false, err
		}
	} else if status != 204 {
		return 0, false, fmt.Errorf("an answer of unknown length: %q", head)
	}
	return status, len(body) >= length, nil
}
