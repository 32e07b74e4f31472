package main

import (
	"context"
	"reflect"
	"testing"
)

// Both routes are measured in each round, in turn first, and a difference is between figures of the same round.
func TestRoutesInTurn(t *testing.T) {
	r := &run{results: &Results{Group: forwarded}, plan: smoke}
	p := &pair{direct: route{series: "wspush direct", push: "b"}, forwarded: route{series: "wspush", push: "a"}}
	var order []string
	phase := forwardedPhase{
		metrics: []string{"paced-p50", "paced-p50-added"},
		measure: func(_ context.Context, r *run, _ *pair, _ *loader, way route) (figures, error) {
			order = append(order, way.push)
			if way == p.direct {
				return figures{"paced-p50": float64(100 + r.round)}, nil
			}
			return figures{"paced-p50": float64(150 + 10*r.round)}, nil
		},
	}
	for r.round = range 3 {
		if err := r.measureRoutes(t.Context(), p, nil, phase); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"b", "a", "a", "b", "b", "a"}; !reflect.DeepEqual(order, want) {
		t.Errorf("measured %q, want %q", order, want)
	}
	for _, test := range []struct {
		metric, server string
		want           []float64
	}{
		{"paced-p50", "wspush direct", []float64{100, 101, 102}},
		{"paced-p50", "wspush", []float64{150, 160, 170}},
		{"paced-p50-added", "wspush", []float64{50, 59, 68}},
	} {
		s, _ := r.results.Find(test.metric, test.server, 0)
		if !reflect.DeepEqual(s.Samples, test.want) {
			t.Errorf("%s of %s: got %v, want %v", test.metric, test.server, s.Samples, test.want)
		}
	}
	if _, ok := r.results.Find("paced-p50-added", "wspush direct", 0); ok {
		t.Error("there is a difference for the direct route")
	}
}

// Of the metrics of a phase, only those that are wanted are kept.
func TestOnlyTheDifference(t *testing.T) {
	r := &run{results: &Results{Group: forwarded}, plan: smoke, only: []string{"paced-p99-added"}}
	p := &pair{direct: route{series: "wspush direct"}, forwarded: route{series: "wspush"}}
	phase := forwardedPhase{
		metrics: []string{"paced-p99", "paced-p99-added"},
		measure: func(_ context.Context, _ *run, _ *pair, _ *loader, way route) (figures, error) {
			return figures{"paced-p99": float64(len(way.series))}, nil
		},
	}
	if err := r.measureRoutes(t.Context(), p, nil, phase); err != nil {
		t.Fatal(err)
	}
	if s := r.results.Series; len(s) != 1 || s[0].Metric != "paced-p99-added" || s[0].Samples[0] != -7 {
		t.Errorf("got %v", s)
	}
}
