package otlp

import (
	"context"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
)

// Produce implements metric.Producer: what is sent of metrics is what Prometheus would
// read at that moment, under OpenTelemetry's names. So both tell the same, and nothing is
// counted twice while requests run.
func (e *Exporter) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	families, err := e.options.Metrics.Gather()
	out := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope, Version: e.options.Version, SchemaURL: semconv.SchemaURL}}
	now := time.Now()
	for _, family := range families {
		name, unit, ok := Name(family.GetName())
		if !ok {
			continue
		}
		if data := aggregation(family, e.started, now); data != nil {
			out.Metrics = append(out.Metrics, metricdata.Metrics{Name: name, Unit: unit, Description: family.GetHelp(), Data: data})
		}
	}
	return []metricdata.ScopeMetrics{out}, err // what could be gathered is sent
}

// The prefixes of the metrics that are sent, in Prometheus's spelling.
const (
	prefixOwn = "claude_api_"
)

// conventional are the metrics that the conventions name.
var conventional = map[string]struct{ name, unit string }{
	"gen_ai_server_request_duration_seconds":      {"gen_ai.server.request.duration", "s"},
	"gen_ai_server_time_to_first_token_seconds":   {"gen_ai.server.time_to_first_token", "s"},
	"gen_ai_server_time_per_output_token_seconds": {"gen_ai.server.time_per_output_token", "s"},
	"gen_ai_client_token_usage":                   {"gen_ai.client.token.usage", "{token}"},
}

// Name gives OpenTelemetry's name and unit for a metric's name in Prometheus; false for
// one that isn't sent: those of the Go runtime and the process, which have conventions of
// their own.
func Name(prometheus string) (name, unit string, ok bool) {
	if known, found := conventional[prometheus]; found {
		return known.name, known.unit, true
	}
	rest, own := strings.CutPrefix(prometheus, prefixOwn)
	if !own {
		return "", "", false
	}
	rest, unit = strings.TrimSuffix(rest, "_total"), "1"
	for suffix, of := range map[string]string{"_seconds": "s", "_bytes": "By"} {
		if short, found := strings.CutSuffix(rest, suffix); found {
			rest, unit = short, of
		}
	}
	return "claude_api." + rest, unit, true
}

// aggregation gives a family's values; nil where there are none of a kind that is sent.
func aggregation(family *dto.MetricFamily, start, now time.Time) metricdata.Aggregation {
	switch family.GetType() {
	case dto.MetricType_COUNTER:
		sum := metricdata.Sum[float64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
		for _, m := range family.GetMetric() {
			sum.DataPoints = append(sum.DataPoints, metricdata.DataPoint[float64]{
				Attributes: attributesOf(m), StartTime: start, Time: now, Value: m.GetCounter().GetValue(),
			})
		}
		return sum
	case dto.MetricType_GAUGE:
		gauge := metricdata.Gauge[float64]{}
		for _, m := range family.GetMetric() {
			gauge.DataPoints = append(gauge.DataPoints, metricdata.DataPoint[float64]{Attributes: attributesOf(m), Time: now, Value: m.GetGauge().GetValue()})
		}
		return gauge
	case dto.MetricType_HISTOGRAM:
		histogram := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
		for _, m := range family.GetMetric() {
			histogram.DataPoints = append(histogram.DataPoints, points(m, start, now))
		}
		return histogram
	}
	return nil
}

// points are a histogram's: Prometheus adds the buckets up, OpenTelemetry doesn't.
func points(m *dto.Metric, start, now time.Time) metricdata.HistogramDataPoint[float64] {
	h := m.GetHistogram()
	point := metricdata.HistogramDataPoint[float64]{
		Attributes: attributesOf(m), StartTime: start, Time: now, Count: h.GetSampleCount(), Sum: h.GetSampleSum(),
	}
	below := uint64(0)
	for _, bucket := range h.GetBucket() {
		point.Bounds = append(point.Bounds, bucket.GetUpperBound())
		point.BucketCounts = append(point.BucketCounts, bucket.GetCumulativeCount()-below)
		below = bucket.GetCumulativeCount()
	}
	point.BucketCounts = append(point.BucketCounts, h.GetSampleCount()-below)
	return point
}

// attributesOf gives a series's labels. An empty one says that there is nothing to say.
func attributesOf(m *dto.Metric) attribute.Set {
	var all []attribute.KeyValue
	for _, label := range m.GetLabel() {
		if label.GetValue() != "" {
			all = append(all, attribute.String(attributeName(label.GetName()), label.GetValue()))
		}
	}
	return attribute.NewSet(all...)
}

// attributeNames are those of the labels that have another name as attributes.
var attributeNames = map[string]string{
	"gen_ai_operation_name": string(semconv.GenAIOperationNameKey),
	"gen_ai_provider_name":  string(semconv.GenAIProviderNameKey),
	"gen_ai_request_model":  string(semconv.GenAIRequestModelKey),
	"gen_ai_response_model": string(semconv.GenAIResponseModelKey),
	"gen_ai_token_type":     string(semconv.GenAITokenTypeKey),
	"error_type":            string(semconv.ErrorTypeKey),
	"claude_backend":        string(attrBackend),
	"backend":               string(attrBackend),
	"endpoint":              string(semconv.HTTPRouteKey),
	"status":                string(semconv.HTTPResponseStatusCodeKey),
}

func attributeName(label string) string {
	if name, ok := attributeNames[label]; ok {
		return name
	}
	return label
}
