package wspushprom_test

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// alerts returns the names of the alerts.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(read(t, "alerts.yml"), -1) {
		names = append(names, m[1])
	}
	return names
}

const labels = `job="app",instance="a"`

// healthy returns an ordinary hour: 1000 connections, clients that come and go, and 10 pushes a second, a few of them to clients that
// have gone.
func healthy(t *testing.T) map[string]string {
	t.Helper()
	series := make(map[string]string)
	for _, s := range seriesOf(gatherAll(t)) {
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
		`wspush_pushes_total{` + labels + `,outcome="buffered",reason=""}`:    "0+10x240",
		`wspush_push_problems_total{` + labels + `,status="410"}`:             "0+15x240",
		`wspush_sessions{` + labels + `}`:                                     "800x240",
		`wspush_sessions_suspended{` + labels + `}`:                           "100x240",
		`wspush_session_buffered_messages{` + labels + `}`:                    "1000x240",
		`wspush_session_buffered_bytes{` + labels + `}`:                       "100000x240",
		`wspush_session_resumes_total{` + labels + `,result="resumed"}`:       "0+15x240",
		`wspush_session_resumes_total{` + labels + `,result="expired"}`:       "0+5x240",
		`wspush_session_resumes_total{` + labels + `,result="unknown"}`:       "0+1x240",
		`wspush_session_replaced_total{` + labels + `}`:                       "0+5x240",
		`wspush_session_unconfirmed_total{` + labels + `}`:                    "0+5x240",
		`wspush_push_problems_total{` + labels + `,status="401"}`:             "0+1x240",
		`wspush_max_connections{` + labels + `}`:                              "2000x240",
		`wspush_max_pending_bytes{` + labels + `}`:                            "300000000x240",
	})
	return series
}

// In an ordinary hour no alert fires. When something happens, the alert for it fires, and no other. Each alert is tested.
func TestAlerts(t *testing.T) {
	slow := make(map[string]string)
	for s := range healthy(t) {
		if strings.HasPrefix(s, "wspush_push_duration_seconds_bucket") {
			slow[s] = "0+10x240"
		}
	}
	slow[`wspush_push_duration_seconds_bucket{`+labels+`,le="+Inf"}`] = "0+150x240"
	vanishing := strings.Repeat("1x9 0x4 ", 16) // for 2½ minutes of each 3¾
	var worlds []*world
	tested := map[string]bool{}
	for _, test := range []struct {
		alert   string
		changed map[string]string
	}{
		{"", nil},
		{"WspushConnectionsDrop", map[string]string{`wspush_connections{` + labels + `}`: "1000x95 400x145"}},
		{"WspushPushesSlow", slow},
		{"WspushClientsTooSlow", map[string]string{`wspush_pushes_total{` + labels + `,outcome="refused",reason="busy"}`: "0+20x240"}},
		{"WspushPendingNearLimit", map[string]string{`wspush_pending_bytes{` + labels + `}`: "250000000x240"}},
		{"WspushPendingNearLimit", map[string]string{`wspush_max_pending_bytes{` + labels + `}`: "5000x240"}},
		{"WspushConnectionsNearLimit", map[string]string{`wspush_connections{` + labels + `}`: "1900x240"}},
		{"WspushConnectionsNearLimit", map[string]string{`wspush_max_connections{` + labels + `}`: "1100x240"}},
		{"WspushOutcomesUnknown", map[string]string{`wspush_pushes_total{` + labels + `,outcome="unknown",reason=""}`: "0+3x240"}},
		{"WspushOutcomesUnknown", map[string]string{`wspush_forwards_failed_total{` + labels + `,reason="lost"}`: "0+3x240"}},
		{"WspushSessionsLoseMessages", map[string]string{`wspush_session_unconfirmed_total{` + labels + `}`: "0+20x240"}},
		{"WspushSessionsNotResumed", map[string]string{`wspush_session_resumes_total{` + labels + `,result="unknown"}`: "0+4x240"}},
		{"WspushSessionsNotResumed", map[string]string{`wspush_session_resumes_total{` + labels + `,result="unreachable"}`: "0+4x240"}},
		{"WspushSessionsNotResumed", map[string]string{`wspush_session_resumes_total{` + labels + `,result="incomplete"}`: "0+4x240"}},
		{"WspushSessionsNotResumed", map[string]string{`wspush_session_resumes_total{` + labels + `,result="ahead"}`: "0+4x240"}},
		{"WspushClientsTurnedAway", map[string]string{`wspush_handshakes_refused_total{` + labels + `,reason="full"}`: "0+1x240"}},
		{"WspushClientsTurnedAway", map[string]string{`wspush_handshakes_refused_total{` + labels + `,reason="failed"}`: "0+1x240"}},
		{"WspushCallbackFails", map[string]string{`wspush_connections_ended_total{` + labels + `,cause="callback"}`: "0x90 1x150"}},
		{"WspushPushListenerFailed", map[string]string{`wspush_push_listener_failed{` + labels + `}`: "0x90 1x150"}},
		{"WspushPublishersTurnedAway", map[string]string{`wspush_push_connections_refused_total{` + labels + `}`: "0+1x240"}},
		{"WspushWorkersUnreachable", map[string]string{`wspush_forwards_failed_total{` + labels + `,reason="unreachable"}`: "0+1x240"}},
		{"WspushWorkersUnreachable", map[string]string{`wspush_forwards_failed_total{` + labels + `,reason="full"}`: "0+1x240"}},
		{"WspushDirectoryFails", map[string]string{`wspush_directory_failing{` + labels + `}`: "0x90 1x150"}},
		{"WspushWorkersVanish", map[string]string{`wspush_directory_workers{` + labels + `,state="vanished"}`: vanishing}},
		{"WspushWorkersApart", map[string]string{`wspush_directory_workers{job="app",instance="b",state="present"}`: "1x240"}},
		{"WspushPublishersUnauthorized", map[string]string{`wspush_push_problems_total{` + labels + `,status="403"}`: "0+30x240"}},
	} {
		series := healthy(t)
		maps.Copy(series, test.changed)
		w := newWorld(test.alert, series)
		w.fires(30, test.alert)
		worlds = append(worlds, w)
		tested[test.alert] = true
	}
	for _, alert := range alerts(t) {
		if !tested[alert] {
			t.Errorf("%s is not tested", alert)
		}
	}
	check(t, worlds...)
}

