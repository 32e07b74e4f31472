package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The whole benchmark runs as docs/performance.md says, with tiny numbers, and measures every metric.
func TestSmoke(t *testing.T) {
	t.Run("go run .", func(t *testing.T) { testSmoke(t, "", "-servers", strings.Join(goAll, ",")) })
	t.Run("go run . -group bulk", func(t *testing.T) { testSmoke(t, bulk, "-group", "bulk", "-servers", "wspush,coder,gorilla") })
	t.Run("go run . -group forwarded", func(t *testing.T) { testSmoke(t, forwarded, "-group", "forwarded") })
	t.Run("go run . -group heavy", func(t *testing.T) { testSmoke(t, heavy, "-group", "heavy") })
	t.Run("go run . -group sessions", func(t *testing.T) { testSmoke(t, sessions, "-group", "sessions") })
	t.Run("go run . -group users", func(t *testing.T) { testSmoke(t, users, "-group", "users") })
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

// checkSeries checks that there are figures, and that they can be true.
func checkSeries(t *testing.T, r *Results, metric, name string) {
	t.Helper()
	s, ok := r.Find(metric, name, 0)
	if !ok || len(s.Samples) == 0 {
		t.Errorf("%s of %s was not measured", metric, name)
		return
	}
	// In so short a time, the difference of two small figures may be negative.
	for _, v := range s.Samples {
		if m, _ := metricNamed(metric); v <= 0 && !m.signed {
			t.Errorf("%s of %s is %v", metric, name, v)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	for _, args := range [][]string{
		{"-smoke", "-only", "speed"},
		{"-smoke", "-only", "bulk-cpu"}, // which is of another group
		{"-smoke", "-group", "bulk", "-only", "memory"},
		{"-smoke", "-group", "bulk", "-only", "paced-p50"},
		{"-smoke", "-group", "others"},
		{"-smoke", "-servers", "apache"},
		{"-smoke", "rest"},
		{"-nonsense"},
	} {
		if err := bench(t.Context(), args, t.Output()); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
