package otlp

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTheSamplerDecidesAsTheSDKs does, so that every service keeps the same traces.
func TestTheSamplerDecidesAsTheSDKs(t *testing.T) {
	for name, theirs := range map[string]sdk.Sampler{
		"":                              sdk.ParentBased(sdk.AlwaysSample()),
		"always_on":                     sdk.AlwaysSample(),
		"always_off":                    sdk.NeverSample(),
		"traceidratio 0.25":             sdk.TraceIDRatioBased(0.25),
		"traceidratio 0":                sdk.TraceIDRatioBased(0),
		"traceidratio 1":                sdk.TraceIDRatioBased(1),
		"traceidratio":                  sdk.TraceIDRatioBased(1),
		"parentbased_always_on":         sdk.ParentBased(sdk.AlwaysSample()),
		"parentbased_always_off":        sdk.ParentBased(sdk.NeverSample()),
		"parentbased_traceidratio 0.25": sdk.ParentBased(sdk.TraceIDRatioBased(0.25)),
	} {
		t.Run(name, func(t *testing.T) {
			variable, argument, _ := strings.Cut(name, " ")
			t.Setenv("OTEL_TRACES_SAMPLER", variable)
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", argument)
			ours, err := readSampler()
			if err != nil {
				t.Fatal(err)
			}
			for range 2_000 {
				for _, s := range []*trace.Span{{}, {Remote: true}, {Remote: true, Sampled: true}} {
					s.Trace = trace.NewID()
					flags := api.TraceFlags(0)
					if s.Sampled {
						flags = api.FlagsSampled
					}
					ctx := context.Background()
					if s.Remote {
						ctx = api.ContextWithRemoteSpanContext(ctx, api.NewSpanContext(api.SpanContextConfig{TraceID: api.TraceID(s.Trace), SpanID: api.SpanID(trace.NewSpanID()), TraceFlags: flags}))
					}
					want := theirs.ShouldSample(sdk.SamplingParameters{ParentContext: ctx, TraceID: api.TraceID(s.Trace)}).Decision == sdk.RecordAndSample
					if got := ours.keeps(s); got != want {
						t.Fatalf("of %+v: %t, the SDK says %t", s, got, want)
					}
				}
			}
		})
	}
}

func TestName(t *testing.T) {
	for of, want := range map[string][2]string{
		"gen_ai_server_request_duration_seconds": {"gen_ai.server.request.duration", "s"},
		"claude_api_requests_total":              {"claude_api.requests", "1"},
		"claude_api_job_wait_seconds":            {"claude_api.job_wait", "s"},
		"claude_api_held_bytes":                  {"claude_api.held", "By"},
		"claude_api_cli_workers":                 {"claude_api.cli_workers", "1"},
		"go_goroutines":                          {},
		"process_cpu_seconds_total":              {},
	} {
		name, unit, ok := Name(of)
		if name != want[0] || unit != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q [%s], %t", of, name, unit, ok)
		}
	}
}

// TestProduce turns what Prometheus adds up into what OpenTelemetry counts apart.
func TestProduce(t *testing.T) {
	registry := prometheus.NewRegistry()
	histogram := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "gen_ai_server_request_duration_seconds", Buckets: []float64{1, 2}}, []string{"error_type", "claude_backend"})
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "claude_api_cli_queue_length"})
	other := prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_things"})
	registry.MustRegister(histogram, gauge, other)
	for _, v := range []float64{0.5, 1.5, 1.6, 9} {
		histogram.WithLabelValues("", "cli").Observe(v)
	}
	gauge.Set(3)
	e := &Exporter{options: Options{Metrics: registry}, started: time.Now()}
	got, err := e.Produce(t.Context())
	if err != nil || len(got) != 1 || len(got[0].Metrics) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, m := range got[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Gauge[float64]:
			if data.DataPoints[0].Value != 3 || m.Name != "claude_api.cli_queue_length" {
				t.Errorf("%+v", m)
			}
		case metricdata.Histogram[float64]:
			p := data.DataPoints[0]
			if p.Count != 4 || p.Sum != 12.6 || len(p.BucketCounts) != 3 || p.BucketCounts[0] != 1 || p.BucketCounts[1] != 2 || p.BucketCounts[2] != 1 {
				t.Errorf("%+v", p)
			}
			if p.Attributes.Len() != 1 || data.Temporality != metricdata.CumulativeTemporality {
				t.Errorf("%+v", p.Attributes.ToSlice())
			}
		}
	}
}

