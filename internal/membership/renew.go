package membership

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
)

// maxGenerations is how many parts a directory may have. More is taken for nonsense.
const maxGenerations = 4096

// renewals lets others ask for a Renew that begins after they asked. Whoever asks while one is under way shares the next.
type renewals struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex
	after *renewal // the next one to begin. Guarded by mu
}

type renewal struct {
	done chan struct{}
	err  error // set before done is closed
}

func newRenewals() *renewals {
	return &renewals{wake: make(chan struct{}, 1), after: &renewal{done: make(chan struct{})}}
}

// request asks for a Renew, and returns it.
func (r *renewals) request() *renewal {
	r.mu.Lock()
	next := r.after
	r.mu.Unlock()
	wake(r.wake)
	return next
}

func (r *renewals) begin() *renewal {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.after
	r.after = &renewal{done: make(chan struct{})}
	return now
}

// renew is the goroutine that renews the lease, and sees the others' by that.
func (m *Membership) renew() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var anew time.Time // when to enter all keys anew, whatever has happened
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-timer.C:
		case <-m.renewals.wake:
		}
		r := m.renewals.begin()
		generations, err := m.renewOnce()
		if r.err = err; m.ctx.Err() != nil {
			r.err = ErrDirectory
		}
		close(r.done)
		if err != nil {
			timer.Reset(m.timing.Probe)
			continue
		}
		if now := time.Now(); anew.IsZero() || now.After(anew) {
			if !anew.IsZero() {
				m.entries.enterAnew(generations)
				m.claimAllAnew()
			}
			anew = now.Add(jitter(m.timing.Anew))
		}
		next := m.timing.Renew
		if m.outage.is(findCall) && m.tryFind() != nil {
			next = m.timing.Probe
		}
		if m.owners != nil && m.tryOwners() != nil {
			next = m.timing.Probe
		}
		timer.Reset(next)
		wake(m.applying)
		if m.owners != nil {
			wake(m.claims.wake)
		}
	}
}

// renewOnce renews the lease. If there are generations in which keys have not been entered, that begins. It returns all of them.
func (m *Membership) renewOnce() (generations []string, err error) {
	begun := time.Now()
	if m.own.isAbandoned(begun) {
		number := newNumber()
		m.own.takeNumber(number, begun)
		m.entries.reset(number)
		if m.owners != nil {
			m.claims.reset(number)
		}
	}
	lease := m.own.say(m.view)
	var answer directory.View
	err = m.call(func(ctx context.Context) error {
		answer, err = m.dir.Renew(ctx, lease)
		return err
	})
	if err == nil && len(answer.Generations) > maxGenerations {
		err = fmt.Errorf("%d generations", len(answer.Generations))
	}
	if err != nil {
		if m.ctx.Err() == nil {
			m.outage.failed(renewCall, err)
		}
		return nil, err
	}
	generations = slices.DeleteFunc(slices.Clone(answer.Generations), func(g string) bool { return g == "" || isMark(g) })
	isNew, hasDoubts := m.view.update(answer.Leases, generations, lease.Number, begun, time.Now())
	if isNew || !m.own.isPut() {
		m.entries.enterAnew(generations) // before anything goes out in the name of a new number, which need not go out again
		m.claimAllAnew()
	}
	m.own.wasPut(lease.Number, begun, generations)
	m.outage.worked(renewCall)
	if hasDoubts {
		m.renewals.request() // those who have just started should know at once
	}
	return generations, nil
}

// tryFind finds out whether lookups, which have hung, are answered again, if only with an error.
func (m *Membership) tryFind() error {
	_, err := m.findOnce([]string{m.finds.last()})
	if errors.Is(err, ErrDirectory) {
		return err
	}
	m.outage.worked(findCall)
	return nil
}

// freshView returns when there is a view that is newer than the call.
func (m *Membership) freshView(ctx context.Context) error {
	r := m.renewals.request()
	select {
	case <-r.done:
		if r.err != nil {
			return ErrDirectory
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.outage.reads.shut():
		return ErrDirectory
	case <-m.ctx.Done():
		return ErrDirectory
	}
}

// jitter is about d, so that workers that started together do not do it together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}
