package wspush

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// bulkInput reads the body of a bulk request ahead of whoever takes lines out of it.
type bulkInput struct {
	body    io.Reader
	control *http.ResponseController
	chunks  chan []byte // what has been read; closed at the end
	used    chan []byte // chunks that nobody needs any more
	quit    chan struct{}
	whole   chan struct{} // closed when the body has been read to its end
	err     error         // how it ended, once chunks is closed

	mu      sync.Mutex // guards stopped, and the read deadline
	stopped bool
}

const (
	readAhead = 4 // chunks
	minChunk  = 4 << 10
	maxChunk  = 64 << 10
)

func newBulkInput(body io.Reader, control *http.ResponseController) *bulkInput {
	return &bulkInput{
		body: body, control: control,
		chunks: make(chan []byte, readAhead), used: make(chan []byte, readAhead+2), quit: make(chan struct{}), whole: make(chan struct{}),
	}
}

// run reads until the body ends, stop is called, or nothing comes in for too long.
func (in *bulkInput) run() {
	defer close(in.chunks)
	size, within := minChunk, false // a publisher that sends little costs little
	for {
		chunk := in.chunk(size)
		if in.err = in.await(within); in.err != nil {
			return
		}
		n, err := in.body.Read(chunk)
		if n > 0 {
			within = chunk[n-1] != '\n'
			if n == len(chunk) {
				size = min(4*size, maxChunk)
			}
			if !in.pass(chunk[:n]) {
				in.err = os.ErrDeadlineExceeded
				return
			}
		}
		if err != nil {
			in.err = err
			if err == io.EOF { // from here on net/http reads, to notice a publisher that leaves
				in.mu.Lock()
				in.stopped = true
				_ = in.control.SetReadDeadline(time.Time{})
				in.mu.Unlock()
				close(in.whole)
			}
			return
		}
	}
}

// pass hands a chunk on. While that waits, no time runs out: over HTTP/2, a deadline ends a body that nobody reads, too. False
// means that nobody wants it.
func (in *bulkInput) pass(chunk []byte) bool {
	select {
	case in.chunks <- chunk:
		return true
	default:
	}
	in.mu.Lock()
	if !in.stopped {
		_ = in.control.SetReadDeadline(time.Time{})
	}
	in.mu.Unlock()
	select {
	case in.chunks <- chunk:
		return true
	case <-in.quit:
		return false
	}
}

// chunk returns a buffer of that size at least.
func (in *bulkInput) chunk(size int) []byte {
	select {
	case c := <-in.used:
		if cap(c) >= size {
			return c[:cap(c)]
		}
	default:
	}
	return make([]byte, size)
}

// await bounds the next read: less within a line than between two.
func (in *bulkInput) await(within bool) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return os.ErrDeadlineExceeded
	}
	timeout := idleTimeout
	if within {
		timeout = bodyTimeout
	}
	_ = in.control.SetReadDeadline(time.Now().Add(timeout))
	return nil
}

// stop ends the input before the body's end: run returns soon, and what it has read is still there. Stopping again, or after
// the end, has no effect.
func (in *bulkInput) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.stopped {
		in.stopped = true
		close(in.quit)
		_ = in.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// linger reads, briefly, what a publisher still sends that has its answer: to close the connection under that would reset
// it, and the publisher might never see the answer. It is for the time after run.
func (in *bulkInput) linger() {
	if in.err == io.EOF {
		return
	}
	_ = in.control.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, in.body, lingerBytes)
}

// brokeOff reports whether the body has ended in the middle: the publisher is gone. It may be called once all has been taken.
func (in *bulkInput) brokeOff() bool {
	return in.err != io.EOF && !errors.Is(in.err, os.ErrDeadlineExceeded)
}

// lines takes lines out of the input.
type lines struct {
	in      *bulkInput
	max     int    // negative: no limit
	chunk   []byte // what is left of the latest
	whole   []byte // that chunk, to be given back
	end     int    // where the line that is next in chunk ends; -1: not there
	begun   []byte // of a line, in chunks before
	tooLong bool   // it is, and what is left of it is skipped
	ended   bool
}

var errLineTooLong = errors.New("the line is too long")

func newLines(in *bulkInput, max int) *lines { return &lines{in: in, max: max, end: -1} }

// ready reports whether next has something to return without waiting.
func (l *lines) ready() bool {
	for l.end < 0 && !l.ended {
		select {
		case c, ok := <-l.in.chunks:
			l.add(c, ok)
		default:
			return false
		}
	}
	return true
}

// next returns the next line, without its end and white space around it, or an error: errLineTooLong for one that is, io.EOF
// after the last. It waits until it is there. The line is good until the next call.
func (l *lines) next() ([]byte, error) {
	for l.end < 0 && !l.ended {
		c, ok := <-l.in.chunks
		l.add(c, ok)
	}
	line := l.begun
	switch {
	case l.end >= 0:
		rest := l.chunk[:l.end]
		if len(line) > 0 || l.tooLong {
			l.begin(rest)
			line = l.begun
		} else {
			line = rest
		}
		l.chunk = l.chunk[l.end+1:]
		l.end = bytes.IndexByte(l.chunk, '\n')
	case l.in.err != io.EOF || len(line) == 0 && !l.tooLong: // what is left of a line that broke off is none
		return nil, io.EOF
	}
	tooLong := l.tooLong || l.max >= 0 && len(line) > l.max
	l.begun, l.tooLong = l.begun[:0], false
	if cap(l.begun) > maxChunk {
		l.begun = nil
	}
	if tooLong {
		return nil, errLineTooLong
	}
	return bytes.TrimSpace(line), nil
}

// add takes another chunk, or the end.
func (l *lines) add(c []byte, ok bool) {
	if !ok {
		l.ended = true
		l.begin(l.chunk)
		return
	}
	l.begin(l.chunk)
	if l.whole != nil {
		select {
		case l.in.used <- l.whole:
		default:
		}
	}
	l.whole, l.chunk = c, c
	l.end = bytes.IndexByte(c, '\n')
}

// begin keeps a part of a line whose end is in a later chunk.
func (l *lines) begin(part []byte) {
	if l.max >= 0 && len(l.begun)+len(part) > l.max {
		l.tooLong = true
		l.begun = l.begun[:0]
	}
	if !l.tooLong {
		l.begun = append(l.begun, part...)
	}
}
