package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/wspush/wspush/directory"
)

// What goes wrong with users and groups, besides kill and drain.
const (
	pause  eventKind = "pause"  // a worker gets SIGSTOP, and later SIGCONT
	crash  eventKind = "crash"  // the engine gets SIGKILL, and is restarted empty
	empty  eventKind = "empty"  // the engine loses everything, and goes on
	freeze eventKind = "freeze" // the engine gets SIGSTOP, and later SIGCONT
	cut    eventKind = "cut"    // some workers cannot reach the engine
	hold   eventKind = "hold"   // what passes between some workers and the engine is held back, and goes on later
	remain eventKind = "remain" // one worker cannot reach the engine for longer than it is asked all the same
)

// memberKinds are those of every run; with peers, there is no engine.
func memberKinds(directory string) []eventKind {
	if directory == amongPeers {
		return []eventKind{kill, drain, pause}
	}
	return []eventKind{kill, drain, pause, crash, empty, freeze, cut, hold}
}

const (
	// longRun is how long a run must be for leases to lapse in it. In shorter ones nothing lasts that long.
	longRun = 2 * time.Minute
	// doubtfulRun is how long it must be for doubts to end in it: a worker is killed that does not come back at its address, and one is cut
	// off from the engine until nobody asks it any longer.
	doubtfulRun = 7 * time.Minute
	// calm is for how long nothing goes wrong at first. For a lease time from its start, and after the engine has lost something, a worker
	// takes nobody to be gone: it cannot be known whether all others have noticed.
	calm = directory.LeaseTime + 2*time.Second
	// untilLoss is the least time between two losses of a longer run, for the same reason. In a shorter one they come last.
	untilLoss = 3 * directory.LeaseTime
	// doubtTime is how long a worker that has vanished is asked all the same: see docs/delivery.md.
	doubtTime = 10 * directory.LeaseTime
)

// memberSchedule is schedule for users and groups.
func memberSchedule(seed uint64, duration time.Duration, workers int, kinds []eventKind) (events []event) {
	r := rand.New(rand.NewPCG(seed, 1))
	var round []eventKind
	n := map[eventKind]int{}
	first := calm
	if !slices.Contains(kinds, crash) {
		first = time.Second
	}
	gap := 4 * maxGap // after most events, everything works again before the next
	if duration < longRun {
		gap = min(2*maxGap, (duration-first-quiet)/time.Duration(len(kinds)))
	}
	hasLeft, hasRemained := false, false
	nextLoss, nextKind := time.Duration(0), crash
	for at := first; at < duration-quiet; at += between(r, 2*gap/3, gap) {
		if len(round) == 0 {
			for _, k := range kinds {
				if duration >= longRun && isLoss(k) && (at < nextLoss || k != nextKind) {
					continue
				}
				round = append(round, k)
			}
			r.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
			if duration < longRun {
				slices.SortStableFunc(round, func(a, b eventKind) int { return order(a) - order(b) })
			}
		}
		if isLoss(round[0]) {
			nextLoss = at + untilLoss
			if nextKind = crash; round[0] == crash {
				nextKind = empty
			}
		}
		e := event{At: at, Kind: round[0], Worker: 1 + r.IntN(workers-1)}
		round = round[1:]
		isLong := duration >= longRun && n[e.Kind]%3 == 1
		n[e.Kind]++
		switch e.Kind {
		case kill:
			e.Pause = between(r, 0, 1500*time.Millisecond)
			// Until it is known that it is dead, nobody who is nowhere is known to be gone. So it happens once, before the end or in the middle.
			isTime := at > duration*2/3
			if duration >= doubtfulRun {
				isTime = at > duration/3
			}
			e.Elsewhere = isTime && !hasLeft
			hasLeft = hasLeft || e.Elsewhere
		case drain:
			e.Pause, e.Elsewhere = between(r, 0, time.Second), n[drain]%2 == 0
		case pause, freeze:
			e.For = between(r, 500*time.Millisecond, 3*time.Second)
		case crash:
			e.Pause = between(r, 0, 2*time.Second)
		case cut, hold:
			e.For, e.OneWay, e.Count = between(r, 500*time.Millisecond, 4*time.Second), n[e.Kind]%2 == 0, 1+r.IntN(workers)
		}
		if isLong {
			switch e.Kind {
			case pause, freeze:
				e.For += directory.LeaseTime
			case crash:
				e.Pause += directory.LeaseTime
			case cut, hold:
				e.For += directory.LeaseTime + between(r, 0, directory.LeaseTime)
			}
		}
		events = append(events, e)
		if duration >= doubtfulRun && kinds[len(kinds)-1] == hold && !hasRemained && at > duration/2 {
			hasRemained = true
			events = append(events, event{At: at, Kind: remain, Worker: workers - 1, For: doubtTime + 25*time.Second})
		}
	}
	return events
}

// isLoss reports whether the engine loses something.
func isLoss(k eventKind) bool { return k == crash || k == empty }

func order(k eventKind) int {
	if isLoss(k) {
		return 1
	}
	return 0
}

// what describes an event with users and groups.
func (e event) what() string {
	s := fmt.Sprintf("%6.2fs  %-6s", e.At.Seconds(), e.Kind)
	switch e.Kind {
	case kill, drain:
		s += fmt.Sprintf("  worker %d, restarted after %v", e.Worker, e.Pause)
		if e.Elsewhere {
			s += " at another port"
		}
		return s
	case pause, remain:
		return s + fmt.Sprintf("  worker %d, for %v", e.Worker, e.For)
	case crash:
		return s + fmt.Sprintf("  the engine, restarted after %v", e.Pause)
	case empty:
		return s + "  the engine"
	case freeze:
		return s + fmt.Sprintf("  the engine, for %v", e.For)
	case hold:
		if e.OneWay {
			return s + fmt.Sprintf("  what %d workers send to the engine, for %v", e.Count, e.For)
		}
	}
	return s + fmt.Sprintf("  between the engine and %d workers, for %v", e.Count, e.For)
}
