package publisher

import (
	"cmp"
	"errors"
	"slices"

	"github.com/wspush/wspush/internal/bulk"
)

// item is one line of a Stream, until all its outcomes are known.
type item struct {
	to     [][]string // by alternative: what the line goes to, of which there is at least one
	end    []byte     // what comes after that in the line
	done   func(index int, a bulk.Answer, err error)
	seq    uint64 // the order in which items came
	failed int    // number of alternatives that could not be connected to
	resent bool
}

// line returns the line to send to one of the alternatives, and the number of its targets.
func (it *item) line(alternative int) (line []byte, targets int) {
	to := it.to[alternative]
	line, err := bulk.Address(make([]byte, 0, len(it.end)+len(`{"to":[]`)+len(to)*(len(to[0])+3)), to, it.end)
	if err != nil {
		panic(err) // parseAddress has checked that they are IDs or sealed IDs
	}
	return line, bulk.Line{To: to}.Targets()
}

// outcomes is what a request calls with those of the item.
func (l *lane) outcomes(it *item, alternative int) func(int, bulk.Answer, error) {
	return func(index int, a bulk.Answer, err error) {
		if err == nil {
			l.works(alternative)
		}
		if noCredential := (*credentialError)(nil); errors.As(err, &noCredential) {
			it.done(index, a, noCredential)
			return
		}
		if errors.Is(err, bulk.ErrNotSent) && a.Status == 0 && l.again(it, index == len(it.to[alternative])-1, errors.Is(err, bulk.ErrConnect)) {
			return
		}
		it.done(index, a, l.streamError(alternative, a, err))
	}
}

// again decides whether an item that was not sent is to be sent again. That is the same for all of its targets; the last of
// them puts it into the backlog.
func (l *lane) again(it *item, last, noConnection bool) bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	failed, resent := it.failed, it.resent
	if noConnection {
		failed++
		l.failed = true
	} else {
		if resent {
			return false
		}
		resent = true
	}
	if failed >= len(l.targets) || l.s.ctx.Err() != nil {
		return false
	}
	if last {
		it.failed, it.resent = failed, resent
		l.backlog = append(l.backlog, it)
		slices.SortStableFunc(l.backlog, func(a, b *item) int { return cmp.Compare(a.seq, b.seq) })
	}
	return true
}

// streamError returns the error of one target of a line, or nil if the message was written.
func (l *lane) streamError(alternative int, a bulk.Answer, err error) error {
	if err == nil && a.Status == 204 {
		return nil
	}
	l.s.mu.Lock()
	credential := l.credential
	l.s.mu.Unlock()
	o := l.targets[alternative].origin
	e := &Error{where: o.String()}
	if a.Status != 0 {
		e = errorOf(o, a, credential)
	}
	switch {
	case errors.Is(err, bulk.ErrLost):
		e.is, e.cause = ErrUnknown, safe(err, credential)
	case err != nil && (e.is == nil && a.Status == 0 || e.is == ErrUnknown):
		e.is, e.cause = ErrUnreachable, safe(err, credential)
	}
	return e
}
