// Package opentelemetry makes a span and measurements of each push of package publisher.
package opentelemetry

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/wspush/wspush/publisher"
)

const scope = "github.com/wspush/wspush/publisher"

// NewObserver returns a function for Options.OnPush. It makes a span for each push, below that of the caller, and measures how long pushes take and
// how often they are sent again. Applications pass otel.GetTracerProvider() and otel.GetMeterProvider().
func NewObserver(traces trace.TracerProvider, metrics metric.MeterProvider) (func(context.Context, publisher.PushResult), error) {
	tracer, meter := traces.Tracer(scope), metrics.Meter(scope)
	duration, err := meter.Float64Histogram("wspush.push.duration", metric.WithUnit("s"),
		metric.WithDescription("From the call of a push until its outcome is known."),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))
	if err != nil {
		return nil, err
	}
	retries, err := meter.Int64Counter("wspush.push.retries", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts beyond the first one of each push."))
	if err != nil {
		return nil, err
	}

	return func(ctx context.Context, r publisher.PushResult) {
		// Each has a fixed set of values, so the number of time series does not grow.
		labels := []attribute.KeyValue{attribute.String("wspush.to", r.To), attribute.String("wspush.outcome", r.Outcome)}
		duration.Record(ctx, r.Took.Seconds(), metric.WithAttributes(labels...))
		if r.Attempts > 1 {
			retries.Add(ctx, int64(r.Attempts-1), metric.WithAttributes(labels...))
		}

		_, span := tracer.Start(ctx, "push to "+r.To, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(r.Began), trace.WithAttributes(labels...))
		span.SetAttributes(attribute.Int("wspush.attempts", r.Attempts))
		if r.To != "connection" {
			span.SetAttributes(attribute.Int("wspush.written", r.Outcomes.Written+r.Outcomes.Received), attribute.Int("wspush.buffered", r.Outcomes.Buffered))
		}
		// That a client has left, or is away, is a part of every day.
		if r.Err != nil && !errors.Is(r.Err, publisher.ErrGone) && !errors.Is(r.Err, publisher.ErrSuspended) {
			span.RecordError(r.Err, trace.WithTimestamp(r.Began.Add(r.Took)))
			span.SetStatus(codes.Error, r.Outcome)
		}
		span.End(trace.WithTimestamp(r.Began.Add(r.Took)))
	}, nil
}
