package link

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

const (
	// inlineBytes is how much may be on its way, unanswered, for an asker to write itself: so much fits into the socket's buffer, and
	// nobody has to wait.
	inlineBytes = 16 << 10
	// maxKept is how many elements a link keeps room for while it is idle.
	maxKept = 128
	// maxFlying bounds the questions over one link that are not answered.
	maxFlying = 1 << 16
	// smallBytes is how much of a batch small frames may take while pieces wait.
	smallBytes = maxFrames - pieceSize - frameHead
)

// asking is a link that this worker opened.
//
// Three goroutines belong to it: one reads; one writes what askers do not write themselves; and one looks at the clock.
type asking struct {
	out  *outgoing
	ch   *channel
	wake chan struct{} // has an element when the writer has something to do
	over chan struct{} // closed when the link is lost

	// The outgoing's lock guards what follows.
	lost     error               // why the link has ended; nil: it has not
	settled  bool                // its questions have been dealt with since
	retiring bool                // takes no more questions
	saidBye  bool                //
	writing  bool                // someone writes a batch
	began    int64               // since when; 0: it is being put together
	flying   map[uint64]*Push    // questions that have a number and no answer
	peak     int                 // how many they were at most, since the map was made
	last     uint64              // number
	first    uint64              // of the batch that is being written
	bytes    int                 // of small questions that are not answered
	control  []byte              // frames that go first
	large    bodies              //
	held     map[*Sequence]*list // questions behind a large body of their sequence
	heard    int64               // when something came last
	due      int64               // since when answers have been due; 0: none is
	asked    int64               // when the last question was sent
	pinged   int64               // when the last ping was sent
	ticked   int64               // when the clock was looked at last
	earliest int64               // no answer's deadline is before; 0: there is none

	replies partials // the reader's own
}

func newAsking(o *outgoing, ch *channel) *asking {
	now := o.links.now()
	return &asking{
		out: o, ch: ch, wake: make(chan struct{}, 1), over: make(chan struct{}),
		flying: make(map[uint64]*Push), large: bodies{credit: window}, held: make(map[*Sequence]*list),
		heard: now, asked: now, pinged: now, ticked: now,
	}
}

func (k *asking) startLocked() {
	if k.out.queue.head == nil { // those who asked have left: the other side waits for a first batch
		k.control = appendHead(k.control, kindPing, 0, 0)
	}
	k.wakeLocked()
	running := &k.out.links.running
	running.Go(k.read)
	running.Go(k.write)
	running.Go(k.watch)
}

// wakeLocked lets the writer look for something to do.
func (k *asking) wakeLocked() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// takesLocked reports whether the asker of a question may write it itself.
func (k *asking) takesLocked(p *Push) bool {
	return k.lost == nil && !p.isLarge() && k.bytes+p.frameLen() <= inlineBytes && len(k.large.active)+len(k.large.waiting) == 0
}

// write is the writer's goroutine.
func (k *asking) write() {
	for {
		select {
		case <-k.wake:
		case <-k.over:
			return
		}
		runtime.Gosched()
		for k.flushMore() {
		}
	}
}

func (k *asking) flushMore() bool {
	k.out.mu.Lock()
	if k.writing || k.lost != nil { // whoever writes wakes the writer if there is more
		k.out.mu.Unlock()
		return false
	}
	k.writing = true
	k.out.mu.Unlock()
	return k.flush(maxFrames)
}

// flush writes one batch. The caller has set writing. It reports whether there is more to write, and has woken the writer then.
func (k *asking) flush(limit int) (more bool) {
	o := k.out
	buf := takeBuffer()
	o.mu.Lock()
	if k.lost == nil {
		limit = min(limit, maxFrames)
		frames := k.assembleLocked(buf[:0], limit)
		if len(frames) > 0 {
			k.began = o.links.now()
			o.mu.Unlock()
			begun, err := k.ch.write(frames)
			o.mu.Lock()
			if err != nil && k.lost == nil {
				k.lostLocked(fmt.Errorf("writing: %w", err))
			}
			if begun || err == nil {
				k.first = 0
			}
		}
	}
	k.writing, k.began = false, 0
	over := k.settleLocked()
	more = k.lost == nil && k.readyLocked()
	if more {
		k.wakeLocked()
	}
	o.mu.Unlock()
	returnBuffer(buf)
	tellAll(over)
	return more
}

// readyLocked reports whether there is something to write.
func (k *asking) readyLocked() bool {
	if len(k.control) > 0 {
		return true
	}
	return !k.retiring && (k.out.queue.head != nil && len(k.flying) < maxFlying || k.large.ready())
}

