package wspushprom_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/wspush/wspush"
	wspushprom "github.com/wspush/wspush/prometheus"
	"github.com/wspush/wspush/stats"
)

// TestScrape makes everything happen that a worker counts, a known number of times, and then reads the metrics as Prometheus
// does.
func TestScrape(t *testing.T) {
	const maxConns, maxPush, maxPending = 6, 32 << 20, 1000
	s := newSite(t, wspush.WorkerOptions{MaxConns: maxConns, MaxPushBytes: maxPush, MaxPending: maxPending}, wspush.HandlerOptions{ReadLimit: 10})
	metrics := expose(t, wspushprom.New(s.worker, nil))

	want := zeros(t, metrics())
	at := func(value float64, series string) {
		t.Helper()
		if _, there := want[series]; !there && !strings.Contains(series, "push_problems") {
			t.Errorf("%s is not there from the start", series)
		}
		want[series] = value
	}

	// Handshakes.
	upgrade := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	foreign := maps.Clone(upgrade)
	foreign["Origin"] = []string{"https://foreign.example"}
	s.request("GET", s.url+"/ws?refused", "", upgrade, http.StatusForbidden)
	at(1, `wspush_handshakes_refused_total{reason="accept"}`)
	s.request("GET", s.url+"/ws", "", foreign, http.StatusForbidden)
	at(1, `wspush_handshakes_refused_total{reason="origin"}`)
	for range 2 {
		s.request("GET", s.url+"/ws", "", nil, http.StatusUpgradeRequired)
	}
	at(2, `wspush_handshakes_refused_total{reason="malformed"}`)
	s.request("GET", s.url+"/hidden", "", upgrade, http.StatusNotImplemented)
	at(1, `wspush_handshakes_refused_total{reason="failed"}`)
	clients := make([]*client, maxConns)
	for i := range clients {
		clients[i] = s.dial()
	}
	at(maxConns, `wspush_connections_accepted_total{}`)
	s.request("GET", s.url+"/ws", "", upgrade, http.StatusServiceUnavailable)
	at(1, `wspush_handshakes_refused_total{reason="full"}`)

	// Pushes that are written, or refused for their content.
	reader, stalled := clients[0], clients[1]
	for range 3 {
		s.do("POST", reader.address, "text", http.StatusNoContent)
		reader.next()
	}
	confirmed := make(chan error, 1)
	go func() {
		_, err := s.worker.Push(s.ctx, reader.id, wspush.Text, []byte("confirm"), wspush.Confirmed())
		confirmed <- err
	}()
	reader.next()
	reading := reader.CloseRead(s.ctx) // answers the ping that follows the message
	if err := <-confirmed; err != nil {
		t.Fatal(err)
	}
	at(4, `wspush_pushes_total{outcome="written",reason=""}`)
	at(1, `wspush_pushes_confirmed_total{}`)
	at(1, `wspush_pings_sent_total{}`)
	at(1, `wspush_pongs_received_total{}`)
	for range 2 {
		s.do("POST", strings.Replace(reader.address, reader.id, "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", 1), "text", http.StatusGone)
	}
	at(2, `wspush_pushes_total{outcome="refused",reason="gone"}`)
	at(2, `wspush_push_problems_total{status="410"}`)
	if _, err := s.worker.Push(s.ctx, reader.id, wspush.Binary, make([]byte, maxPush+1)); !errors.Is(err, wspush.ErrTooLarge) {
		t.Errorf("a push longer than MaxPushBytes: %v", err)
	}
	at(1, `wspush_pushes_total{outcome="refused",reason="too-large"}`)
	s.do("POST", reader.address, "\xff", http.StatusBadRequest)
	at(1, `wspush_pushes_total{outcome="refused",reason="invalid-utf8"}`)
	at(1, `wspush_push_problems_total{status="400"}`)
	if _, err := s.worker.Push(s.ctx, "v1.token", wspush.Text, nil); err == nil {
		t.Error("a token was accepted")
	}
	at(1, `wspush_pushes_total{outcome="refused",reason="other"}`)

	// A client that does not read.
	result := stalled.stall(maxPush)
	s.do("POST", stalled.address, "behind it", http.StatusTooManyRequests)
	at(1, `wspush_pushes_total{outcome="refused",reason="busy"}`)
	at(1, `wspush_push_problems_total{status="429"}`)
	over, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.worker.Push(over, stalled.id, wspush.Text, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a push whose context has ended: %v", err)
	}
	at(1, `wspush_pushes_total{outcome="refused",reason="withdrawn"}`)
	at(maxConns, `wspush_connections{}`)
	got := metrics()
	if pending := got[`wspush_pending_bytes{}`]; pending == 0 || pending != float64(s.worker.Stats().PendingBytes) {
		t.Errorf("wspush_pending_bytes is %v while a client does not read, and Stats says %d", pending, s.worker.Stats().PendingBytes)
	}
	compare(t, got, want)

	// Ends.
	stalled.CloseNow()
	if err := <-result; !errors.Is(err, wspush.ErrUnknown) {
		t.Errorf("a push to a client that leaves in the middle: %v", err)
	}
	at(1, `wspush_pushes_total{outcome="unknown",reason=""}`)
	s.wantEnd(wspush.CauseLost)
	at(1, `wspush_connections_ended_total{cause="lost"}`)
	s.do("DELETE", reader.address, "", http.StatusNoContent)
	<-reading.Done()
	s.wantEnd(wspush.CauseClosed)
	at(1, `wspush_connections_ended_total{cause="closed"}`)
	clients[2].Close(1000, "")
	s.wantEnd(wspush.CauseClient)
	at(1, `wspush_connections_ended_total{cause="client"}`)
	for _, c := range clients[3:] {
		c.CloseRead(s.ctx) // answers close frames, so that nobody has to wait for them
	}
	clients[3].write("longer than ReadLimit")
	s.wantEnd(wspush.CauseProtocol)
	at(1, `wspush_connections_ended_total{cause="protocol"}`)
	clients[4].write("hello")
	clients[4].write("panic")
	s.wantEnd(wspush.CauseCallback)
	at(1, `wspush_connections_ended_total{cause="callback"}`)
	at(2, `wspush_messages_received_total{}`)
	at(1, `wspush_connections{}`)
	compare(t, metrics(), want)

	s.shutdown()
	s.wantEnd(wspush.CauseShutdown)
	at(1, `wspush_connections_ended_total{cause="shutdown"}`)
	at(0, `wspush_connections{}`)
	at(1, `wspush_draining{}`)
	s.request("GET", s.url+"/ws", "", upgrade, http.StatusServiceUnavailable)
	at(1, `wspush_handshakes_refused_total{reason="shutdown"}`)
	if _, err := s.worker.Push(s.ctx, reader.id, wspush.Text, nil); !errors.Is(err, wspush.ErrShutdown) {
		t.Errorf("a push after Shutdown: %v", err)
	}
	at(1, `wspush_pushes_total{outcome="refused",reason="shutdown"}`)
	got = metrics()
	compare(t, got, want)

	// Values that no test can know beforehand must equal Stats, now that nothing happens any more.
	stats := s.worker.Stats()
	for series, value := range map[string]float64{
		`wspush_received_bytes_total{}`: float64(stats.BytesReceived),
		`wspush_written_bytes_total{}`:  float64(stats.BytesWritten),
	} {
		if got[series] != value || value == 0 {
			t.Errorf("%s = %v, want %v", series, got[series], value)
		}
	}
	compareHistogram(t, got, "wspush_push_duration_seconds", stats.PushLatency)
	compareHistogram(t, got, "wspush_round_trip_seconds", stats.RoundTrip)
}

