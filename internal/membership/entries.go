package membership

import (
	"sync"
	"time"

	"github.com/wspush/wspush/directory"
)

// entries are this worker's keys, and what the directory has been told of them. What Set says is a state, not an event: however long the
// directory is down, there is one entry for each key that is present, or that the directory may believe to be.
type entries struct {
	mu     sync.Mutex
	number uint64           // the lease that has them. Guarded by mu
	keys   map[string]entry // by key. Guarded by mu

	// changed are the keys to be told, in order, each once. Some have become idle since: nothing is to be told of them.
	// Guarded by mu.
	changed []string
	idle    int       // how many of changed are. Guarded by mu
	flight  int       // how many are in the Apply under way. Guarded by mu
	again   time.Time // not before. Guarded by mu

	retry retry // those of which an Apply has failed. Guarded by mu

	waiting map[string]chan struct{} // closed when the key is as Set said. Guarded by mu

	empty chan struct{} // if not nil, closed when there are no keys. Guarded by mu

	pace  pace   // how many changes an Apply has. Guarded by mu
	anew  pace   // how many of them may be keys that are entered anew. Guarded by mu
	round *round // entering all anew; nil: that is not under way. Guarded by mu
}

// entry is what is known of a key.
type entry uint8

const (
	present entry = 1 << iota // what Set said last
	told                      // the directory may have it present, under the number
	applied                   // the directory has acknowledged what Set said last
	changed                   // it is in entries.changed, or in entries.retry
	flying                    // it is in the Apply under way
	failed                    // the last Apply that it was in has failed, so that it is in entries.retry, or in flight again
	stale                     // it has not gone out since the round began
)

func (e entry) is(flag entry) bool { return e&flag != 0 }

// idle reports whether there is nothing to tell of it.
func (e entry) idle() bool { return !e.is(present) && !e.is(told) }

func newEntries(number uint64) *entries {
	return &entries{
		number:  number,
		keys:    make(map[string]entry),
		waiting: make(map[string]chan struct{}),
		pace:    pace{limit: firstChanges, most: maxChanges, slow: slowApply},
		anew:    pace{limit: firstAnew, most: maxAnew, slow: slowAnew},
	}
}

// set is what Set says. It reports whether there may be something to tell.
func (s *entries) set(key string, isPresent bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.keys[key]
	if e.is(present) == isPresent {
		return false
	}
	wasIdle := known && e.idle()
	e = e&^applied ^ present
	if !e.is(changed) && !e.is(flying) && !e.idle() {
		s.changed = append(s.changed, key)
		e |= changed
	}
	switch isIdle := e.idle(); {
	case isIdle && e.is(changed):
		s.idle++
	case wasIdle && e.is(changed):
		s.idle--
	}
	s.putLocked(key, e)
	if s.idle > 64 && s.idle > len(s.changed)/2 {
		s.compactLocked()
	}
	return true
}

// putLocked stores what is known of a key, or forgets the key, and releases those who wait for what has come true.
func (s *entries) putLocked(key string, e entry) {
	if e.idle() {
		e &^= failed
	}
	if e.is(applied) || e.idle() {
		if c := s.waiting[key]; c != nil {
			close(c)
			delete(s.waiting, key)
		}
	}
	switch was := s.keys[key]; {
	case e.is(failed) && !was.is(failed):
		s.retry.failed++
	case was.is(failed) && !e.is(failed):
		s.retry.failed--
	}
	if e.idle() && !e.is(changed) && !e.is(flying) {
		delete(s.keys, key)
		if len(s.keys) == 0 && s.empty != nil {
			close(s.empty)
			s.empty = nil
		}
		return
	}
	s.keys[key] = e
}

// compactLocked drops what has become idle, so that clients that come and go while the directory is down take no memory.
func (s *entries) compactLocked() {
	kept := s.changed[:0]
	for _, key := range s.changed {
		if e := s.keys[key]; e.idle() {
			s.putLocked(key, e&^changed)
		} else {
			kept = append(kept, key)
		}
	}
	clear(s.changed[len(kept):])
	s.changed, s.idle = kept, 0
}

// acknowledged returns nil if the directory has acknowledged what Set last said of the key, or there is nothing to tell of it. Otherwise
// it returns a channel that will be closed then.
func (s *entries) acknowledged(key string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	if e.is(applied) || e.idle() {
		return nil
	}
	c := s.waiting[key]
	if c == nil {
		c = make(chan struct{})
		s.waiting[key] = c
	}
	return c
}

// batch is what one Apply tells.
type batch struct {
	number  uint64
	changes []directory.Change
	anew    int  // how many of them, at the end, belong to the round
	isRetry bool // they have failed before
}