// assembleLocked puts together a batch: control frames, then small questions, then pieces.
func (k *asking) assembleLocked(batch []byte, limit int) []byte {
	batch, k.control = moveFrames(batch, k.control, limit)
	k.first = k.last + 1
	if k.retiring {
		return batch
	}
	now := k.out.links.now()
	small := limit
	if limit > smallBytes && k.large.ready() {
		small = smallBytes
	}
	for p := k.out.queue.head; p != nil && len(k.flying) < maxFlying; p = k.out.queue.head {
		behind := k.held[p.Sequence]
		switch {
		case p.Sequence != nil && behind != nil:
			p.remove()
			behind.pushBack(p)
			p.link = k
			continue
		case p.isLarge():
			k.enlargeLocked(p)
			continue
		}
		size := p.frameLen()
		if len(batch)+size > small {
			break
		}
		p.remove()
		k.numberLocked(p)
		p.size = size
		k.bytes += size
		k.sentLocked(p, now)
		batch = p.append(batch, p.number)
	}
	if len(k.large.active)+len(k.large.waiting) == 0 {
		return batch
	}
	return k.large.appendTo(batch, limit, func(b *body) {
		k.numberLocked(b.push)
		b.number = b.push.number
	}, func(b *body) {
		k.sentLocked(b.push, now)
		b.push.body = nil
		k.releaseLocked(b.push.Sequence)
	})
}

// numberLocked gives a question its number.
func (k *asking) numberLocked(p *Push) {
	k.last++
	p.number, p.link = k.last, k
	if len(k.flying) == 0 {
		k.due = k.out.links.now()
	}
	k.flying[p.number] = p
	k.peak = max(k.peak, len(k.flying))
}

// sentLocked takes note that all of a question is in the batch.
func (k *asking) sentLocked(p *Push, now int64) {
	p.stage = stageSent
	k.asked = now
	if p.Patience > 0 {
		p.deadline = now + int64(p.Patience)
		if k.earliest == 0 || p.deadline < k.earliest {
			k.earliest = p.deadline
		}
	}
}

// enlargeLocked lets a question with a large body wait for its turn, and the rest of its sequence behind it.
func (k *asking) enlargeLocked(p *Push) {
	p.remove()
	p.stage, p.link = stageLarge, k
	first := appendIDs(nil, p.More)
	p.body = &body{head: appendSize(p.appendMeta(nil), len(first)+len(p.Data)), first: first, data: p.Data, push: p}
	k.large.add(p.body)
	if p.Sequence != nil {
		k.held[p.Sequence] = new(list)
	}
}

// releaseLocked lets a sequence go on behind a large body. Those that waited go through the queue again, so that the next large body
// among them does not begin before what precedes it.
func (k *asking) releaseLocked(s *Sequence) {
	behind := k.held[s]
	if s == nil || behind == nil {
		return
	}
	delete(k.held, s)
	for p := behind.tail; p != nil; p = behind.tail {
		p.remove()
		p.link = nil
		k.out.queue.pushFront(p)
	}
}

// withdrawLocked takes a question out that has not been sent to its end.
func (k *asking) withdrawLocked(p *Push) {
	if p.body == nil { // held behind another one
		return
	}
	if k.large.remove(p.body) {
		delete(k.flying, p.number)
		k.control = appendHead(k.control, kindCancel, p.number, 0)
	}
	k.answeredLocked()
	k.releaseLocked(p.Sequence)
	k.wakeLocked()
}

// answeredLocked takes note that a question is not flying any more.
func (k *asking) answeredLocked() {
	if len(k.flying) == 0 {
		k.due = 0
	}
}

// lostLocked ends the link. settleLocked must follow, as soon as nobody writes.
func (k *asking) lostLocked(reason error) {
	k.lost = reason
	close(k.over)
	_ = k.ch.carrier.Close()
}

// lose ends the link.
func (k *asking) lose(reason error) {
	o := k.out
	o.mu.Lock()
	if k.lost == nil {
		k.lostLocked(reason)
	}
	over := k.settleLocked()
	o.mu.Unlock()
	tellAll(over)
}

// settleLocked deals with the questions of a link that is lost: what has not been sent goes by another link, and what has been sent
// is unknown. If the link is only retiring, it ends it when nothing is left to do.
func (k *asking) settleLocked() (over []outcome) {
	if k.lost == nil && k.retiring && k.saidBye && len(k.flying) == 0 && len(k.control) == 0 && !k.writing {
		k.lostLocked(errRetired)
	}
	if k.lost == nil || k.writing || k.settled {
		return nil
	}
	k.settled = true
	o := k.out
	if o.link == k {
		o.link = nil
	}
	delete(o.asking, k)
	full := errors.Is(k.lost, ErrFull) // the other side has taken nothing
	var back []*Push
	for _, p := range k.flying {
		if p.stage == stageSent && !full && (k.first == 0 || p.number < k.first) {
			o.overLocked(p)
			over = append(over, outcome{push: p, err: fmt.Errorf("%w: %w", ErrLost, k.lost)})
			continue
		}
		back = append(back, p)
	}
	k.flying = nil
	back = k.unbegunLocked(back)
	if full {
		for _, p := range back {
			o.queue.pushBack(p)
		}
		over = append(over, o.refuseLocked(k.lost)...)
	} else {
		over = append(over, o.requeueLocked(back)...)
	}
	if len(o.asking) == 0 {
		o.wasLast.happenedLocked()
	}
	if !errors.Is(k.lost, errRetired) && !errors.Is(k.lost, errClosing) {
		o.links.log.Info("wspush: a link to another worker is lost", "to", o.address, "error", k.lost)
	}
	return over
}

