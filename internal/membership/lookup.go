package membership

import (
	"context"
	"sync"
)

// maxRounds bounds how often a lookup is repeated because the next one has named others.
const maxRounds = 4

// maxAsked bounds how often one worker is asked: an entry may outlive its last member, where the directory cannot be told.
const maxAsked = 2

// Verdict is what a lookup has come to.
type Verdict int

const (
	// Incomplete means that somebody who may have members has not answered, or cannot be known. It says nothing about whether
	// somebody else has.
	Incomplete Verdict = iota
	// Complete means that at least one worker has members, and all that may have some have answered.
	Complete
	// Gone means that nobody has members.
	Gone
)

func (v Verdict) String() string { return [...]string{"incomplete", "complete", "gone"}[v] }

// Lookup finds the workers that have members of one key. Its user asks those whom Next returns, says what came of it, and calls Next
// again, until it returns nobody:
//
//	for l := m.Lookup(key); ; {
//		workers, err := l.Next(ctx)
//		if err != nil || len(workers) == 0 {
//			break // l.Verdict() says what it has come to
//		}
//		// ask each: l.Answered(worker, has) or l.Silent(worker)
//	}
//
// Its methods may be called concurrently, save that Next comes after the answers of those whom it returned before.
type Lookup struct {
	m   *Membership
	key string

	mu     sync.Mutex
	here   bool              // this worker itself has members. Guarded by mu
	asked  map[string]answer // by address. Guarded by mu
	first  *Found            // what the first round finds, if that is known already. Guarded by mu
	times  map[string]int    // how often each was asked. Guarded by mu
	rounds int               // guarded by mu
	sure   bool              // the last lookup was. Guarded by mu
	over   bool              // Next has returned nobody. Guarded by mu
}

type answer int

const (
	silent answer = iota // or not yet
	hasNone
	hasSome
)

// Lookup begins a lookup. It does nothing until Next.
func (m *Membership) Lookup(key string) *Lookup {
	return &Lookup{m: m, key: key}
}

// Lookups begins several lookups, which find out together whom Next is to return first. The error is that of Next.
func (m *Membership) Lookups(ctx context.Context, keys []string) ([]*Lookup, error) {
	found, err := m.Find(ctx, keys)
	if err != nil {
		return nil, err
	}
	all := make([]*Lookup, len(keys))
	for i, key := range keys {
		all[i] = &Lookup{m: m, key: key, first: &found[i]}
	}
	return all, nil
}

// Here says whether this worker itself has members, as far as is known. As long as it has, nobody can be gone, and Next looks up
// no more than once.
func (l *Lookup) Here(has bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.here = has
}

// Next returns the workers to be asked next, and nobody when all have been. This worker itself is never among them: ask it first. The error
// is ErrDirectory or the context's: it cannot be known who else has members.
//
// When all have answered that they have none, it looks up once more. A member may have moved from a worker that had not been asked to one
// that already had. So a worker that is named then is asked again, though it has answered before.
func (l *Lookup) Next(ctx context.Context) ([]Worker, error) {
	for l.hasNext() {
		found, err := l.find(ctx)
		if err != nil {
			l.mu.Lock()
			l.over, l.sure = true, false
			l.mu.Unlock()
			return nil, err
		}
		if next := l.take(found); len(next) > 0 {
			return next, nil
		}
	}
	return nil, nil
}

// find makes another lookup, or returns what the first one has found.
func (l *Lookup) find(ctx context.Context) (Found, error) {
	l.mu.Lock()
	first := l.first
	l.first = nil
	l.mu.Unlock()
	if first != nil {
		return *first, nil
	}
	found, err := l.m.Find(ctx, []string{l.key})
	if err != nil {
		return Found{}, err
	}
	return found[0], nil
}

// hasNext reports whether another lookup is to be made.
func (l *Lookup) hasNext() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
	case l.here && l.rounds > 0:
		return false
	case l.countLocked(hasSome) > 0: // nothing can be gone
		l.over = true
	case l.rounds == maxRounds:
		l.over, l.sure = true, false
	}
	return !l.over
}

// take notes who has been found, and returns those who have not been asked yet.
func (l *Lookup) take(found Found) (next []Worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rounds++
	l.sure = found.Sure
	mayBeGone := l.countLocked(silent) == 0
	for _, w := range found.Workers {
		said, asked := l.asked[w.Address]
		isAgain := w.Named && mayBeGone && said == hasNone && l.times[w.Address] < maxAsked
		if asked && !isAgain {
			continue
		}
		if l.asked == nil {
			l.asked, l.times = make(map[string]answer), make(map[string]int)
		}
		l.asked[w.Address] = silent
		l.times[w.Address]++
		next = append(next, w)
	}
	l.over = len(next) == 0 && l.rounds > 1
	return next
}

// Answered says that a worker has answered whether it has members.
func (l *Lookup) Answered(w Worker, has bool) {
	a := hasNone
	if has {
		a = hasSome
	}
	l.say(w, a)
}

// Silent says that a worker could not be asked, or has not answered.
func (l *Lookup) Silent(w Worker) { l.say(w, silent) }

func (l *Lookup) say(w Worker, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, asked := l.asked[w.Address]; asked {
		l.asked[w.Address] = a
	}
}

// Verdict says what the lookup has come to, once Next has returned nobody, or somebody has members.
func (l *Lookup) Verdict() Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.sure || l.countLocked(silent) > 0:
		return Incomplete
	case l.here || l.countLocked(hasSome) > 0:
		return Complete
	case !l.over:
		return Incomplete
	}
	return Gone
}

// Workers returns how many workers were asked, and how many have answered.
func (l *Lookup) Workers() (asked, answered int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked), len(l.asked) - l.countLocked(silent)
}

func (l *Lookup) countLocked(a answer) (n int) {
	for _, b := range l.asked {
		if a == b {
			n++
		}
	}
	return n
}
