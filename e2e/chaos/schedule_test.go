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