// TestForwards: a push that another worker answers is counted only there. A push that cannot be forwarded is counted as a
// failed forward here and as a push nowhere; the same goes for in-process pushes and bulk requests.
func TestForwards(t *testing.T) {
	opts := wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: [][]byte{[]byte(rand.Text() + rand.Text())}}}
	here, there, down := newSite(t, opts, wspush.HandlerOptions{}), newSite(t, opts, wspush.HandlerOptions{}), newSite(t, opts, wspush.HandlerOptions{})
	metrics, others := expose(t, wspushprom.New(here.worker, nil)), expose(t, wspushprom.New(there.worker, nil))
	push := func(conn *wspush.Conn, want error, status int) {
		t.Helper()
		if _, err := here.worker.Push(here.ctx, conn.SealedID(), wspush.Text, []byte("in-process")); !errors.Is(err, want) {
			t.Errorf("in-process: %v, want %v", err, want)
		}
		endpoint := "http://" + here.worker.Addr().String() + conn.Info().Path + "/@connections"
		here.do("POST", endpoint+"/"+conn.SealedID(), "alone", status)
		lines := http.Header{"Content-Type": {"application/x-ndjson"}}
		here.request("POST", endpoint, fmt.Sprintf("{\"to\":%q,\"text\":\"in bulk\"}\n", conn.SealedID()), lines, http.StatusOK)
	}
	check := func(pushed, failed float64) {
		t.Helper()
		got := metrics()
		for series, want := range map[string]float64{
			`wspush_forwarded_total{}`:                              pushed + failed,
			`wspush_forwards_failed_total{reason="unreachable"}`:    failed,
			`wspush_forwards_failed_total{reason="full"}`:           0,
			`wspush_forwards_failed_total{reason="lost"}`:           0,
			`wspush_pushes_total{outcome="written",reason=""}`:      0,
			`wspush_pushes_total{outcome="unknown",reason=""}`:      0,
			`wspush_pushes_total{outcome="refused",reason="other"}`: 0,
		} {
			if value, ok := got[series]; !ok || value != want {
				t.Errorf("%s = %v (there: %v), want %v", series, value, ok, want)
			}
		}
		if value := others()[`wspush_pushes_total{outcome="written",reason=""}`]; value != pushed {
			t.Errorf("the other worker has written %v pushes, want %v", value, pushed)
		}
	}
	c, conn := there.connect()
	push(conn, nil, http.StatusNoContent)
	for range 3 {
		c.next()
	}
	c.CloseRead(there.ctx) // answers Shutdown's close frame
	check(3, 0)

	c, conn = down.connect()
	c.CloseRead(down.ctx)
	down.shutdown() // before anything is forwarded to it: a kept connection that it closes might be tried
	push(conn, wspush.ErrUnreachable, http.StatusBadGateway)
	check(3, 3)
}

