package wspushprom

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/stats"
)

// leaves are the numbers in stats.Snapshot, and the series that each is to be. Those without a series are sums of others.
var leaves = map[string]string{
	"Connections":           `wspush_connections{}`,
	"Accepted":              `wspush_connections_accepted_total{}`,
	"Handshakes.Full":       `wspush_handshakes_refused_total{reason=full}`,
	"Handshakes.Shutdown":   `wspush_handshakes_refused_total{reason=shutdown}`,
	"Handshakes.Accept":     `wspush_handshakes_refused_total{reason=accept}`,
	"Handshakes.Origin":     `wspush_handshakes_refused_total{reason=origin}`,
	"Handshakes.Malformed":  `wspush_handshakes_refused_total{reason=malformed}`,
	"Handshakes.Failed":     `wspush_handshakes_refused_total{reason=failed}`,
	"Ended[client]":         `wspush_connections_ended_total{cause=client}`,
	"Ended[lost]":           `wspush_connections_ended_total{cause=lost}`,
	"Ended[closed]":         `wspush_connections_ended_total{cause=closed}`,
	"Ended[shutdown]":       `wspush_connections_ended_total{cause=shutdown}`,
	"Ended[idle]":           `wspush_connections_ended_total{cause=idle}`,
	"Ended[no-answer]":      `wspush_connections_ended_total{cause=no-answer}`,
	"Ended[expired]":        `wspush_connections_ended_total{cause=expired}`,
	"Ended[write-timeout]":  `wspush_connections_ended_total{cause=write-timeout}`,
	"Ended[protocol]":       `wspush_connections_ended_total{cause=protocol}`,
	"Ended[away]":           `wspush_connections_ended_total{cause=away}`,
	"Ended[moved]":          `wspush_connections_ended_total{cause=moved}`,
	"Ended[callback]":       `wspush_connections_ended_total{cause=callback}`,
	"Users":                 `wspush_users{}`,
	"Groups":                `wspush_groups{}`,
	"Memberships":           `wspush_memberships{}`,
	"Directory.Failing":     `wspush_directory_failing{}`,
	"Directory.Pending":     `wspush_directory_pending{}`,
	"Directory.Workers":     `wspush_directory_workers{state=present}`,
	"Directory.Vanished":    `wspush_directory_workers{state=vanished}`,
	"UserPushes":            `wspush_recipient_pushes_total{to=user}`,
	"GroupPushes":           `wspush_recipient_pushes_total{to=group}`,
	"Received":              `wspush_messages_received_total{}`,
	"BytesReceived":         `wspush_received_bytes_total{}`,
	"BytesWritten":          `wspush_written_bytes_total{}`,
	"PendingBytes":          `wspush_pending_bytes{}`,
	"Written":               `wspush_pushes_total{outcome=written,reason=}`,
	"Confirmed":             `wspush_pushes_confirmed_total{}`,
	"Refused":               ``,
	"RefusedBy.Gone":        `wspush_pushes_total{outcome=refused,reason=gone}`,
	"RefusedBy.Busy":        `wspush_pushes_total{outcome=refused,reason=busy}`,
	"RefusedBy.Withdrawn":   `wspush_pushes_total{outcome=refused,reason=withdrawn}`,
	"RefusedBy.Suspended":   `wspush_pushes_total{outcome=refused,reason=suspended}`,
	"RefusedBy.TooLarge":    `wspush_pushes_total{outcome=refused,reason=too-large}`,
	"RefusedBy.InvalidUTF8": `wspush_pushes_total{outcome=refused,reason=invalid-utf8}`,
	"RefusedBy.Shutdown":    `wspush_pushes_total{outcome=refused,reason=shutdown}`,
	"RefusedBy.Directory":   `wspush_pushes_total{outcome=refused,reason=directory}`,
	"RefusedBy.Other":       `wspush_pushes_total{outcome=refused,reason=other}`,
	"Buffered":              `wspush_pushes_total{outcome=buffered,reason=}`,
	"Unknown":               `wspush_pushes_total{outcome=unknown,reason=}`,
	"Pings":                 `wspush_pings_sent_total{}`,
	"Pongs":                 `wspush_pongs_received_total{}`,
	"PushConns":             `wspush_push_connections{}`,
	"PushConnsRefused":      `wspush_push_connections_refused_total{}`,
	"PushConnsDisplaced":    `wspush_push_connections_displaced_total{}`,
	"Problems[410]":         `wspush_push_problems_total{status=410}`,
	"Forwarded":             `wspush_forwarded_total{}`,
	"Links.Opened":          `wspush_links{opened_by=self}`,
	"Links.Accepted":        `wspush_links{opened_by=other}`,
	"Links.Asked":           `wspush_link_questions{asked_by=self}`,
	"Links.Taken":           `wspush_link_questions{asked_by=other}`,

	"Sessions.Live":                `wspush_sessions{}`,
	"Sessions.Suspended":           `wspush_sessions_suspended{}`,
	"Sessions.Buffered":            `wspush_session_buffered_messages{}`,
	"Sessions.BufferedBytes":       `wspush_session_buffered_bytes{}`,
	"Sessions.Resumes.Resumed":     `wspush_session_resumes_total{result=resumed}`,
	"Sessions.Resumes.Incomplete":  `wspush_session_resumes_total{result=incomplete}`,
	"Sessions.Resumes.Expired":     `wspush_session_resumes_total{result=expired}`,
	"Sessions.Resumes.Unknown":     `wspush_session_resumes_total{result=unknown}`,
	"Sessions.Resumes.Unreachable": `wspush_session_resumes_total{result=unreachable}`,
	"Sessions.Resumes.Ended":       `wspush_session_resumes_total{result=ended}`,
	"Sessions.Resumes.Refused":     `wspush_session_resumes_total{result=refused}`,
	"Sessions.Resumes.Ahead":       `wspush_session_resumes_total{result=ahead}`,
	"Sessions.Loaded":              `wspush_session_loaded_total{}`,
	"Sessions.Taken":               `wspush_session_taken_total{}`,
	"Sessions.TakesFailed":         `wspush_session_takes_failed_total{}`,
	"Sessions.Moved":               `wspush_session_moved_total{}`,
	"Sessions.Replaced":            `wspush_session_replaced_total{}`,
	"Sessions.Unconfirmed":         `wspush_session_unconfirmed_total{}`,

	"ForwardsFailed.Full":        `wspush_forwards_failed_total{reason=full}`,
	"ForwardsFailed.Unreachable": `wspush_forwards_failed_total{reason=unreachable}`,
	"ForwardsFailed.Lost":        `wspush_forwards_failed_total{reason=lost}`,

	"Limits.MaxConns":        `wspush_max_connections{}`,
	"Limits.MaxPushConns":    `wspush_max_push_connections{}`,
	"Limits.MaxPending":      `wspush_max_client_pending_bytes{}`,
	"Limits.MaxPendingAll":   `wspush_max_pending_bytes{}`,
	"Limits.MaxPushBytes":    `wspush_max_push_bytes{}`,
	"Limits.MaxPushBytesAll": `wspush_max_incoming_push_bytes{}`,
	"Limits.MaxGroups":       `wspush_max_connection_groups{}`,
	"Limits.MaxAsked":        `wspush_max_worker_questions{}`,
}

