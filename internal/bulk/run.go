package bulk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

const (
	headerTime  = time.Second     // from the request's header to the answer's, unless something on the way keeps one of them
	problemTime = 5 * time.Second // for the body of an answer that is no stream
)

// ending is how the request came to an end, for the lines that have no answer by then.
type ending struct {
	answer Answer
	whole  bool  // a worker answered the request as a whole: each of them gets that answer
	cause  error // otherwise: why they have no answer
	clean  bool  // the worker has read the first lines (the field below) and nothing after them
	lines  int   // how many lines the worker has read; only if clean
	failed error // what lines fail with that the worker has certainly not read: ErrNotSent, or an error that wraps it
}

func (r *Request) run(whole bool) {
	e := ending{cause: errLate}
	if !whole {
		e = r.stream()
	}
	if e.cause == errLate {
		e = r.sendWhole()
	}
	r.settle(e)
	r.cancel(ErrEnded)
	close(r.done)
}

// stream sends the request while lines come. If the header of the answer does not come in time, the cause of the end is errLate,
// and nothing has been handed out.
func (r *Request) stream() ending {
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(ErrEnded)
	late := time.AfterFunc(time.Hour, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.outlet == outletHeld {
			cancel(errLate)
		}
	})
	late.Stop() // until the request is on its way
	defer late.Stop()
	e := r.exchange(ctx, CheckedNDJSON, late)
	if context.Cause(ctx) == errLate {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.needsWhole = true
		return ending{cause: errLate}
	}
	return e
}

// sendWhole gathers lines, and sends them in a request that is answered when it has ended.
func (r *Request) sendWhole() ending {
	r.gather()
	r.mu.Lock()
	r.closeIntakeLocked()
	none := r.lines == 0
	if r.outlet == outletHeld {
		r.outlet = outletOpen
	}
	r.mu.Unlock()
	if none || r.ctx.Err() != nil {
		return ending{cause: context.Cause(r.ctx), failed: ErrNotSent}
	}
	return r.exchange(r.ctx, afterNDJSON, nil)
}

// gather waits until there is a line, and then for others: until gatherTime has passed, there is no room for more, or no more
// are accepted.
func (r *Request) gather() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for gathering := false; ; {
		r.mu.Lock()
		some, closed, full := r.lines > 0, r.intake == intakeClosed, len(r.waiting) > 0
		r.mu.Unlock()
		switch {
		case closed || full:
			return
		case some && !gathering:
			gathering = true
			timer.Reset(gatherTime)
		}
		select {
		case <-r.wake:
		case <-timer.C:
			if gathering {
				return
			}
		case <-r.ctx.Done():
			return
		}
	}
}

// exchange sends an HTTP request of that media type, and takes the answer to its end. late, if it is not nil, is started when the
// request is on its way.
func (r *Request) exchange(ctx context.Context, media string, late *time.Timer) ending {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(ErrEnded)
	reading := func() {}
	if late != nil {
		reading = func() { late.Reset(headerTime) }
	}
	resp, err := r.do(ctx, media, reading)
	answers := err == nil && resp.StatusCode == http.StatusOK && hasMedia(resp.Header, wire.NDJSON)
	r.mu.Lock()
	connected := r.isConnected
	switch {
	case r.outlet != outletHeld || ctx.Err() != nil:
	case answers:
		r.outlet = outletOpen
		r.admitLocked()
		r.signal()
	case err == nil:
		r.outlet = outletRefused
	}
	r.mu.Unlock()
	switch {
	case err != nil && !connected && ctx.Err() == nil:
		return ending{cause: withoutURL(err), failed: ErrConnect}
	case err != nil:
		return ending{cause: withoutURL(err), failed: ErrNotSent}
	}
	defer resp.Body.Close()
	defer cancel(ErrEnded) // before Close, which might otherwise wait for the rest of an answer
	if resp.StatusCode != http.StatusOK {
		return r.refused(resp, cancel)
	}
	if !answers {
		return ending{answer: Answer{Status: resp.StatusCode}, cause: errNoWorker, failed: ErrNotSent}
	}
	last, err := r.readAnswers(resp.Body, cancel)
	switch {
	case err != nil:
		return ending{cause: err, failed: ErrNotSent}
	case r.isDamaged(last):
		return ending{cause: errEnd, clean: true, lines: *last.Lines, failed: ErrHole}
	}
	return ending{cause: errEnd, clean: true, lines: *last.Lines, failed: ErrNotSent}
}

// isDamaged reports whether the last line of the answer shows that parts of the request have been lost: because it says so, or
// because the body that the worker has read to its end had fewer lines than were sent.
func (r *Request) isDamaged(last Answer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last.Type == TypeDamaged || last.Type == "" && *last.Lines < r.lines {
		r.needsWhole = true
		return true
	}
	return false
}

