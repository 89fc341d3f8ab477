// Package telemetry counts and times finished requests for Prometheus.
//
// Its names are an interface: dashboards and alerts are built on them, and a
// test pins them. Where the GenAI semantic conventions of OpenTelemetry have a
// metric (opentelemetry.io/docs/specs/semconv/gen-ai, "Metrics"), it has their
// name in Prometheus spelling: gen_ai.server.request.duration in seconds is
// gen_ai_server_request_duration_seconds. No label holds a key, a project or
// anything else that grows with the number of callers.
package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// DefaultMaxModels is how many models have a label of their own.
const DefaultMaxModels = 50

// Options configure a Telemetry.
type Options struct {
	// Version is told by claude_api_build_info.
	Version string
	// MaxModels bounds the distinct values of the model labels; further models
	// share the value "other". 0: DefaultMaxModels.
	MaxModels int
}

// Telemetry is the service's instruments, with a registry of its own. It is
// safe for concurrent use; Observe takes no lock.
type Telemetry struct {
	registry *prometheus.Registry
	models   *models
	series   sync.Map // labels to *series

	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	firstToken *prometheus.HistogramVec
	perToken   *prometheus.HistogramVec
	usage      *prometheus.HistogramVec
	stages     *prometheus.HistogramVec
	tokens     *prometheus.CounterVec
	cost       *prometheus.CounterVec
	retries    *prometheus.CounterVec
	fallbacks  *prometheus.CounterVec
}

var _ gateway.Observer = (*Telemetry)(nil)

// New makes the instruments.
func New(options Options) *Telemetry {
	t := &Telemetry{registry: prometheus.NewRegistry()}
	t.models = newModels(options.MaxModels)
	// What the conventions require and is the same for every request here.
	genAI := prometheus.Labels{"gen_ai_operation_name": "chat", "gen_ai_provider_name": "anthropic"}

	t.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claude_api_requests_total",
		Help: "Finished requests of callers with a valid key, by HTTP status (499: the caller left).",
	}, []string{"endpoint", "backend", "status"})
	t.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:        "gen_ai_server_request_duration_seconds",
		Help:        "Time from a request's arrival to its answer's last byte.",
		ConstLabels: genAI, Buckets: durationBuckets(),
	}, []string{"gen_ai_request_model", "gen_ai_response_model", "claude_backend", "error_type"})
	t.firstToken = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:        "gen_ai_server_time_to_first_token_seconds",
		Help:        "Time from a request's arrival to the upstream's first event (of an answer in one piece: to its header), for successful requests.",
		ConstLabels: genAI, Buckets: firstTokenBuckets(),
	}, []string{"gen_ai_request_model", "gen_ai_response_model", "claude_backend"})
	t.perToken = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:        "gen_ai_server_time_per_output_token_seconds",
		Help:        "Time per output token after the first one, for successful answers that came in pieces.",
		ConstLabels: genAI, Buckets: perTokenBuckets(),
	}, []string{"gen_ai_request_model", "gen_ai_response_model", "claude_backend"})
	t.usage = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:        "gen_ai_client_token_usage",
		Help:        "Tokens of one answer by type: input (the cache's are among them) and output.",
		ConstLabels: genAI, Buckets: usageBuckets(),
	}, []string{"gen_ai_token_type", "gen_ai_request_model", "gen_ai_response_model", "claude_backend"})
	t.stages = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "claude_api_stage_duration_seconds",
		Help:    "Time that each stage of a request took.",
		Buckets: stageBuckets(),
	}, []string{"stage", "backend"})
	t.tokens = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claude_api_tokens_total",
		Help: "Tokens by type: input (without the cache), output, cache_read, cache_creation.",
	}, []string{"type", "model", "backend"})
	t.cost = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claude_api_cost_micro_usd_total",
		Help: "Cost of the answers whose price is known, in millionths of a US dollar.",
	}, []string{"model"})

	t.retries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claude_api_upstream_retries_total",
		Help: "Attempts beyond the first one of a request, after a failure that may pass.",
	}, []string{"backend"})
	t.fallbacks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claude_api_fallbacks_total",
		Help: "Requests that another backend or model served, or failed to serve, than the one chosen first, by what changed.",
	}, []string{"kind", "from", "to"})

	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "claude_api_build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": options.Version, "go_version": runtime.Version()},
	})
	build.Set(1)
	t.registry.MustRegister(t.requests, t.duration, t.firstToken, t.perToken, t.usage, t.stages, t.tokens, t.cost, t.retries, t.fallbacks, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return t
}

// Registerer lets other parts of the service add metrics of their own.
func (t *Telemetry) Registerer() prometheus.Registerer { return t.registry }

// Gatherer gives all metrics, for another way of sending them.
func (t *Telemetry) Gatherer() prometheus.Gatherer { return t.registry }

// Handler serves the metrics in the formats that Prometheus reads.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{Registry: t.registry})
}

// Retried gives what counts a retry on a backend.
func (t *Telemetry) Retried(backend string) func() { return t.retries.WithLabelValues(backend).Inc }

