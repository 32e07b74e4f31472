package link

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Links holds the links of one worker: those that it opened, by address, and those that it accepted. It is safe for concurrent
// use.
type Links struct {
	config Config
	bounds bounds
	log    *slog.Logger
	start  time.Time
	ctx    context.Context // ends when Close stops waiting
	cancel context.CancelFunc

	running sync.WaitGroup // goroutines of links, and of openings

	outgoing atomic.Pointer[map[string]*outgoing] // by address; replaced, never changed

	mu       sync.Mutex           // guards what follows, and replacing outgoing
	closed   bool                 // no questions are asked any more
	draining bool                 // no links are accepted any more
	accepted map[*taking]struct{} // those whose goroutines run
	latest   map[opener]*taking   // the newest link of each opener that has proved itself, also after its end while an older one lives
	openings uint64               // that have come
}

// bounds are how long things may take.
type bounds struct {
	open    time.Duration // for an opening, and then for the first batch
	live    time.Duration // for anything from the other side, while an answer is due; for a write
	ask     time.Duration // then a ping asks whether the other side lives
	silence time.Duration // without answers due, then a ping keeps the link alive
	deaf    time.Duration // an accepted link on which nothing came is lost
	idle    time.Duration // a link without questions is closed
	retry   time.Duration // questions to a worker to which no link could be opened are refused for so long, at first,
	refuse  time.Duration // and for so long at most
	overlap time.Duration // an older link of the same opener may be read on before a newer one is
	tick    time.Duration // how often a link looks at the clock
	warn    time.Duration // between two warnings about the same address
}

func defaultBounds() bounds {
	return bounds{
		open:    3 * time.Second,
		live:    5 * time.Second,
		ask:     2 * time.Second,
		silence: 20 * time.Second,
		deaf:    65 * time.Second,
		idle:    time.Minute,
		retry:   30 * time.Millisecond,
		refuse:  time.Second,
		overlap: time.Second,
		tick:    500 * time.Millisecond,
		warn:    time.Minute,
	}
}

// New returns the links of a worker. Close ends them.
func New(c Config) *Links { return newLinks(c, defaultBounds()) }

func newLinks(c Config, b bounds) *Links {
	l := &Links{
		config:   c,
		bounds:   b,
		log:      c.Log,
		start:    time.Now(),
		accepted: make(map[*taking]struct{}),
		latest:   make(map[opener]*taking),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.outgoing.Store(new(map[string]*outgoing))
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// now returns the time since the Links were made.
func (l *Links) now() int64 { return int64(time.Since(l.start)) }

// Push sends a push. It does not wait for anything.
func (l *Links) Push(p *Push) {
	if p.stage != stageNew { // it is used again, so nobody can be about to abandon it
		p.flight = flight{}
	}
	l.ask(p)
}

// ask asks a question.
func (l *Links) ask(p *Push) {
	p.left, p.answered = p.targets(), newMarks(p.targets())
	if err := p.check(); err != nil {
		outcome{push: p, err: err}.tell()
		return
	}
	for {
		o := l.to(p.Peer.Address)
		if o == nil {
			outcome{push: p, err: errClosed}.tell()
			return
		}
		if o.ask(p) {
			return
		} // and otherwise it has just been removed
	}
}

var errClosed = fmt.Errorf("%w: this worker is shutting down", ErrNotSent)

// to returns what leads to the worker with the address, or nil after Close.
func (l *Links) to(address string) *outgoing {
	if o := (*l.outgoing.Load())[address]; o != nil {
		return o
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := *l.outgoing.Load()
	if o := all[address]; o != nil {
		return o
	}
	if l.closed {
		return nil
	}
	o := &outgoing{links: l, address: address, asking: make(map[*asking]struct{})}
	changed := map[string]*outgoing{address: o}
	for at, other := range all { // workers come and go
		if !other.expire() {
			changed[at] = other
		}
	}
	l.outgoing.Store(&changed)
	return o
}

// Abandon gives a push up. If the other worker cannot have all of it, Done gets an ErrNotSent that wraps cause. Otherwise the other
// worker is asked to withdraw it, and Done is called with its answer, or an error, as without Abandon. After Abandon has returned,
// p.Data is not read any more.
func (l *Links) Abandon(p *Push, cause error) {
	if o := (*l.outgoing.Load())[p.Peer.Address]; o != nil {
		o.abandon(p, cause)
	}
}

// Drain lets no links be accepted any more. Those that were accepted tell their askers, and answer what they have taken. Links
// that this worker opened go on.
func (l *Links) Drain() {
	l.mu.Lock()
	l.draining = true
	all := make([]*taking, 0, len(l.accepted))
	for t := range l.accepted {
		all = append(all, t)
	}
	l.mu.Unlock()
	for _, t := range all {
		t.bye()
	}
}

// Close ends everything. It waits for what is under way until ctx ends: for questions asked here, and for answers to those of
// others. Then it closes all links. When it returns, all goroutines have ended, and every Done has been called.
func (l *Links) Close(ctx context.Context) {
	l.Drain()
	l.mu.Lock()
	accepted := make([]*taking, 0, len(l.accepted))
	for t := range l.accepted {
		accepted = append(accepted, t)
	}
	l.mu.Unlock()
	for _, t := range accepted { // what has been taken may still have to be passed on
		await(ctx, t.quiet())
	}
	l.mu.Lock()
	l.closed = true
	outgoing := *l.outgoing.Load()
	l.mu.Unlock()
	for _, o := range outgoing {
		o.close()
	}
	for _, o := range outgoing {
		await(ctx, o.quiet())
	}
	for _, o := range outgoing { // the links say goodbye
		o.end(nil)
	}
	brief, stop := context.WithTimeout(ctx, l.bounds.overlap)
	for _, o := range outgoing {
		await(brief, o.linkless())
	}
	for _, t := range accepted { // and those who opened the others have been told
		await(brief, t.read)
	}
	stop()
	l.mu.Lock()
	l.cancel()
	accepted = accepted[:0]
	for t := range l.accepted {
		accepted = append(accepted, t)
	}
	l.mu.Unlock()
	for _, o := range outgoing {
		o.end(errClosing)
	}
	for _, t := range accepted {
		t.lose(errClosing)
	}
	l.running.Wait()
}

// Stats returns what there is now.
func (l *Links) Stats() Stats {
	var s Stats
	for _, o := range *l.outgoing.Load() {
		o.mu.Lock()
		s.Opened += len(o.asking)
		s.Asked += o.under
		o.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Accepted = len(l.accepted)
	for t := range l.accepted {
		t.mu.Lock()
		s.Taken += t.under
		t.mu.Unlock()
	}
	return s
}
