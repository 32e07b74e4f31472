package link

import (
	"fmt"
	"runtime"
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
	k.out.tell(over)
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
