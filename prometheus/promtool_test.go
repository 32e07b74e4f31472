package wspushprom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/wspush/wspush"
	wspushprom "github.com/wspush/wspush/prometheus"
)

// promtool runs Prometheus' own tool, and skips the test where it is not installed (Debian: package prometheus). In CI it must be.
func promtool(t *testing.T, stdin []byte, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	switch {
	case err != nil && os.Getenv("CI") != "":
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// world is a Prometheus that has scraped series, and evaluated alerts.yml, every 15 s for an hour. It is a test of "promtool test
// rules". A series has the values that its notation says: "3+2x240" is 3, 5, 7, …
type world struct {
	Interval string   `json:"interval"` // of scrapes
	Name     string   `json:"name"`
	Series   []series `json:"input_series"`
	Queries  []query  `json:"promql_expr_test"`
}

type series struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

type query struct {
	Expr    string   `json:"expr"`
	Time    string   `json:"eval_time"`
	Samples []sample `json:"exp_samples"`
}

type sample struct {
	Labels string  `json:"labels"`
	Value  float64 `json:"value"`
}

func newWorld(name string, values map[string]string) *world {
	w := &world{Interval: "15s", Name: name}
	for s, v := range values {
		w.Series = append(w.Series, series{s, v})
	}
	return w
}

// fires expects that after so many minutes this alert fires and no other, or with "" none.
func (w *world) fires(minutes int, alert string) {
	q := query{Expr: `count by (alertname) (ALERTS{alertstate="firing"})`, Time: fmt.Sprintf("%dm", minutes)}
	if alert != "" {
		q.Samples = []sample{{fmt.Sprintf("{alertname=%q}", alert), 1}}
	}
	w.Queries = append(w.Queries, q)
}

// check has promtool test the worlds.
func check(t *testing.T, worlds ...*world) {
	t.Helper()
	rules, err := filepath.Abs("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	// JSON is YAML.
	tests, err := json.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": "15s", "tests": worlds})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tests.yml")
	if err := os.WriteFile(file, tests, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, nil, "test", "rules", file)
}

// Promtool finds nothing to improve in the rules and the metrics.
func TestPromtool(t *testing.T) {
	var metrics bytes.Buffer
	for _, f := range gatherAll(t) {
		if _, err := expfmt.MetricFamilyToText(&metrics, f); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, nil, "check", "rules", "alerts.yml")
	promtool(t, metrics.Bytes(), "check", "metrics")
}

// gatherAll returns the metrics of a real worker, which has refused one request so that all of them are there.
func gatherAll(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	resp, err := http.Post("http://"+worker.Addr().String()+"/ws", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(wspushprom.New(worker, nil))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// seriesOf returns the name and labels of each series of the metrics, those of histograms included.
func seriesOf(families []*dto.MetricFamily) []string {
	var all []string
	for _, f := range families {
		for _, m := range f.Metric {
			labels := []string{`job="app"`, `instance="a"`}
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			add := func(suffix string, more ...string) {
				all = append(all, f.GetName()+suffix+"{"+strings.Join(slices.Concat(labels, more), ",")+"}")
			}
			if m.Histogram == nil {
				add("")
				continue
			}
			add("_sum")
			add("_count")
			for _, b := range m.Histogram.Bucket {
				add("_bucket", fmt.Sprintf("le=%q", fmt.Sprint(b.GetUpperBound())))
			}
			add("_bucket", `le="+Inf"`)
		}
	}
	return all
}

// labelsOf returns the values of each label of a metric.
func labelsOf(f *dto.MetricFamily) map[string][]string {
	values := make(map[string][]string)
	for _, m := range f.Metric {
		for _, l := range m.Label {
			if !slices.Contains(values[l.GetName()], l.GetValue()) {
				values[l.GetName()] = append(values[l.GetName()], l.GetValue())
			}
		}
	}
	return values
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
