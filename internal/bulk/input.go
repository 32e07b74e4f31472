package bulk

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// ReadControl sets the deadline of reads from a request's body; http.ResponseController is one.
type ReadControl interface{ SetReadDeadline(time.Time) error }

// InputConfig says how a body is read.
type InputConfig struct {
	// Ahead is how many bytes are read ahead at most, however slowly lines are taken, together with the line that is being read. 0
	// means a few chunks, which are used again.
	Ahead int64
	// Length is how many bytes the body has. Unless it is positive, that is not known.
	Length int64
	// Chunks lends chunks that are used again.
	Chunks *Chunks
	// Idle bounds the wait for something to read between two lines, Within that in the middle of a line.
	Idle, Within time.Duration
	// Room bounds the memory that all requests take together. Nil: nothing does.
	Room Room
}

// Room is where a request takes the memory from for what it has read: a few KiB are its own.
type Room interface {
	// Ahead takes room for what is read ahead of Lines, if there is some. It does not wait. GiveAhead gives it back. Both are safe for
	// concurrent use.
	Ahead(bytes int64) bool
	GiveAhead(bytes int64)
	// Line takes room for a line that has not come to its end. If wait is false, it does not wait for it; then ok tells nothing but
	// whether to ask again. GiveLine gives some of it back, and EndLine the rest. They are called by Lines' goroutine only.
	Line(bytes int64, wait bool) (ok bool)
	GiveLine(bytes int64)
	EndLine()
}

// Input reads the body of a bulk request ahead of Lines, which takes lines out of it.
type Input struct {
	body    io.Reader
	control ReadControl
	config  InputConfig
	ended   chan struct{} // closed when nothing more is read
	pauses  chan struct{} // has an element when a pause has begun

	mu      sync.Mutex // guards what follows, and the read deadline
	changed sync.Cond  // of mu: queue or state has changed
	state   inputState
	queue   [][]byte // what has been read, and not been taken
	queued  int64    // bytes in queue
	begun   int64    // room in bytes for the line of which a part has been taken
	free    [][]byte // small chunks that are not needed any more
	ahead   int64    // bytes that Room has given for chunks
	starved bool     // it had none for the latest one
	refused bool     // Stop was called by Refuse
	err     error    // how the body ended; set when state becomes inputEnded
}

type inputState int

const (
	inputReading inputState = iota
	inputPaused             // the queue is full: reading goes on when something is taken
	inputStopped            // by Stop: reading is about to end
	inputEnded              // err says how
)

// ErrStopped is how an Input ends that Stop has ended.
var ErrStopped = errors.New("reading was stopped")

// ErrNoRoom is how an Input ends that Refuse has ended, and how Lines end for whose line there is no Room.
var ErrNoRoom = errors.New("there is no room for more")

const (
	readAhead = 4 // chunks
	minChunk  = 4 << 10
)

// MaxAhead is how many bytes an Input without Ahead holds at most: what is queued, what is being read, and the part that Lines has.
// While it waits for its publisher, it holds one chunk.
const MaxAhead = (readAhead + 2) * ChunkSize

// NewInput makes an Input, whose Run must be called.
func NewInput(body io.Reader, control ReadControl, config InputConfig) *Input {
	in := &Input{body: body, control: control, config: config, ended: make(chan struct{}), pauses: make(chan struct{}, 1)}
	in.changed.L = &in.mu
	return in
}

// Run reads until the body ends, Stop is called, or nothing comes for too long.
func (in *Input) Run() {
	defer close(in.ended)
	err := in.read()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.state == inputStopped {
		err = ErrStopped
		if in.refused {
			err = ErrNoRoom
		}
	}
	if err == io.EOF { // from here on net/http reads, to notice a publisher that leaves
		_ = in.control.SetReadDeadline(time.Time{})
	}
	in.state, in.err = inputEnded, err
	in.changed.Broadcast()
}

func (in *Input) read() error {
	size, within := minChunk, false // a publisher that sends little costs little
	few := 0                        // reads in a row for which a small chunk would have done
	var chunk []byte
	for {
		if len(chunk) == 0 {
			chunk = in.chunk(size)
		}
		if err := in.setReadDeadline(within); err != nil {
			return err
		}
		n, err := in.body.Read(chunk)
		if n > 0 {
			within = chunk[n-1] != '\n'
			if few++; n > minChunk {
				few = 0
			}
			switch {
			case n == len(chunk):
				size = ChunkSize
			case few > 1:
				size = minChunk
			}
			if !in.pass(chunk[:n]) {
				return ErrStopped
			}
			if chunk = chunk[n:]; in.config.Ahead == 0 {
				chunk = nil // the whole of it is used again, once this part has been taken
			}
		}
		if err != nil {
			return err
		}
	}
}

// chunk returns a buffer of that size, minChunk or ChunkSize, or the smaller one if there is no room for the other.
func (in *Input) chunk(size int) []byte {
	if size == ChunkSize && in.take(size) {
		return in.config.Chunks.Get()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if n := len(in.free); n > 0 {
		c := in.free[n-1]
		in.free = in.free[:n-1]
		return c[:minChunk]
	}
	return make([]byte, minChunk)
}

// take takes room for a large chunk. Small ones need none.
func (in *Input) take(size int) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.config.Room == nil {
		return true
	}
	if in.starved = !in.config.Room.Ahead(int64(size)); in.starved {
		return false
	}
	in.ahead += int64(size)
	return true
}

