package telemetry

import (
	"fmt"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a finished request whose stages took 1, 2, 3 ... ms. It must be made
// in a synctest bubble, where time is exact.
func entry() gateway.Entry {
	clock := latency.Start()
	for stage := range latency.Total {
		time.Sleep(time.Duration(stage+1) * time.Millisecond)
		clock.Mark(stage)
	}
	clock.Finish()
	cost := int64(1234)
	return gateway.Entry{
		RequestID: "req_1", Endpoint: "/v1/messages", Backend: gateway.BackendDirect,
		Caller:    &gateway.Caller{KeyID: "key-secret", ProjectID: "project-secret"},
		Requested: "haiku", Routed: "claude-haiku-5-5", Status: 200, Clock: &clock,
		Result: gateway.Result{
			Summary: message.Summary{
				ID: "msg_1", Model: "claude-haiku-5-5-20260101", StopReason: "end_turn",
				Usage: message.Usage{InputTokens: 10, OutputTokens: 20, CacheReadInputTokens: 30, CacheCreationInputTokens: 40},
			},
			CostMicroUSD: &cost,
		},
	}
}

// scrape gives what GET /metrics answers, without what the Go collectors say.
func scrape(t *testing.T, tel *Telemetry) (ours, all string) {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var b strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "claude_") || strings.Contains(line, "gen_ai_") {
			b.WriteString(line)
		}
	}
	return b.String(), w.Body.String()
}

// The names, labels and buckets are what others build on: this file changes only
// on purpose.
func TestMetricsArePinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := New(Options{Version: "1.2.3"})
		fallback := entry()
		fallback.Chosen = gateway.Choice{Backend: gateway.BackendCLI, Model: "claude-opus-5-5"}
		tel.Observe(fallback)
		tel.Retried(gateway.BackendCLI)()
		got, all := scrape(t, tel)
		got = foldBuckets(strings.ReplaceAll(got, runtime.Version(), "GO"))
		const file = "testdata/metrics.txt"
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil { //nolint:gosec // a test's own file
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("metrics changed (run with UPDATE=1 if it is meant):\n%s", got)
		}
		for _, name := range []string{"go_goroutines ", "process_cpu_seconds_total "} {
			if !strings.Contains(all, name) {
				t.Errorf("%s is missing", name)
			}
		}
		if strings.Contains(all, "secret") {
			t.Error("a label names a key or a project")
		}
	})
}

// foldBuckets writes the buckets of each histogram in one line.
func foldBuckets(text string) string {
	var b strings.Builder
	folded := map[string]bool{}
	name := ""
	for line := range strings.Lines(text) {
		bucket, labels, ok := strings.Cut(line, "_bucket{")
		_, le, _ := strings.Cut(labels, `le="`)
		le, _, _ = strings.Cut(le, `"`)
		switch {
		case !ok && name != "":
			folded[name], name = true, ""
			b.WriteString("\n" + line)
		case !ok:
			b.WriteString(line)
		case folded[bucket]:
		case name == "":
			name = bucket
			b.WriteString(name + " buckets: " + le)
		default:
			b.WriteString(" " + le)
		}
	}
	return b.String()
}

// value is a series' value, or -1 where there is no such series.
func value(t *testing.T, tel *Telemetry, name string, labels ...string) float64 {
	t.Helper()
	families, err := tel.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var pairs []string
			for _, l := range metric.GetLabel() {
				pairs = append(pairs, l.GetName()+"="+l.GetValue())
			}
			matches := family.GetName() == name
			for _, want := range labels {
				matches = matches && slices.Contains(pairs, want)
			}
			if matches && metric.Histogram != nil {
				return float64(metric.Histogram.GetSampleCount())
			}
			if matches {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func TestObserveFailures(t *testing.T) {
	tests := []struct {
		name   string
		change func(*gateway.Entry)
		want   map[string]float64 // by name and labels
	}{
		{
			name: "refused before a backend was chosen",
			change: func(e *gateway.Entry) {
				e.Backend, e.Routed, e.Status, e.Category, e.Result = "", "", 429, "rate_limited", gateway.Result{}
				e.Requested = "claude-haiku-5-5"
			},
			want: map[string]float64{
				"claude_api_requests_total endpoint=/v1/messages backend= status=429":                                              1,
				"gen_ai_server_request_duration_seconds gen_ai_request_model=other gen_ai_response_model= error_type=rate_limited": 1,
				"gen_ai_server_time_to_first_token_seconds":                                                                        -1,
				"claude_api_tokens_total type=output":                                                                              0,
				"claude_api_cost_micro_usd_total":                                                                                  0,
			},
		},
		{
			name: "broken off after tokens were spent",
			change: func(e *gateway.Entry) {
				e.Status, e.Category = 499, "client_closed"
			},
			want: map[string]float64{
				"claude_api_requests_total status=499":                              1,
				"gen_ai_server_request_duration_seconds error_type=client_closed":   1,
				"gen_ai_server_time_to_first_token_seconds":                         -1,
				"claude_api_tokens_total type=output model=other backend=direct":    20,
				"claude_api_stage_duration_seconds stage=first_byte backend=direct": 1,
			},
		},
		{
			name: "numbers without sense",
			change: func(e *gateway.Entry) {
				cost := int64(-1)
				e.Result.Usage, e.Result.CostMicroUSD = message.Usage{OutputTokens: -5}, &cost
			},
			want: map[string]float64{"claude_api_tokens_total type=output": 0, "claude_api_cost_micro_usd_total": 0},
		},
		{
			name: "stages that never came",
			change: func(e *gateway.Entry) {
				clock := latency.Start()
				clock.Mark(latency.Auth)
				e.Clock = &clock
			},
			want: map[string]float64{
				"claude_api_stage_duration_seconds stage=auth":  1,
				"claude_api_stage_duration_seconds stage=queue": 0,
				"gen_ai_server_request_duration_seconds":        0,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tel, e := New(Options{}), entry()
				tt.change(&e)
				tel.Observe(e)
				for series, want := range tt.want {
					fields := strings.Split(series, " ")
					if got := value(t, tel, fields[0], fields[1:]...); got != want {
						t.Errorf("%s: %v, want %v", series, got, want)
					}
				}
			})
		})
	}
}