// When all workers of a job are gone at once, there is nothing to sum up, and yet an alert.
func TestAlertsOfNobody(t *testing.T) {
	series := healthy(t)
	for s, values := range series {
		series[s] = strings.Replace(values, "x240", "x100 stale", 1)
	}
	w := newWorld("no worker", series)
	for minute, want := range map[int]string{25: "", 29: "", 31: "WspushConnectionsDrop", 34: "WspushConnectionsDrop", 36: ""} {
		w.fires(minute, want)
	}
	check(t, w)
}

// A mishap every 4 minutes raises no alert, however little else happens.
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
	var worlds []*world
	for name, mishap := range map[string]map[string]string{
		"a slow push":                 slow,
		"MaxConns":                    {`wspush_handshakes_refused_total{` + labels + `,reason="full"}`: seldom.String()},
		"a failed handshake":          {`wspush_handshakes_refused_total{` + labels + `,reason="failed"}`: seldom.String()},
		"a client that does not read": {`wspush_pushes_total{` + labels + `,outcome="refused",reason="busy"}`: seldom.String()},
		"an unknown outcome":          {`wspush_pushes_total{` + labels + `,outcome="unknown",reason=""}`: seldom.String()},
		"a lost answer":               {`wspush_forwards_failed_total{` + labels + `,reason="lost"}`: seldom.String()},
		"an unreachable worker":       {`wspush_forwards_failed_total{` + labels + `,reason="unreachable"}`: seldom.String()},
		"MaxPushConns":                {`wspush_push_connections_refused_total{` + labels + `}`: seldom.String()},
		"a directory that restarts":   {`wspush_directory_failing{` + labels + `}`: "0x90 1x6 0x144"},
		"two workers that crash":      {`wspush_directory_workers{` + labels + `,state="vanished"}`: "0x90 2x9 0x140"},
		"a worker that is added": {
			`wspush_directory_workers{` + labels + `,state="present"}`:         "3x90 4x150",
			`wspush_directory_workers{job="app",instance="b",state="present"}`: "_x90 3x0 4x149",
		},
		"workers that leave": {
			`wspush_directory_workers{` + labels + `,state="present"}`:         "9x90 2x150",
			`wspush_directory_workers{job="app",instance="b",state="present"}`: "9x90 stale",
		},
		"a session that is lost": {`wspush_session_unconfirmed_total{` + labels + `}`: seldom.String()},
		"a stranger's session":   {`wspush_session_resumes_total{` + labels + `,result="unknown"}`: seldom.String()},
		"no limits": {
			`wspush_max_connections{` + labels + `}`:   strings.Repeat("Inf ", 241),
			`wspush_max_pending_bytes{` + labels + `}`: strings.Repeat("Inf ", 241),
		},
		"publishers that give up": {`wspush_pushes_total{` + labels + `,outcome="refused",reason="withdrawn"}`: "0+20x240"},
	} {
		series := healthy(t)
		for s := range series {
			if strings.HasPrefix(s, "wspush_push") || strings.HasPrefix(s, "wspush_session_") { // there are no others
				series[s] = "0x240"
			}
		}
		maps.Copy(series, mishap)
		w := newWorld(name, series)
		w.Queries = []query{{Expr: `count_over_time(ALERTS{alertstate="firing"}[40m])`, Time: "1h"}}
		worlds = append(worlds, w)
	}
	check(t, worlds...)
}
