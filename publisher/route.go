package publisher

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/bulk"
)

// route is the way of all messages that have the same mounts to choose from: one bulk request at a time, so that they stay in
// order whichever alternative it goes to. Its fields are guarded by the Stream's lock.
type route struct {
	s       *Stream
	key     string
	targets []target // their IDs mean nothing
	users   int      // sends, and the route's goroutine; the route is forgotten when there are none
	used    uint64   // when it was last entered, as Stream.uses counts
	running bool     // its goroutine runs
	retired bool     // its request has been ended to make room for others

	current int           // the alternative of req, or of the next one
	req     *bulk.Request // nil if there is none, or the backlog goes first
	changed chan struct{} // closed, and replaced, when req changes
	backlog []*item       // what an earlier request has not sent, in order
	failed  bool          // there was no connection to current
	worked  bool          // req has been answered

	credential string // of the latest request, and of the HTTP requests that it takes
}

const (
	idleAfter  = time.Minute     // without lines
	patience   = 5 * time.Second // beyond Options.Timeout
	checkEvery = 5 * time.Second // how exact these times are
	maxPaths   = 16              // of one host, which have a request: paths come from the outside
	maxRoutes  = 64              // of one host, while those beyond maxPaths end
)

func routeKey(targets []target) string {
	if len(targets) == 1 {
		return targets[0].mount()
	}
	all := make([]string, len(targets))
	for i, t := range targets {
		all[i] = t.mount()
	}
	return strings.Join(all, " ")
}

// enter finds or makes a route. The caller must call leave when it is done with it.
func (s *Stream) enter(key string, targets []target) (*route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	r, ok := s.routes[key]
	if !ok {
		if !s.makeRoomLocked(targets[0].origin) {
			return nil, &Error{is: ErrBusy, where: targets[0].origin.String(), cause: errors.New("the Stream has requests for too many paths of this host")}
		}
		r = &route{s: s, key: key, targets: targets, changed: make(chan struct{}), current: s.c.memory.recall(targets)}
		s.routes[key] = r
	}
	r.users++
	s.uses++
	r.used = s.uses
	return r, nil
}

func (s *Stream) leave(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.leaveLocked()
}

func (r *route) leaveLocked() {
	if r.users--; r.users == 0 {
		delete(r.s.routes, r.key)
	}
}

// makeRoomLocked ends the request that has been idle for longest if a host has too many. It returns false if there is no room.
func (s *Stream) makeRoomLocked(o origin) bool {
	n := 0
	var oldest *route
	for _, r := range s.routes {
		if r.targets[0].origin != o {
			continue
		}
		n++
		if !r.retired && r.req != nil && r.users == 1 && (oldest == nil || r.used < oldest.used) {
			oldest = r
		}
	}
	if n >= maxPaths && oldest != nil {
		oldest.retired = true
		oldest.req.CloseSend()
	}
	return n < maxRoutes
}

// startLocked starts the route's goroutine, which has a backlog.
func (s *Stream) startLocked(r *route) error {
	if err := s.c.enter(); err != nil {
		r.backlog = nil
		return err
	}
	r.running = true
	r.users++
	s.running.Go(func() {
		defer s.c.running.Done()
		r.run()
	})
	return nil
}