// giveLocked gives back the room of a large chunk, or of a part of what has been read ahead, that nobody reads any more.
func (in *Input) giveLocked(size int) {
	if n := min(int64(size), in.ahead); n > 0 {
		in.ahead -= n
		in.config.Room.GiveAhead(n)
	}
}

// reuseLocked takes back a chunk that is not needed any more. Large ones go to whoever needs one next, so that a request that is waiting
// holds none.
func (in *Input) reuseLocked(chunk []byte) {
	switch {
	case cap(chunk) == ChunkSize:
		in.config.Chunks.Put(chunk)
		in.giveLocked(ChunkSize)
	case len(in.free) < readAhead+2:
		in.free = append(in.free, chunk)
	}
}

// Close gives back all room. Nothing of the Input, or of Lines, is used any more.
func (in *Input) Close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue, in.free = nil, nil
	if in.ahead > 0 {
		in.config.Room.GiveAhead(in.ahead)
		in.ahead = 0
	}
}

// setReadDeadline bounds the next read.
func (in *Input) setReadDeadline(within bool) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.state == inputStopped {
		return ErrStopped
	}
	timeout := in.config.Idle
	if within {
		timeout = in.config.Within
	}
	_ = in.control.SetReadDeadline(time.Now().Add(timeout))
	return nil
}

// pass queues what has been read. It waits for room, and meanwhile no time runs out: over HTTP/2 a deadline also ends a body
// that nobody reads. It returns false after Stop.
func (in *Input) pass(part []byte) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.isFullLocked() && in.state != inputStopped {
		if in.state == inputReading {
			in.state = inputPaused
			_ = in.control.SetReadDeadline(time.Time{})
			select {
			case in.pauses <- struct{}{}:
			default:
			}
		}
		in.changed.Wait()
	}
	if in.state == inputStopped {
		return false
	}
	in.state = inputReading
	in.queued += int64(len(part))
	if n := len(in.queue); n > 0 && in.config.Ahead > 0 && follows(in.queue[n-1], part) {
		// A body that comes byte by byte must not take a slice for each of them.
		in.queue[n-1] = in.queue[n-1][:len(in.queue[n-1])+len(part)]
	} else {
		in.queue = append(in.queue, part)
	}
	in.changed.Broadcast()
	return true
}

func (in *Input) isFullLocked() bool {
	if in.config.Ahead > 0 && !in.starved {
		return len(in.queue) > 0 && in.queued+in.begun >= in.config.Ahead
	}
	return len(in.queue) >= readAhead
}

// follows reports whether b lies directly behind a in the same chunk.
func follows(a, b []byte) bool {
	return cap(a)-len(a) == cap(b) && cap(b) > 0 && &a[:len(a)+1][len(a)] == &b[0]
}

// next takes what was read next, and gives back a chunk that is not needed any more. begun is how much room
// the line takes that has begun before it. If wait is false and nothing is there, it returns nil; at the end, ok is false.
func (in *Input) next(used []byte, begun int, wait bool) (part []byte, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case used == nil:
	case in.config.Ahead == 0:
		in.reuseLocked(used)
	default:
		in.giveLocked(len(used))
	}
	in.begun = int64(begun)
	for len(in.queue) == 0 && in.state != inputEnded && wait {
		in.changed.Wait()
	}
	if len(in.queue) == 0 {
		return nil, in.state != inputEnded
	}
	part = in.queue[0]
	in.queued -= int64(len(part))
	in.queue[0] = nil
	if in.queue = in.queue[1:]; len(in.queue) == 0 {
		in.queue = nil
	}
	in.changed.Broadcast()
	return part, true
}

// setBegun says how much room the line takes that has begun.
func (in *Input) setBegun(begun int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.begun = int64(begun)
}

// Stop ends the Input before its body ends: Run returns soon, and what has been queued is still there. It has no effect after
// the end.
func (in *Input) Stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopLocked()
}

// Refuse is Stop because there is no Room for the rest.
func (in *Input) Refuse() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.refused = in.stopLocked() || in.refused
}

func (in *Input) stopLocked() (stopped bool) {
	if in.state == inputReading || in.state == inputPaused {
		in.state = inputStopped
		_ = in.control.SetReadDeadline(time.Unix(1, 0))
		in.changed.Broadcast()
		return true
	}
	return false
}

// Linger reads, for a while, what a publisher still sends that has its answer: closing the connection while something is
// unread would reset it, and the publisher might never see the answer. It may be called after Run.
func (in *Input) Linger(d time.Duration, bytes int64) {
	if in.Err() == io.EOF {
		return
	}
	_ = in.control.SetReadDeadline(time.Now().Add(d))
	_, _ = io.CopyN(io.Discard, in.body, bytes)
}

// Ended is closed when nothing more is read.
func (in *Input) Ended() <-chan struct{} { return in.ended }

// Pauses gets an element when reading begins to wait for Lines.
func (in *Input) Pauses() <-chan struct{} { return in.pauses }

// IsPaused reports whether reading waits for Lines.
func (in *Input) IsPaused() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.state == inputPaused
}

// Err returns how the body has ended: io.EOF, ErrStopped, ErrNoRoom, an error that matches os.ErrDeadlineExceeded, or what reading it
// failed with. It is nil before that.
func (in *Input) Err() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// BrokeOff reports whether the body has ended in the middle: the publisher is gone.
func (in *Input) BrokeOff() bool {
	err := in.Err()
	return err != nil && err != io.EOF && err != ErrStopped && err != ErrNoRoom && !errors.Is(err, os.ErrDeadlineExceeded)
}
