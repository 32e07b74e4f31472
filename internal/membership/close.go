package membership

import (
	"context"
	"sync"
	"time"
)

// closing is whether Close has been called, and has done its work.
type closing struct {
	mu      sync.Mutex
	isBegun bool // guarded by mu
	done    chan struct{}
}

// begin reports whether this is the first call.
func (c *closing) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.isBegun
	c.isBegun = true
	return first
}

func (c *closing) begun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isBegun
}

// Leave marks the lease: the worker will end when its last connection has. It does not wait, and everything goes on until Close.
func (m *Membership) Leave() {
	if m.dir != nil {
		m.own.end(false)
		m.renewals.request()
	}
}

// Close ends this worker's part. Call it when the last connection has ended, and not before: it says so in the lease. Then it removes all
// keys, for as long as the context allows. If it fails, the others have doubts for ten lease times, or meet entries of a worker that
// is gone. Every goroutine ends with it, also if it fails. Further calls wait for the first.
func (m *Membership) Close(ctx context.Context) error {
	if !m.closed.begin() {
		select {
		case <-m.closed.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer close(m.closed.done)
	var err error
	running := &m.wg
	switch {
	case m.dir != nil:
		err = m.sayGoodbye(ctx)
		m.finds.stop()
		if m.owners != nil {
			m.owners.stop()
		}
	case m.peers != nil:
		m.peers.stop()
		running = &m.peers.running
	}
	m.cancel()
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done(): // a directory that does not obey its context
		return ctx.Err()
	}
}

// sayGoodbye tells the directory that the worker has ended, and then removes what is left.
func (m *Membership) sayGoodbye(ctx context.Context) error {
	m.own.end(true)
	r := m.renewals.request()
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.err != nil {
		return ErrDirectory
	}
	m.entries.dropAll()
	wake(m.applying)
	drained := m.entries.drained()
	ticker := time.NewTicker(m.timing.Probe)
	defer ticker.Stop()
	for {
		select {
		case <-drained:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C: // an Apply that fails is tried again, unless nothing works
			if m.outage.is(renewCall) {
				return ErrDirectory
			}
		}
	}
}
