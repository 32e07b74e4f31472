package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wspush/wspush/bench/internal/order"
)

// stalling keeps connections that read nothing after their greeting, and pushes to them in turn, at an even rate, whatever
// comes of it. One that the server has ended is replaced at once.
type stalling struct {
	order      order.Order
	body       []byte
	publishers []stallPublisher
	idle       []int  // publishers that wait for a push
	before     int    // how many connections there were
	next       int    // the client that is pushed to next
	host       string // of the addresses

	begin, start, end time.Duration // of all of it, and of the time that is counted
	due               time.Duration // when the next push is
	gap               time.Duration
	progress          time.Duration // when something was last answered
	opened            int           // how many clients have connected at least once

	report order.Report
	err    error
}

// stallPublisher is a publisher that knows to whom it pushes, since the answer may be that the client has gone.
type stallPublisher struct {
	publisher
	client  int
	request []byte // of the push under way; which connection it named
}

func (l *loop) newStalling(o order.Order) (*stalling, error) {
	if o.N < 1 || o.Publishers < 1 || o.Rate <= 0 || o.Warm <= 0 {
		return nil, errors.New("stall: there must be clients, publishers, a rate, and time to begin in")
	}
	now := l.now()
	t := &stalling{
		order: o, body: bytes.Repeat([]byte{'x'}, o.Size), before: len(l.clients),
		begin: now, start: now + o.Warm, end: now + o.Warm + o.For,
		due: now, gap: time.Duration(float64(time.Second) / o.Rate), progress: now,
		report: order.Report{Answers: map[int]int{}},
	}
	l.clients = append(l.clients, make([]client, o.N)...)
	for i := range o.N {
		l.clients[t.before+i].state = closed // until its turn to connect comes
	}
	return t, nil
}

func (t *stalling) step(l *loop) (*order.Report, error) {
	now := l.now()
	if t.err == nil {
		t.err = t.advance(l, now)
	}
	switch {
	case t.err != nil:
	case now < t.end || len(t.idle) < len(t.publishers):
		if now-t.progress > stall {
			t.err = fmt.Errorf("nothing has been answered for %v", stall)
			break
		}
		return nil, nil
	}
	for _, p := range t.publishers {
		unix.Close(p.fd)
	}
	for i := range l.clients[t.before:] {
		if c := &l.clients[t.before+i]; c.state != closed {
			c.state = closing // so that the end is ours
			l.ended(c, "")
		}
	}
	l.clients = l.clients[:t.before]
	return &t.report, t.err
}

// advance connects whom it is time for, and sends what is due.
func (t *stalling) advance(l *loop, now time.Duration) error {
	if l.closed > 0 {
		return fmt.Errorf("%d connections have ended before their time, the first of them so: %s", l.closed, l.why)
	}
	// They come one after the other, so that they do not all fill up, and end, in the same moment.
	t.opened = max(t.opened, min(t.order.N, 1+int(float64(t.order.N)*float64(now-t.begin)/float64(t.order.Warm))))
	for i := t.before; i < t.before+t.opened; i++ {
		if l.clients[i].state != closed {
			continue
		}
		if err := l.open(i, t.order); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	for now < t.end {
		if now < t.due {
			return l.alarm(t.due - now)
		}
		t.due += t.gap
		if len(t.idle) == 0 && len(t.publishers) == t.order.Publishers {
			if now >= t.start {
				t.report.Late++
			}
			continue // a push that is late is left out: the rate has a bound, and so have the publishers
		}
		if err := t.push(l); err != nil {
			return err
		}
	}
	return nil
}

// push sends one request, to the next client that is there.
func (t *stalling) push(l *loop) error {
	for range t.order.N {
		index := t.before + t.next
		t.next = (t.next + 1) % t.order.N
		c := &l.clients[index]
		if c.state != open {
			continue
		}
		if len(t.idle) == 0 {
			t.publishers = append(t.publishers, stallPublisher{})
			if t.host == "" {
				u, err := url.Parse(c.url)
				if err != nil {
					return err
				}
				t.host = u.Host
			}
			if err := t.dial(l, len(t.publishers)-1); err != nil {
				return err
			}
			t.idle = append(t.idle, len(t.publishers)-1)
		}
		p := &t.publishers[t.idle[len(t.idle)-1]]
		t.idle = t.idle[:len(t.idle)-1]
		p.client, p.request = index, c.request
		return writeAll(p.fd, append(c.request[:len(c.request):len(c.request)], t.body...))
	}
	return nil // none is there yet
}

// dial connects a publisher.
func (t *stalling) dial(l *loop, index int) error {
	fd, err := dial(t.host, [4]byte{127, 0, 0, 1}, false)
	if err != nil {
		return err
	}
	t.publishers[index].fd = fd
	return l.watch(fd, isPublisher, index)
}

// stall has a client read no more, unless it is to: it is watched for its end only.
func (t *stalling) stall(l *loop, index int) {
	c := &l.clients[index]
	var err error
	if c.request, err = requestHead(c.url, t.order.Query, t.order.Size); err == nil && !t.order.Reads {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{
			Events: unix.EPOLLRDHUP, Fd: int32(index), Pad: isClient,
		})
	}
	if err != nil && t.err == nil {
		t.err = err
	}
}

// cut counts the end of a stalled connection.
func (t *stalling) cut(l *loop) {
	if now := l.now(); now >= t.start && now < t.end {
		t.report.Cut++
	}
}

// readPublisher takes an answer.
func (t *stalling) readPublisher(l *loop, index int) {
	p := &t.publishers[index]
	n := copy(l.buf, p.rest)
	m, err := unix.Read(p.fd, l.buf[n:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || m == 0 {
		t.fail(errors.New("the server closed a publisher's connection"))
		return
	}
	b := l.buf[:n+m]
	status, ok, err := answer(b)
	switch {
	case err != nil:
		t.fail(err)
		return
	case !ok:
		p.rest = append(p.rest[:0], b...)
		return
	case status == 429 && !bytes.Contains(b, []byte("\r\nRetry-After: ")):
		t.fail(fmt.Errorf("a 429 without Retry-After: %q", b))
		return
	}
	p.rest = p.rest[:0]
	now := l.now()
	t.progress = now
	if now >= t.start && now < t.end {
		t.report.Answers[status]++
	}
	// Not every server's end comes through to a client that does not read: what it has not read may stand before it.
	if c := &l.clients[p.client]; status == 410 && c.state == open && bytes.Equal(c.request, p.request) {
		l.ended(c, "")
	}
	if bytes.Contains(b, []byte("\r\nConnection: close\r\n")) {
		unix.Close(p.fd)
		if err := t.dial(l, index); err != nil {
			t.fail(err)
			return
		}
	}
	t.idle = append(t.idle, index)
}

func (t *stalling) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}
