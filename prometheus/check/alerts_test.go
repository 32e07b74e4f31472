package check

import (
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
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
		`wspush_push_duration_seconds_count{` + labels + `}`:                  "0+150x240",
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
		{"WspushOutcomesUnknown", map[string]string{`wspush_forwards_failed_total{` + labels + `,reason="lost"}`: "0+3x240"}},
		{"WspushClientsTurnedAway", map[string]string{`wspush_handshakes_refused_total{` + labels + `,reason="full"}`: "0+1x240"}},
		{"WspushClientsTurnedAway", map[string]string{`wspush_handshakes_refused_total{` + labels + `,reason="failed"}`: "0+1x240"}},
		{"WspushCallbackFails", map[string]string{`wspush_connections_ended_total{` + labels + `,cause="callback"}`: "0x90 1x150"}},
		{"WspushPublishersTurnedAway", map[string]string{`wspush_push_connections_refused_total{` + labels + `}`: "0+1x240"}},
		{"WspushWorkersUnreachable", map[string]string{`wspush_forwards_failed_total{` + labels + `,reason="unreachable"}`: "0+1x240"}},
		{"WspushWorkersUnreachable", map[string]string{`wspush_forwards_failed_total{` + labels + `,reason="full"}`: "0+1x240"}},
		{"WspushPublishersUnauthorized", map[string]string{`wspush_push_problems_total{` + labels + `,status="403"}`: "0+30x240"}},
	} {
		t.Run(test.alert, func(t *testing.T) {
			series := healthy(t)
			maps.Copy(series, test.changed)
			if got := newWorld(t, series).fired(30 * time.Minute); got != test.alert {
				t.Errorf("%q fires, want %q", got, test.alert)
			}
		})
	}
}

// TestAlertsOfNobody: when all workers of a job are gone at once, there is nothing to take a sum of, and yet an alert.
func TestAlertsOfNobody(t *testing.T) {
	series := healthy(t)
	for s, values := range series {
		series[s] = strings.Replace(values, "x240", "x100 stale", 1)
	}
	w := newWorld(t, series)
	for minute, want := range map[int]string{25: "", 29: "", 31: "WspushConnectionsDrop", 34: "WspushConnectionsDrop", 36: ""} {
		if got := w.fired(time.Duration(minute) * time.Minute); got != want {
			t.Errorf("%d minutes after the last scrape, %q fires, want %q", minute-25, got, want)
		}
	}
}

// TestAlertsOfQuietWorkers: a mishap every 4 minutes calls nobody, however little else there is.
func TestAlertsOfQuietWorkers(t *testing.T) {
	var seldom strings.Builder // 0 for 4 minutes, then 1 for 4 minutes, …
	for i := range 15 {
		fmt.Fprintf(&seldom, "%dx15 ", i)
	}
	slow := make(map[string]string)
	for s := range healthy(t) {
		if _, le, ok := strings.Cut(s, `le="`); ok && strings.HasPrefix(s, "wspush_push_duration_seconds_bucket") {
			if bound, err := strconv.ParseFloat(strings.TrimSuffix(le, `"}`), 64); err != nil {
				t.Fatal(err)
			} else if bound > 2 {
				slow[s] = seldom.String()
			}
		}
	}
	slow[`wspush_push_duration_seconds_count{`+labels+`}`] = seldom.String()
	for name, mishap := range map[string]map[string]string{
		"a slow push":                 slow,
		"MaxConns":                    {`wspush_handshakes_refused_total{` + labels + `,reason="full"}`: seldom.String()},
		"a failed handshake":          {`wspush_handshakes_refused_total{` + labels + `,reason="failed"}`: seldom.String()},
		"a client that does not read": {`wspush_pushes_total{` + labels + `,outcome="refused",reason="busy"}`: seldom.String()},
		"an unknown outcome":          {`wspush_pushes_total{` + labels + `,outcome="unknown",reason=""}`: seldom.String()},
		"a lost answer":               {`wspush_forwards_failed_total{` + labels + `,reason="lost"}`: seldom.String()},
		"an unreachable worker":       {`wspush_forwards_failed_total{` + labels + `,reason="unreachable"}`: seldom.String()},
		"MaxPushConns":                {`wspush_push_connections_refused_total{` + labels + `}`: seldom.String()},
		"publishers that give up":     {`wspush_pushes_total{` + labels + `,outcome="refused",reason="withdrawn"}`: "0+20x240"},
	} {
		t.Run(name, func(t *testing.T) {
			series := healthy(t)
			for s := range series {
				if strings.HasPrefix(s, "wspush_push") { // there are no other pushes
					series[s] = "0x240"
				}
			}
			maps.Copy(series, mishap)
			w := newWorld(t, series)
			for minute := 20; minute < 60; minute++ {
				if got := w.fired(time.Duration(minute) * time.Minute); got != "" {
					t.Fatalf("after %d minutes, %q fires", minute, got)
				}
			}
		})
	}
}

// fired returns the names of the alerts that fire after d.
func (w *world) fired(d time.Duration) string {
	w.t.Helper()
	var names []string
	for _, rule := range readRules(w.t) {
		if w.fires(rule, after(d)) {
			names = append(names, rule.Alert)
		}
	}
	return strings.Join(names, " ")
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

// TestRules: each alert is tested, names what a worker has, and says in the comment above it what to do, and that a record of the
// log which it names needs a Logger, unless it is at Warn or Error.
func TestRules(t *testing.T) {
	families := gather(t)
	source, this, page := read(t, "../alerts.yml"), read(t, "alerts_test.go"), read(t, "../../docs/observability.md")
	record := regexp.MustCompile(`"(wspush: [^"]+)"`)
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
		comment := lastComment(before)
		if comment == "" {
			t.Errorf("%s: no comment says what to do", rule.Alert)
		}
		for _, m := range record.FindAllStringSubmatch(comment, -1) {
			row := regexp.MustCompile(`\| ([A-Za-z, ]+) \| ` + "`" + regexp.QuoteMeta(m[1]) + "`").FindStringSubmatch(page)
			if row == nil {
				t.Errorf("%s: there is no record %q", rule.Alert, m[1])
				continue
			}
			for level := range strings.SplitSeq(row[1], ", ") {
				hidden := level == "Info" || level == "Debug"
				if !strings.Contains(comment, level) || hidden && !strings.Contains(comment, "Logger") {
					t.Errorf("%s: the comment does not say who sees %q, which is at %s", rule.Alert, m[1], level)
				}
			}
		}
	}
}

// lastComment returns the comment with which text ends, as one line; "" if it ends with none.
func lastComment(text string) string {
	var comment string
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(text), "\n")) {
		part, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		if !ok {
			break
		}
		comment = part + comment
	}
	return comment
}
