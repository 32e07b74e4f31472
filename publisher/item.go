package publisher

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/wspush/wspush/internal/bulk"
)

// item is one line of a Stream, until all its outcomes are known.
type item struct {
	to     [][]string                                // by alternative: the line's targets, at least one; nil for a line to a user or a group
	end    []byte                                    // what comes after that in the line
	whole  []byte                                    // the line to a user or a group, which is the same for each alternative
	done   func(index int, a bulk.Answer, err error) // a has counts only if they are of the line
	seq    uint64                                    // the order in which items came
	failed int                                       // number of alternatives that could not be connected to
	holes  int                                       // requests that lost parts before they came to it
	resent bool                                      // it was sent once more for another reason

	confirmed bool // a line to a user or a group asks for that

	tries atomic.Int32 // how often it was given to a request
}

// attempts returns how often the item was sent. A message that was refused before it was one has no item.
func (it *item) attempts() int {
	if it == nil {
		return 0
	}
	return int(it.tries.Load())
}

// maxHoles is how many requests may lose an item. In a request that is sent whole nothing should be lost; the other may have
// found that out.
const maxHoles = 2

// line returns the line to send to one of the alternatives, and the number of its targets.
func (it *item) line(alternative int) (line []byte, targets int) {
	if it.whole != nil {
		return it.whole, 0
	}
	to := it.to[alternative]
	line, err := bulk.Address(make([]byte, 0, len(it.end)+len(`{"to":[]`)+len(to)*(len(to[0])+3)), to, it.end)
	if err != nil {
		panic(err) // parseAddress has checked that they are IDs or sealed IDs
	}
	return line, bulk.Line{To: to}.Targets()
}

// outcomesCount returns how many outcomes there will be.
func (it *item) outcomesCount() int {
	if it.whole != nil {
		return 1
	}
	return len(it.to[0])
}

// outcomes returns what a request calls with the outcomes of the item.
func (r *route) outcomes(it *item, alternative int) func(int, bulk.Answer, error) {
	return func(index int, a bulk.Answer, err error) {
		if err == nil {
			r.works(alternative)
		}
		if errors.Is(err, bulk.ErrNotSent) && a.Status == 0 && r.again(it, index == it.outcomesCount()-1, err) {
			return
		}
		it.done(index, a, r.streamError(it, alternative, a, err))
	}
}

// again decides whether an item that was not sent, for this reason, is sent again. The decision is the same for all of its
// targets; the last of them puts it into the backlog.
func (r *route) again(it *item, last bool, reason error) bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	failed, resent, holes := it.failed, it.resent, it.holes
	switch {
	case errors.Is(reason, bulk.ErrConnect):
		failed++
		r.failed = true
	case errors.Is(reason, bulk.ErrHole) && holes < maxHoles: // the next request is whole
		holes++
	case resent:
		return false
	default:
		resent = true
	}
	if failed >= len(r.targets) || r.s.ctx.Err() != nil {
		return false
	}
	if last {
		it.failed, it.resent, it.holes = failed, resent, holes
		r.backlog = append(r.backlog, it)
		slices.SortStableFunc(r.backlog, func(a, b *item) int { return cmp.Compare(a.seq, b.seq) })
	}
	return true
}

// streamError returns the error of one target of a line, or nil if the message was written.
func (r *route) streamError(it *item, alternative int, a bulk.Answer, err error) error {
	success, nonsense := http.StatusNoContent, error(nil)
	if it.whole != nil {
		success = statusDone
		if err == nil {
			_, nonsense = outcomesOf(a, it.confirmed)
		}
	}
	if err == nil && nonsense == nil {
		if _, isBuffered := bufferedFor(a); a.Status == success || isBuffered && it.whole == nil && a.Status == statusBuffered {
			return nil
		}
	}
	r.s.mu.Lock()
	credential := r.credential
	r.s.mu.Unlock()
	o := r.targets[alternative].origin
	e := &Error{where: o.String()}
	if a.Status != 0 {
		e = errorOf(o, a, credential)
	}
	switch {
	case nonsense != nil:
		e.is, e.cause = ErrUnknown, nonsense
	case errors.Is(err, bulk.ErrLost):
		e.is, e.cause = ErrUnknown, safe(err, credential)
	case err != nil && (e.is == nil && a.Status == 0 || e.is == ErrUnknown):
		e.is, e.cause = ErrUnreachable, safe(err, credential)
	}
	return e
}
