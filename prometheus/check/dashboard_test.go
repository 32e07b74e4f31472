package check

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

type dashboard struct {
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []panel
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct{ Expr, LegendFormat string }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "../dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboard evaluates every query of every panel over an hour in which everything has happened.
func TestDashboard(t *testing.T) {
	families := gather(t)
	series := make(map[string]string)
	for _, s := range seriesOf(families) {
		series[s] = "10+3x240"
	}
	w := newWorld(t, series)
	d := readDashboard(t)
	legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	shown := make(map[string]bool)
	for _, p := range d.Panels {
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("%s: it has no query, or not of the dashboard's data source", p.Title)
		}
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", ".+", "$instance", ".+").Replace(target.Expr)
			for _, name := range checkSelectors(t, families, expr) {
				shown[name] = true
			}
			if n := strings.Count(target.Expr, "wspush_"); n == 0 || n != strings.Count(target.Expr, `job=~"$job",instance=~"$instance"`) {
				t.Errorf("%s: %s does not obey the dashboard's variables", p.Title, target.Expr)
			}
			result := w.query(expr, after(30*time.Minute))
			if len(result) == 0 {
				t.Errorf("%s: %s has no result", p.Title, expr)
			}
			for _, sample := range result {
				if math.IsNaN(sample.F) {
					t.Errorf("%s: %s is no number", p.Title, expr)
				}
				for _, label := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
					if !sample.Metric.Has(label[1]) {
						t.Errorf("%s: %s has no label %s for its legend", p.Title, expr, label[1])
					}
				}
			}
		}
	}
	for _, f := range families {
		if !shown[f.GetName()] {
			t.Errorf("no panel shows %s", f.GetName())
		}
	}
}

// TestDashboardVariables: they choose among what there is.
func TestDashboardVariables(t *testing.T) {
	families := gather(t)
	d := readDashboard(t)
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Type == "datasource" {
			continue
		}
		selector, ok := strings.CutPrefix(v.Definition, "label_values(")
		selector, ok2 := strings.CutSuffix(selector, ", "+v.Name+")")
		if !ok || !ok2 {
			t.Errorf("$%s: %s does not list the values of a label of that name", v.Name, v.Definition)
		}
		checkSelectors(t, families, selector)
	}
	if want := []string{"datasource", "job", "instance"}; !slices.Equal(names, want) {
		t.Errorf("variables are %q, want %q", names, want)
	}
}

// TestDashboardLayout: IDs are unique, and panels are within 24 columns and not upon each other.
func TestDashboardLayout(t *testing.T) {
	type cell struct{ x, y int }
	taken := make(map[cell]string)
	ids := make(map[int]string)
	for _, p := range readDashboard(t).Panels {
		if other, ok := ids[p.ID]; ok {
			t.Errorf("%q and %q have the same ID", p.Title, other)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		if g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%q is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[cell{x, y}]; ok {
					t.Fatalf("%q is upon %q", p.Title, other)
				}
				taken[cell{x, y}] = p.Title
			}
		}
	}
}