// TestEveryField sets one number of Stats at a time and looks for it among the series. A field that stats.Snapshot gets later
// fails it.
func TestEveryField(t *testing.T) {
	seen := make(map[string]bool)
	for path, set := range setters(t, "", reflect.TypeFor[stats.Snapshot]()) {
		seen[path] = true
		want, known := leaves[path]
		if !known {
			t.Errorf("Stats.%s is in no metric", path)
			continue
		}
		var s snapshot
		set(reflect.ValueOf(&s.Snapshot).Elem())
		var got []string
		for name, value := range series(t, &s) {
			if value != 0 {
				got = append(got, name)
				if want := valueOf(path); value != want {
					t.Errorf("%s: %s = %v, want %v", path, name, value, want)
				}
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s is in %q, want %q", path, got, want)
		}
	}
	for path := range leaves {
		if !seen[path] {
			t.Errorf("Stats has no %s", path)
		}
	}
	none := &snapshot{Snapshot: stats.Snapshot{Limits: stats.Limits{MaxConns: -1}}}
	if got := series(t, none)["wspush_max_connections{}"]; !math.IsInf(got, 1) {
		t.Errorf("wspush_max_connections = %v where there is no limit, want +Inf", got)
	}
	if got := series(t, &snapshot{failed: true})["wspush_push_listener_failed{}"]; got != 1 {
		t.Errorf("wspush_push_listener_failed = %v when it has, want 1", got)
	}
	if got := series(t, &snapshot{draining: true})["wspush_draining{}"]; got != 1 {
		t.Errorf("wspush_draining = %v while it drains, want 1", got)
	}
}

// TestEveryCause: every cause that a worker can have is tested above.
func TestEveryCause(t *testing.T) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Shutdown(t.Context())
	for cause := range worker.Stats().Ended {
		if _, ok := leaves["Ended["+string(cause)+"]"]; !ok {
			t.Errorf("%q is not tested", cause)
		}
	}
}

