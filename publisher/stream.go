package publisher

import (
	"context"
	"errors"
	"sync"

	"github.com/wspush/wspush/internal/bulk"
)

// Stream pushes many messages over few requests: one bulk request for each worker and path, which begins with the first message
// and ends when there has been none for a minute. It is safe for concurrent use. The more is on its way at once, the less
// each message costs: push from many goroutines, or with Send or PushEach.
//
// Messages that are given one after the other, with the same address or for the same connection of the same list of hosts, are
// written in that order. Where an address has several alternatives, the one that worked last is taken, and the next only when
// there is no connection to it. A message that the worker has certainly not read, because the request ended before it, is sent
// once more; no other message is ever sent twice.
//
// There is one exception to the order: a message whose outcome is ErrUnknown may still arrive, late, after messages that were pushed
// later. Its request has been cut off, but a proxy may still hold a part of it, and the Stream does not wait for that.
//
// Some reverse proxies keep a request until it is whole, and some lose parts of one that is answered before it has ended. The
// Stream notices both before anything can be lost or written twice. It takes a second to notice. For five minutes it then sends
// to that host, one after the other, short chunked requests that are answered when they have ended.
//
// A Stream has requests for at most 16 paths of a host: for one more, it ends the request that has been unused for longest. If
// messages are on their way to so many paths at once that none can be ended, there may be 64. For one more, the error is
// ErrBusy.
type Stream struct {
	c       *Client
	ctx     context.Context // ends when the Client is closed
	closing chan struct{}   // closed by Close

	mu      sync.Mutex // guards what follows, and all routes
	closed  bool
	routes  map[string]*route
	uses    uint64 // of routes
	seq     uint64 // of items
	running sync.WaitGroup
}

// NewStream makes a Stream, which must be closed. It does nothing before the first push.
func (c *Client) NewStream() *Stream {
	return &Stream{c: c, ctx: c.ctx, closing: make(chan struct{}), routes: make(map[string]*route)}
}

// Push is Client.Push over the stream. If ctx ends while the message is under way, the error is an ErrUnknown that also matches
// ctx's error, and the message may still be written. If ctx ends before the message is under way, which includes the time that
// CredentialFunc takes, nothing was sent, and the error is ctx's.
func (s *Stream) Push(ctx context.Context, address string, typ MessageType, data []byte, opts ...PushOption) (Receipt, error) {
	o, began := options(opts), s.c.now()
	line := bulk.Line{Type: typ, Data: data, Confirm: o.Confirmed, Timeout: s.c.workerTimeout(ctx, o), Keep: o.Keep}
	within, cancel := s.c.within(ctx)
	defer cancel()
	receipt, attempts, err := await(within, s, func(done func(int, Receipt, error)) (string, *item, error) { return s.one(within, address, line, done) })
	s.c.tell(ctx, began, attempts, receipt.State, err)
	return receipt, err
}

// await sends an item, and waits for its outcome until ctx ends. It also returns how often the item was sent.
func await[T any](ctx context.Context, s *Stream, send func(done func(int, T, error)) (key string, it *item, err error)) (none T, attempts int, err error) {
	type result struct {
		value    T
		attempts int
		err      error
	}
	done := make(chan result, 1)
	key, it, err := send(func(attempts int, value T, err error) { done <- result{value, attempts, err} })
	if err != nil {
		return none, it.attempts(), err
	}
	select {
	case r := <-done:
		return r.value, r.attempts, r.err
	case <-ctx.Done():
	}
	withdrawn := s.withdraw(key, it)
	select {
	case r := <-done:
		return r.value, r.attempts, r.err
	default:
		if withdrawn {
			return none, it.attempts(), ended(ctx)
		}
		return none, it.attempts(), &Error{is: ErrUnknown, cause: safe(ctx.Err(), "")}
	}
}

// Send queues a message, and calls done once with what Push would have returned: on a goroutine of the Stream, which done must
// not block, and from which it must call no method of the Stream or the Client. While too much is unanswered
// (Options.MaxStreamBytes), Send waits. If it returns an error, which is one that Push returns before anything is sent, done is
// never called. ctx bounds the wait; its deadline also bounds that of the worker. data is not kept.
func (s *Stream) Send(ctx context.Context, address string, typ MessageType, data []byte, done func(Receipt, error), opts ...PushOption) error {
	o, began := options(opts), s.c.now()
	line := bulk.Line{Type: typ, Data: data, Confirm: o.Confirmed, Timeout: s.c.workerTimeout(ctx, o), Keep: o.Keep}
	_, it, err := s.one(ctx, address, line, func(attempts int, receipt Receipt, err error) {
		s.c.tell(ctx, began, attempts, receipt.State, err)
		done(receipt, err)
	})
	if err != nil {
		s.c.tell(ctx, began, it.attempts(), "", err)
	}
	return err
}

// one sends a line to one connection, as an item of the route of that key. done also gets how often it was sent.
func (s *Stream) one(ctx context.Context, address string, line bulk.Line, done func(attempts int, r Receipt, err error)) (key string, it *item, err error) {
	targets, err := s.c.targets(address)
	if err != nil {
		return "", nil, err
	}
	end, err := bulk.AppendEnd(nil, line)
	if err != nil {
		return "", nil, err
	}
	it = &item{to: make([][]string, len(targets)), end: end, done: func(_ int, a bulk.Answer, err error) {
		if err != nil {
			done(it.attempts(), Receipt{}, err)
			return
		}
		done(it.attempts(), receiptOf(line.Confirm, a), nil)
	}}
	for i, t := range targets {
		it.to[i] = []string{t.id}
	}
	key = routeKey(targets)
	return key, it, s.send(ctx, key, targets, it)
}

// withdraw takes back an item that no request has taken. It returns false if one has.
func (s *Stream) withdraw(key string, it *item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.routes[key]
	return ok && r.withdrawLocked(it)
}

// send puts an item into the request of its route, and waits until there is one, and room in it.
func (s *Stream) send(ctx context.Context, key string, targets []target, it *item) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	r, err := s.enter(key, targets)
	if err != nil {
		return err
	}
	defer s.leave(r)
	for {
		s.mu.Lock()
		if it.seq == 0 {
			s.seq++
			it.seq = s.seq
		}
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		if !r.running {
			// The new request begins with this item: there may be no time for more, if it ends at once.
			r.backlog = append(r.backlog, it)
			err := s.startLocked(r)
			s.mu.Unlock()
			return err
		}
		req, alternative, changed := r.req, r.current, r.changed
		s.mu.Unlock()
		if req != nil {
			switch err := r.give(it, alternative, func(line []byte, targets int, outcome func(int, bulk.Answer, error)) error {
				return req.Send(ctx, line, targets, outcome)
			}); {
			case err == nil:
				return nil
			case !errors.Is(err, bulk.ErrEnded):
				return ended(ctx)
			}
		}
		// What the ended request has not sent goes first, on the next one.
		select {
		case <-changed:
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

// Close ends the stream: messages that come later, and those for which Send or Push still waits for room, fail with
// ErrClosed; for all others it waits until their outcome is known. It returns nil, and may be called more than once.
func (s *Stream) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
		for _, r := range s.routes {
			r.changeLocked()
		}
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}
