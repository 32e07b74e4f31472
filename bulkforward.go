package wspush

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// bulkHop forwards the lines of a bulk request whose connections one other worker holds: in a bulk request to that worker, which
// lasts as long as such lines come.
type bulkHop struct {
	request *bulk.Request
	timeout time.Duration // for an answer; 0: there is no limit
	stuck   bool          // it made no room for a line, or did not end, within hopPatience

	logging sync.Once // says that it has failed

	mu    sync.Mutex  // guards when timer ends: it is held from the look at request.Progress until timer is set accordingly
	timer *time.Timer // runs expire; made by openHop before anyone else has the bulkHop
}

const (
	hopHeld     = bulkHeld / 2     // of one other worker's lines
	hopPatience = 3 * time.Second  // for a worker while all others wait; after that its lines are refused. It takes 1 s to find out that it needs whole requests
	hopIdle     = 10 * time.Second // without lines; after that the request to the other worker ends
)

// Why a line is not sent to the other worker.
var (
	errHopStuck = errors.New("wspush: the other worker does not take the line in time")
	errNoHop    = errors.New("wspush: too many requests are being forwarded")
)

// hopLine is the part of a line that goes to one other worker: the same message to one connection, or to several.
type hopLine struct {
	place *seal.Place
	to    []string
	keys  []bulk.Key
	bytes int // of to in the line
}

// What a line to another worker has at most.
const (
	maxHopTargets = 1000
	maxHopBytes   = 48 << 10 // of targets; maxLine allows 64 KiB beyond the message
)

// addHop adds a target to the line for its worker, and sends the line on when it has enough of them.
func (b *bulkRequest) addHop(lines []*hopLine, place *seal.Place, to string, key bulk.Key, p linePush) []*hopLine {
	i := slices.IndexFunc(lines, func(l *hopLine) bool { return l.place.Address == place.Address })
	if i < 0 {
		i, lines = len(lines), append(lines, &hopLine{place: place})
	}
	l := lines[i]
	l.to, l.keys, l.bytes = append(l.to, to), append(l.keys, key), l.bytes+len(to)+len(`"",`)
	if len(l.to) < maxHopTargets && l.bytes < maxHopBytes {
		return lines
	}
	b.forward(l, p)
	return slices.Delete(lines, i, i+1)
}

// forward sends a line to the worker that holds its connections.
func (b *bulkRequest) forward(l *hopLine, p linePush) {
	line := bulk.Line{To: l.to, Type: p.typ, Data: p.data, Confirm: p.confirm, Timeout: p.timeout}
	text, err := bulk.AppendLine(nil, line)
	if err != nil {
		for _, key := range l.keys {
			b.refusePush(key, err)
		}
		return
	}
	cost := len(text)/len(l.to) + pushCost // of each target
	b.makeRoom(cost*len(l.to), len(l.to))
	count := &b.worker.shared.count
	count.forwarded.Add(uint64(len(l.to)))
	if err := b.sendTo(l.place, text, line.Targets(), func(h *bulkHop, i int, a bulk.Answer, err error) {
		h.setTimer(false)
		b.forwarded(h, l, l.keys[i], p.confirm, cost, a, err)
	}); err != nil {
		p := b.worker.cluster.full()
		if err != errNoHop {
			p.Detail = "the worker that holds the connection does not take the line in time; nothing was written"
		}
		for _, key := range l.keys {
			count.forwardsFailed.full.Add(1)
			b.settleForwarded(key, p, cost)
		}
	}
}

// sendTo sends a line in the request to that worker, and begins one if there is none.
func (b *bulkRequest) sendTo(place *seal.Place, line []byte, targets int, done func(*bulkHop, int, bulk.Answer, error)) error {
	for {
		h := b.hops[place.Address]
		if h == nil {
			var err error
			if h, err = b.openHop(place); err != nil {
				return err
			}
		}
		err := h.send(b, line, targets, func(i int, a bulk.Answer, err error) { done(h, i, a, err) })
		if !errors.Is(err, bulk.ErrEnded) {
			return err
		}
		// The lines of the next request must not overtake those of this one.
		if !h.isOver(b) {
			return errHopStuck
		}
		b.worker.cluster.wholes.Note(place.Address, h.request)
		delete(b.hops, place.Address)
	}
}

