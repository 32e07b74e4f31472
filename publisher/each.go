package publisher

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// PushEach sends the same message to many connections, and yields each address with its outcome as soon as that is known, in
// any order. The errors are those of Push; a message that is [Buffered] has none. The message goes over the wire once for up to 1000 connections of a worker, so
// addresses are collected first: nothing is sent before there are that many, or addresses has ended.
//
// When ctx ends, what has not been sent yet gets its error, and what is under way an ErrUnknown. Leaving the range does not
// recall what has been sent. data must not change during the range; it is not kept beyond.
func (s *Stream) PushEach(ctx context.Context, addresses iter.Seq[string], typ MessageType, data []byte) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		e := &pushEach{s: s, ctx: ctx, yield: yield, lines: make(map[string]*eachLine), pending: make(map[*eachLine]int), signal: make(chan struct{}, 1)}
		var invalid error
		e.end, invalid = bulk.AppendEnd(nil, bulk.Line{Type: typ, Data: data, Timeout: s.c.workerTimeout(ctx, wire.PushOptions{})})
		for address := range addresses {
			began, err := s.c.now(), invalid
			if err == nil && ctx.Err() != nil {
				err = ended(ctx)
			}
			if err != nil {
				e.emit(address, began, 0, "", err)
			} else {
				e.add(address, began)
			}
			if e.emitFinished(); e.left {
				return
			}
		}
		for key := range e.lines {
			if e.flush(key); e.left {
				return
			}
		}
		for len(e.pending) > 0 && !e.left {
			select {
			case <-e.signal:
				e.emitFinished()
			case <-ctx.Done():
				e.emitFinished()
				e.abandon()
			}
		}
	}
}

const (
	maxTargets   = 1000     // targets of a line
	maxLineBytes = 48 << 10 // of them; a worker allows 64 KiB beyond the message
	maxCollected = 16_000   // addresses that are collected at most
)

// pushEach is one PushEach. Every method but finish runs on its caller's goroutine.
type pushEach struct {
	s         *Stream
	ctx       context.Context
	yield     func(string, error) bool
	left      bool // the range has been left: yield must not be called again
	end       []byte
	lines     map[string]*eachLine // by route: what is being collected
	collected int                  // addresses in them
	pending   map[*eachLine]int    // how many outcomes are outstanding

	signal   chan struct{} // has an element when finished may have some
	mu       sync.Mutex    // guards finished
	finished []finished
}

// eachLine is the targets of one line.
type eachLine struct {
	key       string
	item      *item // set by flush
	targets   []target
	addresses []string
	began     []time.Time // of each, if somebody wants to know
	to        [][]string  // by alternative
	bytes     int
	yielded   []bool
}

type finished struct {
	line  *eachLine
	index int
	state State
	err   error
}

func (e *pushEach) add(address string, began time.Time) {
	targets, err := e.s.c.targets(address)
	if err != nil {
		e.emit(address, began, 0, "", err)
		return
	}
	longest := 0
	for _, t := range targets {
		longest = max(longest, len(t.id)+3)
	}
	key := routeKey(targets)
	if g := e.lines[key]; g != nil && g.bytes+longest > maxLineBytes {
		if e.flush(key); e.left {
			return
		}
	}
	g := e.lines[key]
	if g == nil {
		g = &eachLine{key: key, targets: targets, to: make([][]string, len(targets))}
		e.lines[key] = g
	}
	for i, t := range targets {
		g.to[i] = append(g.to[i], t.id)
	}
	g.addresses = append(g.addresses, address)
	if !began.IsZero() {
		g.began = append(g.began, began)
	}
	g.bytes += longest
	e.collected++
	if len(g.addresses) >= maxTargets {
		e.flush(key)
	}
	if e.collected >= maxCollected {
		for key := range e.lines {
			if e.flush(key); e.left {
				return
			}
		}
	}
}

// flush sends a line.
func (e *pushEach) flush(key string) {
	g := e.lines[key]
	delete(e.lines, key)
	e.collected -= len(g.addresses)
	g.yielded = make([]bool, len(g.addresses))
	e.pending[g] = len(g.addresses)
	g.item = &item{to: g.to, end: e.end, done: func(index int, a bulk.Answer, err error) {
		e.finish(finished{g, index, receiptOf(false, a).State, err})
	}}
	if err := e.s.send(e.ctx, key, g.targets, g.item); err != nil {
		for i := range g.addresses {
			e.settle(finished{g, i, "", err})
		}
	}
	e.emitFinished()
}

// finish is called on the stream's goroutines.
func (e *pushEach) finish(f finished) {
	e.mu.Lock()
	e.finished = append(e.finished, f)
	e.mu.Unlock()
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// emitFinished emits what has finished.
func (e *pushEach) emitFinished() {
	e.mu.Lock()
	finished := e.finished
	e.finished = nil
	e.mu.Unlock()
	for _, f := range finished {
		e.settle(f)
	}
}

// abandon withdraws what no request has taken, and emits everything that is under way, whose outcome comes too late.
func (e *pushEach) abandon() {
	for g := range e.pending {
		var err error = &Error{is: ErrUnknown, cause: safe(e.ctx.Err(), "")}
		if e.s.withdraw(g.key, g.item) {
			err = ended(e.ctx)
		}
		for i := range g.addresses {
			if !g.yielded[i] {
				e.settle(finished{g, i, "", err})
			}
		}
	}
}

func (e *pushEach) settle(f finished) {
	if f.line.yielded[f.index] {
		return
	}
	f.line.yielded[f.index] = true
	if e.pending[f.line]--; e.pending[f.line] == 0 {
		delete(e.pending, f.line)
	}
	var began time.Time
	if f.line.began != nil {
		began = f.line.began[f.index]
	}
	e.emit(f.line.addresses[f.index], began, f.line.item.attempts(), f.state, f.err)
}

func (e *pushEach) emit(address string, began time.Time, attempts int, state State, err error) {
	if e.left {
		return
	}
	e.left = true // stays so if OnPush or yield panics
	e.s.c.tell(e.ctx, began, attempts, state, err)
	e.left = !e.yield(address, err)
}
