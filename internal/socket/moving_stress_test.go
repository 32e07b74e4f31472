package socket

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// A carrier is a Mover whose messages go on at once, on a goroutine of its own.
type carrier struct {
	from, to *Outbox
	senders  []*Message // of to
	released uint64     // of the copy that it was loaded with
	wake     chan struct{}

	mu      sync.Mutex // guards queue; it may be taken while the lock of from is held
	queue   []*Message
	passing sync.Mutex // held while a message passes from queue to started, and guards that
	started map[*Message]*Message
}

func (c *carrier) Carry(m *Message) {
	c.mu.Lock()
	c.queue = append(c.queue, m)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *carrier) Await(m *Message, place uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started[m] = c.senders[place-c.released] // nobody else uses it before Leave has returned
}

func (c *carrier) Withdraw(m *Message, cause error) {
	c.passing.Lock()
	defer c.passing.Unlock()
	if started := c.started[m]; started != nil {
		if err, decided := c.to.Abandon(started, cause); decided {
			c.from.Settle(m, 0, err)
		}
		return
	}
	c.mu.Lock()
	for i, queued := range c.queue {
		if queued == m {
			c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
			c.mu.Unlock()
			c.from.Settle(m, 0, cause)
			return
		}
	}
	c.mu.Unlock()
}

func (c *carrier) run(over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-c.wake:
		}
		for c.pass() {
		}
	}
}

// pass pushes the next message to where the session is.
func (c *carrier) pass() bool {
	c.passing.Lock()
	defer c.passing.Unlock()
	c.mu.Lock()
	if len(c.queue) == 0 {
		c.mu.Unlock()
		return false
	}
	m := c.queue[0]
	c.queue = c.queue[1:]
	c.mu.Unlock()
	next := new(Message)
	settled := func(err error) { c.from.Settle(m, next.RoundTrip(), err) }
	next.Prepare(m.Binary(), bytes.Clone(m.Data()), settled)
	if m.Confirms() {
		next.Confirm()
	}
	if m.Hasty() || m.Patient() {
		next.IfAway(m.Patient())
	}
	next.SetMark(m.Mark())
	pending, err := c.to.Start(next)
	if !pending {
		settled(err)
		return true
	}
	c.started[m] = next // which may be settled by now
	return true
}

// A publisher pushes one message after another, and knows what became of each.
type publisher struct {
	name     string
	random   *rand.Rand
	outcomes []error
}

// push pushes the next message, and waits for the outcome, maybe not to the end.
func (p *publisher) push(o *Outbox, text string, mark uint64) error {
	result := make(chan error, 1)
	data := []byte(text)
	m := NewMessage(false, data, func(err error) { result <- err })
	if p.random.IntN(3) == 0 {
		m.Confirm()
	}
	if p.random.IntN(3) == 0 {
		m.IfAway(p.random.IntN(2) == 0)
	}
	m.SetMark(mark)
	pending, err := false, error(nil)
	if p.random.IntN(2) == 0 {
		pending, err = o.Start(m)
	} else {
		o.StartAll([]*Message{m})
		pending = true
	}
	if pending {
		err = p.await(o, m, result)
	}
	clear(data)
	return err
}

func (p *publisher) await(o *Outbox, m *Message, result <-chan error) error {
	if p.random.IntN(3) > 0 {
		return <-result
	}
	for range p.random.IntN(20) {
		runtime.Gosched()
	}
	if err, decided := o.Abandon(m, context.Canceled); decided {
		return err
	}
	return <-result
}

// Everybody pushes while a session moves again and again, and some give up at once, or push by two ways: the client gets what was accepted,
// once, and in the order of each publisher.
func TestMovesUnderLoad(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) { testMovesUnderLoad(t, seed) })
	}
}

