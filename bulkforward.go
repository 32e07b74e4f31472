package wspush

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	bulkclient "github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// bulkHop sends on those lines of a bulk request whose connections one other worker holds: in a bulk request to that worker,
// which lasts as long as they come.
type bulkHop struct {
	request *bulkclient.Request
	used    time.Time
	timer   *time.Timer // cuts it off when the other worker answers nothing any more; nil: never
	timeout time.Duration
	stuck   bool // it made no room for a line in hopPatience
}

const (
	hopHeld     = bulkHeld / 2 // of one other worker's lines
	hopPatience = time.Second  // for room, while everyone waits; after that a worker is stuck, and its lines are refused
)

// forward sends a line, or one target of it, on to the worker that holds the connection.
func (b *bulk) forward(to string, place *seal.Place, answer answerTo, p linePush, cost int) {
	line, err := bulkclient.AppendLine(nil, bulkclient.Line{
		To: []string{to}, Type: p.typ, Data: p.data, Confirm: p.confirm, Timeout: p.timeout,
	})
	if err != nil {
		b.refusePush(answer, err)
		return
	}
	b.makeRoom(cost, 1)
	b.worker.shared.count.forwarded.Add(1)
	for again := false; ; again = true {
		h, problem := b.hopTo(place)
		if problem == nil {
			err = h.send(b, line, func(_ int, a bulkclient.Answer, err error) { b.forwarded(h, place, answer, p.confirm, cost, a, err) })
			if errors.Is(err, bulkclient.ErrEnded) && !again { // just now
				delete(b.hops, place.Address)
				continue
			}
			if err != nil {
				problem = b.worker.cluster.full()
			}
		}
		if problem != nil {
			b.settleForwarded(answer, problem, cost)
		}
		return
	}
}

// hopTo returns the request to that worker, and begins it if there is none.
func (b *bulk) hopTo(place *seal.Place) (*bulkHop, *problem) {
	c := b.worker.cluster
	h := b.hops[place.Address]
	if h != nil && time.Since(h.used) > forwardIdle { // the other worker may be about to end it
		h.request.CloseSend()
		h = nil
	}
	if h == nil {
		if !c.enter() {
			return nil, c.full()
		}
		h = new(bulkHop)
		if limit := b.worker.opts.PushTimeout; limit > 0 {
			h.timeout = max(limit, maxTimeout) + forwardMargin
			h.timer = time.AfterFunc(h.timeout, func() { h.request.Close() })
			h.timer.Stop() // until a line is sent
		}
		out := &outgoing{kind: hopHTTP, method: http.MethodPost, place: place, path: b.mount, name: marker, header: http.Header{}}
		out.header.Set("Content-Type", wire.NDJSON)
		via := &provingTransport{cluster: c}
		h.request = bulkclient.Open(b.ctx, &http.Client{Transport: via}, func(body io.Reader) (*http.Request, error) {
			r, proof, err := c.request(out)
			if err == nil {
				r.Body, via.proof = io.NopCloser(body), proof
			}
			return r, err
		}, hopHeld)
		if b.hops == nil {
			b.hops = make(map[string]*bulkHop)
		}
		b.hops[place.Address] = h
		b.hopping.Go(func() {
			defer c.leave()
			<-h.request.Done()
			if h.timer != nil {
				h.timer.Stop()
			}
		})
	}
	h.used = time.Now()
	return h, nil
}

// send sends a line. It waits for room only as long as the other worker makes some.
func (h *bulkHop) send(b *bulk, line []byte, done func(int, bulkclient.Answer, error)) error {
	err := h.request.TrySend(line, 0, done)
	if errors.Is(err, bulkclient.ErrFull) && !h.stuck {
		b.flush() // rather than have others wait, too
		ctx, cancel := context.WithTimeout(b.ctx, hopPatience)
		defer cancel()
		err = h.request.Send(ctx, line, 0, done)
	}
	h.stuck = err != nil
	if err == nil && h.timer != nil {
		h.timer.Reset(h.timeout)
	}
	return err
}

// forwarded answers a line with what the other worker has.
func (b *bulk) forwarded(h *bulkHop, place *seal.Place, to answerTo, confirm bool, cost int, a bulkclient.Answer, err error) {
	if h.timer != nil && err == nil {
		h.timer.Reset(h.timeout)
	}
	switch {
	case err == nil && a.Status == http.StatusNoContent:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.output.written(to, confirm, a.RoundTrip(), cost)
		b.settledOne()
		return
	case err == nil && a.OfWorker():
		p := &problem{Status: a.Status, Type: a.Type, Detail: a.Detail, Connection: a.Connection, header: http.Header{}}
		if a.RetryAfter > 0 {
			p.header.Set("Retry-After", strconv.Itoa(retryAfter))
		}
		b.settleForwarded(to, p, cost)
		return
	case errors.Is(err, bulkclient.ErrNotSent), errors.Is(err, errNotWorker):
		err = ErrUnreachable
	default:
		err = errUnknownHop
	}
	b.worker.logForward(place, err)
	b.settleForwarded(to, problemOf(err), cost)
}

func (b *bulk) settleForwarded(to answerTo, p *problem, cost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output.problem(to, p, cost)
	b.settledOne()
}

// endHops says that no more lines come.
func (b *bulk) endHops() {
	for _, h := range b.hops {
		h.request.CloseSend()
	}
}

// provingTransport is the transport of one request to another worker, whose answer must be proved to be that worker's.
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
		return nil, errNotWorker
	}
	return resp, nil
}
