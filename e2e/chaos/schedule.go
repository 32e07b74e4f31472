package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// eventKind is a way for things to go wrong.
type eventKind string

const (
	kill  eventKind = "kill"  // a worker gets SIGKILL
	drain eventKind = "drain" // a worker gets SIGTERM while messages wait for clients that do not read
	stall eventKind = "stall" // clients stop reading
	fill  eventKind = "fill"  // the same, and they are sent as much as the worker accepts
	lose  eventKind = "lose"  // the far clients' packets are lost
)

var eventKinds = []eventKind{kill, drain, stall, fill, lose}

// event is one thing that goes wrong.
type event struct {
	At        time.Duration // since chaos began
	Kind      eventKind
	Worker    int           // killed or drained
	Pause     time.Duration // until the worker is restarted
	Count     int           // clients
	For       time.Duration // how long it lasts
	OneWay    bool          // messages to far clients still arrive, or answers of the engine
	Elsewhere bool          // it is restarted at another port
}

func (e event) String() string {
	s := fmt.Sprintf("%6.2fs  %-5s", e.At.Seconds(), e.Kind)
	switch e.Kind {
	case kill:
		return s + fmt.Sprintf("  worker %d, restarted after %v", e.Worker, e.Pause)
	case drain:
		return s + fmt.Sprintf("  worker %d, with %d of its clients full, restarted after %v", e.Worker, e.Count, e.Pause)
	case lose:
		if e.OneWay {
			return s + fmt.Sprintf("  packets from the far clients, for %v", e.For)
		}
		return s + fmt.Sprintf("  packets to and from the far clients, for %v", e.For)
	}
	return s + fmt.Sprintf("  %d clients, for %v", e.Count, e.For)
}

// The distance between events, and between the last one and the end.
const (
	minGap, maxGap = 700 * time.Millisecond, 2200 * time.Millisecond
	quiet          = 3 * time.Second
)

// schedule returns what will go wrong, which depends only on the arguments. Kinds come in rounds, each once in random
// order, so that none is missed. Worker 0 is never killed or drained: it must bear everything else from beginning to end.
func schedule(seed uint64, duration time.Duration, workers, clients int) (events []event) {
	r := rand.New(rand.NewPCG(seed, 0))
	var round []eventKind
	n := map[eventKind]int{} // events of each kind so far; every second one lasts so long that the worker must act
	for at := time.Second; at < duration-quiet; at += between(r, minGap, maxGap) {
		if len(round) == 0 {
			round = append(round, eventKinds...)
			r.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		}
		e := event{At: at, Kind: round[0]}
		round = round[1:]
		isLong := n[e.Kind]%2 == 0
		n[e.Kind]++
		switch e.Kind {
		case kill:
			e.Worker, e.Pause = 1+r.IntN(workers-1), between(r, 0, 1500*time.Millisecond)
		case drain:
			e.Worker, e.Pause, e.Count = 1+r.IntN(workers-1), between(r, 0, time.Second), 2
		case stall:
			e.Count, e.For = clients/100+r.IntN(clients/50+1)+1, between(r, 500*time.Millisecond, 3*time.Second)
			if isLong {
				e.For += idleTimeout
			}
		case fill:
			e.Count, e.For = 3+r.IntN(3), between(r, time.Second, 2*time.Second)
			if isLong {
				e.For += writeTimeout
			}
		case lose:
			e.For, e.OneWay = between(r, 300*time.Millisecond, 4*time.Second), n[lose]/2%2 == 0
			if isLong {
				e.For += idleTimeout
			}
		}
		events = append(events, e)
	}
	return events
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return (low + time.Duration(r.Int64N(int64(high-low)))).Round(time.Millisecond)
}
