package wspush

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/link"
)

// alone caches whether this worker's Cluster address leads to this worker and no other. Only then does a sealed ID with that
// address but another instance prove that its connection is gone: if several workers were given a load balancer's address, the
// connection may be alive on one of the others.
type alone struct {
	probes  tally         // the goroutine that probes
	mu      sync.Mutex    // guards what follows
	probing chan struct{} // closed when the probe under way ends; nil if there is none
	known   bool
	err     error     // why the worker is not alone, or could not find out; nil if it is alone
	at      time.Time // the time of the probe
}

const (
	aloneProbes  = 4 // each on its own connection: a load balancer would hardly choose the same worker each time
	aloneTimeout = 5 * time.Second
	aloneAgain   = 10 * time.Second // before another probe, if it was not alone
)

// checkAlone returns nil if the worker's address leads to it alone, errLoop if not, and ErrUnreachable if the worker cannot
// reach itself there. The end of ctx, or of a Shutdown, ends the wait.
func (w *Worker) checkAlone(ctx context.Context) error {
	a := &w.cluster.alone
	for {
		a.mu.Lock()
		if a.known && (a.err == nil || time.Since(a.at) < aloneAgain) {
			defer a.mu.Unlock()
			return a.err
		}
		if a.probing == nil {
			a.probing = make(chan struct{})
			a.probes.add(1)
			go w.probeSelf()
		}
		probing := a.probing
		a.mu.Unlock()
		select {
		case <-probing:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.cut.Done():
			return ErrShutdown
		}
	}
}

// probeSelf finds out who listens at the worker's address.
func (w *Worker) probeSelf() {
	a := &w.cluster.alone
	defer a.probes.add(-1)
	ctx, cancel := context.WithTimeout(w.cut, aloneTimeout)
	defer cancel()
	err := w.openToSelf(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.err, a.at = true, err, time.Now()
	close(a.probing)
	a.probing = nil
}

func (w *Worker) openToSelf(ctx context.Context) error {
	for range aloneProbes {
		instance, err := w.links.Probe(ctx, w.cluster.address)
		switch {
		case errors.Is(err, link.ErrWrongWorker), errors.Is(err, link.ErrNotWorker):
			return errLoop
		case err != nil:
			return ErrUnreachable
		case instance != w.cluster.instance:
			return errLoop
		}
	}
	return nil
}
