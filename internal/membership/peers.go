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

	mu      sync.Mutex
	workers []Worker      // the last good list. Guarded by mu, as is all below
	good    time.Time     // when the call that returned it began; zero: there is none
	tried   time.Time     // when the last call began
	failed  bool          // it failed
	under   chan struct{} // closed when the call under way has ended; nil: there is none
}

// find returns all of them.
func (p *peers) find(ctx context.Context) (Found, error) {
	for {
		p.mu.Lock()
		now := time.Now()
		fresh := now.Sub(p.tried) < p.timing.Resolve && !p.tried.IsZero() && !p.failed
		retried := p.failed && now.Sub(p.tried) < p.timing.Probe
		if p.under == nil && (fresh || retried) {
			found, err := p.lastLocked(now)
			p.mu.Unlock()
			return found, err
		}
		if p.under == nil {
			p.under, p.tried = make(chan struct{}), now
			p.mu.Unlock()
			p.renew(ctx)
			continue
		}
		under := p.under
		p.mu.Unlock()
		select {
		case <-under:
		case <-ctx.Done():
			return Found{}, ctx.Err()
		}
	}
}

// lastLocked returns the last good list. While the list cannot be resolved, there may be others.
func (p *peers) lastLocked(now time.Time) (Found, error) {
	if p.good.IsZero() || now.Sub(p.good) > p.timing.Keep {
		return Found{}, ErrDirectory
	}
	return Found{Workers: p.workers, Sure: !p.failed}, nil
}

// renew resolves the list, on the goroutine of one who needs it, for all who do. It does not end with that one's context, but soon.
func (p *peers) renew(ctx context.Context) {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timing.Call)
	defer cancel()
	addresses, err := p.resolve(call)
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
	close(p.under)
	p.under = nil
	p.mu.Unlock()
	if err != nil {
		p.outage.failed(resolveCall, err)
	} else {
		p.outage.worked(resolveCall)
	}
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