// expose registers collectors and returns a function that reads the current value of each series over HTTP. Keys are like
// name{label="value"}, with all labels sorted by name.
func expose(t *testing.T, collectors ...prometheus.Collector) func() map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		registry.MustRegister(c)
	}
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(server.Close)
	return func() map[string]float64 {
		t.Helper()
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s: %s", resp.Status, body)
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return flatten(families)
	}
}

func flatten(families map[string]*dto.MetricFamily) map[string]float64 {
	series := make(map[string]float64)
	for name, family := range families {
		for _, m := range family.Metric {
			add := func(suffix string, value float64, more ...string) {
				labels := more
				for _, l := range m.Label {
					labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
				}
				slices.Sort(labels)
				series[name+suffix+"{"+strings.Join(labels, ",")+"}"] = value
			}
			switch {
			case m.Counter != nil:
				add("", m.Counter.GetValue())
			case m.Gauge != nil:
				add("", m.Gauge.GetValue())
			case m.Histogram != nil:
				add("_count", float64(m.Histogram.GetSampleCount()))
				add("_sum", m.Histogram.GetSampleSum())
				for _, b := range m.Histogram.Bucket {
					add("_bucket", float64(b.GetCumulativeCount()), fmt.Sprintf("le=%q", fmt.Sprint(b.GetUpperBound())))
				}
			}
		}
	}
	return series
}

// zeros returns the series of a worker to which nothing has happened, checking that all but its limits are zero.
func zeros(t *testing.T, series map[string]float64) map[string]float64 {
	t.Helper()
	for name, value := range series {
		if value != 0 && !strings.HasPrefix(name, "wspush_max_") {
			t.Errorf("%s = %v before anything has happened", name, value)
		}
	}
	return maps.Clone(series)
}

// compare checks all series except those whose values no test knows beforehand.
func compare(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for series := range got {
		if _, there := want[series]; !there {
			t.Errorf("%s = %v, but should not exist", series, got[series])
		}
	}
	for _, series := range slices.Sorted(maps.Keys(want)) {
		value, there := got[series]
		unknown := slices.ContainsFunc([]string{"bytes", "seconds", "wspush_push_connections{"}, func(s string) bool { return strings.Contains(series, s) })
		if !there || value != want[series] && !unknown {
			t.Errorf("%s = %v (there: %v), want %v", series, value, there, want[series])
		}
	}
}

func compareHistogram(t *testing.T, got map[string]float64, name string, want stats.Histogram) {
	t.Helper()
	if want.Count() == 0 || got[name+"_count{}"] != float64(want.Count()) {
		t.Errorf("%s_count = %v, want %d", name, got[name+"_count{}"], want.Count())
	}
	if sum := got[name+"_sum{}"]; sum != want.Sum().Seconds() {
		t.Errorf("%s_sum = %v, want %v", name, sum, want.Sum())
	}
	buckets := 0
	for series := range got {
		if strings.HasPrefix(series, name+"_bucket{") {
			buckets++
		}
	}
	for bound, n := range want.Buckets() {
		buckets--
		le := fmt.Sprint(bound.Seconds())
		if bound == math.MaxInt64 {
			le = "+Inf"
		}
		series := fmt.Sprintf("%s_bucket{le=%q}", name, le)
		if value, there := got[series]; !there || value != float64(n) {
			t.Errorf("%s = %v (there: %v), want %d", series, value, there, n)
		}
	}
	if buckets != 0 {
		t.Errorf("%s has %d buckets too many", name, buckets)
	}
}

