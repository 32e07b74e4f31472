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
		full   bool // 503 is an answer
		right  bool
	}{
		"all is well":          {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 0", "0 1"}, {"1 0"}, {"2 0"}}, false, true},
		"full":                 {[publishers][]int{{503, 204}, {204}, {204}}, [publishers][]string{{"0 1"}, {"1 0"}, {"2 0"}}, true, true},
		"full without reason":  {[publishers][]int{{503, 204}, {204}, {204}}, [publishers][]string{{"0 1"}, {"1 0"}, {"2 0"}}, false, false},
		"full and arrived":     {[publishers][]int{{503, 204}, {204}, {204}}, [publishers][]string{{"0 0", "0 1"}, {"1 0"}, {"2 0"}}, true, false},
		"never anything":       {[publishers][]int{{503}, {503}, {503}}, [publishers][]string{}, true, false},
		"no new connection":    {[publishers][]int{{204}, {204}, {503}}, [publishers][]string{{"0 0"}, {"1 0"}}, true, false},
		"no answer":            {[publishers][]int{{204, 0}, {204}, {204}}, [publishers][]string{{"0 0"}, {"1 0"}, {"2 0"}}, true, false},
		"another answer":       {[publishers][]int{{204, 429}, {204}, {204}}, [publishers][]string{{"0 0"}, {"1 0"}, {"2 0"}}, true, false},
		"lost":                 {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 1"}, {"1 0"}, {"2 0"}}, false, false},
		"twice":                {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 0", "0 1", "0 1"}, {"1 0"}, {"2 0"}}, false, false},
		"in another order":     {[publishers][]int{{204, 204}, {204}, {204}}, [publishers][]string{{"0 1", "0 0"}, {"1 0"}, {"2 0"}}, false, false},
		"to another client":    {[publishers][]int{{204}, {204}, {204}}, [publishers][]string{{"1 0"}, {"0 0"}, {"2 0"}}, false, false},
		"nothing from the new": {[publishers][]int{{204}, {204}, {}}, [publishers][]string{{"0 0"}, {"1 0"}}, false, false},
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
		if err := h.judge(ctx, began, test.full); (err == nil) != test.right {
			t.Errorf("%s: %v", name, err)
		}
	}
}
