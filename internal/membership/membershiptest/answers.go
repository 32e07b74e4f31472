package membershiptest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/membership"
)

// maxAsking is how many lookups of a given rate are under way at most.
const maxAsking = 256

// Answers is what lookups came to, with the answers of the workers that they named. All workers live, and know their members.
type Answers struct {
	Found     int // all of her workers, for certain: 200
	Partly    int // at least one, and there may be more: 200, and not complete
	Nobody    int // that nobody is there, which is so, for certain: 410
	Uncertain int // nobody, but that is not certain: 503
	Refused   int // ErrDirectory: 503
	False     int // what was for certain was not so
	Asked     int // other workers that were asked whether they have members
	Slowest   time.Duration

	took []time.Duration
}

// Count returns how many they are.
func (a Answers) Count() int {
	return a.Found + a.Partly + a.Nobody + a.Uncertain + a.Refused + a.False
}

// IsExact reports whether all have found who is there, and nobody where nobody is.
func (a Answers) IsExact() bool { return a.Count() == a.Found+a.Nobody && a.Count() > 0 }

func (a *Answers) add(b Answers) {
	a.Found += b.Found
	a.Partly += b.Partly
	a.Nobody += b.Nobody
	a.Uncertain += b.Uncertain
	a.Refused += b.Refused
	a.False += b.False
	a.Asked += b.Asked
	a.Slowest = max(a.Slowest, b.Slowest)
	a.took = append(a.took, b.took...)
}

func sum(all []Answers) (a Answers) {
	for _, b := range all {
		a.add(b)
	}
	return a
}

func (a Answers) String() string {
	slices.Sort(a.took)
	var p50, p99 time.Duration
	if n := len(a.took); n > 0 {
		p50, p99 = a.took[n/2], a.took[n*99/100]
	}
	const precision = 10 * time.Microsecond
	return fmt.Sprintf("found %d, in part %d, nobody %d, uncertain %d, refused %d, FALSE %d; %.2f workers asked; p50 %s, p99 %s, slowest %s",
		a.Found, a.Partly, a.Nobody, a.Uncertain, a.Refused, a.False, float64(a.Asked)/float64(max(1, a.Count())),
		p50.Round(precision), p99.Round(precision), a.Slowest.Round(precision))
}

// after returns a channel that is closed after a while.
func after(d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	time.AfterFunc(d, func() { close(over) })
	return over
}

// ask looks up users at random workers until it is over, so many at a time, and so many a second, or as many as can be if the rate is zero.
// It returns what was answered in each second.
func (s *simulation) ask(ctx context.Context, asking, rate int, over <-chan struct{}) []Answers {
	var mu sync.Mutex
	var seconds []Answers
	var wg sync.WaitGroup
	begun := time.Now()
	for range asking {
		wg.Go(func() {
			mine := s.askMany(ctx, begun, asking, rate, over)
			mu.Lock()
			defer mu.Unlock()
			for i, a := range mine {
				if i == len(seconds) {
					seconds = append(seconds, Answers{})
				}
				seconds[i].add(a)
			}
		})
	}
	wg.Wait()
	return seconds
}

// askMany is what one of those who ask does.
func (s *simulation) askMany(ctx context.Context, begun time.Time, asking, rate int, over <-chan struct{}) (seconds []Answers) {
	next, every := begun, time.Duration(0)
	if rate > 0 {
		every = time.Second * time.Duration(asking) / time.Duration(rate)
		next = next.Add(rand.N(every))
	}
	ready := make(chan time.Time)
	close(ready)
	for {
		var pause <-chan time.Time = ready
		if rate > 0 {
			pause = time.After(time.Until(next))
			next = next.Add(every)
		}
		select {
		case <-pause:
		case <-ctx.Done():
		case <-over:
		}
		select {
		case <-over:
			return seconds
		default:
		}
		if ctx.Err() != nil {
			return seconds
		}
		at := time.Now()
		a := s.askOne(ctx)
		now := time.Now()
		a.Slowest = now.Sub(at)
		a.took = []time.Duration{a.Slowest}
		for len(seconds) <= int(now.Sub(begun)/time.Second) {
			seconds = append(seconds, Answers{})
		}
		seconds[len(seconds)-1].add(a)
	}
}

// askOne looks up a user. One in ten is nowhere.
func (s *simulation) askOne(ctx context.Context) (a Answers) {
	u := rand.IntN(s.Users)
	key, homes := user(u), s.homes(u)
	if rand.IntN(10) == 0 {
		key, homes = "u:nobody-"+strconv.Itoa(u), nil
	}
	asker := rand.IntN(s.Workers)
	for slices.Contains(homes, asker) {
		asker = (asker + 1) % s.Workers
	}
	l := s.workers[asker].Lookup(key)
	found := 0
	for {
		workers, err := l.Next(ctx)
		if err != nil {
			a.Refused++
			return a
		}
		if len(workers) == 0 {
			break
		}
		for _, w := range workers {
			a.Asked++
			has := slices.Contains(homes, s.byAddress[w.Address])
			l.Answered(w, has)
			if has {
				found++
			}
		}
	}
	switch verdict := l.Verdict(); {
	case verdict == membership.Incomplete && found > 0:
		a.Partly++
	case verdict == membership.Incomplete:
		a.Uncertain++
	case found < len(homes):
		a.False++
	case found > 0:
		a.Found++
	default:
		a.Nobody++
	}
	return a
}
