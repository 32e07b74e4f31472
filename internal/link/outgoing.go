package link

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// MaxAsked bounds the questions to one worker that are under way, without those of sequences.
const MaxAsked = 1024

// maxTries is how many links a question may outlive before all of it was sent.
const maxTries = 3

// errTries is why a question is given up for which no link has lasted long enough.
var errTries = fmt.Errorf("%w: the links to the worker were lost before the whole question was sent", ErrNotSent)

// outgoing leads to one other worker: the questions that wait for a link to it, and the links.
//
// There is one link that takes questions, at most. Others may be left over which answers still come.
type outgoing struct {
	links   *Links
	address string

	mu       sync.Mutex           // guards what follows, and what the flights of pushes and the links to the worker say is guarded by it
	gone     bool                 // it was removed from Links: another one has taken its place
	closed   bool                 // no questions are asked any more
	order    uint64               // of the last question
	queue    list                 // questions of which nothing has been sent
	under    int                  // questions that are not over
	counted  int                  // those of them that are in no sequence
	untold   int                  // those that are over, and whose sequences do not know yet
	opening  bool                 // a link is being opened
	link     *asking              // takes questions; nil: none
	asking   map[*asking]struct{} // all links whose goroutines run
	refused  error                // why questions are refused,
	until    int64                // until then
	failing  int64                // when the first of the openings began of which none has succeeded; 0: none has failed
	missed   []uint64             // instances of the worker that were asked in vain meanwhile, maxMissed at most
	deferred []outcome            // of questions that were refused, and wait for others of their sequences
	refusals []outcome            // of those that do not, to be told in their order
	telling  bool                 // somebody tells them
	warned   int64                // when the address was last warned about; 0: never
	wasQuiet event                // no questions are under way any more
	wasLast  event                // the last link has ended
}

// ask takes a question. False means that the outgoing is gone.
func (o *outgoing) ask(p *Push) bool {
	o.mu.Lock()
	if o.gone {
		o.mu.Unlock()
		return false
	}
	if err := o.refusalLocked(p); err != nil {
		o.refusedLocked(p, err)
		o.mu.Unlock()
		o.tell(nil)
		return true
	}
	p.stage = stageQueued
	o.order++
	p.order = o.order
	o.under++
	if p.Sequence == nil {
		o.counted++
	} else {
		p.Sequence.under++
	}
	o.queue.pushBack(p)
	k := o.link
	switch {
	case k == nil:
		o.openLocked()
	case k.writing: // its writer looks again afterwards
	case p.Sequence == nil && k.takesLocked(p):
		k.writing = true
		o.mu.Unlock()
		runtime.Gosched() // others that are about to ask share the write
		k.flush(inlineBytes)
		return true
	default:
		k.wakeLocked()
	}
	o.mu.Unlock()
	return true
}

// refusalLocked returns why a question is refused at once.
func (o *outgoing) refusalLocked(p *Push) error {
	switch {
	case o.closed:
		return errClosed
	case p.Sequence != nil && p.Sequence.deferred > 0:
		return errDeferred
	case o.refused != nil && o.links.now() < o.until && !o.isNewsLocked(p.Peer.Instance):
		return o.refused
	case p.Sequence == nil && o.counted >= MaxAsked:
		return errUnder
	}
	o.refused = nil
	return nil
}

// isNewsLocked reports whether a question is to an instance of the worker that no opening has missed yet: since somebody knows it, it has perhaps just
// been started. Sealed IDs of instances that have ended long ago are no reason to open again and again.
func (o *outgoing) isNewsLocked(instance uint64) bool {
	return instance != 0 && len(o.missed) < maxMissed && !slices.Contains(o.missed, instance)
}

const maxMissed = 8

// missLocked takes note that the questions that wait are in vain.
func (o *outgoing) missLocked() {
	for p := o.queue.head; p != nil; p = p.next {
		if o.isNewsLocked(p.Peer.Instance) {
			o.missed = append(o.missed, p.Peer.Instance)
		}
	}
}

// errDeferred refuses what may not overtake others that are refused.
var errDeferred = fmt.Errorf("%w: those before it in its sequence are refused", ErrNotSent)

var errUnder = fmt.Errorf("%w: too many questions to the worker are under way", ErrFull)

