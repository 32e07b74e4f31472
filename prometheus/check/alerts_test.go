package check

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func readRules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(read(t, "../alerts.yml")), false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.NewTextHandler(t.Output(), nil)))
	for _, err := range errs {
		t.Fatal(err)
	}
	var rules []rulefmt.Rule
	for _, g := range groups.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

const labels = `job="app",instance="a"`

// healthy is an ordinary hour: per worker 1000 connections, clients that come and go, and 10 pushes a second, of which some
// are for clients that have gone.
func healthy(t *testing.T) map[string]string {
	t.Helper()
	series := make(map[string]string)
	for _, s := range seriesOf(gather(t)) {
		series[s] = "0x240"
		if strings.HasPrefix(s, "wspush_push_duration_seconds_bucket") && !strings.Contains(s, "e-") {
			series[s] = "0+150x240" // all of them are in less than a millisecond
		}
	}
	maps.Copy(series, map[string]string{
		`wspush_connections{` + labels + `}`:                                  "1000x240",
		`wspush_pending_bytes{` + labels + `}`:                                "4096x240",
		`wspush_connections_accepted_total{` + labels + `}`:                   "1000+15x240",
		`wspush_connections_ended_total{` + labels + `,cause="client"}`:       "0+15x240",
		`wspush_handshakes_refused_total{` + labels + `,reason="origin"}`:     "0+1x240",
		`wspush_pushes_total{` + labels + `,outcome="written",reason=""}`:     "0+150x240",
		`wspush_pushes_total{` + labels + `,outcome="refused",reason="gone"}`: "0+15x240",
		`wspush_pushes_total{` + labels + `,outcome="refused",reason="busy"}`: "0+1x240",
		`wspush_push_problems_total{` + labels + `,status="410"}`:             "0+15x240",
		`wspush_push_problems_total{` + labels + `,status="401"}`:             "0+1x240",
	})
	return series
}

// TestAlerts: in an ordinary hour no alert fires, and when something happens, the one for it does and no other.
func TestAlerts(t *testing.T) {
	slow := make(map[string]string)
	for s := range healthy(t) {
		if strings.HasPrefix(s, "wspush_push_duration_seconds_bucket") {
			slow[s] = "0+10x240"
		}
	}
	slow[`wspush_push_duration_seconds_bucket{`+labels+`,le="+Inf"}`] = "0+150x240"
	for _, test := range []struct {
		alert   string
		changed map[string]string
	}{
		{"", nil},
		{"WspushConnectionsDrop", map[string]string{`wspush_connections{` + labels + `}`: "1000x95 400x145"}},
		{"WspushPushesSlow", slow},
		{"WspushClientsTooSlow", map[string]string{`wspush_pushes_total{` + labels + `,outcome="refused",reason="busy"}`: "0+20x240"}},
		{"WspushPendingNearLimit", map[string]string{`wspush_pending_bytes{` + labels + `}`: "250000000x240"}},
		{"WspushOutcomesUnknown", map[string]string{`wspush_pushes_total{` + labels + `,outcome="unknown",reason=""}`: "0+3x240"}},
		{"WspushClientsTurnedAway", map[string]string{`wspush_handshakes_refused_total{` + labels + `,reason="full"}`: "0+1x240"}},
		{"WspushClientsTurnedAway", map[string]string{`wspush_handshakes_refused_total{` + labels + `,reason="failed"}`: "0+1x240"}},
		{"WspushCallbackFails", map[string]string{`wspush_connections_ended_total{` + labels + `,cause="callback"}`: "0x90 1x150"}},
		{"WspushPublishersTurnedAway", map[string]string{`wspush_push_connections_refused_total{` + labels + `}`: "0+1x240"}},
		{"WspushWorkersUnreachable", map[string]string{`wspush_push_problems_total{` + labels + `,status="502"}`: "0+1x240"}},
		{"WspushPublishersUnauthorized", map[string]string{`wspush_push_problems_total{` + labels + `,status="403"}`: "0+30x240"}},
	} {
		t.Run(test.alert, func(t *testing.T) {
			series := healthy(t)
			maps.Copy(series, test.changed)
			w := newWorld(t, series)
			var fired []string
			for _, rule := range readRules(t) {
				if w.fires(rule, after(30*time.Minute)) {
					fired = append(fired, rule.Alert)
				}
			}
			if got := strings.Join(fired, " "); got != test.alert {
				t.Errorf("%q fires, want %q", got, test.alert)
			}
		})
	}
}

// fires reports whether the rule's expression has held, whenever it was looked at, for as long as it has to.
func (w *world) fires(rule rulefmt.Rule, at time.Time) bool {
	w.t.Helper()
	for back := time.Duration(0); back <= time.Duration(rule.For); back += interval {
		if len(w.query(rule.Expr, at.Add(-back))) == 0 {
			return false
		}
	}
	return true
}

// TestRules: each alert is tested, names what a worker has, and says in the comment above it what to do.
func TestRules(t *testing.T) {
	families := gather(t)
	source, this := read(t, "../alerts.yml"), read(t, "alerts_test.go")
	var names []string
	for _, rule := range readRules(t) {
		if slices.Contains(names, rule.Alert) {
			t.Errorf("two rules are called %s", rule.Alert)
		}
		names = append(names, rule.Alert)
		checkSelectors(t, families, rule.Expr)
		if !strings.Contains(this, `{"`+rule.Alert+`"`) {
			t.Errorf("%s is not in TestAlerts", rule.Alert)
		}
		if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
			t.Errorf("%s has no severity, or no summary", rule.Alert)
		}
		before, _, _ := strings.Cut(source, "      - alert: "+rule.Alert+"\n")
		if lines := strings.Split(strings.TrimSpace(before), "\n"); !strings.HasPrefix(strings.TrimSpace(lines[len(lines)-1]), "#") {
			t.Errorf("%s: no comment says what to do", rule.Alert)
		}
	}
}
