package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxPeers is how many addresses a list of peers may have: each of them is asked for each push.
const maxPeers = 1000

// peers is a list of workers, each of which is asked. It is resolved again while somebody asks, and not otherwise.
type peers struct {
	resolve func(context.Context) ([]string, error)
	own     string
	timing  Timing
	outage  *outage

	ctx     context.Context // ends with the Membership
	running sync.WaitGroup  // the goroutine of renew

	mu      sync.Mutex
	workers []Worker   // the last good list. Guarded by mu, as is all below
	good    time.Time  // when the call that returned it began; zero: there is none
	tried   time.Time  // when the last call began
	ended   time.Time  // and when it ended
	failed  bool       // it failed
	under   *peersCall // nil: there is none
	stopped bool       // no call begins any more
}

// peersCall is a call of resolve that is under way, for all who need it.
type peersCall struct {
	ctx  context.Context // ends when the call must have ended
	done chan struct{}   // closed when it has
}

// find returns all of them.
func (p *peers) find(ctx context.Context) (Found, error) {
	call := p.begin()
	if call != nil {
		select {
		case <-call.done:
		case <-ctx.Done():
			return Found{}, ctx.Err()
		case <-call.ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	found, err := p.lastLocked(time.Now())
	if call != nil && p.under == call { // it does not obey its context
		found.Sure = false
	}
	return found, err
}

// begin returns the call whose end is to be awaited. Nil: the last one will do. One that has failed is made again only after a while, however
// long it took.
func (p *peers) begin() *peersCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	fresh := !p.failed && !p.tried.IsZero() && now.Sub(p.tried) < p.timing.Resolve
	tried := p.failed && now.Sub(p.ended) < p.timing.Probe
	if p.under != nil || fresh || tried || p.stopped {
		return p.under
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.timing.Call)
	call := &peersCall{ctx: ctx, done: make(chan struct{})}
	p.under, p.tried = call, now
	p.running.Go(func() {
		defer cancel()
		p.renew(call)
	})
	return call
}

// lastLocked returns the last good list. While the list cannot be resolved, there may be others.
func (p *peers) lastLocked(now time.Time) (Found, error) {
	if p.stopped || p.good.IsZero() || now.Sub(p.good) > p.timing.Keep {
		return Found{}, ErrDirectory
	}
	return Found{Workers: p.workers, Sure: !p.failed}, nil
}

// renew resolves the list, for all who need it. So it does not end with the context of one of them.
func (p *peers) renew(call *peersCall) {
	addresses, err := p.resolved(call.ctx)
	if err == nil && len(addresses) > maxPeers {
		err = fmt.Errorf("%d peers are more than %d", len(addresses), maxPeers)
	}
	if err == nil && slices.Contains(addresses, "") {
		err = errors.New("an address is empty")
	}
	p.mu.Lock()
	if p.failed = err != nil; !p.failed {
		p.good = p.tried
		p.workers = p.workersOf(addresses)
	}
	p.under, p.ended = nil, time.Now()
	stopped := p.stopped
	p.mu.Unlock()
	switch {
	case stopped:
	case err != nil:
		p.outage.failed(resolveCall, err)
	default:
		p.outage.worked(resolveCall)
	}
	close(call.done)
}

// resolved calls resolve, which is the application's: a panic there is a failure like any other.
func (p *peers) resolved(ctx context.Context) (addresses []string, err error) {
	returned := false
	defer func() {
		if !returned {
			err = fmt.Errorf("it did not return: %v", recover())
		}
	}()
	addresses, err = p.resolve(ctx)
	returned = true
	return addresses, err
}

// stop lets no call begin any more.
func (p *peers) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}

func (p *peers) workersOf(addresses []string) []Worker {
	addresses = slices.Clone(addresses)
	slices.Sort(addresses)
	workers := make([]Worker, 0, len(addresses))
	for _, address := range slices.Compact(addresses) {
		if address != p.own {
			workers = append(workers, Worker{Address: address, Named: true})
		}
	}
	return workers
}

// isForgotten reports whether nobody has needed the list for so long that the last one would not be good any more, either. Whether it
// could be had is then not known.
func (p *peers) isForgotten() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.under == nil && time.Since(p.tried) > p.timing.Keep
}