func (r *Request) do(ctx context.Context, media string, reading func()) (*http.Response, error) {
	b := &body{r, ctx, reading}
	req, err := r.newRequest(b)
	if err != nil {
		return nil, err
	}
	// A body of its own, whatever newRequest has made of it: without GetBody, the transport sends nothing twice.
	req.Body, req.GetBody, req.ContentLength = b, nil, -1
	req.Header.Set("Content-Type", media)
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity") // what is compressed comes late
	}
	return r.client.Do(req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.isConnected = true
		},
	})))
}

// refused finds out what an answer other than 200 means.
func (r *Request) refused(resp *http.Response, cancel context.CancelCauseFunc) ending {
	t := time.AfterFunc(problemTime, func() { cancel(errMalformed) })
	defer t.Stop()
	a, _ := ReadProblem(resp)
	e := ending{answer: a, cause: fmt.Errorf("%w (status %d)", errNoWorker, a.Status), failed: ErrNotSent}
	switch s := a.Status; {
	case a.OfWorker():
		e.whole = true
	case s == http.StatusRequestTimeout, s == http.StatusRequestEntityTooLarge:
		// A proxy may find this out while it passes the body on.
	case s >= 300 && s < 500:
		e.clean = true
	}
	return e
}

// readAnswers reads the answer, and returns its last line, which says how many lines of the request have been read.
func (r *Request) readAnswers(body io.Reader, cancel context.CancelCauseFunc) (last Answer, err error) {
	s := bufio.NewScanner(body)
	s.Buffer(make([]byte, 0, 4<<10), MaxAnswer)
	for s.Scan() {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		var a Answer
		if err := json.Unmarshal(line, &a); err != nil {
			return a, errMalformed // and not err, which may quote it
		}
		if a.Lines != nil {
			return a, r.finish(*a.Lines, body, cancel)
		}
		if !r.deliver(a) {
			return a, errMalformed
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return last, fmt.Errorf("%w: a line is longer than %d bytes", errMalformed, MaxAnswer)
	}
	if s.Err() != nil {
		return last, s.Err()
	}
	return last, errCutOff
}

// finish takes note of the last line of the answer, and ends the request, so that its connection can be used again.
func (r *Request) finish(lines int, body io.Reader, cancel context.CancelCauseFunc) error {
	r.mu.Lock()
	wrong := lines < r.last || lines > r.lines
	r.queue = nil // nobody reads it
	r.closeIntakeLocked()
	r.mu.Unlock()
	if wrong {
		return errMalformed
	}
	t := time.AfterFunc(problemTime, func() { cancel(ErrEnded) })
	defer t.Stop()
	_, _ = io.Copy(io.Discard, io.LimitReader(body, MaxAnswer))
	return nil
}

// deliver hands an answer to its target. False means that none waits for it.
func (r *Request) deliver(a Answer) bool {
	r.mu.Lock()
	p := r.unanswered[a.Line]
	first, n, ok := p.claimLocked(a)
	// Nobody can have read a line that was not sent, and so nobody can have answered it.
	if ok = ok && p.start < r.handed; !ok {
		r.mu.Unlock()
		return false
	}
	r.answers++
	r.last = max(r.last, a.Line)
	if p.left == 0 {
		delete(r.unanswered, a.Line)
		r.unansweredCost -= p.cost
		r.admitLocked()
	}
	r.mu.Unlock()
	for i := range n {
		p.done(first+i, a, nil)
	}
	return true
}

// claimLocked finds the targets that an answer is for.
func (p *unansweredLine) claimLocked(a Answer) (first, n int, ok bool) {
	switch {
	case p == nil || a.Status < 200 || a.Status > 599:
		return 0, 0, false
	case p.targets == 0:
		p.left = 0
		return 0, 1, a.Index == nil
	case a.Index == nil: // the line as a whole is refused
		n, p.left = p.left, 0
		return 0, n, n == p.targets && a.Status >= 400
	case *a.Index < 0 || *a.Index >= p.targets:
		return 0, 0, false
	}
	if p.has == nil {
		p.has = make([]bool, p.targets)
	}
	if p.has[*a.Index] {
		return 0, 0, false
	}
	p.has[*a.Index] = true
	p.left--
	return *a.Index, 1, true
}

// settle gives everything that is pending its outcome.
func (r *Request) settle(e ending) {
	r.mu.Lock()
	r.outlet, r.queue = outletStopped, nil
	r.closeIntakeLocked()
	left, handed := r.unanswered, r.handed
	r.unanswered, r.unansweredCost = make(map[int]*unansweredLine), 0
	r.mu.Unlock()

	notSent := fmt.Errorf("%w: %w", e.failed, e.cause)
	lost := fmt.Errorf("%w: %w", ErrLost, e.cause)
	if e.whole {
		notSent, lost = nil, nil
	}
	for _, number := range slices.Sorted(maps.Keys(left)) {
		p := left[number]
		err := lost
		switch {
		case p.start >= handed:
			err = notSent
		case e.clean && number > e.lines:
			err = notSent
		}
		for i := range max(p.targets, 1) {
			if p.has == nil || !p.has[i] {
				p.done(i, e.answer, err)
			}
		}
	}
}
