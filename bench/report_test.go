package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// with returns results in which each figure is a series of one sample.
func with(figures map[[2]string]float64) *Results {
	r := new(Results)
	for key, v := range figures {
		r.Series = append(r.Series, Series{Metric: key[0], Server: key[1], Conns: 1000, Samples: []float64{v}})
	}
	return r
}

// The tables and charts in results are those of the JSON beside them.
func TestViews(t *testing.T) {
	for _, dir := range committed(t) {
		r, err := readResults(dir)
		if err != nil {
			t.Fatal(err)
		}
		again := t.TempDir()
		if err := r.writeViews(again); err != nil {
			t.Fatal(err)
		}
		views, err := filepath.Glob(filepath.Join(again, "*"))
		if err != nil || len(views) == 0 {
			t.Fatalf("%q, %v", views, err)
		}
		for _, view := range views {
			file := filepath.Join(dir, filepath.Base(view))
			if read(t, file) != read(t, view) {
				t.Errorf("%s differs: run go run . -report %s", file, dir)
			}
		}
	}
}

func TestAheadIsAboveOneWhenWspushIs(t *testing.T) {
	for _, test := range []struct {
		metric       string
		wspush, peer float64
		want         string
	}{
		{"memory", 5, 15, "15.0 (3.00×)"},
		{"memory", 15, 5, "5.00 (0.33×)"},
		{"hot-8", 400, 100, "100 (4.00×)"},
		{"hot-8", 100, 400, "400 (0.25×)"},
		{"memory", 0, 2, "2.00"}, // no multiple of nothing
		{"memory", 5, 0, "0"},
	} {
		m, _ := metricNamed(test.metric)
		r := with(map[[2]string]float64{{m.name, "wspush"}: test.wspush, {m.name, "coder"}: test.peer})
		if got := r.cell(m, "coder"); got != test.want {
			t.Errorf("%s, %v against %v: got %q, want %q", test.metric, test.wspush, test.peer, got, test.want)
		}
	}
}

// A run that measured nothing says so everywhere, and so does one that has series without samples.
func TestMissing(t *testing.T) {
	empty := new(Results)
	for _, m := range metrics {
		empty.Series = append(empty.Series, Series{Metric: m.name, Server: "wspush"})
	}
	for _, r := range []*Results{new(Results), empty} {
		for _, row := range r.table().rows {
			if row[3] != missing || row[len(row)-1] != missing {
				t.Errorf("%q", row)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0001: "0", 0.0123: "0.012", 0.9: "0.900", 1: "1.00", 9.994: "9.99", 9.996: "10.0", 15.84: "15.8", 99.96: "100",
		842.3: "842", 9999: "9999", 9999.7: "10.0k", 12345: "12.3k", 612000: "612k", 999_400: "999k", 999_600: "1.00M", 2.47e6: "2.47M",
		-15.84: "-15.8", math.Inf(1): missing, math.NaN(): missing,
	} {
		if got := number(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