// fellBack counts a request that something else served than what was chosen.
func (t *Telemetry) fellBack(entry *gateway.Entry) {
	if entry.Chosen == (gateway.Choice{}) {
		return
	}
	if entry.Backend != entry.Chosen.Backend {
		t.fallbacks.WithLabelValues("backend", entry.Chosen.Backend, entry.Backend).Inc()
	}
	if entry.Routed != entry.Chosen.Model {
		answered := entry.Category == ""
		t.fallbacks.WithLabelValues("model", t.models.label(entry.Chosen.Model, answered), t.models.label(entry.Routed, answered)).Inc()
	}
}

// labels are what tells one series of metrics from another.
type labels struct {
	endpoint, backend, errorType string
	request, response            string // models
	status                       int
	part                         bool // see gateway.Entry
}

// series are the instruments under one combination of labels, looked up once.
type series struct {
	requests                                prometheus.Counter // nil: of parts of a request
	duration, firstToken, perToken          prometheus.Observer
	asked, answered                         prometheus.Observer // the tokens of one answer
	stages                                  [latency.Count]prometheus.Observer
	input, output, cacheRead, cacheCreation prometheus.Counter
	cost                                    prometheus.Counter
}

// Observe counts and times a finished request. Of a call that is part of one only the
// times, tokens and cost count.
func (t *Telemetry) Observe(entry gateway.Entry) {
	s := t.find(t.labels(&entry))
	if s.requests != nil {
		s.requests.Inc()
	}
	t.fellBack(&entry)
	var untilFirst time.Duration
	for stage := range latency.Stage(latency.Count) {
		took, known := entry.Clock.Took(stage)
		if !known {
			continue
		}
		s.stages[stage].Observe(took.Seconds())
		if stage <= latency.FirstByte {
			untilFirst += took
		}
	}
	if total, known := entry.Clock.Took(latency.Total); known {
		s.duration.Observe(total.Seconds())
	}
	if _, known := entry.Clock.Took(latency.FirstByte); known && entry.Category == "" {
		s.firstToken.Observe(untilFirst.Seconds())
	}
	usage := entry.Result.Usage
	// An answer in one piece on the direct path has been written before it comes.
	if took, known := entry.Clock.Took(latency.Generate); known && usage.OutputTokens > 1 && (entry.Stream || entry.Backend == gateway.BackendCLI) && !entry.Metered {
		s.perToken.Observe(took.Seconds() / float64(usage.OutputTokens-1))
	}
	if asked := usage.InputTokens + usage.CacheReadInputTokens + usage.CacheCreationInputTokens; asked > 0 {
		s.asked.Observe(float64(asked))
		s.answered.Observe(float64(max(0, usage.OutputTokens)))
	}
	add(s.input, usage.InputTokens)
	add(s.output, usage.OutputTokens)
	add(s.cacheRead, usage.CacheReadInputTokens)
	add(s.cacheCreation, usage.CacheCreationInputTokens)
	if cost := entry.Result.CostMicroUSD; cost != nil {
		add(s.cost, *cost)
	}
}

// add leaves out what isn't positive: a counter panics on a negative number, and
// these come from outside.
func add(c prometheus.Counter, n int64) {
	if n > 0 {
		c.Add(float64(n))
	}
}

func (t *Telemetry) labels(entry *gateway.Entry) labels {
	request := entry.Routed
	if request == "" {
		request = entry.Requested
	}
	// Only what a model has answered to is known to exist; what callers merely
	// ask for must not use up the labels.
	answered := entry.Category == "" && entry.Result.Model != ""
	return labels{
		endpoint: entry.Endpoint, backend: entry.Backend, errorType: entry.Category, status: entry.Status, part: entry.Part,
		request: t.models.label(request, answered), response: t.models.label(entry.Result.Model, answered),
	}
}

func (t *Telemetry) find(l labels) *series {
	if found, ok := t.series.Load(l); ok {
		return found.(*series)
	}
	model := l.response
	if model == "" {
		model = l.request
	}
	s := &series{
		duration:      t.duration.WithLabelValues(l.request, l.response, l.backend, l.errorType),
		firstToken:    nothing{},
		perToken:      nothing{},
		asked:         t.usage.WithLabelValues("input", l.request, l.response, l.backend),
		answered:      t.usage.WithLabelValues("output", l.request, l.response, l.backend),
		input:         t.tokens.WithLabelValues("input", model, l.backend),
		output:        t.tokens.WithLabelValues("output", model, l.backend),
		cacheRead:     t.tokens.WithLabelValues("cache_read", model, l.backend),
		cacheCreation: t.tokens.WithLabelValues("cache_creation", model, l.backend),
		cost:          t.cost.WithLabelValues(model),
	}
	if !l.part {
		s.requests = t.requests.WithLabelValues(l.endpoint, l.backend, strconv.Itoa(l.status))
	}
	if l.errorType == "" {
		s.firstToken = t.firstToken.WithLabelValues(l.request, l.response, l.backend)
		s.perToken = t.perToken.WithLabelValues(l.request, l.response, l.backend)
	}
	for stage := range latency.Stage(latency.Count) {
		s.stages[stage] = t.stages.WithLabelValues(stage.String(), l.backend)
	}
	found, _ := t.series.LoadOrStore(l, s)
	return found.(*series)
}

// nothing is an instrument that isn't there: one that never observes would
// still be a series of zeros.
type nothing struct{}

func (nothing) Observe(float64) {}
