package publisher

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// lane is the way of all messages that have the same mounts to choose from: one bulk request at a time, so that they stay in
// order, whichever alternative it goes to. Its fields are guarded by the Stream's lock.
type lane struct {
	s       *Stream
	key     string
	targets []target // their IDs mean nothing
	users   int      // sends, and its goroutine; the lane is forgotten when there are none
	used    uint64   // when, as Stream.uses counts
	running bool     // its goroutine is
	retired bool     // its request has been ended to make room for others

	current int           // the alternative of req, or of the next one
	req     *bulk.Request // nil if there is none, or the backlog goes first
	changed chan struct{} // closed, and replaced, when req changes
	backlog []*item       // what an earlier request has not sent, in order
	failed  bool          // there was no connection to current
	worked  bool          // req has been answered

	credential string // of the latest request
}

const (
	idleAfter     = time.Minute          // without lines
	gather        = 2 * time.Millisecond // for lines to come together in a request that is kept until it is whole
	bufferedBytes = 256 << 10            // of one: proxies limit that, often to 1 MiB
	patience      = 5 * time.Second      // beyond Options.Timeout
	checkEvery    = 5 * time.Second      // how exact these times are
	maxPaths      = 16                   // of one host, which have a request: paths come from the outside
	maxLanes      = 64                   // of one host, while those beyond maxPaths end
)

func laneKey(targets []target) string {
	if len(targets) == 1 {
		return targets[0].mount()
	}
	all := make([]string, len(targets))
	for i, t := range targets {
		all[i] = t.mount()
	}
	return strings.Join(all, " ")
}

// enter finds or makes a lane, to which leave is to be said.
func (s *Stream) enter(key string, targets []target) (*lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	l, ok := s.lanes[key]
	if !ok {
		if !s.makeRoom(targets[0].origin) {
			return nil, &Error{is: ErrBusy, where: targets[0].origin.String(), cause: errors.New("too many paths")}
		}
		l = &lane{s: s, key: key, targets: targets, changed: make(chan struct{}), current: s.c.memory.recall(targets)}
		s.lanes[key] = l
	}
	l.users++
	s.uses++
	l.used = s.uses
	return l, nil
}

func (s *Stream) leave(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.leave()
}

func (l *lane) leave() {
	if l.users--; l.users == 0 {
		delete(l.s.lanes, l.key)
	}
}

// makeRoom ends the request that has been idle for longest if a host has too many. False means that there is no room.
func (s *Stream) makeRoom(o origin) bool {
	n := 0
	var oldest *lane
	for _, l := range s.lanes {
		if l.targets[0].origin != o {
			continue
		}
		n++
		if !l.retired && l.req != nil && l.users == 1 && (oldest == nil || l.used < oldest.used) {
			oldest = l
		}
	}
	if n >= maxPaths && oldest != nil {
		oldest.retired = true
		oldest.req.CloseSend()
	}
	return n < maxLanes
}

// start has the lane's goroutine run, which has a backlog.
func (s *Stream) start(l *lane) error {
	if err := s.c.enter(); err != nil {
		l.backlog = nil
		return err
	}
	l.running = true
	l.users++
	s.running.Go(func() {
		defer s.c.running.Done()
		l.run()
	})
	return nil
}

// change tells those who wait for a request to look again.
func (l *lane) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// run keeps the lane's request, one after the other while there is a backlog.
func (l *lane) run() {
	s := l.s
	for {
		s.mu.Lock()
		alternative := l.current
		l.failed, l.worked = false, false
		s.mu.Unlock()
		limit, buffered := s.c.opts.MaxStreamBytes, s.c.memory.isBuffered(l.targets[alternative].origin)
		if buffered {
			limit = min(limit, bufferedBytes)
		}
		req := bulk.Open(s.ctx, s.c.bulk, func(body io.Reader) (*http.Request, error) {
			credential, err := s.c.credential(s.ctx)
			if err != nil {
				return nil, err
			}
			s.mu.Lock()
			l.credential = credential
			s.mu.Unlock()
			return bulkRequest(l.targets[alternative], body, credential), nil
		}, limit)
		l.sendBacklog(req, alternative)
		l.attend(req, buffered)
		if req.Buffered() {
			s.c.memory.setBuffered(l.targets[alternative].origin)
		}

		s.mu.Lock()
		l.req = nil
		if l.failed {
			l.current = (l.current + 1) % len(l.targets)
		}
		if len(l.backlog) == 0 {
			l.running, l.retired = false, false
			l.change()
			l.leave()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

func bulkRequest(t target, body io.Reader, credential string) *http.Request {
	return &http.Request{
		Method: http.MethodPost, URL: t.bulkURL(), Host: t.host(), Header: header(wire.NDJSON, credential), Body: io.NopCloser(body),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
}

// sendBacklog sends what is to go first, and then lets others use the request. If there is no room for all of it, which only a
// change of the limit or the alternative can bring about, or the request has ended, the rest goes first on the next.
func (l *lane) sendBacklog(req *bulk.Request, alternative int) {
	s := l.s
	for {
		s.mu.Lock()
		if len(l.backlog) == 0 {
			l.req = req
			l.change()
			s.mu.Unlock()
			return
		}
		it := l.backlog[0]
		l.backlog = l.backlog[1:]
		s.mu.Unlock()
		line, targets := it.line(alternative)
		if err := req.TrySend(line, targets, l.outcomes(it, alternative)); err != nil {
			req.CloseSend()
			s.mu.Lock()
			l.backlog = append([]*item{it}, l.backlog...)
			s.mu.Unlock()
			return
		}
	}
}

// attend ends the request when it is idle, or the stream is closed, or nothing more is queued if it is buffered, and cuts it
// off when nothing is answered any more. It returns when the request is done.
func (l *lane) attend(req *bulk.Request, buffered bool) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	var gathered <-chan time.Time
	if buffered {
		t := time.NewTimer(gather)
		defer t.Stop()
		gathered = t.C
	}
	closing := l.s.closing
	var last int64 // answers
	active, progress := time.Now(), time.Now()
	for {
		select {
		case <-req.Done():
			return
		case <-closing:
			req.CloseSend()
			closing = nil
		case <-gathered:
			req.CloseSendIdle()
		case now := <-tick.C:
			unanswered, answers := req.Progress()
			if unanswered > 0 || answers != last {
				active = now
			}
			if unanswered == 0 || answers != last {
				progress = now
			}
			last = answers
			limit := l.s.c.opts.Timeout
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
func (l *lane) works(alternative int) {
	l.s.mu.Lock()
	first := !l.worked
	l.worked = true
	l.s.mu.Unlock()
	if first {
		l.s.c.memory.remember(l.targets, l.targets[alternative])
	}
}