func testMovesUnderLoad(t *testing.T, seed uint64) {
	const publishers, moves = 6, 25
	m := newModel(t, seed)
	var known atomic.Pointer[[2]*Outbox] // the session's former outbox, and the present one
	known.Store(&[2]*Outbox{m.outbox, m.outbox})
	first := m.outbox
	over, rested := make(chan struct{}), make(chan struct{})
	var publishing, carrying sync.WaitGroup
	all := make([]*publisher, publishers)
	var marks atomic.Uint64
	for i := range all {
		p := &publisher{name: fmt.Sprint("publisher", i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		all[i] = p
		publishing.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				text := fmt.Sprintf("%s %d %s", p.name, len(p.outcomes), strings.Repeat("x", p.random.IntN(2000)))
				pair := known.Load()
				switch {
				case pair[0] == pair[1] || p.random.IntN(3) == 0:
					p.outcomes = append(p.outcomes, p.push(first, text, 0))
				case p.random.IntN(2) == 0:
					p.outcomes = append(p.outcomes, p.push(pair[p.random.IntN(2)], text, 0))
				default:
					p.outcomes = append(p.outcomes, p.pushTwice(t, pair, text, marks.Add(1)))
				}
				if p.random.IntN(4) == 0 {
					testutil.Pass(time.Duration(p.random.IntN(10)) * time.Millisecond)
				}
			}
		})
	}
	read := func() {
		m.endpoint(1 + m.random.IntN(20<<10))
		for len(m.pings) > 0 {
			m.socket.gotPong([]byte(m.pings[0].payload))
			m.pings = m.pings[1:]
		}
		m.read(len(m.inbox))
	}
	var left []*Outbox
	for range moves {
		for range m.random.IntN(20) {
			read()
			testutil.Pass(time.Millisecond)
		}
		from := m.outbox
		saved, err := from.Freeze(uint64(len(m.seen)), true)
		if err != nil {
			t.Fatal(err)
		}
		m.path.cut()
		m.socket.Reset()
		testutil.Pass(time.Duration(m.random.IntN(3)) * time.Millisecond)
		if m.random.IntN(4) == 0 {
			from.Thaw()
			m.connect(len(m.seen))
			continue
		}
		if m.random.IntN(2) == 0 {
			if saved, err = from.Freeze(uint64(len(m.seen)), m.random.IntN(2) == 0); err != nil {
				t.Fatal(err)
			}
		}
		m.shared = m.newShared()
		m.outbox = m.newOutbox(saved.MaxUnconfirmed)
		c := &carrier{from: from, to: m.outbox, started: make(map[*Message]*Message), wake: make(chan struct{}, 1)}
		c.senders, c.released = m.outbox.Load(apart(saved), 0), saved.Released
		known.Store(&[2]*Outbox{from, m.outbox})
		m.connect(len(m.seen))
		for range m.random.IntN(4) {
			read()
			testutil.Pass(time.Millisecond)
		}
		c.passing.Lock() // nobody withdraws before all senders are attached
		ready := make(chan struct{})
		carrying.Go(func() { <-ready; c.run(rested) })
		hasLeft := make(chan bool)
		go func() { hasLeft <- from.Leave(c) }()
		m.awaitLeft(from)
		for awaited, next := range c.started {
			settled := func(err error) { from.Settle(awaited, next.RoundTrip(), err) }
			if done, err := c.to.Attach(next, settled); done {
				settled(err)
			}
		}
		c.passing.Unlock()
		close(ready)
		if !<-hasLeft {
			t.Fatal("Leave")
		}
		left = append(left, from)
	}
	close(over)
	stopped := make(chan struct{})
	go func() { publishing.Wait(); close(stopped) }()
	for rest := 0; rest < 300; rest++ {
		read()
		testutil.Pass(10 * time.Millisecond)
	}
	<-stopped
	close(rested)
	carrying.Wait()
	m.rest()
	checkPublishers(t, all, m.seen)
	for _, o := range left {
		if rest := o.leftovers(); rest != "" {
			t.Error(rest)
		}
	}
	m.socket.Reset()
}

// awaitLeft waits until an outbox has left, which its Mover may not have heard the last of.
func (m *model) awaitLeft(o *Outbox) {
	for isLeft := false; !isLeft; runtime.Gosched() {
		o.mu.Lock()
		isLeft = o.spoken.moving.to != nil
		o.mu.Unlock()
	}
}

// pushTwice pushes to a session by two ways at once, and returns the outcome of the first.
func (p *publisher) pushTwice(t *testing.T, by *[2]*Outbox, text string, mark uint64) error {
	other := &publisher{random: rand.New(rand.NewPCG(p.random.Uint64(), 0))}
	result := make(chan error)
	go func() { result <- other.push(by[0], text, mark) }()
	a, b := p.push(by[1], text, mark), <-result
	switch ErrRepeated {
	case a:
		return b
	case b:
		return a
	}
	if accepted(b) { // a was withdrawn on its way
		a, b = b, a
	}
	if accepted(b) {
		t.Errorf("%.20q has come twice: %v, %v", text, a, b)
	}
	return a
}

func accepted(err error) bool { return (&pushed{asked: true, outcome: err}).accepted() }

// checkPublishers compares what the client has seen with what publishers were told.
func checkPublishers(t *testing.T, all []*publisher, seen []string) {
	t.Helper()
	numbers := make(map[string][]int)
	for _, text := range seen[1:] { // behind the greeting
		var name string
		var n int
		if _, err := fmt.Sscan(text, &name, &n); err != nil {
			t.Fatalf("%.20q: %v", text, err)
		}
		numbers[name] = append(numbers[name], n)
	}
	for _, p := range all {
		got, n := numbers[p.name], 0
		for i, err := range p.outcomes {
			isSeen := n < len(got) && got[n] == i
			if isSeen {
				n++
			}
			if isSeen != accepted(err) {
				t.Errorf("message %d of %s has come: %t, and was %v", i, p.name, isSeen, err)
			}
		}
		if n < len(got) {
			t.Errorf("message %d of %s has come after %v", got[n], p.name, got[max(0, n-3):n])
		}
	}
}
