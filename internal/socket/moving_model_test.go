package socket

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// moves are the workers that the present session of a model was at before, in order.
type moves struct {
	hops      []*hop
	remembers bool     // the session's outbox refuses what it knows
	known     []uint64 // the marks of what it has got
}

// A hop is a Mover between one worker and the next.
type hop struct {
	m        *model
	from, to *Outbox
	isOpen   bool   // from has left
	released uint64 // of the copy that to was loaded with

	mu      sync.Mutex // guards what follows
	queue   []*Message // that are to be carried, in order
	awaited []awaiting
	started map[*Message]*Message // what to has, by what it stands for
}

type awaiting struct {
	message *Message
	index   int
}

func (h *hop) Carry(m *Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(h.queue, m)
}

func (h *hop) Await(m *Message, place uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.awaited = append(h.awaited, awaiting{m, int(place - h.released)})
}

func (h *hop) Withdraw(m *Message, cause error) {
	h.mu.Lock()
	if i := slices.Index(h.queue, m); i >= 0 {
		h.queue = slices.Delete(h.queue, i, i+1)
		h.mu.Unlock()
		h.from.Settle(m, 0, cause)
		return
	}
	started := h.started[m]
	h.mu.Unlock()
	if started == nil {
		h.m.t.Errorf("%.10q is withdrawn, and nobody has it", m.Data())
		return
	}
	if err, decided := h.to.Abandon(started, cause); decided {
		h.from.Settle(m, 0, err)
		h.from.Settle(m, 0, nil) // which does not count
	}
}

func (h *hop) isEmpty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.isOpen && len(h.queue) == 0
}

// entry returns one of the outboxes to which the next message may be pushed, so that it comes after all before it.
func (m *model) entry() *Outbox {
	for i, h := range m.moves.hops {
		if !h.isEmpty() || m.random.IntN(4) == 0 {
			return m.moves.hops[m.random.IntN(i+1)].from
		}
	}
	return m.outbox
}

// deliver carries at most n messages from each worker to the next.
func (m *model) deliver(n int) {
	for _, h := range m.moves.hops {
		if !h.isOpen {
			return
		}
		h.mu.Lock()
		k := min(n, len(h.queue))
		queue := slices.Clone(h.queue[:k])
		h.queue = slices.Delete(h.queue, 0, k)
		h.mu.Unlock()
		for _, message := range queue {
			h.deliver(message)
		}
	}
}

func (h *hop) deliver(message *Message) {
	m := h.m
	mark := message.Mark()
	isKnown := mark != 0 && h.to == m.outbox && m.moves.remembers && !h.to.hasEnded()
	twice, first := isKnown && m.random.IntN(2) == 0, m.random.IntN(2) == 0
	if twice && first {
		m.direct(mark)
	}
	copied := NewMessage(message.Binary(), bytes.Clone(message.Data()), nil)
	copied.settled = func(err error) {
		h.from.Settle(message, copied.RoundTrip(), err)
		h.from.Settle(message, 0, context.DeadlineExceeded) // which does not count
	}
	if message.Confirms() {
		copied.Confirm()
	}
	if message.Hasty() || message.Patient() {
		copied.IfAway(message.Patient())
	}
	copied.SetMark(mark)
	pending, err := h.to.Start(copied)
	m.note("carry %.10q: %v %v", message.Data(), pending, err)
	if twice && first && (pending || err != ErrRepeated) {
		m.fail("%.10q comes twice: %v", message.Data(), err)
	}
	if pending {
		h.mu.Lock()
		h.started[message] = copied
		h.mu.Unlock()
	} else {
		copied.settled(err)
	}
	if isKnown {
		m.moves.known = append(m.moves.known, mark)
	}
	if twice && !first {
		m.repeatMark(mark)
	}
}

// hasEnded reports whether the session has ended.
func (o *Outbox) hasEnded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stage == stageEnded
}

