package opentelemetry_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/publisher"
	"github.com/wspush/wspush/recipes/opentelemetry"
	"github.com/wspush/wspush/wspushtest"
)

// Pushes of a request that has a span, to a client and to a user.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
		traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
		observe, err := opentelemetry.NewObserver(traces, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
		if err != nil {
			t.Fatal(err)
		}
		s := wspushtest.New(t, &wspushtest.Options{
			Worker: wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens(strings.Repeat("secret", 8)), WriteTimeout: -1},
		})
		dial := wspushtest.Dialer(t, s.Worker)
		client, err := publisher.New(&publisher.Options{
			Workers:    []string{"http://nobody.test/ws", "http://worker.test/ws"},
			Credential: strings.Repeat("secret", 8),
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == "nobody.test:80" { // so the first push is tried twice
					return nil, errors.New("nobody listens there")
				}
				return dial(ctx, network, address)
			},
			OnPush: observe,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ada := s.Connect()
		push := func(ctx context.Context) error {
			_, err := client.Push(ctx, ada.ID, publisher.Text, []byte("Your order has shipped"))
			return err
		}

		ctx, request := traces.Tracer("shop").Start(t.Context(), "POST /orders/7/ship")
		if err := push(ctx); err != nil {
			t.Error(err)
		}
		ada.Pause()
		hurried, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := push(hurried); !errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("a push that is cut off: %v", err)
		}
		ada.Disconnect()
		synctest.Wait()
		if err := push(ctx); !errors.Is(err, publisher.ErrGone) {
			t.Errorf("a push to a client that has left: %v", err)
		}
		if _, err := client.User("ada").Push(ctx, publisher.Text, nil); !errors.Is(err, publisher.ErrGone) {
			t.Errorf("a push to a user who is not there: %v", err)
		}
		request.End()

		type made struct {
			name, outcome string
			status        codes.Code
			took          time.Duration
		}
		var got []made
		for _, span := range spans.Ended() {
			if span.Name() == "POST /orders/7/ship" {
				continue
			}
			if span.Parent().SpanID() != request.SpanContext().SpanID() {
				t.Errorf("%q is not below the request", span.Name())
			}
			m := made{name: span.Name(), status: span.Status().Code, took: span.EndTime().Sub(span.StartTime())}
			for _, a := range span.Attributes() {
				if a.Key == "wspush.outcome" {
					m.outcome = a.Value.AsString()
				}
				if strings.Contains(a.Value.String(), ada.ID) {
					t.Errorf("%s tells the ID: %s", span.Name(), a.Value.String())
				}
			}
			got = append(got, m)
		}
		for i, want := range []made{
			{"push to connection", "written", codes.Unset, 0},
			{"push to connection", "unknown", codes.Error, 1800 * time.Millisecond},
			{"push to connection", "gone", codes.Unset, 0},
			{"push to user", "gone", codes.Unset, 0},
		} {
			if i >= len(got) || got[i] != want {
				t.Errorf("spans: %+v, want number %d to be %+v", got, i+1, want)
			}
		}

		var measured metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &measured); err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		count := func(name string, by attribute.Set, n int) {
			to, _ := by.Value("wspush.to")
			outcome, _ := by.Value("wspush.outcome")
			counts[name+" "+to.AsString()+" "+outcome.AsString()] = n
		}
		for _, m := range measured.ScopeMetrics[0].Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					count(m.Name, p.Attributes, int(p.Count))
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					count(m.Name, p.Attributes, int(p.Value))
				}
			}
		}
		want := map[string]int{
			"wspush.push.duration connection written": 1,
			"wspush.push.duration connection unknown": 1,
			"wspush.push.duration connection gone":    1,
			"wspush.push.duration user gone":          1,
			"wspush.push.retries connection written":  1,
			"wspush.push.retries connection gone":     1, // the other worker might have known better
		}
		if !maps.Equal(counts, want) {
			t.Errorf("measured: %v, want %v", counts, want)
		}
	})
}
