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
	var again time.Time // when to try again after a failure
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.applying:
		case <-timer.C:
		}
		for m.own.isPut() && m.outage.mayApply() {
			now := time.Now()
			if now.Before(again) {
				timer.Reset(again.Sub(now))
				break
			}
			due, any := m.entries.due(now)
			if any && due > 0 {
				timer.Reset(due)
				break
			}
			if !any {
				if m.removals.next(m) {
					continue
				}
				break
			}
			if m.applyOnce() != nil {
				again = time.Now().Add(m.timing.Probe)
				if !m.outage.is(renewCall) {
					wake(m.applying)
				}
				break
			}
			again = time.Time{}
		}
	}
}

// applyOnce tells the directory as much as one Apply can have.
func (m *Membership) applyOnce() error {
	begun := time.Now()
	b := m.entries.take(begun)
	var err error
	if len(b.changes) > 0 {
		err = m.call(func(ctx context.Context) error { return m.dir.Apply(ctx, b.number, b.changes) })
	}
	if synced := m.entries.settle(b, err == nil, begun, time.Now()); synced != nil {
		m.own.sync(b.number, synced)
		m.renewals.request()
	}
	switch {
	case m.ctx.Err() != nil:
		return m.ctx.Err()
	case err != nil:
		if m.outage.failed(applyCall, err) {
			m.renewals.request()
		}
	case len(b.changes) > 0:
		m.outage.worked(applyCall)
	}
	return err
}