var errRetired = errors.New("the link has ended in order")

// unbegunLocked appends the questions that wait on this link behind or with a large body.
func (k *asking) unbegunLocked(back []*Push) []*Push {
	for _, b := range slices.Concat(k.large.active, k.large.waiting) {
		if !b.begun { // those that have begun are flying
			back = append(back, b.push)
		}
	}
	k.large = bodies{}
	for _, behind := range k.held {
		for p := behind.head; p != nil; p = behind.head {
			p.remove()
			back = append(back, p)
		}
	}
	clear(k.held)
	return back
}

// retireLocked lets the link take no more questions, and tells the other side. It ends when all are answered.
func (k *asking) retireLocked() {
	if k.retiring || k.lost != nil {
		return
	}
	k.retiring, k.saidBye = true, true
	k.control = appendHead(k.control, kindBye, k.last, 1)
	k.control = append(k.control, byeGoing)
	if k.out.link == k {
		k.out.link = nil
	}
	k.wakeLocked()
}

// byeLocked takes note that the other side answers no questions after a number. The others go by a new link.
func (k *asking) byeLocked(last uint64) (over []outcome) {
	o := k.out
	if k.retiring {
		return nil
	}
	k.retiring, k.saidBye = true, true
	if o.link == k {
		o.link = nil
	}
	var back []*Push
	for number, p := range k.flying {
		if p.stage == stageSent && number <= last {
			continue
		}
		delete(k.flying, number)
		if number <= last { // an unfinished body
			k.control = appendHead(k.control, kindCancel, number, 0)
		}
		back = append(back, p)
	}
	back = k.unbegunLocked(back)
	k.answeredLocked()
	k.wakeLocked()
	return append(o.requeueLocked(back), k.settleLocked()...)
}

// watch is the goroutine that looks at the clock.
func (k *asking) watch() {
	timer := time.NewTicker(k.out.links.bounds.tick)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			k.tick()
		case <-k.over:
			return
		}
	}
}

var (
	errStuck  = errors.New("a batch could not be written in time")
	errSilent = errors.New("nothing came from the worker in time, not even the answer to a ping")
	errLate   = fmt.Errorf("%w: no answer in time", ErrLost)
)

func (k *asking) tick() {
	o, b := k.out, &k.out.links.bounds
	now := o.links.now()
	o.mu.Lock()
	if now-k.ticked >= int64(b.live)/2 {
		k.heard = now // this process has stood still: what has come meanwhile is yet to be read
	}
	k.ticked = now
	if len(k.flying) == 0 && k.peak > maxKept && k.lost == nil {
		k.flying, k.peak = make(map[uint64]*Push), 0
	}
	over := k.expireLocked(now)
	since := max(k.heard, k.due) // with answers due, nothing has come since
	var reason error
	switch {
	case k.lost != nil:
	case k.began != 0 && now-k.began >= int64(b.live):
		reason = errStuck
	case k.due != 0 && now-since >= int64(b.live), k.pinged > k.heard && now-k.pinged >= int64(b.live):
		reason = errSilent
	case k.pinged > k.heard: // its answer is due
	case k.due != 0 && now-since >= int64(b.ask), now-k.heard >= int64(b.silence):
		k.pinged = now
		k.control = appendHead(k.control, kindPing, 0, 0)
		k.wakeLocked()
	case k == o.link && o.queue.head == nil && len(k.flying) == 0 && len(k.large.active)+len(k.large.waiting) == 0 && now-k.asked >= int64(b.idle):
		k.retireLocked()
	}
	o.mu.Unlock()
	tellAll(over)
	if reason != nil {
		k.lose(reason)
	}
}

// expireLocked gives up questions whose answer is overdue. They may be answered later, which nobody hears.
func (k *asking) expireLocked(now int64) (over []outcome) {
	if k.earliest == 0 || now < k.earliest {
		return nil
	}
	k.earliest = 0
	for number, p := range k.flying {
		switch {
		case p.deadline == 0:
		case now >= p.deadline:
			delete(k.flying, number)
			k.bytes -= p.size
			k.control = appendHead(k.control, kindCancel, number, 0)
			k.out.overLocked(p)
			over = append(over, outcome{push: p, err: errLate})
		case k.earliest == 0 || p.deadline < k.earliest:
			k.earliest = p.deadline
		}
	}
	if len(over) > 0 {
		k.answeredLocked()
		k.wakeLocked()
		over = append(over, k.settleLocked()...)
	}
	return over
}
