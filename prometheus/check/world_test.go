package check

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"

	"github.com/wspush/wspush"
	wspushprom "github.com/wspush/wspush/prometheus"
)

// gather returns the metrics of a real worker, which has refused one request so that all of them are there.
func gather(t *testing.T) []*dto.MetricFamily {
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

// seriesOf returns all series of the metrics, as PromQL writes them, with those that histograms have.
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

// world is a Prometheus that has scraped series every 15 s for an hour.
type world struct {
	t     *testing.T
	query func(expr string, at time.Time) promql.Vector
}

const interval = 15 * time.Second

// newWorld makes one in which series have the values that their notations say: "3+2x240" is 3, 5, 7, …
func newWorld(t *testing.T, series map[string]string) *world {
	t.Helper()
	load := []string{"load 15s"}
	for _, s := range slices.Sorted(maps.Keys(series)) {
		load = append(load, s+" "+series[s])
	}
	storage := promqltest.LoadedStorage(t, strings.Join(load, "\n"))
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 10_000_000)
	w := &world{t: t}
	w.query = func(expr string, at time.Time) promql.Vector {
		t.Helper()
		q, err := engine.NewInstantQuery(t.Context(), storage, nil, expr, at)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		defer q.Close()
		result := q.Exec(t.Context())
		vector, err := result.Vector()
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		return slices.Clone(vector)
	}
	return w
}

// after is a moment of the hour.
func after(d time.Duration) time.Time { return time.Unix(0, 0).Add(d) }

// checkSelectors checks that every metric and every label value that an expression names is one that a worker has, and
// returns the names of the metrics.
func checkSelectors(t *testing.T, families []*dto.MetricFamily, expr string) (names []string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool {
			name := selector.Name
			if f.GetType() == dto.MetricType_HISTOGRAM {
				name = strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
			}
			return name == f.GetName()
		})
		if i < 0 {
			t.Errorf("%s: there is no metric %s", expr, selector.Name)
			return nil
		}
		names = append(names, families[i].GetName())
		known := labelsOf(families[i])
		for _, m := range selector.LabelMatchers {
			switch m.Name {
			case "__name__", "job", "instance", "status":
				continue
			}
			for value := range strings.SplitSeq(m.Value, "|") {
				if !slices.Contains(known[m.Name], value) {
					t.Errorf("%s: %s has no %s=%q", expr, selector.Name, m.Name, value)
				}
			}
		}
		return nil
	})
	return names
}

// labelsOf returns the values that each label of a metric has.
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
