package wspush

import (
	"context"
	"slices"
	"sync"
	"time"
	"weak"
)

// Draining reports whether [Worker.Shutdown] has begun. An application's health check can use it, so that a load balancer sends
// no more clients here while the connected ones are being closed.
func (w *Worker) Draining() bool { return w.roster.isClosed() }

// drainMargin is how long before its deadline a Shutdown closes the last connection: Linger, and a little more.
const drainMargin = 3 * time.Second

// returnMargin is how long the client of a session that is closed last has to come to another worker, if there is so much time.
const returnMargin = 10 * time.Second

// drainPlan says in which order connections are closed, and since when. All calls of Shutdown share it: a second call with an
// order of its own would close clients between those of the first.
type drainPlan struct {
	mu    sync.Mutex // guards what follows
	made  bool
	begin time.Time
	// conns are weak pointers, or a long drain would keep every connection, and its Value, until its turn comes, although
	// its client has left long ago.
	conns []weak.Pointer[Conn]
}

// get makes the plan, on the first call, and returns it. Sessions that are suspended have no place in it: they end at once, for the reason, unless
// they are to be saved.
func (p *drainPlan) get(r *roster, reason *CloseError) (begin time.Time, conns []weak.Pointer[Conn]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.made {
		p.made, p.begin = true, time.Now()
		for _, c := range r.all() {
			if !c.stopIfSuspended(reason) { // which nobody waits for, and which nobody could resume any more
				p.conns = append(p.conns, weak.Make(c))
			}
		}
	}
	return p.begin, p.conns
}

// finish forgets the connections, all of which have been closed.
func (p *drainPlan) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = nil
}

// drain closes every connection, spread evenly over the time available. When ctx ends, it closes those that are left at once.
func (w *Worker) drain(ctx context.Context) {
	reason := w.shutdownError()
	begin, conns := w.plan.get(w.roster, reason)
	over := w.opts.DrainOver
	if deadline, ok := ctx.Deadline(); ok {
		over = min(over, deadline.Sub(begin)-drainMargin)
		if w.handover.isOn.Load() && hasSession(conns) {
			until := w.handoverAt(ctx, begin).Sub(begin)
			over = min(over, max(until-returnMargin, until/2))
		}
	}
	for i, p := range conns {
		// Floating point does not overflow where a day in nanoseconds is multiplied by a million connections.
		due := time.Duration(float64(over) * float64(i) / float64(len(conns)))
		if wait := due - time.Since(begin); wait > 0 {
			w.sleep(ctx, wait)
		}
		if c := p.Value(); c != nil {
			c.stop(reason)
		}
	}
	w.plan.finish()
}

func hasSession(conns []weak.Pointer[Conn]) bool {
	return slices.ContainsFunc(conns, func(p weak.Pointer[Conn]) bool {
		c := p.Value()
		return c != nil && c.session.isSession()
	})
}

// shutdownError is why Shutdown closes a connection.
func (w *Worker) shutdownError() *CloseError {
	return &CloseError{Cause: CauseShutdown, Code: w.opts.ShutdownCode, Reason: shutdownReason(w.opts.ShutdownCode)}
}

// shutdownReason returns the reason that goes with ShutdownCode.
func shutdownReason(code int) string {
	if code == codeServiceRestart {
		return "service restart"
	}
	return "shutting down"
}

// sleep waits for d, but no longer than ctx lasts or there is anyone to close.
func (w *Worker) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-w.roster.quiet:
	}
}
