package membership

import (
	"context"
	"time"
)

// apply is the goroutine that tells the directory what has changed. It has one Apply under way at a time. What changes meanwhile shares the
// next one.
func (m *Membership) apply() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.applying:
		case <-timer.C:
		}
		for m.own.isPut() && m.outage.mayApply() {
			wait, any := m.entries.due(time.Now())
			switch {
			case any && wait == 0:
				m.applyOnce()
				continue
			case any:
				timer.Reset(wait)
			case m.removals.next(m):
				continue
			}
			break
		}
	}
}

// applyOnce tells the directory as much as one Apply can have.
func (m *Membership) applyOnce() {
	begun := time.Now()
	b := m.entries.take(begun)
	var err error
	if len(b.changes) > 0 {
		err = m.call(func(ctx context.Context) error { return m.dir.Apply(ctx, b.number, b.changes) })
	}
	if synced := m.entries.settle(b, err == nil, begun, time.Now(), m.timing.Probe); synced != nil {
		m.own.sync(b.number, synced)
		m.renewals.request()
	}
	switch {
	case m.ctx.Err() != nil:
	case err != nil:
		if m.outage.failed(applyCall, err) {
			m.renewals.request()
		}
	case len(b.changes) > 0 && !m.entries.isStuck():
		m.outage.worked(applyCall)
	}
}