// direct pushes what is on its way to the session already to where it is.
func (m *model) direct(mark uint64) {
	m.mu.Lock()
	p := m.pushed[mark-1]
	p.direct = true
	data := []byte(p.text)
	settled := m.settled(p, data)
	message := NewMessage(p.binary, data, settled)
	if p.confirm {
		message.Confirm()
	}
	if a := p.message.session.absence; a != absenceBuffers {
		message.IfAway(a == absenceWaits)
	}
	message.SetMark(mark)
	p.message, p.outbox = message, m.outbox
	m.mu.Unlock()
	m.note("direct %.10q", p.text)
	if pending, err := m.outbox.Start(message); !pending {
		settled(err)
	}
}

// repeat pushes something that the session has got.
func (m *model) repeat() {
	if m.moves.remembers && len(m.moves.known) > 0 {
		m.repeatMark(m.moves.known[m.random.IntN(len(m.moves.known))])
	}
	if m.moves.remembers && m.random.IntN(10) == 0 {
		m.note("forget marks")
		m.moves.remembers = false
		m.outbox.ForgetMarks()
	}
}

func (m *model) repeatMark(mark uint64) {
	message := NewMessage(false, []byte("again"), nil)
	message.SetMark(mark)
	if pending, err := m.outbox.Start(message); pending || err != ErrRepeated {
		m.fail("mark %d again: %t, %v", mark, pending, err)
	}
}

// move freezes the session, and then has it go on somewhere.
func (m *model) move() {
	known := m.random.IntN(2) == 0
	m.note("freeze at %d, which is known: %t", len(m.seen), known)
	saved := m.freeze(known)
	m.checkMarks(saved)
	m.loseFormer()
	for range m.random.IntN(8) {
		switch m.random.IntN(6) {
		case 0, 1:
			m.startAt(m.outbox, 1)
		case 2:
			m.startAt(m.outbox, 2+m.random.IntN(4))
		case 3:
			m.leave()
		case 4:
			testutil.Pass(time.Duration(m.random.IntN(3000)) * time.Millisecond)
		case 5:
			m.note("freeze again")
			m.read(m.random.IntN(len(m.inbox) + 1))
			again := m.freeze(m.random.IntN(2) == 0)
			less := int(again.Released - saved.Released)
			if len(again.Messages) != len(saved.Messages)-less || again.Begun != saved.Begun {
				m.fail("a copy has %d messages, one before %d, and %d are released", len(again.Messages), len(saved.Messages), less)
			}
			for i := range again.Messages {
				if !bytes.Equal(again.Messages[i].Data, saved.Messages[less+i].Data) {
					m.fail("message %d is not the same", i)
				}
			}
			saved = again
		}
		synctest.Wait()
		m.check(false)
		m.checkBuffered()
	}
	s := m.newSocket()
	m.outbox.prepare(s)
	if _, err := m.outbox.Resume(s, uint64(len(m.seen))); err != ErrFrozen {
		m.fail("Resume: %v", err)
	}
	switch m.random.IntN(8) {
	case 0, 1:
		m.note("thaw")
		m.outbox.Thaw()
		if m.outbox.Leave(nil) {
			m.fail("it leaves")
		}
	case 2:
		m.expire()
	case 3:
		m.restart()
	default:
		m.leaveWorker(saved)
	}
}

// startAt pushes to an outbox that is the first, or behind nothing but what is carried.
func (m *model) startAt(o *Outbox, n int) {
	for _, h := range m.moves.hops {
		if h.to == o && !h.isEmpty() {
			return // it would come before that
		}
	}
	m.start(n)
}

func (m *model) freeze(known bool) Saved {
	saved, err := m.outbox.Freeze(uint64(len(m.seen)), known)
	if err != nil {
		m.fail("Freeze: %v", err)
	}
	if known {
		m.received = max(m.received, len(m.seen))
		if saved.Released < uint64(len(m.seen)) {
			m.fail("the copy is of what comes after %d", saved.Released)
		}
	}
	synctest.Wait()
	return saved
}

