package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wspush/wspush/bench/internal/order"
)

// bulking pushes many messages in each request, and watches them arrive.
//
// A push is under way until it is answered and its message has arrived: there are servers that answer before they write, and
// what they have not written yet must not grow without end.
type bulking struct {
	ledger
	order      order.Order
	form       form
	host       string   // of the requests
	ids        []string // of the clients, in the order of the ledger's places
	publishers []bulkPublisher
	random     *rand.Rand
	from       time.Duration // when the messages that are being made begin
	scratch    []byte
	err        error
}

// bulkPublisher is a connection on which many messages are sent.
type bulkPublisher struct {
	output
	flying  int  // pushes that are not answered
	ended   bool // no more is sent
	answers answers

	lines int      // of the request
	read  int      // of these, as the answer says in the end
	seen  []uint64 // one bit for each push that was answered
	body  []byte   // of the answer: what is not taken yet
}

func (l *loop) newBulking(o order.Order) (*bulking, error) {
	t := &bulking{ledger: l.newLedger(o), order: o, random: rand.New(rand.NewPCG(1, 2))}
	if t.clients == 0 || t.clients > len(l.clients) || t.targets > t.clients {
		return nil, errors.New("there are not so many clients to push to")
	}
	if o.Publishers < 1 || o.Batch < 1 || o.Window < o.Batch*t.targets {
		return nil, errors.New("bulk: there must be publishers, and a window with room for a batch")
	}
	address := l.clients[0].url
	f, u, err := newForm(o.Form, address)
	if err != nil {
		return nil, err
	}
	t.form, t.host = f, u.Host
	// The targets of a message are neighbours in a row in which the clients stand in no order, and whose end is its beginning.
	t.ids = make([]string, t.clients)
	t.place = t.random.Perm(t.clients)
	for i, place := range t.place {
		t.ids[place] = idOf(l.clients[i].url)
	}
	t.ids = append(t.ids, t.ids[:t.targets-1]...)
	t.publishers = make([]bulkPublisher, o.Publishers)
	for i := range t.publishers {
		p := &t.publishers[i]
		if err := t.dial(l, i); err != nil {
			return nil, err
		}
		p.answers.part = func(body []byte) error { return f.part(t, p, body) }
		p.answers.end = func() error { return f.answered(t, p) }
	}
	return t, nil
}

// dial connects a publisher.
func (t *bulking) dial(l *loop, index int) error {
	fd, err := dial(t.host, [4]byte{127, 0, 0, 1}, false)
	if err != nil {
		return err
	}
	t.publishers[index].fd = fd
	return l.watch(fd, isPublisher, index)
}

// pick picks the targets of a message: their IDs, and the place of the first.
func (t *bulking) pick() (ids []string, first int) {
	first = t.random.IntN(t.clients)
	return t.ids[first : first+t.targets], first
}

func (t *bulking) step(l *loop) (*order.Report, error) {
	if t.err == nil {
		t.err = t.advance(l)
	}
	if t.err == nil && !t.finished(l) {
		if l.now()-t.progress <= stall {
			return nil, nil
		}
		t.err = fmt.Errorf("nothing has been answered for %v: %s", stall, t.underWay())
	}
	for i := range t.publishers {
		unix.Close(t.publishers[i].fd)
	}
	if t.err != nil {
		return nil, t.err
	}
	return t.conclude(), nil
}

// underWay says what is awaited.
func (t *bulking) underWay() string {
	flying, unwritten := 0, 0
	for i := range t.publishers {
		flying += t.publishers[i].flying
		unwritten += len(t.publishers[i].out) - t.publishers[i].written
	}
	return fmt.Sprintf("of %d pushes, %d have arrived, and %d are not answered, with %d bytes not written",
		t.sent(), t.report.Received, flying, unwritten)
}

// finished reports whether everything is answered, and has arrived or will not.
func (t *bulking) finished(l *loop) bool {
	if t.phase != draining {
		return false
	}
	for i := range t.publishers {
		if p := &t.publishers[i]; p.flying > 0 || p.written < len(p.out) || p.answers.state != inHead {
			return false
		}
	}
	return t.report.Received >= t.report.Accepted || l.now()-t.progress > quiet
}

// advance goes to the next phase when it is time, and sends what there is room for.
func (t *bulking) advance(l *loop) error {
	if err := t.turn(l, t.report.Received); err != nil {
		return err
	}
	t.from = l.now()
	batch := t.order.Batch * t.targets
	all := len(t.publishers) * t.order.Window
	for i := range t.publishers {
		p := &t.publishers[i]
		if t.phase == draining {
			if !p.ended {
				p.ended = true
				t.form.end(p)
			}
		} else {
			for p.flying+batch <= t.order.Window && t.sent()-t.report.Received+batch <= all {
				t.form.send(t, p, t.order.Batch)
				p.flying += batch
			}
		}
		if !p.blocked && p.written < len(p.out) {
			if err := p.flush(l, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve writes and reads what there is to write and to read.
func (t *bulking) serve(l *loop, index int) {
	if t.err != nil {
		return
	}
	p := &t.publishers[index]
	if p.blocked {
		if t.err = p.flush(l, index); t.err != nil {
			return
		}
	}
	n, err := unix.Read(p.fd, l.buf)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil || n == 0:
		t.err = errors.New("the server closed a publisher's connection")
		return
	}
	t.progress = l.now()
	t.err = p.answers.feed(l.buf[:n])
	if t.err == nil && p.answers.closes && p.answers.state == inHead {
		reset(p.fd)
		t.err = t.dial(l, index)
	}
}

// answer notes the answer to a publisher's pushes.
func (t *bulking) answer(p *bulkPublisher, status, pushes int) {
	p.flying -= pushes
	if status/100 == 2 {
		t.report.Accepted += pushes
	} else {
		t.report.Refused[status] += pushes
	}
}