// overLocked takes note that a question is over.
func (o *outgoing) overLocked(p *Push) {
	p.remove()
	p.stage = stageOver
	p.body, p.link = nil, nil
	o.under--
	if p.Sequence == nil {
		o.counted--
	} else {
		o.untold++
	}
	if o.under == 0 {
		o.wasQuiet.happenedLocked()
	}
}

// abandon is Links.Abandon.
func (o *outgoing) abandon(p *Push, cause error) {
	o.mu.Lock()
	switch p.stage {
	case stageSent:
		if p.cause == nil {
			p.cause = cause
			p.link.control = appendHead(p.link.control, kindCancel, p.number, 0)
			p.link.wakeLocked()
		}
		o.mu.Unlock()
	case stageQueued, stageLarge:
		if k := p.link; k != nil {
			k.withdrawLocked(p)
		}
		o.overLocked(p)
		o.mu.Unlock()
		o.tell([]outcome{{push: p, err: fmt.Errorf("%w: %w", ErrNotSent, cause), last: p.Sequence}})
	case stageDeferred:
		o.deferred = slices.DeleteFunc(o.deferred, func(d outcome) bool { return d.push == p })
		p.stage = stageOver
		o.mu.Unlock()
		o.tell([]outcome{{push: p, err: fmt.Errorf("%w: %w", ErrNotSent, cause), deferred: p.Sequence}})
	default:
		o.mu.Unlock()
	}
}

// openLocked begins to open a link, if none is being opened.
func (o *outgoing) openLocked() {
	if o.opening {
		return
	}
	o.opening = true
	o.links.running.Go(o.open)
}

// open opens a link for the questions that wait.
func (o *outgoing) open() {
	l := o.links
	began := l.now()
	ctx, cancel := context.WithTimeout(l.ctx, l.bounds.open)
	ch, err := l.dial(ctx, o.address)
	cancel()
	o.mu.Lock()
	o.opening = false
	if err == nil && l.ctx.Err() != nil {
		_ = ch.carrier.Close()
		_ = ch.ws.CloseNow()
		err = errClosed
	}
	if err == nil {
		o.failing, o.missed = 0, nil
		o.link = newAsking(o, ch)
		o.asking[o.link] = struct{}{}
		o.link.startLocked()
		o.mu.Unlock()
		return
	}
	now := l.now()
	o.refuseLocked(err, now+o.pauseLocked(began, now))
	warn := o.links.ctx.Err() == nil && (o.warned == 0 || now-o.warned >= int64(l.bounds.warn))
	if warn {
		o.warned = now
	}
	o.mu.Unlock()
	if warn {
		o.logRefusal(err)
	}
	o.tell(nil)
}

// logRefusal logs why no link could be opened. Workers come and go, but something else at a worker's address is a mistake.
func (o *outgoing) logRefusal(err error) {
	log := o.links.log.With("to", o.address, "error", err)
	switch {
	case errors.Is(err, errNoSockets):
		log.Warn("wspush: something between workers does not let WebSockets through")
	case errors.Is(err, ErrNotWorker):
		log.Warn("wspush: what is at another worker's address is no worker with the same keys")
	case errors.Is(err, ErrWrongWorker):
		log.Warn("wspush: another worker's address leads to a different worker")
	default:
		log.Info("wspush: another worker cannot be reached")
	}
}

// pauseLocked returns for how long no link is to be opened after an opening has failed: for as long again as they have, so that a worker that is
// started anew at the address is found quickly, and one that stays away is not asked all the time. began and now: when the opening began, and failed.
func (o *outgoing) pauseLocked(began, now int64) int64 {
	bounds := &o.links.bounds
	if o.failing == 0 || began-o.until > int64(bounds.refuse) { // what failed before that says nothing about now
		o.failing, o.missed = began, nil
	}
	return min(max(now-o.failing, int64(bounds.retry)), int64(bounds.refuse))
}

// refuseLocked refuses the questions that wait, and those that come until a time.
func (o *outgoing) refuseLocked(err error, until int64) {
	o.refused, o.until = err, until
	o.missLocked()
	var all []*Push
	for p := o.queue.head; p != nil; p = o.queue.head {
		o.takeBackLocked(p)
		all = append(all, p)
	}
	for _, p := range all {
		o.refusedLocked(p, err)
	}
}

