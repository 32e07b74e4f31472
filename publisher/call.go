package publisher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/sent"
)

// call is a request for one connection, or for the members of a user or a group.
type call struct {
	method  string
	query   string
	media   string // of data
	data    []byte // nil: no body
	success int    // the status of success
	buffers bool   // a session may also take it: statusBuffered
	reads   bool   // it changes nothing, so it may be sent any number of times
	limit   int    // bytes of the body of a success; 0: bulk.MaxAnswer

	url       func(target) *url.URL // without the query; nil: the target's
	anyWorker bool                  // the targets are different workers, of which any may know the answer

	credential string // set by begin
	attempts   *int   // counts them; may be nil

	answered func(t target, success bool, h http.Header) // called with the header of a worker's answer; may be nil
}

const (
	maxStale    = 16              // kept connections that turn out to be closed before anything was sent
	problemTime = 5 * time.Second // for reading the body of a refusal
)

// reply is what a server has answered.
type reply struct {
	from       origin
	header     http.Header // of a success
	isBuffered bool        // a success of statusBuffered
	body       []byte      // of a success
	problem    bulk.Answer // if it is none
}

// unknown is the error of a call whose answer makes no sense, for that reason.
func (a reply) unknown(reason error) error {
	status := a.problem.Status
	if status == 0 {
		status = http.StatusOK
	}
	return &Error{Status: status, is: ErrUnknown, where: a.from.String(), cause: reason}
}

// do sends a request to the connection that has this address, wherever it is now.
func (c *Client) do(ctx context.Context, address string, k call) (reply, error) {
	targets, err := c.targets(address)
	if err != nil {
		return reply{}, err
	}
	ctx, end, err := c.begin(ctx, &k)
	if err != nil {
		return reply{}, err
	}
	defer end()
	return c.follow(ctx, address, targets, k)
}

// ask sends a request to one of several workers.
func (c *Client) ask(ctx context.Context, targets []target, k call) (reply, error) {
	ctx, end, err := c.begin(ctx, &k)
	if err != nil {
		return reply{}, err
	}
	defer end()
	a, err, _ := c.tryAll(ctx, targets, k)
	return a, err
}

