package wspushprom_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
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
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Every query of every panel has results, all of them numbers, in an hour in which everything has happened. Every metric is shown.
func TestDashboard(t *testing.T) {
	families := gatherAll(t)
	values := make(map[string]string)
	for _, s := range seriesOf(families) {
		values[s] = "10+3x240"
	}
	w := newWorld("dashboard", values)
	metric := regexp.MustCompile(`wspush_\w+`)
	shown := make(map[string]bool)
	for _, p := range readDashboard(t).Panels {
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("%s: it has no query, or does not use the dashboard's data source", p.Title)
		}
		for _, target := range p.Targets {
			names := metric.FindAllString(target.Expr, -1)
			for _, name := range names {
				shown[name] = true
			}
			if n := len(names); n == 0 || n != strings.Count(target.Expr, `job=~"$job",instance=~"$instance"`) {
				t.Errorf("%s: %s does not use the dashboard's variables", p.Title, target.Expr)
			}
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", ".+", "$instance", ".+").Replace(target.Expr)
			// NaN does not equal itself.
			all := fmt.Sprintf("count((%s) == (%s)) == bool count(%s)", expr, expr, expr)
			w.Queries = append(w.Queries, query{all, "30m", []sample{{"{}", 1}}})
		}
	}
	for _, f := range families {
		if name := f.GetName(); !shown[name] && !shown[name+"_bucket"] {
			t.Errorf("no panel shows %s", name)
		}
	}
	check(t, w)
}

// IDs are unique, and panels are within 24 columns and do not overlap.
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
					t.Fatalf("%q overlaps %q", p.Title, other)
				}
				taken[cell{x, y}] = p.Title
			}
		}
	}
}
