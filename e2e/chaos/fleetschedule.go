package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// What goes wrong with several workers that have sessions, beside what does with one.
const (
	renew    eventKind = "renew" // a worker is told to stop, and another one takes its place
	parted   eventKind = "part"  // some workers cannot be reached by the others
	awaiting eventKind = "await" // what the others send to some workers, and perhaps what these answer, comes late
)

const (
	// For Shutdown: sessions are handed over after two thirds of it, and what has begun then has the rest for its answers.
	shortDrain, longDrain = 4500 * time.Millisecond, 6 * time.Second
	fleetTimeout          = time.Second // the longest that publishers ask for
	renewGap              = longDrain + 2*time.Second
	firstRenewal          = 2 * time.Second
	minDoomGap            = 2 * time.Second
	maxDoomGap            = 4 * time.Second
)

// shortestFleet is how long it takes at least until everything has happened.
func shortestFleet(set *setting) time.Duration {
	if set.orderly {
		return firstRenewal + time.Duration(2*set.workers)*renewGap + quiet
	}
	return time.Minute
}

// fleetKinds are those that happen to workers.
func fleetKinds(set *setting) []eventKind {
	switch {
	case set.orderly:
		return []eventKind{renew}
	case set.directory == amongPeers:
		return []eventKind{renew, kill, parted, awaiting}
	}
	return []eventKind{renew, kill, parted, awaiting, crash, freeze, cut}
}

// fleetSchedule is sessionSchedule for several workers.
func fleetSchedule(set *setting) (events []event) {
	r := rand.New(rand.NewPCG(set.seed, 3))
	for _, e := range sessionSchedule(set.seed, set.duration, set.clients) {
		if !e.isStop() {
			events = append(events, e)
		}
	}
	var stops []event
	if set.orderly { // each worker is replaced twice
		gap := (set.duration - firstRenewal - quiet) / time.Duration(2*set.workers)
		for i := range 2 * set.workers {
			stops = append(stops, event{
				At: firstRenewal + time.Duration(i)*gap, Kind: renew, OneWay: r.IntN(2) == 0, Pause: between(r, 0, time.Second),
				Elsewhere: r.IntN(2) == 0,
			})
		}
	} else {
		var round []eventKind
		for at := firstRenewal; at < set.duration-quiet-3*time.Second; at += between(r, minDoomGap, maxDoomGap) {
			if len(round) == 0 {
				round = fleetKinds(set)
				r.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
			}
			e := event{At: at, Kind: round[0], Worker: r.IntN(set.workers), OneWay: r.IntN(2) == 0, Elsewhere: r.IntN(2) == 0}
			round = round[1:]
			switch e.Kind {
			case renew, kill, crash:
				e.Pause = between(r, 0, 1500*time.Millisecond)
			default:
				e.Count, e.For = 1+r.IntN(set.workers), between(r, 200*time.Millisecond, 4*time.Second)
				if r.IntN(4) == 0 {
					e.For += 4 * time.Second
				}
			}
			stops = append(stops, e)
		}
	}
	return merged(events, stops)
}

// merged returns events in order.
func merged(a, b []event) (all []event) {
	for len(a) > 0 && len(b) > 0 {
		if a[0].At <= b[0].At {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// ofFleet describes an event with several workers that have sessions.
func (e event) ofFleet() string {
	s := fmt.Sprintf("%6.2fs  %-7s", e.At.Seconds(), e.Kind)
	switch e.Kind {
	case renew:
		if e.OneWay {
			return s + "  the oldest worker, after its successor has started"
		}
		return s + fmt.Sprintf("  the oldest worker, whose successor starts after %v", e.Pause)
	case kill:
		return s + fmt.Sprintf("  worker %d, whose successor starts after %v", e.Worker, e.Pause)
	case crash:
		return s + fmt.Sprintf("  the engine, restarted after %v", e.Pause)
	case freeze:
		return s + fmt.Sprintf("  the engine, for %v", e.For)
	case cut:
		return s + fmt.Sprintf("  between the engine and %d workers, for %v", e.Count, e.For)
	case parted:
		return s + fmt.Sprintf("  the others from %d workers, for %v", e.Count, e.For)
	case awaiting:
		way := "and back, "
		if e.OneWay {
			way = ""
		}
		return s + fmt.Sprintf("  what goes from the others to %d workers, %sfor %v", e.Count, way, e.For)
	}
	return e.ofSessions()
}
