//go:build linux

package main

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Answers that are wrong, and messages that belie them, are noticed.
func TestJudge(t *testing.T) {
	began := time.Now()
	for name, test := range map[string]struct {
		status [publishers][]int // of the answers to each publisher's pushes
		got    [publishers][]string
		faults int
	}{
		"all is well":          {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 0", "0 1"}, {"1 0"}, {"2 0"}}, 0},
		"refused":              {[publishers][]int{{503, 204}, {204}, {204}}, [publishers][]string{{"0 1"}, {"1 0"}, {"2 0"}}, 1},
		"refused and arrived":  {[publishers][]int{{503, 204}, {204}, {204}}, [publishers][]string{{"0 0", "0 1"}, {"1 0"}, {"2 0"}}, 2},
		"never anything":       {[publishers][]int{{503}, {503}, {503}}, [publishers][]string{}, 2},
		"no new connection":    {[publishers][]int{{204}, {204}, {503}}, [publishers][]string{{"0 0"}, {"1 0"}}, 2},
		"no answer":            {[publishers][]int{{204, 0}, {204}, {204}}, [publishers][]string{{"0 0"}, {"1 0"}, {"2 0"}}, 1},
		"another answer":       {[publishers][]int{{204, 429}, {204}, {204}}, [publishers][]string{{"0 0"}, {"1 0"}, {"2 0"}}, 1},
		"lost":                 {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 1"}, {"1 0"}, {"2 0"}}, 2},
		"twice":                {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 0", "0 1", "0 1"}, {"1 0"}, {"2 0"}}, 1},
		"in another order":     {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 1", "0 0"}, {"1 0"}, {"2 0"}}, 1},
		"to another client":    {[publishers][]int{{204}, {204}, {204}}, [publishers][]string{{"1 0"}, {"0 0"}, {"2 0"}}, 2},
		"nothing from the new": {[publishers][]int{{204}, {204}, {}}, [publishers][]string{{"0 0"}, {"1 0"}}, 1},
	} {
		h := new(honest)
		for by := range publishers {
			h.clients = append(h.clients, &client{got: test.got[by]})
			for seq, status := range test.status[by] {
				p := &pushed{by: by, seq: seq, status: status, begun: began}
				if status == 0 {
					p.fault = errors.New("none")
				}
				h.pushes = append(h.pushes, p)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing more will arrive
		var all interface{ Unwrap() []error }
		err, faults := h.judge(ctx, began), 0
		if errors.As(err, &all) {
			faults = len(all.Unwrap())
		}
		if faults != test.faults {
			t.Errorf("%s: %d faults, want %d: %v", name, faults, test.faults, err)
		}
	}
}
