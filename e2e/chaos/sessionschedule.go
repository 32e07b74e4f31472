package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// What goes wrong with sessions, beside stall, fill, lose, hold and kill.
const (
	fin     eventKind = "FIN"     // some connections are ended by FIN
	rst     eventKind = "RST"     // by RST
	swallow eventKind = "swallow" // what some clients and the worker send each other is lost for a while, and the connection with it
	half    eventKind = "half"    // some clients are cut off, and the worker does not notice for a while
	flap    eventKind = "flap"    // the far clients' link goes down and comes back all the time
	storm   eventKind = "storm"   // every client but the far ones is cut off, and all come back
	replace eventKind = "replace" // some clients come back by another WebSocket while they have one
	reload  eventKind = "reload"  // some clients have forgotten some of what they got, and perhaps their latest ticket
	depart  eventKind = "depart"  // some clients go, and come back; perhaps after the window
	leave   eventKind = "leave"   // some clients end their session, and begin another
	restart eventKind = "restart" // the worker is told to stop, and its successor has its sessions
	finish  eventKind = "finish"  // the worker is told to stop, and its sessions end
)

var (
	sessionKinds = []eventKind{fin, rst, swallow, half, hold, lose, flap, stall, fill, storm, replace, reload, depart, leave}
	stopKinds    = []eventKind{restart, finish, kill}
)

const (
	minSessionGap, maxSessionGap = 150 * time.Millisecond, 900 * time.Millisecond
	minStopGap, maxStopGap       = 8 * time.Second, 11 * time.Second
	shortestSessions             = time.Minute      // in which everything can happen
	longAway                     = 2 * resumeWindow // the window stands still while the worker is restarted
)

// sessionSchedule is schedule for sessions. For half of the time nothing ends all sessions: some are to be long. Then it is finish, and after two thirds
// of the time kill as well.
func sessionSchedule(seed uint64, duration time.Duration, clients int) (events []event) {
	r := rand.New(rand.NewPCG(seed, 2))
	stops := stopSchedule(r, duration)
	var round []eventKind
	n := map[eventKind]int{}
	for at := time.Second; at < duration-quiet; at += between(r, minSessionGap, maxSessionGap) {
		for len(stops) > 0 && stops[0].At <= at {
			events = append(events, stops[0])
			stops = stops[1:]
		}
		if len(round) == 0 {
			round = append(round, sessionKinds...)
			r.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
			if len(events) == 0 {
				round = append(round, round[0])
				round[0] = depart // for longer than the window, and it takes so long
			}
		}
		e := event{At: at, Kind: round[0], Worker: r.IntN(roads)}
		round = round[1:]
		isLong := n[e.Kind]%3 == 0
		n[e.Kind]++
		few := 1 + r.IntN(clients/10+1)
		switch e.Kind {
		case fin, rst, replace, reload:
			e.Count = few
		case swallow, half:
			e.Count, e.For, e.OneWay = few, between(r, 20*time.Millisecond, 1500*time.Millisecond), r.IntN(2) == 0
			if isLong {
				e.For += idleTimeout
			}
		case hold, lose:
			e.For, e.OneWay = between(r, 100*time.Millisecond, 2*time.Second), r.IntN(2) == 0
			if isLong {
				e.For += idleTimeout
			}
		case flap:
			e.For = between(r, 2*time.Second, 4*time.Second)
		case stall:
			e.Count, e.For = few, between(r, 300*time.Millisecond, 3*time.Second)
			if isLong {
				e.For += idleTimeout
			}
		case fill:
			e.Count, e.For = 2, between(r, time.Second, 2*time.Second)
		case depart:
			e.Count, e.For = few, between(r, 200*time.Millisecond, 4*time.Second)
			if isLong {
				e.Count, e.For = 3, longAway
			}
		case leave:
			e.Count = 1 + few/4
		}
		events = append(events, e)
	}
	return append(events, stops...)
}

// stopSchedule returns when the worker is stopped, and how.
func stopSchedule(r *rand.Rand, duration time.Duration) (stops []event) {
	late := []eventKind{kill, finish, restart, restart}
	isFinished := false
	for at := 5 * time.Second; at < duration-quiet; at += between(r, minStopGap, maxStopGap) {
		e := event{At: at, Kind: restart, Pause: between(r, 0, 1500*time.Millisecond)}
		switch {
		case at > duration/2 && !isFinished:
			e.Kind, isFinished = finish, true
		case at > duration*2/3:
			e.Kind = late[0]
			late = append(late[1:], late[0])
		}
		stops = append(stops, e)
	}
	return stops
}

// ofSessions describes an event with sessions.
func (e event) ofSessions() string {
	s := fmt.Sprintf("%6.2fs  %-7s", e.At.Seconds(), e.Kind)
	way := "in both directions"
	if e.OneWay {
		way = "from the clients"
	}
	switch e.Kind {
	case restart, finish, kill:
		return s + fmt.Sprintf("  the worker, restarted after %v", e.Pause)
	case hold:
		return s + fmt.Sprintf("  what passes on road %d, %s, for %v", e.Worker, way, e.For)
	case lose:
		return s + fmt.Sprintf("  packets of the far clients, %s, for %v", way, e.For)
	case flap:
		return s + fmt.Sprintf("  the far clients' link, for %v", e.For)
	case storm:
		return s
	case swallow:
		return s + fmt.Sprintf("  %d clients, %s, for %v", e.Count, way, e.For)
	case fin, rst, replace, reload, leave:
		return s + fmt.Sprintf("  %d clients", e.Count)
	}
	return s + fmt.Sprintf("  %d clients, for %v", e.Count, e.For)
}