// changeLocked has every send that waits for a request look again.
func (r *route) changeLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// run keeps the route's request, one after the other while there is a backlog.
func (r *route) run() {
	s := r.s
	for {
		s.mu.Lock()
		alternative := r.current
		r.failed, r.worked = false, false
		s.mu.Unlock()
		if r.prove() {
			r.exchange(alternative)
		}

		s.mu.Lock()
		r.req = nil
		if r.failed {
			r.current = (r.current + 1) % len(r.targets)
		}
		if len(r.backlog) == 0 {
			r.running, r.retired = false, false
			r.changeLocked()
			r.leaveLocked()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// prove gets the credential of the next request. Until then everything stays in the backlog, and can be withdrawn. If there is no
// credential, all of the backlog fails, and prove returns false; also if all of it has been withdrawn.
func (r *route) prove() bool {
	s := r.s
	ctx, cancel := s.c.within(s.ctx)
	defer cancel()
	credential, err := s.c.credential(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.credential = credential
	if err == nil {
		return len(r.backlog) > 0
	}
	for len(r.backlog) > 0 {
		it := r.backlog[0]
		s.mu.Unlock()
		for i := range it.outcomesCount() {
			it.done(i, bulk.Answer{}, err)
		}
		s.mu.Lock()
		r.withdrawLocked(it) // only now, so that a Push whose context ends meanwhile still finds that it was not sent
	}
	return false
}

// withdrawLocked takes an item out of the backlog. It returns false if it is not there.
func (r *route) withdrawLocked(it *item) bool {
	n := len(r.backlog)
	r.backlog = slices.DeleteFunc(r.backlog, func(other *item) bool { return other == it })
	return len(r.backlog) < n
}

// exchange keeps one request, which begins with the backlog, to its end.
func (r *route) exchange(alternative int) {
	s, target := r.s, r.targets[alternative]
	req := bulk.Open(s.ctx, bulk.Config{
		Client: s.c.bulk, NewRequest: func(body io.Reader) (*http.Request, error) { return r.request(target, body), nil },
		Limit: s.c.opts.MaxStreamBytes, Whole: s.c.memory.wholes.Has(target.origin.String()),
	})
	r.sendBacklog(req, alternative)
	r.attend(req)
	s.c.memory.wholes.Note(target.origin.String(), req)
}

// request makes an HTTP request, whose media type package bulk sets.
func (r *route) request(t target, body io.Reader) *http.Request {
	r.s.mu.Lock()
	credential := r.credential
	r.s.mu.Unlock()
	return &http.Request{
		Method: http.MethodPost, URL: t.bulkURL(), Host: t.host(), Header: header("", credential), Body: io.NopCloser(body),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
}

// give gives an item to a request, by that method of it.
func (r *route) give(it *item, alternative int, send func(line []byte, targets int, outcome func(int, bulk.Answer, error)) error) error {
	line, targets := it.line(alternative)
	it.tries.Add(1) // before an outcome can come
	err := send(line, targets, r.outcomes(it, alternative))
	if err != nil {
		it.tries.Add(-1)
	}
	return err
}

// sendBacklog sends what is to go first, and then lets others use the request. If there is no room for all of it, or the request
// has ended, the rest goes first on the next one.
func (r *route) sendBacklog(req *bulk.Request, alternative int) {
	s := r.s
	for {
		s.mu.Lock()
		if len(r.backlog) == 0 {
			r.req = req
			r.changeLocked()
			s.mu.Unlock()
			return
		}
		it := r.backlog[0]
		r.backlog = r.backlog[1:]
		s.mu.Unlock()
		if err := r.give(it, alternative, req.TrySend); err != nil {
			req.CloseSend()
			s.mu.Lock()
			r.backlog = append([]*item{it}, r.backlog...)
			s.mu.Unlock()
			return
		}
	}
}

// attend ends the request when it is idle or the stream is closed, and cuts it off when nothing is answered any more. It returns
// when the request is done.
func (r *route) attend(req *bulk.Request) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	closing := r.s.closing
	var last int64 // answers
	active, progress := time.Now(), time.Now()
	for {
		select {
		case <-req.Done():
			return
		case <-closing:
			req.CloseSend()
			closing = nil
		case now := <-tick.C:
			unanswered, answers := req.Progress()
			if unanswered > 0 || answers != last {
				active = now
			}
			if unanswered == 0 || answers != last {
				progress = now
			}
			last = answers
			limit := r.s.c.opts.Timeout
			switch {
			case now.Sub(active) >= idleAfter:
				req.CloseSend()
			case limit > 0 && now.Sub(progress) >= limit+patience:
				req.Close()
			}
		}
	}
}

// works remembers the alternative of a request, once it is answered.
func (r *route) works(alternative int) {
	r.s.mu.Lock()
	first := !r.worked
	r.worked = true
	r.s.mu.Unlock()
	if first {
		r.s.c.memory.remember(r.targets, r.targets[alternative])
	}
}