const mark = 7

// valueOf returns what a field is shown as that has been set to mark.
func valueOf(path string) float64 {
	if path == "Directory.Failing" { // true
		return 1
	}
	return mark
}

// setters returns, for each number in a value of type typ by its path, what sets it to mark.
func setters(t *testing.T, path string, typ reflect.Type) map[string]func(reflect.Value) {
	all := make(map[string]func(reflect.Value))
	switch {
	case typ == reflect.TypeFor[stats.Histogram](): // cannot be made up: TestScrape has real ones
	case typ.Kind() == reflect.Struct:
		for _, f := range reflect.VisibleFields(typ) {
			for sub, set := range setters(t, strings.TrimPrefix(path+"."+f.Name, "."), f.Type) {
				all[sub] = func(v reflect.Value) { set(v.FieldByIndex(f.Index)) }
			}
		}
	case typ == reflect.TypeFor[map[string]uint64]():
		for leaf := range leaves {
			if key, ok := strings.CutPrefix(leaf, path+"["); ok {
				cause := strings.TrimSuffix(key, "]")
				all[leaf] = func(v reflect.Value) { v.Set(reflect.ValueOf(map[string]uint64{cause: mark})) }
			}
		}
	case typ == reflect.TypeFor[map[int]uint64]():
		all[path+"[410]"] = func(v reflect.Value) { v.Set(reflect.ValueOf(map[int]uint64{410: mark})) }
	case typ.Kind() == reflect.Bool:
		all[path] = func(v reflect.Value) { v.SetBool(true) }
	case typ.Kind() == reflect.Uint64:
		all[path] = func(v reflect.Value) { v.SetUint(mark) }
	case typ.Kind() == reflect.Int, typ.Kind() == reflect.Int64:
		all[path] = func(v reflect.Value) { v.SetInt(mark) }
	default:
		t.Errorf("Stats.%s is a %v, which this test does not know", path, typ)
	}
	return all
}

// series returns the value of each series that a collector makes of s, except histograms.
func series(t *testing.T, s *snapshot) map[string]float64 {
	t.Helper()
	ch := make(chan prometheus.Metric, 1000)
	New(nil, nil).(*collector).send(ch, s)
	close(ch)
	values := make(map[string]float64)
	for m := range ch {
		var out dto.Metric
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		var labels []string
		for _, l := range out.GetLabel() {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		slices.Sort(labels)
		name, _, _ := strings.Cut(strings.TrimPrefix(m.Desc().String(), `Desc{fqName: "`), `"`)
		name += "{" + strings.Join(labels, ",") + "}"
		switch {
		case out.Gauge != nil:
			values[name] = out.Gauge.GetValue()
		case out.Counter != nil:
			values[name] = out.Counter.GetValue()
		}
	}
	return values
}