// TestSeriesDoNotGrow: 500 connections, all pushed to while metrics are read, have as many series as one.
func TestSeriesDoNotGrow(t *testing.T) {
	s := newSite(t, wspush.WorkerOptions{}, wspush.HandlerOptions{})
	metrics := expose(t, wspushprom.New(s.worker, nil))
	push := func(c *client) {
		if _, err := s.worker.Push(s.ctx, c.id, wspush.Text, []byte("hello")); err != nil {
			t.Error(err)
		}
	}
	push(s.dial())
	one := metrics()
	var pushes sync.WaitGroup
	for i := range 499 {
		c := s.dial()
		pushes.Go(func() { push(c) })
		if i%50 == 0 {
			metrics()
		}
	}
	pushes.Wait()
	many := metrics()
	if n := many[`wspush_connections{}`]; n != 500 {
		t.Errorf("wspush_connections = %v, want 500", n)
	}
	if n := many[`wspush_pushes_total{outcome="written",reason=""}`]; n != 500 {
		t.Errorf("%v pushes are written, want 500", n)
	}
	before, after := slices.Sorted(maps.Keys(one)), slices.Sorted(maps.Keys(many))
	if !slices.Equal(before, after) {
		t.Errorf("series with one connection:\n%q\nand with 500:\n%q", before, after)
	}
	t.Logf("%d series", len(after))
}

// TestNames runs client_golang's own linter on names and help texts, with an error counted so that every metric exists.
func TestNames(t *testing.T) {
	s := newSite(t, wspush.WorkerOptions{}, wspush.HandlerOptions{})
	s.do("POST", "http://"+s.worker.Addr().String()+"/ws", "", http.StatusUnauthorized)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(wspushprom.New(s.worker, nil))
	found, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range found {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	if n, err := testutil.GatherAndCount(registry, "wspush_push_problems_total"); n != 1 || err != nil {
		t.Errorf("%d series of push_problems_total (%v), want 1", n, err)
	}
}

// TestSeveralWorkers: a label tells the workers of one process apart; without one, registering the second fails.
func TestSeveralWorkers(t *testing.T) {
	a, b := newSite(t, wspush.WorkerOptions{}, wspush.HandlerOptions{}), newSite(t, wspush.WorkerOptions{}, wspush.HandlerOptions{})
	b.dial()
	metrics := expose(t,
		wspushprom.New(a.worker, &wspushprom.Options{ConstLabels: prometheus.Labels{"worker": "a"}}),
		wspushprom.New(b.worker, &wspushprom.Options{ConstLabels: prometheus.Labels{"worker": "b"}}),
		wspushprom.New(b.worker, &wspushprom.Options{Namespace: "app_ws"}),
	)()
	for series, want := range map[string]float64{
		`wspush_connections{worker="a"}`:                                  0,
		`wspush_connections{worker="b"}`:                                  1,
		`app_ws_connections{}`:                                            1,
		`wspush_connections_accepted_total{worker="b"}`:                   1,
		`wspush_connections_ended_total{cause="no-answer",worker="b"}`:    0,
		`wspush_push_duration_seconds_bucket{le="+Inf",worker="a"}`:       0,
		`wspush_pushes_total{outcome="refused",reason="busy",worker="a"}`: 0,
	} {
		if got, there := metrics[series]; !there || got != want {
			t.Errorf("%s = %v (there: %v), want %v", series, got, there, want)
		}
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(wspushprom.New(a.worker, nil))
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(wspushprom.New(b.worker, nil)); !errors.As(err, &already) {
		t.Errorf("a second worker without a label: %v", err)
	}
	for _, opts := range []wspushprom.Options{
		{ConstLabels: prometheus.Labels{"reason": "x"}},
		{ConstLabels: prometheus.Labels{"": "x"}},
	} {
		if err := prometheus.NewRegistry().Register(wspushprom.New(a.worker, &opts)); err == nil {
			t.Errorf("%+v: no error", opts)
		}
	}
}
