package main

import (
	"maps"
	"slices"
	"testing"
)

// A run in which too little happened must not pass.
func TestEnough(t *testing.T) {
	sound := func() *figures {
		f := &figures{Seconds: 60, Clients: 100, Connections: 300, Deletes: 1}
		f.Pushes, f.Events = map[string]int{}, map[eventKind]int{}
		for _, answer := range answers {
			f.Pushes[answer] = 1
		}
		f.Pushes[answerReceived] = 60 * leastRate
		f.Forwarded = map[string]int{answerReceived: 60 * leastForwarded}
		for _, k := range eventKinds {
			f.Events[k] = 1
		}
		return f
	}
	if p := sound().enough(); p.Count > 0 {
		t.Error(p.First)
	}
	for _, k := range eventKinds {
		f := sound()
		delete(f.Events, k)
		if f.enough().Count != 1 {
			t.Errorf("without %s: passed", k)
		}
	}
	f := sound()
	f.Forwarded[answerReceived]--
	if f.enough().Count != 1 {
		t.Error("with too few that were forwarded: passed")
	}
	for _, answer := range slices.Collect(maps.Keys(sound().Pushes)) {
		f := sound()
		delete(f.Pushes, answer)
		if f.enough().Count == 0 {
			t.Errorf("without %s: passed", answer)
		}
	}
}