func TestHostPort(t *testing.T) {
	for text, want := range map[string]address{
		"example.com": {"example.com", 80}, "example.com:8006": {"example.com", 8006}, "[::1]:8006": {"::1", 8006}, "[::1]": {"::1", 80}, "": {"", 80},
	} {
		if got := hostPort(text, "http"); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if got := addressOf("https://api.anthropic.com"); got != (address{"api.anthropic.com", 443}) {
		t.Errorf("%+v", got)
	}
}

// TestCutTextsStayJSON, and what doesn't fit is the oldest.
func TestCutTextsStayJSON(t *testing.T) {
	long := strings.Repeat("ä", most)
	request, err := message.ParseRequest([]byte(`{"model":"m","max_tokens":1,"system":[{"type":"text","text":"be brief"}],"messages":[` +
		`{"role":"user","content":"` + long + `"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"look","input":{"a":1}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"seen"},{"type":"image","source":{"type":"base64","data":"aGVsbG8="}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	system, input := asked(request)
	if system != `[{"type":"text","content":"be brief"}]` {
		t.Errorf("%s", system)
	}
	for _, want := range []string{
		`"type":"tool_call","id":"t1","name":"look","arguments":{"a":1}`, `"type":"tool_call_response","id":"t1"`, `{"type":"image"}`, `…`,
	} {
		if !strings.Contains(input, want) {
			t.Errorf("%s isn't in %d bytes that end with %s", want, len(input), input[max(0, len(input)-300):])
		}
	}
	if len(input) > most+1_000 || strings.Contains(input, "aGVsbG8") {
		t.Errorf("%d bytes", len(input))
	}
}

// TestHearing keeps what an answer says, of a tool's arguments all or nothing.
func TestHearing(t *testing.T) {
	h := &hearing{EventWriter: gateway.Silent{}}
	for _, e := range []message.Event{
		{Type: message.EventContentBlockStart, Data: []byte(`{"content_block":{"type":"thinking","thinking":""}}`)},
		{Type: message.EventContentBlockDelta, Data: []byte(`{"delta":{"thinking":"hm"}}`)},
		{Type: message.EventContentBlockStart, Data: []byte(`{"content_block":{"type":"text","text":""}}`)},
		{Type: message.EventContentBlockDelta, Data: []byte(`{"delta":{"text":"I "}}`)},
		{Type: message.EventContentBlockDelta, Data: []byte(`{"delta":{"text":"look"}}`)},
		{Type: message.EventContentBlockStart, Data: []byte(`{"content_block":{"type":"tool_use","id":"t1","name":"look","input":{}}}`)},
		{Type: message.EventContentBlockDelta, Data: []byte(`{"delta":{"partial_json":"{\"a\""}}`)},
		{Type: message.EventContentBlockDelta, Data: []byte(`{"delta":{"partial_json":":1}"}}`)},
		{Type: message.EventContentBlockStart, Data: []byte(`{"content_block":{"type":"tool_use","id":"t2","name":"cut"}}`)},
		{Type: message.EventContentBlockDelta, Data: []byte(`{"delta":{"partial_json":"{\"a"}}`)},
	} {
		if err := h.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	const want = `[{"role":"assistant","parts":[{"type":"reasoning","content":"hm"},{"type":"text","content":"I look"},` +
		`{"type":"tool_call","id":"t1","name":"look","arguments":{"a":1}},{"type":"tool_call","id":"t2","name":"cut"}],"finish_reason":"tool_use"}]`
	if got := h.messages("tool_use"); got != want {
		t.Errorf("%s", got)
	}
}

type nobody struct{}

func (nobody) Observe(gateway.Entry) {}

// BenchmarkRequest is all that a request does for its spans: it begins, carries the span
// in its context, is observed and ends.
func BenchmarkRequest(b *testing.B) {
	b.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
	for _, bench := range []struct{ name, flags string }{{"unsampled", "00"}, {"sampled", "01"}, {"unsampled root", ""}} {
		b.Run(bench.name, func(b *testing.B) {
			if bench.flags == "" {
				b.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
				b.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
			}
			e, err := New(b.Context(), Options{Version: "1", Metrics: prometheus.NewRegistry()})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = e.Close(context.Background()) }()
			observer := e.Observer(nobody{})
			h := http.Header{}
			if bench.flags != "" {
				h["Traceparent"] = []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + bench.flags}
			}
			clock := latency.Start()
			for stage := range latency.Total {
				clock.Mark(stage)
			}
			clock.Finish()
			caller := &gateway.Caller{KeyID: "key_1", ProjectID: "p"}
			b.ReportAllocs()
			for b.Loop() {
				span := e.Begin(h)
				ctx := trace.With(context.Background(), span)
				observer.Observe(gateway.Entry{
					RequestID: "req_1", Endpoint: "/v1/messages", Caller: caller, Backend: "direct", Requested: "haiku", Routed: "claude-haiku-5-5", Status: 200,
					Trace: trace.From(ctx), Clock: &clock, Time: clock.StartTime(),
					Result: gateway.Result{Summary: message.Summary{Model: "claude-haiku-5-5", StopReason: "end_turn", Usage: message.Usage{InputTokens: 9, OutputTokens: 9}}},
				})
				e.End(span, trace.Served{Method: "POST", Route: "/v1/messages", Scheme: "http", Protocol: "1.1", Host: "127.0.0.1:" + strconv.Itoa(8006), Status: 200})
			}
		})
	}
}
