package bulk

import (
	"bytes"
	"errors"
	"io"
)

// Lines takes lines out of an Input. It belongs to one goroutine.
type Lines struct {
	in      *Input
	max     int64 // negative: no limit
	checked bool

	count   int     // lines so far
	part    []byte  // what is left of the latest part of the body
	chunk   []byte  // that part as it came, to be given back
	end     int     // where the next line ends in part; -1: not there
	kept    []byte  // the beginning of a line that ends in a later part
	tooLong bool    // the line is, and what is left of it is skipped
	skipped skipped // the check of that line, if the request is checked
	atEnd   bool    // the Input has ended
	noRoom  bool    // there is no room for the line; it is the end, too
}

// What Next fails with, besides io.EOF.
var (
	// ErrLineTooLong: the line exceeds the limit. The next one can be read.
	ErrLineTooLong = errors.New("the line is too long")
	// ErrDamaged: the next line of a checked request is not there, or not whole. Nothing after it can be told apart.
	ErrDamaged = errors.New("a line is missing, or is not whole")
)

// NewLines makes Lines of at most so many bytes; if max is negative, there is no limit. If checked is true, each line must
// carry a check.
func NewLines(in *Input, max int64, checked bool) *Lines {
	return &Lines{in: in, max: max, checked: checked, end: -1}
}

// Count returns how many lines there have been. In a checked request, blank lines do not count.
func (l *Lines) Count() int { return l.count }

// Ready reports whether Next returns without waiting.
func (l *Lines) Ready() bool {
	for l.end < 0 && !l.atEnd {
		if !l.advance(false) {
			return false
		}
	}
	return true
}

// Next returns the next line, without white space around it and without its check; a blank line is empty. Its number is
// Count. Next fails with ErrLineTooLong for a line that counts, with ErrDamaged, with ErrNoRoom, or with io.EOF after the last line, also when
// the body has not ended as it should. The line is good until the next call.
func (l *Lines) Next() (line []byte, err error) {
	line, err = l.cut()
	switch tooLong := err == ErrLineTooLong; {
	case err != nil && !tooLong:
		return nil, err
	case !l.checked:
	case tooLong: // unless something on the way has joined two lines
		if !l.skipped.isWhole() {
			return nil, ErrDamaged
		}
	case len(line) == 0:
		return nil, nil
	default:
		if line, err = uncheck(line, l.count+1); err != nil {
			return nil, err
		}
	}
	l.count++
	return line, err
}

// cut returns the next line, blank or not.
func (l *Lines) cut() ([]byte, error) {
	if cap(l.kept) == 0 {
		l.endRoom() // of the line before
	}
	for l.end < 0 && !l.atEnd {
		l.advance(true)
	}
	line := l.kept
	switch {
	case l.noRoom:
		return nil, ErrNoRoom
	case l.end >= 0:
		rest := l.part[:l.end]
		if len(line) > 0 || l.tooLong || l.isTooLong(len(rest)) {
			if !l.keep(rest, true) {
				return nil, ErrNoRoom
			}
			line = l.kept
		} else {
			line = rest
		}
		l.part = l.part[l.end+1:]
		l.end = bytes.IndexByte(l.part, '\n')
	case l.in.Err() != io.EOF || len(line) == 0 && !l.tooLong: // what is left of a line that broke off is none
		return nil, io.EOF
	}
	tooLong := l.tooLong
	l.kept, l.tooLong = l.kept[:0], false
	if cap(l.kept) > minChunk { // or a request that says nothing more would go on holding it
		l.kept = nil
	}
	if tooLong {
		return nil, ErrLineTooLong
	}
	return bytes.TrimSpace(line), nil
}

// advance takes the next part of the body. It returns false if wait is false and there is none yet.
func (l *Lines) advance(wait bool) bool {
	if !l.keep(l.part, wait) {
		l.noRoom, l.atEnd = wait, l.atEnd || wait
		return wait
	}
	l.part = nil
	next, ok := l.in.next(l.chunk, cap(l.kept), wait)
	l.chunk = nil
	if !ok {
		l.atEnd = true
		return true
	}
	if next == nil {
		return false
	}
	l.chunk, l.part = next, next
	l.end = bytes.IndexByte(next, '\n')
	return true
}

// keep keeps a part of a line whose end is in a later part of the body, or which is too long. It returns false if there is no room; if
// wait is false, there may be some yet.
func (l *Lines) keep(part []byte, wait bool) bool {
	if !l.tooLong && l.isTooLong(len(l.kept)+len(part)) {
		l.tooLong = true
		if l.checked {
			l.skipped.begin(l.count + 1)
			l.skipped.add(l.kept)
		}
		l.kept = nil
		l.endRoom()
	}
	switch {
	case !l.tooLong:
		if need := len(l.kept) + len(part); need > cap(l.kept) && !l.grow(need, wait) {
			return false
		}
		l.kept = append(l.kept, part...)
	case l.checked:
		l.skipped.add(part)
	}
	return true
}

// grow makes room in kept for the beginning of a line that has so many bytes, which may be as many as a line may have. There is never
// room for more than that. It returns false if Room has none; see keep.
func (l *Lines) grow(need int, wait bool) bool {
	if cap(l.kept) == 0 {
		l.endRoom() // of the line before
	}
	was, size := cap(l.kept), max(2*cap(l.kept), minChunk)
	if l.max >= 0 {
		size = int(min(int64(size), l.max))
	}
	if body := l.in.config.Length; body > 0 {
		size = int(min(int64(size), body))
	}
	size = max(size, need)
	room := l.in.config.Room
	if room != nil && size > minChunk && !room.Line(int64(size), wait) {
		return false
	}
	l.kept = append(make([]byte, 0, size), l.kept...)
	if room != nil && was > minChunk {
		room.GiveLine(int64(was))
	}
	l.in.setBegun(cap(l.kept))
	return true
}

// endRoom gives back what the line has of the room.
func (l *Lines) endRoom() {
	if room := l.in.config.Room; room != nil {
		room.EndLine()
	}
}

func (l *Lines) isTooLong(n int) bool { return l.max >= 0 && int64(n) > l.max }
