package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"
)

// maxTaken bounds the questions over one link that are not answered: an asker keeps to less.
const maxTaken = 2*maxFlying + MaxAsked

// opener identifies a worker that opens links.
type opener struct {
	address  string
	instance uint64
}

// taking is a link that this worker has accepted.
//
// Three goroutines belong to it: one reads, and starts what it reads; one writes; and one looks at the clock. Requests have one
// each besides.
type taking struct {
	links   *Links
	number  uint64 // of its opening
	ch      *channel
	from    opener
	conn    net.Conn      // as hijacked
	wake    chan struct{} // has an element when the writer has something to do
	over    chan struct{} // closed when the link is lost
	read    chan struct{} // closed when it has been read to its end
	ctx     context.Context
	cancel  context.CancelFunc // of the requests
	release func()             // what Adopt has returned; the reader's own

	// The reader's own.
	partials partials
	paths    interned
	batch    []*Incoming // pushes that are to be started
	whole    int64       // bytes of room that those of them have that are large
	arrived  func() bool // what Arrived has returned
	buffered func() int  // bytes that have been read from the connection, and not been taken

	mu       sync.Mutex // guards what follows
	lost     error      // why the link has ended; nil: it has not
	proved   bool       // a batch has been opened, so this is no repetition of another opening
	opened   int64
	heard    int64  // when something came last
	writing  bool   // someone writes a batch
	began    int64  // since then; 0: nobody does
	out      []byte // frames that wait to be written
	corked   bool   // more answers come in a moment: pushes are being started
	large    bodies
	first    *Incoming // questions that are not answered, in no particular order
	under    int       // their number
	last     uint64    // number of the last question
	saidBye  bool      // no more questions are taken
	left     bool      // the asker has said goodbye
	wasQuiet event     // everything is answered, and the answers are written
}

// wakeLocked lets the writer look for something to do.
func (t *taking) wakeLocked() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// takeLocked takes note of a question.
func (t *taking) takeLocked(in *Incoming) {
	if t.first != nil {
		t.first.prev = in
	}
	in.link, in.next, t.first = t, t.first, in
	in.left, in.answered = in.targets, newMarks(in.targets)
	t.under++
}

// overLocked takes note that a question is answered, or withdrawn.
func (t *taking) overLocked(in *Incoming) {
	in.left = 0
	if in.prev != nil {
		in.prev.next = in.next
	} else {
		t.first = in.next
	}
	if in.next != nil {
		in.next.prev = in.prev
	}
	in.prev, in.next = nil, nil
	t.under--
	t.quietLocked()
}

// isQuietLocked reports whether everything is answered, and the answers are written.
func (t *taking) isQuietLocked() bool {
	return t.under == 0 && (t.lost != nil || len(t.out) == 0 && t.began == 0 && len(t.large.active)+len(t.large.waiting) == 0)
}

func (t *taking) quietLocked() {
	if t.isQuietLocked() {
		t.wasQuiet.happenedLocked()
	}
}

// quiet returns a channel that is closed when everything is answered, or nil if it is.
func (t *taking) quiet() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isQuietLocked() {
		return nil
	}
	return t.wasQuiet.waiterLocked()
}

// bye tells the asker that no more questions are taken.
func (t *taking) bye() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saidBye || t.lost != nil {
		return
	}
	t.saidBye = true
	t.out = append(appendHead(t.out, kindBye, t.last, 1), byeGoing)
	t.wakeLocked()
}

// refuse tells the asker that there is no place for the link, and ends it.
func (t *taking) refuse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.saidBye = true
	t.out = append(appendHead(t.out, kindBye, 0, 1), byeFull)
	t.wakeLocked()
}

// lose ends the link. The reader then tells those whose questions are not answered.
func (t *taking) lose(reason error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loseLocked(reason)
}

func (t *taking) loseLocked(reason error) {
	if t.lost != nil {
		return
	}
	t.lost = reason
	t.out = nil
	t.large = bodies{}
	close(t.over)
	_ = t.ch.carrier.Close()
	t.quietLocked()
}

// write is the writer's goroutine.
func (t *taking) write() {
	for {
		select {
		case <-t.wake:
		case <-t.over:
			return
		}
		runtime.Gosched() // answers that are about to come share the batch
		for t.flush() {
		}
	}
}

// flush writes one batch, and reports whether there is more to write.
func (t *taking) flush() (more bool) {
	buf := takeBuffer()
	defer returnBuffer(buf)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil || t.writing { // whoever writes wakes the writer if there is more
		return false
	}
	limit := maxFrames
	if t.large.ready() {
		limit = smallBytes
	}
	var frames []byte
	frames, t.out = moveFrames(buf[:0], t.out, limit)
	frames = t.large.appendTo(frames, maxFrames, func(*body) {}, func(*body) {})
	if len(frames) > 0 {
		t.began, t.writing = t.links.now(), true
		t.mu.Unlock()
		_, err := t.ch.write(frames)
		t.mu.Lock()
		t.began, t.writing = 0, false
		if err != nil {
			t.loseLocked(fmt.Errorf("writing: %w", err))
		}
	}
	t.quietLocked()
	if more = t.lost == nil && (len(t.out) > 0 || t.large.ready()); more {
		t.wakeLocked()
	}
	return more
}

var (
	errRefused = errors.New("there is no place for the link")
	errUnmade  = errors.New("no batch came after the opening")
	errDeaf    = errors.New("nothing came for too long")
	errNewer   = errors.New("the worker has opened another link")
)

// watch is the goroutine that looks at the clock.
func (t *taking) watch() {
	timer := time.NewTicker(t.links.bounds.tick)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-t.over:
			return
		}
		now, b := t.links.now(), &t.links.bounds
		t.mu.Lock()
		switch {
		case !t.proved && now-t.opened >= int64(b.open):
			t.loseLocked(errUnmade)
		case t.began != 0 && now-t.began >= int64(b.live):
			t.loseLocked(errStuck)
		case now-t.heard >= int64(b.deaf):
			t.loseLocked(errDeaf)
		}
		t.mu.Unlock()
	}
}
