package bulk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

const (
	headerTime  = time.Second     // from the first line to the header of the answer, unless something keeps the request
	problemTime = 5 * time.Second // for the body of an answer that is no stream
)

// end is how the request came to an end, for the lines that have no answer by then.
type end struct {
	answer Answer
	whole  bool  // answer goes to each of them
	cause  error // otherwise
	clean  bool  // what comes after the first lines was not read
	lines  int   // so many
	failed error // what has not been handed out fails with
}

func (r *Request) run() {
	var others sync.WaitGroup
	others.Go(r.watchHeader)
	e := r.exchange()
	r.settle(e)
	r.cancel(ErrEnded)
	others.Wait()
	close(r.done)
}

// watchHeader ends the body if the header of the answer does not come, since it may be waiting for that end.
func (r *Request) watchHeader() {
	select {
	case <-r.handing:
	case <-r.answered:
		return
	}
	t := time.NewTimer(headerTime)
	defer t.Stop()
	select {
	case <-r.answered:
	case <-t.C:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.late = true
		r.closeSend()
	}
}

// exchange sends the request and takes the answer, to its end.
func (r *Request) exchange() end {
	resp, err := r.do()
	close(r.answered)
	r.mu.Lock()
	connected := r.connected
	r.buffered = r.late && err == nil
	r.mu.Unlock()
	switch {
	case err != nil && !connected && r.ctx.Err() == nil:
		return end{cause: withoutURL(err), failed: ErrConnect}
	case err != nil:
		return end{cause: withoutURL(err), failed: ErrNotSent}
	}
	defer resp.Body.Close()
	defer r.cancel(ErrEnded) // before Close, which might otherwise wait for the rest of an answer
	if resp.StatusCode != http.StatusOK {
		return r.refused(resp)
	}
	if !hasMedia(resp.Header, wire.NDJSON) {
		return end{answer: Answer{Status: resp.StatusCode}, cause: errNoWorker, failed: ErrNotSent}
	}
	lines, err := r.readAnswers(resp.Body)
	if err != nil {
		return end{cause: err, failed: ErrNotSent}
	}
	return end{cause: errEnd, clean: true, lines: lines, failed: ErrNotSent}
}

func (r *Request) do() (*http.Response, error) {
	req, err := r.newRequest(body{r})
	if err != nil {
		return nil, err
	}
	// A body of its own, whatever newRequest has made of it: without GetBody, the transport sends nothing twice.
	req.Body, req.GetBody, req.ContentLength = body{r}, nil, -1
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity") // what is compressed comes late
	}
	return r.client.Do(req.WithContext(httptrace.WithClientTrace(r.ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.connected = true
		},
	})))
}

// refused finds out what an answer other than 200 means.
func (r *Request) refused(resp *http.Response) end {
	t := time.AfterFunc(problemTime, func() { r.cancel(errMalformed) })
	defer t.Stop()
	a, _ := ReadProblem(resp)
	e := end{answer: a, cause: fmt.Errorf("%w (status %d)", errNoWorker, a.Status), failed: ErrNotSent}
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

// readAnswers reads the answer, whose last line says how many lines of the request have been read.
func (r *Request) readAnswers(body io.Reader) (lines int, err error) {
	s := bufio.NewScanner(body)
	s.Buffer(make([]byte, 0, 4<<10), MaxAnswer)
	for s.Scan() {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		var a Answer
		if err := json.Unmarshal(line, &a); err != nil {
			return 0, errMalformed // and not err, which may quote it
		}
		if a.Lines != nil {
			return *a.Lines, r.end(*a.Lines, body)
		}
		if !r.answer(a) {
			return 0, errMalformed
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return 0, fmt.Errorf("%w: a line is longer than %d bytes", errMalformed, MaxAnswer)
	}
	if s.Err() != nil {
		return 0, s.Err()
	}
	return 0, errCutOff
}

// end takes the last line of the answer, and ends the request, so that its connection can be used again.
func (r *Request) end(lines int, body io.Reader) error {
	r.mu.Lock()
	wrong := lines < r.last || lines > r.lines
	r.queue = nil // nobody reads it
	r.closeSend()
	r.mu.Unlock()
	if wrong {
		return errMalformed
	}
	t := time.AfterFunc(problemTime, func() { r.cancel(ErrEnded) })
	defer t.Stop()
	_, _ = io.Copy(io.Discard, io.LimitReader(body, MaxAnswer))
	return nil
}

// answer hands an answer to its target. False means that there is none that waits for it.
func (r *Request) answer(a Answer) bool {
	r.mu.Lock()
	p := r.pending[a.Line]
	first, n, ok := p.take(a)
	// Nobody can have read a line that is not sent, and so nobody can have answered it.
	if ok = ok && p.start < r.handed; !ok {
		r.mu.Unlock()
		return false
	}
	r.answers++
	r.last = max(r.last, a.Line)
	if p.left == 0 {
		delete(r.pending, a.Line)
		r.unanswered -= p.cost
		r.admit()
	}
	r.mu.Unlock()
	for i := range n {
		p.done(first+i, a, nil)
	}
	return true
}

// take finds the targets that an answer is for.
func (p *pending) take(a Answer) (first, n int, ok bool) {
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
func (r *Request) settle(e end) {
	r.mu.Lock()
	r.settled = true
	r.queue = nil
	r.closeSend()
	left, handed := r.pending, r.handed
	r.pending, r.unanswered = make(map[int]*pending), 0
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