// TestPartsAreNoRequests: what one consists of is timed and paid for, not counted.
func TestPartsAreNoRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := New(Options{})
		part := entry()
		part.Part, part.Endpoint = true, "/v1/task"
		tel.Observe(part)
		tel.Observe(part)
		if got := value(t, tel, "claude_api_requests_total", "endpoint=/v1/task"); got != -1 {
			t.Errorf("%v requests", got)
		}
		if got := value(t, tel, "claude_api_tokens_total", "type=output"); got != 40 {
			t.Errorf("%v tokens", got)
		}
		if got := value(t, tel, "gen_ai_server_request_duration_seconds"); got != 2 {
			t.Errorf("%v times", got)
		}
		part.Part = false
		tel.Observe(part)
		if got := value(t, tel, "claude_api_requests_total", "endpoint=/v1/task"); got != 1 {
			t.Errorf("%v requests", got)
		}
	})
}

func TestModelLabels(t *testing.T) {
	m := newModels(2)
	tests := []struct {
		name, model string
		learn       bool
		want        string
	}{
		{"none", "", true, ""},
		{"not answered yet", "claude-a", false, "other"},
		{"answered", "claude-a", true, "claude-a"},
		{"known from then on", "claude-a", false, "claude-a"},
		{"not ours", "gpt-4", true, "other"},
		{"alias", "haiku", true, "other"},
		{"odd", "claude-\xff", true, "other"},
		{"words", "claude ignore this", true, "other"},
		{"too long", "claude-" + strings.Repeat("x", 64), true, "other"},
		{"second", "claude-b", true, "claude-b"},
		{"one too many", "claude-c", true, "other"},
		{"first is still known", "claude-a", true, "claude-a"},
	}
	for _, tt := range tests { // in order: each builds on those before
		if got := m.label(tt.model, tt.learn); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestConcurrentObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := New(Options{MaxModels: 5})
		base := entry()
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				for j := range 100 {
					e := base
					e.Result.Model = fmt.Sprintf("claude-%d", j%20)
					e.Endpoint = fmt.Sprintf("/v1/%d", i%2)
					tel.Observe(e)
				}
			})
		}
		group.Wait()
		for _, endpoint := range []string{"/v1/0", "/v1/1"} {
			if got := value(t, tel, "claude_api_requests_total", "endpoint="+endpoint); got != 400 {
				t.Errorf("%s: %v requests, want 400", endpoint, got)
			}
		}
		// Five models in all (one is the routed one), and "other".
		text, _ := scrape(t, tel)
		if n := strings.Count(text, "\nclaude_api_cost_micro_usd_total{"); n != 5 {
			t.Errorf("%d series by model, want 5", n)
		}
	})
}

func TestRegisterer(t *testing.T) {
	tel := New(Options{})
	tel.Registerer().MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "claude_api_pool_workers"}, func() float64 { return 3 }))
	if got := value(t, tel, "claude_api_pool_workers"); got != 3 {
		t.Errorf("got %v", got)
	}
	New(Options{}) // a second one has a registry of its own
}

func BenchmarkObserve(b *testing.B) {
	tel := New(Options{})
	e := entry()
	b.ReportAllocs()
	for b.Loop() {
		tel.Observe(e)
	}
}