// takeBackLocked takes a question back that is to be refused although it was under way.
func (o *outgoing) takeBackLocked(p *Push) {
	o.overLocked(p)
	if p.Sequence != nil {
		p.Sequence.under--
		o.untold--
	}
}

// refusedLocked has a question refused: as soon as tell is called, or when those before it in its sequence have been told. One that has been given
// up is not sent again, so it waits for nothing.
func (o *outgoing) refusedLocked(p *Push, err error) {
	if s := p.Sequence; s != nil && p.cause == nil && (s.under > 0 || s.deferred > 0) {
		p.stage = stageDeferred
		s.deferred++
		o.deferred = append(o.deferred, outcome{push: p, err: err, deferred: s})
		return
	}
	o.refusals = append(o.refusals, outcome{push: p, err: err})
}

// tell tells outcomes, and what has been refused. Whoever sends refused questions by another way keeps their order by that in which it is told: one
// that is refused while others are being told waits for its turn.
func (o *outgoing) tell(over []outcome) {
	tellAll(over)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		o.toldLocked(over)
		if o.telling || len(o.refusals) == 0 {
			return
		}
		over, o.refusals, o.telling = o.refusals, nil, true
		o.mu.Unlock()
		tellAll(over)
		o.mu.Lock()
		o.telling = false
	}
}

// toldLocked takes note that outcomes have been told, and lets those be told that have waited for that.
func (o *outgoing) toldLocked(over []outcome) {
	for i := range over {
		if s := over[i].last; s != nil {
			s.under--
			o.untold--
		}
		if s := over[i].deferred; s != nil {
			s.deferred--
		}
	}
	if len(o.deferred) == 0 {
		return
	}
	o.deferred = slices.DeleteFunc(o.deferred, func(d outcome) bool {
		if d.deferred.under > 0 {
			return false
		}
		d.push.stage = stageOver
		o.refusals = append(o.refusals, d)
		return true
	})
}

// requeueLocked puts questions of a link that has ended before those that wait, in their order, and opens a link for them. A
// question that has been through this too often is given up.
func (o *outgoing) requeueLocked(back []*Push) {
	slices.SortFunc(back, func(a, b *Push) int {
		if a.order < b.order {
			return -1
		}
		return 1
	})
	var failed []outcome
	for _, p := range slices.Backward(back) {
		p.remove()
		p.stage, p.link, p.body = stageQueued, nil, nil
		p.tries++
		var err error
		switch {
		case p.cause != nil:
			err = fmt.Errorf("%w: %w", ErrNotSent, p.cause)
		case p.tries > maxTries:
			err = errTries
		case o.links.ctx.Err() != nil:
			err = errClosed
		}
		if err != nil {
			o.takeBackLocked(p)
			failed = append(failed, outcome{push: p, err: err})
			continue
		}
		o.queue.pushFront(p)
	}
	for _, f := range slices.Backward(failed) {
		o.refusedLocked(f.push, f.err)
	}
	if o.queue.head != nil && o.link == nil {
		o.openLocked()
	}
}

// close lets no more questions be asked.
func (o *outgoing) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

// quiet returns a channel that is closed when no questions are under way, or nil if there are none.
func (o *outgoing) quiet() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.under == 0 {
		return nil
	}
	return o.wasQuiet.waiterLocked()
}

// linkless returns a channel that is closed when there is no link any more, or nil if there is none.
func (o *outgoing) linkless() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.asking) == 0 {
		return nil
	}
	return o.wasLast.waiterLocked()
}

// end ends the links: with nil, each that has no questions says goodbye, and otherwise they are lost for this reason.
func (o *outgoing) end(reason error) {
	o.mu.Lock()
	var all []*asking
	for k := range o.asking {
		if reason == nil {
			k.retireLocked()
		} else {
			all = append(all, k)
		}
	}
	o.mu.Unlock()
	for _, k := range all {
		k.lose(reason)
	}
}

// expire reports whether nothing is left of the outgoing, not even a grudge. It then takes no more questions.
func (o *outgoing) expire() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.links.now()
	o.gone = o.gone || o.under+o.untold == 0 && len(o.deferred) == 0 && len(o.refusals) == 0 && !o.telling && !o.opening && len(o.asking) == 0 && now >= o.until &&
		(o.warned == 0 || now-o.warned >= int64(o.links.bounds.warn))
	return o.gone
}

var errClosing = errors.New("this worker is shutting down")
