package main

import (
	"fmt"
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	for seed := range uint64(500) {
		happens := map[eventKind]bool{}
		events := schedule(seed, 20*time.Second, 3, 1000)
		for _, e := range events {
			happens[e.Kind] = true
			if (e.Kind == kill || e.Kind == drain) && (e.Worker < 1 || e.Worker > 2) {
				t.Fatalf("seed %d: %v", seed, e)
			}
		}
		if len(happens) != len(eventKinds) {
			t.Fatalf("seed %d: only %v", seed, happens)
		}
		if fmt.Sprint(events) != fmt.Sprint(schedule(seed, 20*time.Second, 3, 1000)) {
			t.Fatalf("seed %d: not the same again", seed)
		}
	}
}

func TestMemberSchedule(t *testing.T) {
	for _, by := range []string{inRedis, inNATS, amongPeers} {
		kinds := memberKinds(by)
		for seed := range uint64(300) {
			for _, duration := range []time.Duration{30 * time.Second, time.Minute, 3 * time.Minute, 8 * time.Minute} {
				happens := map[eventKind]bool{}
				events := memberSchedule(seed, duration, 3, kinds)
				for _, e := range events {
					happens[e.Kind] = true
					if (e.Kind == kill || e.Kind == drain || e.Kind == pause || e.Kind == remain) && (e.Worker < 1 || e.Worker > 2) {
						t.Fatalf("seed %d: %v", seed, e.what())
					}
				}
				for _, k := range kinds {
					if !happens[k] {
						t.Fatalf("seed %d, %v by %s: no %s", seed, duration, by, k)
					}
				}
				if fmt.Sprint(events) != fmt.Sprint(memberSchedule(seed, duration, 3, kinds)) {
					t.Fatalf("seed %d: not the same again", seed)
				}
			}
		}
	}
}

func TestSessionSchedule(t *testing.T) {
	for seed := range uint64(300) {
		for _, duration := range []time.Duration{shortestSessions, time.Minute, 5 * time.Minute} {
			happens := map[eventKind]bool{}
			events := sessionSchedule(seed, duration, 150)
			for _, e := range events {
				if !happens[restart] && (e.Kind == finish || e.Kind == kill) {
					t.Fatalf("seed %d, %v: %s before any restart", seed, duration, e.ofSessions())
				}
				if e.Kind == kill && e.At < duration*2/3 {
					t.Fatalf("seed %d, %v: early: %s", seed, duration, e.ofSessions())
				}
				happens[e.Kind] = true
			}
			for _, k := range append(sessionKinds, stopKinds...) {
				if !happens[k] {
					t.Fatalf("seed %d, %v: no %s", seed, duration, k)
				}
			}
			if fmt.Sprint(events) != fmt.Sprint(sessionSchedule(seed, duration, 150)) {
				t.Fatalf("seed %d: not the same again", seed)
			}
		}
	}
}