// begin counts a call, bounds it, and gets its credential. Unless it fails, the caller must call end.
func (c *Client) begin(ctx context.Context, k *call) (_ context.Context, end func(), err error) {
	if err := c.enter(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := c.within(ctx)
	end = func() {
		cancel()
		c.running.Done()
	}
	if k.credential, err = c.credential(ctx); err != nil {
		end()
		return nil, nil, err
	}
	return ctx, end, nil
}

// tryAll tries targets for as long as it is certain that nothing has been written. If it fails, next says whether that still is, and another
// address may do better.
func (c *Client) tryAll(ctx context.Context, targets []target, k call) (best reply, result error, next bool) {
	first := c.memory.recall(targets)
	for i := range targets { // result is the most telling error so far
		t := targets[i]
		switch { // the one that worked last, then the others in order
		case i == 0:
			t = targets[first]
		case i <= first:
			t = targets[i-1]
		}
		a, err, next := c.try(ctx, t, k)
		if err == nil {
			c.memory.remember(targets, t)
			return a, nil, false
		}
		if !next {
			if e := (*Error)(nil); errors.As(err, &e) && e.Type != "" {
				c.memory.remember(targets, t)
			}
			return a, err, false
		}
		if result == nil || !errors.Is(result, ErrGone) && (errors.Is(err, ErrGone) || status(err) != 0 || status(result) == 0) {
			best, result = a, err
		}
	}
	return best, result, true
}

func status(err error) int {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// try sends the request to one target. If that fails, next says whether the next target may be tried.
func (c *Client) try(ctx context.Context, t target, k call) (a reply, err error, next bool) {
	for range maxStale {
		if ctx.Err() != nil {
			return reply{}, ended(ctx), false
		}
		var tr sent.Trace
		trying, cancel := context.WithCancel(ctx)
		if k.attempts != nil {
			*k.attempts++
		}
		resp, failed := c.transport.RoundTrip(c.request(tr.Attach(trying), t, k))
		if failed == nil {
			a, err, next := c.answer(ctx, cancel, t, k, resp)
			cancel()
			return a, err, next
		}
		cancel()
		isSent, stale := tr.Sent()
		switch {
		case isSent && k.reads, !isSent && !stale && ctx.Err() == nil:
			return reply{}, &Error{is: ErrUnreachable, where: t.origin.String(), cause: safe(failed, k.credential)}, ctx.Err() == nil
		case isSent:
			if ctx.Err() != nil {
				failed = ctx.Err()
			}
			return reply{}, &Error{is: ErrUnknown, where: t.origin.String(), cause: safe(failed, k.credential)}, false
		}
		err = failed
	}
	return reply{}, &Error{is: ErrUnreachable, where: t.origin.String(), cause: safe(err, k.credential)}, true
}

// answer reads a response.
func (c *Client) answer(ctx context.Context, cancel func(), t target, k call, resp *http.Response) (a reply, err error, next bool) {
	defer resp.Body.Close()
	isBuffered := false
	if k.buffers && resp.StatusCode == statusBuffered {
		_, isBuffered = bufferedIn(resp.Header)
	}
	if resp.StatusCode == k.success || isBuffered {
		limit := cmp.Or(k.limit, bulk.MaxAnswer)
		body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
		if k.success == http.StatusOK && (err != nil || len(body) > limit) { // the body is the answer
			if ctx.Err() != nil {
				err = ctx.Err()
			} else if err == nil {
				err = errors.New("the answer is too long")
			}
			is := ErrUnreachable
			if !k.reads {
				is = ErrUnknown
			}
			return reply{}, &Error{Status: resp.StatusCode, is: is, where: t.origin.String(), cause: safe(err, k.credential)}, k.reads && ctx.Err() == nil
		}
		if k.answered != nil {
			k.answered(t, true, resp.Header)
		}
		return reply{from: t.origin, header: resp.Header, isBuffered: isBuffered, body: body}, nil, false
	}
	p := bulk.Answer{Status: resp.StatusCode}
	if p.Status >= 200 { // the body of a 101 has no end
		timer := time.AfterFunc(problemTime, cancel)
		defer timer.Stop()
		p, _ = bulk.ReadProblem(resp)
	}
	if k.answered != nil && p.OfWorker() {
		k.answered(t, false, resp.Header)
	}
	e := errorOf(t.origin, p, k.credential)
	next = mayTryNext(p, k.anyWorker)
	if k.reads && errors.Is(e, ErrUnknown) {
		e.is, next = ErrUnreachable, true
	}
	e.cause = safe(ctx.Err(), k.credential)
	return reply{from: t.origin, problem: p}, e, next && ctx.Err() == nil
}

// request makes the HTTP request. It has no GetBody: with one, the transport may send it again after an HTTP/2 reset, although the
// server may have read it. The body is a copy, since the transport may still read it after the call.
func (c *Client) request(ctx context.Context, t target, k call) *http.Request {
	at := target.url
	if k.url != nil {
		at = k.url
	}
	req := &http.Request{
		Method: k.method, URL: at(t), Host: t.host(), Header: header(k.media, k.credential),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	req.URL.RawQuery = k.query
	if k.data != nil {
		req.Body = io.NopCloser(bytes.NewReader(bytes.Clone(k.data)))
		req.ContentLength = int64(len(k.data)) // where 0 means that it is chunked
	}
	return req.WithContext(ctx)
}

func header(media, credential string) http.Header {
	h := http.Header{"User-Agent": {"wspush-publisher"}}
	if media != "" {
		h.Set("Content-Type", media)
	}
	if credential != "" {
		h.Set("Authorization", "Bearer "+credential)
	}
	return h
}
