package main

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/table.md anew")

func testResults(t *testing.T) *Results {
	t.Helper()
	r, err := readResults("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// with returns results of which each figure is one series of one sample.
func with(figures map[[2]string]float64) *Results {
	r := new(Results)
	for key, v := range figures {
		r.Series = append(r.Series, Series{Metric: key[0], Server: key[1], Conns: 1000, Samples: []float64{v}})
	}
	return r
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	testResults(t).Markdown(&b)
	golden := filepath.Join("testdata", "table.md")
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("differs from %s; see the difference with go test -update, and git diff. Got:\n%s", golden, b.Bytes())
	}
}

// The terminal's table has the same cells as that of docs/performance.md.
func TestTable(t *testing.T) {
	r := testResults(t)
	var text, markdown bytes.Buffer
	r.Table(&text)
	r.Markdown(&markdown)
	words := func(s string) []string {
		return strings.Fields(regexp.MustCompile(`(?m)^\|---.*$|[|─]`).ReplaceAllString(s, " "))
	}
	if got, want := words(text.String()), words(markdown.String()); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
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
		{"inprocess-allocs", 0, 2, "2.00"}, // no multiple of nothing
		{"memory", 5, 0, "0"},
	} {
		m, _ := metricNamed(test.metric)
		r := with(map[[2]string]float64{{m.name, "wspush"}: test.wspush, {m.name, "coder"}: test.peer})
		if got := r.cell(m, "coder"); got != test.want {
			t.Errorf("%s, %v against %v: got %q, want %q", test.metric, test.wspush, test.peer, got, test.want)
		}
	}
}

func TestTargets(t *testing.T) {
	type figures = map[[2]string]float64
	for _, test := range []struct {
		name    string
		target  target
		figures figures
		want    string // measured and verdict
	}{
		{"in its unit", target{metric: "memory", limit: 8}, figures{{"memory", "wspush"}: 8}, "8.000 KB, met"},
		{"missed", target{metric: "memory", limit: 8}, figures{{"memory", "wspush"}: 8.01}, "8.010 KB, not met"},
		{"allowed", target{metric: "goroutines", limit: 1, allow: 1.01}, figures{{"goroutines", "wspush"}: 1.005}, "1.005, met"},
		{"not allowed", target{metric: "goroutines", limit: 1, allow: 1.01}, figures{{"goroutines", "wspush"}: 2}, "2.000, not met"},
		{"zero", target{metric: "inprocess-allocs", allow: 0.01}, figures{{"inprocess-allocs", "wspush"}: 0}, "0.000, met"},
		{"of one, more", target{metric: "hot-8", limit: 5, of: []string{"gorilla"}},
			figures{{"hot-8", "wspush"}: 600, {"hot-8", "gorilla"}: 100}, "6.000 times gorilla, met"},
		{"of one, more, missed", target{metric: "hot-8", limit: 5, of: []string{"gorilla"}},
			figures{{"hot-8", "wspush"}: 400, {"hot-8", "gorilla"}: 100}, "4.000 times gorilla, not met"},
		{"the best has most", target{metric: "hot-1", limit: 1, of: peers},
			figures{{"hot-1", "wspush"}: 150, {"hot-1", "coder"}: 100, {"hot-1", "nchan"}: 200, {"hot-1", "gws"}: 50}, "0.750 times nchan, not met"},
		{"the best has least", target{metric: "half-p99", limit: 1.1, of: goPeers},
			figures{{"half-p99", "wspush"}: 100, {"half-p99", "coder"}: 300, {"half-p99", "gws"}: 100, {"half-p99", "melody"}: 200}, "1.000 times gws, met"},
		{"nchan is no Go peer", target{metric: "half-p99", limit: 1.1, of: goPeers},
			figures{{"half-p99", "wspush"}: 100, {"half-p99", "coder"}: 200, {"half-p99", "nchan"}: 10}, "0.500 times coder, met"},
		{"against itself", target{metric: "storm", limit: 1.1, of: []string{"wspush before"}},
			figures{{"storm", "wspush before"}: 100, {"storm", "wspush after"}: 120}, "1.200 times before, not met"},
		{"ours is missing", target{metric: "memory", limit: 8}, figures{{"memory", "coder"}: 8}, ", not measured"},
		{"theirs is missing", target{metric: "memory", limit: 1, of: []string{"gws"}}, figures{{"memory", "wspush"}: 8}, ", not measured"},
		{"theirs is zero", target{metric: "memory", limit: 1, of: []string{"gws"}},
			figures{{"memory", "wspush"}: 8, {"memory", "gws"}: 0}, ", not measured"},
	} {
		all := targets
		targets = []target{test.target}
		row := with(test.figures).targetTable().rows[0]
		targets = all
		if got := row[1] + ", " + row[2]; got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// A run that measured nothing, or has series without samples, says so everywhere.
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
		for _, row := range r.targetTable().rows {
			if row[2] != "not measured" {
				t.Errorf("%q", row)
			}
		}
		if rows := r.scaleTable().rows; len(rows) > 0 {
			t.Errorf("%q", rows)
		}
	}
}

// Each group has the rows, the targets and the columns that are its own.
func TestGroups(t *testing.T) {
	for group, want := range map[string][]string{"": peers, delivery: {"coder"}} {
		r := &Results{Group: group}
		if got := r.peers(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: peers %q, want %q", group, got, want)
		}
		if legends[group] == "" {
			t.Errorf("%q has no legend", group)
		}
		if got, want := len(r.table().rows), len(r.group()); got != want {
			t.Errorf("%q: %d rows, want %d", group, got, want)
		}
	}
	for _, sc := range scenarios {
		for _, name := range sc.metrics {
			if m, ok := metricNamed(name); !ok || m.group != sc.group() {
				t.Errorf("%s is not of the group of its scenario", name)
			}
		}
	}
}

// Each target and each panel is of a metric there is.
func TestNames(t *testing.T) {
	for _, target := range targets {
		if _, ok := metricNamed(target.metric); !ok {
			t.Errorf("target of %q", target.metric)
		}
	}
	for _, panel := range panels {
		if _, ok := metricNamed(panel.metric); !ok {
			t.Errorf("panel of %q", panel.metric)
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

// What WriteFiles writes, reportFrom makes again from the JSON.
func TestRoundTrip(t *testing.T) {
	want, dir := testResults(t), t.TempDir()
	if err := want.WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	got, err := readResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	views := map[string][]byte{"table.md": nil, "chart-light.svg": nil, "chart-dark.svg": nil}
	for name := range views {
		file := filepath.Join(dir, name)
		if views[name], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	var table, again bytes.Buffer
	want.Table(&table)
	if err := reportFrom(dir, &again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Bytes(), table.Bytes()) {
		t.Errorf("got %s", &again)
	}
	for name, content := range views {
		if again, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(again, content) {
			t.Errorf("%s: %v, %s", name, err, again)
		}
	}
}

func TestReportFromNothing(t *testing.T) {
	if err := reportFrom(t.TempDir(), new(bytes.Buffer)); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}
