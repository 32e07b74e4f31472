package wspush

import (
	"context"
	"sync"
	"time"
)

// Draining reports whether [Worker.Shutdown] has begun: for an application's health check, so that a load balancer sends no
// more clients here while those that are connected are being closed.
func (w *Worker) Draining() bool { return w.roster.isClosed() }

// drainMargin is how long before its deadline a Shutdown closes the last connection: it has Linger, and some more.
const drainMargin = 3 * time.Second

// drainPlan is who is closed in which order, and since when: the same for every call of Shutdown, or a second one, in an
// order of its own, would close clients between those of the first.
type drainPlan struct {
	once  sync.Once
	begin time.Time
	conns []*Conn
}

// drain closes every connection, spread evenly over the time that there is; when ctx ends, those that are left at once.
func (w *Worker) drain(ctx context.Context) {
	plan := &w.plan
	plan.once.Do(func() { plan.begin, plan.conns = time.Now(), w.roster.all() })
	over := w.opts.DrainOver
	if deadline, ok := ctx.Deadline(); ok {
		over = min(over, deadline.Sub(plan.begin)-drainMargin)
	}
	for i, c := range plan.conns {
		// In floating point, in which a day in nanoseconds times a million connections has room.
		due := time.Duration(float64(over) * float64(i) / float64(len(plan.conns)))
		if wait := due - time.Since(plan.begin); wait > 0 {
			w.sleep(ctx, wait)
		}
		c.end(&CloseError{Cause: CauseShutdown, Code: codeServiceRestart, Reason: "service restart"})
	}
}

// sleep waits, but no longer than ctx lasts or anyone is left.
func (w *Worker) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-w.roster.empty:
	}
}