// openHop begins a request to that worker.
func (b *bulkRequest) openHop(place *seal.Place) (*bulkHop, error) {
	c := b.worker.cluster
	select {
	case c.hops <- struct{}{}:
	default:
		return nil, errNoHop
	}
	h := new(bulkHop)
	if limit := b.worker.opts.PushTimeout; limit > 0 {
		h.timeout = max(limit, maxTimeout) + forwardMargin
	}
	out := &outgoing{kind: hopHTTP, method: http.MethodPost, place: place, path: b.mount, name: wire.Marker, header: http.Header{}}
	via := &provingTransport{cluster: c}
	h.request = bulk.Open(b.ctx, bulk.Config{
		Client: &http.Client{Transport: via},
		NewRequest: func(body io.Reader) (*http.Request, error) {
			r, proof, err := c.request(out)
			if err == nil {
				r.Body, via.proof = io.NopCloser(body), proof
			}
			return r, err
		},
		Limit: hopHeld, Whole: c.wholes.Has(place.Address),
	})
	h.timer = time.AfterFunc(hopIdle, h.expire)
	if b.hops == nil {
		b.hops = make(map[string]*bulkHop)
	}
	b.hops[place.Address] = h
	b.hopping.Go(func() {
		<-h.request.Done()
		c.wholes.Note(place.Address, h.request)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.timer.Stop()
		<-c.hops
	})
	return h, nil
}

// send sends a line. It waits for room only as long as the other worker makes some.
func (h *bulkHop) send(b *bulkRequest, line []byte, targets int, done func(int, bulk.Answer, error)) error {
	err := h.request.TrySend(line, targets, done)
	if errors.Is(err, bulk.ErrFull) && !h.stuck {
		b.flush() // rather than have others wait, too
		ctx, cancel := context.WithTimeout(b.ctx, hopPatience)
		defer cancel()
		err = h.request.Send(ctx, line, targets, done)
	}
	switch {
	case err == nil:
		h.stuck = false
		h.setTimer(true)
	case !errors.Is(err, bulk.ErrEnded):
		h.stuck = true
	}
	return err
}

// isOver waits for the outcomes of a request that takes no more lines, unless it has kept others waiting before. It reports
// whether they are all known.
func (h *bulkHop) isOver(b *bulkRequest) bool {
	select {
	case <-h.request.Done():
		return true
	default:
	}
	if h.stuck {
		return false
	}
	b.flush()
	timer := time.NewTimer(hopPatience)
	defer timer.Stop()
	select {
	case <-h.request.Done():
		return true
	case <-timer.C:
	case <-b.ctx.Done():
	}
	h.stuck = true
	return false
}

// setTimer sets the timer when a line has been sent or answered. A line that was sent does not change it if others wait for
// their answers already.
func (h *bulkHop) setTimer(sent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch unanswered, _ := h.request.Progress(); {
	case unanswered == 0:
		h.timer.Reset(hopIdle)
	case sent && unanswered > 1:
	case h.timeout > 0:
		h.timer.Reset(h.timeout)
	default:
		h.timer.Stop()
	}
}

// expire ends a request that is idle, and cuts off one that the other worker no longer answers.
func (h *bulkHop) expire() {
	if unanswered, _ := h.request.Progress(); unanswered == 0 {
		h.request.CloseSend()
	} else {
		h.request.Close()
	}
}

// forwarded answers a target of a line with the other worker's answer.
func (b *bulkRequest) forwarded(h *bulkHop, l *hopLine, key bulk.Key, confirm bool, cost int, a bulk.Answer, err error) {
	switch {
	case err == nil && a.Status == http.StatusNoContent:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.output.writtenLocked(key, confirm, a.RoundTrip(), cost)
		b.settledOneLocked()
		return
	case err == nil && a.OfWorker():
		p := &problem{Status: a.Status, Type: a.Type, Detail: a.Detail, Connection: a.Connection, header: http.Header{}}
		if a.RetryAfter > 0 {
			p.header.Set("Retry-After", strconv.Itoa(retryAfter))
		}
		b.settleForwarded(key, p, cost)
		return
	}
	outcome := errUnknownHop
	if errors.Is(err, bulk.ErrNotSent) || errors.Is(err, errRefused) {
		outcome = ErrUnreachable
	}
	b.worker.shared.count.forward(outcome)
	b.settleForwarded(key, problemOfPush(outcome, confirm), cost)
	h.logging.Do(func() {
		defer func() { _ = recover() }() // a panic of the application's Logger would end the process: no handler is above
		b.worker.logForward(l.place, err)
	})
}

func (b *bulkRequest) settleForwarded(key bulk.Key, p *problem, cost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output.problemLocked(key, p, cost)
	b.settledOneLocked()
}

// provingTransport is the transport of one bulkHop. It takes only an answer that proves to be the other worker's.
type provingTransport struct {
	cluster *cluster
	proof   string
}

func (t *provingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.cluster.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if _, ok := t.cluster.verifyAnswer(resp.Header, t.proof); !ok {
		resp.Body.Close()
		return nil, notWorker(resp.StatusCode)
	}
	return resp, nil
}
