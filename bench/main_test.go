package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSmoke runs the whole benchmark, as docs/performance.md says, but with tiny numbers, and looks that every metric is there.
func TestSmoke(t *testing.T) {
	t.Run("go run .", func(t *testing.T) { testSmoke(t, "", "-servers", strings.Join(goAll, ",")) })
	t.Run("go run . -delivery", func(t *testing.T) { testSmoke(t, delivery, "-delivery") })
	t.Run("go run . -bulk", func(t *testing.T) { testSmoke(t, bulk, "-bulk", "-servers", "wspush,coder,gorilla,gws") })
}

func testSmoke(t *testing.T, group string, args ...string) {
	if testing.Short() {
		t.Skip("starts servers, and takes some seconds")
	}
	dir := t.TempDir()
	var table strings.Builder
	if err := bench(t.Context(), append(args, "-smoke", "-out", dir), &table); err != nil {
		t.Fatal(err)
	}
	if table.Len() == 0 {
		t.Error("there is no table")
	}
	content, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r Results
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	for _, sc := range scenarios {
		if sc.group() != group {
			continue
		}
		for _, metric := range sc.metrics {
			for _, name := range sc.servers {
				if finders[name] != nil {
					continue // it need not be installed
				}
				names := []string{name}
				m, _ := metricNamed(metric)
				if name == "wspush" && m.ours != "" {
					names = []string{m.ours}
				}
				if name == "wspush" && m.reference != "" {
					names = append(names, m.reference)
				}
				for _, name := range names {
					checkSeries(t, &r, metric, name)
				}
			}
		}
	}
}

// checkSeries looks that there are figures, and that they can be true.
func checkSeries(t *testing.T, r *Results, metric, name string) {
	t.Helper()
	s, ok := r.Find(metric, name, 0)
	if !ok || len(s.Samples) == 0 {
		t.Errorf("%s of %s was not measured", metric, name)
		return
	}
	// What is all but nothing may be nothing in so short a time; a difference of two small figures may even be less.
	m, _ := metricNamed(metric)
	atLeast := m.neither || map[string]bool{"idle-cpu": true, "inprocess-allocs": true}[metric]
	difference := map[string]bool{"ping-cpu": true, "stalled-memory": true, "stalled-left": true}[metric]
	for _, v := range s.Samples {
		if v < 0 && !difference || v == 0 && !atLeast && !difference {
			t.Errorf("%s of %s is %v", metric, name, v)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	for _, args := range [][]string{
		{"-smoke", "-only", "speed"},
		{"-smoke", "-only", "stalled-p99"}, // which is of another group
		{"-smoke", "-delivery", "-only", "memory"},
		{"-smoke", "-bulk", "-delivery"},
		{"-smoke", "-servers", "apache"},
		{"-smoke", "rest"},
		{"-nonsense"},
	} {
		if err := bench(t.Context(), args, t.Output()); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
