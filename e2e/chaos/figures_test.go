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

func TestEnoughSessions(t *testing.T) {
	sound := func() *sessionFigures {
		f := &sessionFigures{Seconds: 60, Clients: 100, Resumes: 100 * leastResumes, Again: 1, Killed: 1}
		f.Pushes = map[pushAim]map[string]int{toOne: {"409 suspended": 1, "429 busy": 1, answerNobody: 1, answerGaveUp: 1}}
		f.Outcomes = map[string]int{"received": 60 * leastAccepted, "written": 1, "buffered": 1, "never": 1, "unknown": 1}
		f.Unconfirmed = map[string]int{"written": 1, "not written": 1}
		f.Ends = map[string]int{"lost expired": 1, "lost unknown": 1, "left": 1}
		f.Events = map[eventKind]int{}
		for _, k := range slices.Concat(sessionKinds, stopKinds) {
			f.Events[k] = 1
		}
		return f
	}
	if p := sound().enough(); p.Count > 0 {
		t.Error(p.First)
	}
	for name, part := range map[string]func(f *sessionFigures) map[string]int{
		"answer":      func(f *sessionFigures) map[string]int { return f.Pushes[toOne] },
		"outcome":     func(f *sessionFigures) map[string]int { return f.Outcomes },
		"Unconfirmed": func(f *sessionFigures) map[string]int { return f.Unconfirmed },
		"end":         func(f *sessionFigures) map[string]int { return f.Ends },
	} {
		for k := range part(sound()) {
			f := sound()
			if delete(part(f), k); f.enough().Count == 0 {
				t.Errorf("without the %s %q: passed", name, k)
			}
		}
	}
	for k := range sound().Events {
		f := sound()
		if delete(f.Events, k); f.enough().Count != 1 {
			t.Errorf("without %s: passed", k)
		}
	}
	for name, spoil := range map[string]func(f *sessionFigures){
		"messages":     func(f *sessionFigures) { f.Outcomes["received"] /= 2 },
		"resumptions":  func(f *sessionFigures) { f.Resumes-- },
		"reloads":      func(f *sessionFigures) { f.Again = 0 },
		"lost workers": func(f *sessionFigures) { f.Killed = 0 },
	} {
		f := sound()
		if spoil(f); f.enough().Count != 1 {
			t.Errorf("with too few %s: passed", name)
		}
	}
}