// take takes what the next Apply is to tell: what has failed, if it is time to try again; otherwise first what has changed, and then what is
// to be entered anew.
func (s *entries) take(now time.Time) (b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.number = s.number
	if keys := s.retry.take(now, s.pace.limit); len(keys) > 0 {
		b.isRetry = true
		for _, key := range keys {
			s.flyLocked(&b, key, s.keys[key]&^changed)
		}
		return b
	}
	if now.Before(s.again) {
		return b
	}
	n := 0
	for _, key := range s.changed {
		if len(b.changes) == s.pace.limit {
			break
		}
		n++
		e := s.keys[key] &^ changed
		if e.idle() {
			s.idle--
			s.putLocked(key, e)
			continue
		}
		s.flyLocked(&b, key, e)
	}
	if s.changed = s.changed[n:]; len(s.changed) == 0 {
		s.changed = nil // what a burst took is given back
	}
	for room := min(s.anew.limit, s.pace.limit-len(b.changes)); room > 0 && s.round.isDue(now); {
		key := s.round.pop()
		// What has changed goes out by itself. Nobody has been told that the directory knows it.
		if e := s.keys[key]; e.is(present) && e.is(stale) && !e.is(changed) {
			s.flyLocked(&b, key, e)
			b.anew++
			room--
		}
	}
	return b
}

func (s *entries) flyLocked(b *batch, key string, e entry) {
	s.flight++
	if e.is(present) {
		e |= told
	}
	s.keys[key] = e&^stale | flying
	b.changes = append(b.changes, directory.Change{Key: key, Present: e.is(present)})
}

// settle notes what came of an Apply. If that was the end of a round, it returns the generations in which all keys have been entered.
func (s *entries) settle(b batch, worked bool, begun, now time.Time, pause time.Duration) (synced []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = 0
	for _, change := range b.changes {
		s.settleLocked(change, worked, b.number == s.number)
	}
	s.retry.settle(b, worked, now.Add(pause))
	s.pace.took(len(b.changes)-b.anew, now.Sub(begun))
	s.anew.took(b.anew, now.Sub(begun))
	if len(s.changed) == 0 {
		s.pace.restart(firstChanges)
	}
	if !worked && !b.isRetry {
		s.again = now.Add(pause)
	}
	if s.round == nil {
		return nil
	}
	if b.anew > 0 {
		s.round.resume = now.Add(now.Sub(begun))
	}
	if len(s.round.keys) > 0 || s.retry.failed > 0 {
		return nil
	}
	synced = s.round.generations
	s.round = nil
	return synced
}

// settleLocked does that for one change. If it does not count, it was in the name of an earlier number.
func (s *entries) settleLocked(change directory.Change, worked, counts bool) {
	e := s.keys[change.Key] &^ (flying | failed)
	switch {
	case !counts:
	case !worked:
		e |= failed
	default:
		if !change.Present {
			e &^= told
		}
		if e.is(present) == change.Present {
			e |= applied
		}
	}
	switch {
	case e.is(changed) || e.idle():
	case e.is(failed):
		s.retry.keys = append(s.retry.keys, change.Key)
		e |= changed
	case !e.is(applied):
		s.changed = append(s.changed, change.Key)
		e |= changed
	}
	s.putLocked(change.Key, e)
}

// isStuck reports whether there are changes that have failed, and have not worked since.
func (s *entries) isStuck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retry.failed > 0
}

// reset begins anew under another number, in whose name nothing has been told. All present keys belong to the next round.
func (s *entries) reset(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number = number
	s.changed, s.idle, s.retry.keys, s.round = nil, 0, nil, nil
	for key, e := range s.keys {
		s.putLocked(key, e&^(told|applied|changed|failed))
	}
}

// enterAnew begins a round, after which all keys are in these generations.
func (s *entries) enterAnew(generations []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.anew.restart(firstAnew)
	s.round = &round{generations: generations, keys: make([]string, 0, len(s.keys))}
	for key, e := range s.keys {
		if e.is(present) {
			s.keys[key] = e | stale
			s.round.keys = append(s.round.keys, key)
		}
	}
}

// dropAll is Set for every key: it is not present any more.
func (s *entries) dropAll() {
	s.mu.Lock()
	var keys []string
	for key, e := range s.keys {
		if e.is(present) {
			keys = append(keys, key)
		}
	}
	s.mu.Unlock()
	for _, key := range keys {
		s.set(key, false)
	}
}

// drained returns a channel that is closed when there are no keys, and none is left to be removed. It is called once.
func (s *entries) drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	s.compactLocked() // of what is idle, nobody would take notice
	if len(s.keys) == 0 {
		close(c)
	} else {
		s.empty = c
	}
	return c
}

// due returns how long it is until there is something to take, and false if there will be nothing.
func (s *entries) due(now time.Time) (d time.Duration, any bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := func(t time.Time) {
		if wait := max(0, t.Sub(now)); !any || wait < d {
			d, any = wait, true
		}
	}
	if len(s.changed) > s.idle {
		at(s.again)
	}
	if len(s.retry.keys) > 0 {
		at(s.retry.at)
	}
	switch {
	case s.round == nil:
	case len(s.round.keys) > 0 && s.again.After(s.round.resume):
		at(s.again)
	case len(s.round.keys) > 0:
		at(s.round.resume)
	case s.retry.failed == 0:
		at(now) // it is over
	}
	return d, any
}

// count returns how many keys there are, and how many the directory has yet to acknowledge.
func (s *entries) count() (keys, pending int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending = len(s.changed) - s.idle + len(s.retry.keys) + s.flight
	if s.round != nil {
		pending += len(s.round.keys)
	}
	return len(s.keys), pending
}