// checkMarks checks that a copy has the marks of what is accepted and not confirmed.
func (m *model) checkMarks(saved Saved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	number := 0
	for _, p := range m.pushed {
		if !p.accepted() {
			continue
		}
		if number++; number > m.received && p.mark != 0 && !slices.Contains(saved.Marks, p.mark) {
			m.fail("the mark of %.10q is not in the copy", p.text)
		}
	}
}

// leaveWorker has the session go on at another worker.
func (m *model) leaveWorker(saved Saved) {
	m.note("at another worker")
	h := &hop{m: m, from: m.outbox, started: make(map[*Message]*Message)}
	m.moves.hops = append(m.moves.hops, h)
	m.shared = m.newShared()
	m.outbox = m.newOutbox(saved.MaxUnconfirmed)
	h.to, h.released = m.outbox, saved.Released
	saved = apart(saved)
	senders := m.outbox.Load(saved, time.Duration(m.random.IntN(1000))*time.Second)
	m.moves.remembers, m.moves.known = true, slices.Clone(saved.Marks)
	for i, e := range saved.Messages {
		if e.Waits != (senders != nil && senders[i] != nil) {
			m.fail("message %d waits: %t", i, e.Waits)
		}
	}
	for range m.random.IntN(6) { // before the former worker hears of it
		switch m.random.IntN(4) {
		case 0:
			if m.socket == nil {
				m.back()
			}
		case 1:
			m.start(1)
		case 2:
			m.leave()
		case 3:
			m.repeat()
		}
		if m.socket != nil {
			m.endpoint(1 << 30)
			for len(m.pings) > 0 {
				m.pong()
			}
		}
		synctest.Wait()
		m.check(false)
		m.checkBuffered()
	}
	m.note("leave the former worker")
	if h.from.Leave(&attaching{h, senders}) == false || h.from.Leave(h) {
		m.fail("Leave")
	}
	h.isOpen = true
	h.mu.Lock()
	awaited := h.awaited
	for _, a := range awaited {
		h.started[a.message] = senders[a.index]
	}
	h.mu.Unlock()
	for _, a := range awaited {
		h.attach(a.message, senders[a.index])
	}
	if len(h.from.Unconfirmed()) > 0 {
		m.fail("what has moved is unconfirmed")
	}
}

// attaching is a hop during Leave, after which those who have left meanwhile are the first to be known.
type attaching struct {
	*hop
	senders []*Message
}

func (a *attaching) Withdraw(m *Message, cause error) {
	a.mu.Lock()
	for _, w := range a.awaited {
		if w.message == m {
			a.started[m] = a.senders[w.index]
		}
	}
	a.mu.Unlock()
	a.hop.Withdraw(m, cause)
}

func (h *hop) attach(m, sender *Message) {
	settled := func(err error) { h.from.Settle(m, sender.RoundTrip(), err) }
	if done, err := h.to.Attach(sender, settled); done {
		settled(err)
	}
}

// checkMoves checks that workers that the session has left have nothing more of it, if all senders know what became of their messages.
func (m *model) checkMoves() {
	for i, h := range m.moves.hops {
		if rest := h.from.leftovers(); rest != "" {
			m.fail("at worker %d, %s", i, rest)
		}
	}
}

// leftovers says what there still is of a session that has left, and that was the only one of its worker. It returns "" if there is nothing.
func (o *Outbox) leftovers() string {
	n, size := o.shared.Buffered()
	all := o.shared.pendingAll.cost.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	if given := len(o.spoken.moving.given); n != 0 || size != 0 || all != 0 || o.waiting != 0 || o.spoken.cost != 0 || given != 0 {
		return fmt.Sprintf("%d messages of %d bytes are buffered, %d bytes wait for all, %d for the client, %d are unconfirmed, %d messages are given away",
			n, size, all, o.waiting, o.spoken.cost, given)
	}
	return ""
}
