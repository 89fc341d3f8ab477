package adminapi

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/monitor"
	"claude-code-api-service/internal/openapi"
)

const (
	pathRequests = "/admin/v1/requests"
	pathLatency  = "/admin/v1/latency"
	pathTimeline = "/admin/v1/timeline"
)

// defaultRequests is how many requests that have ended are listed where nobody says.
const defaultRequests = 100

// request is a monitor.Request as it is answered.
type request struct {
	ID              string             `json:"id"`
	Endpoint        string             `json:"endpoint"`
	KeyID           string             `json:"key_id"`
	KeyName         string             `json:"key_name,omitempty"`
	ProjectID       string             `json:"project_id"`
	ModelRequested  string             `json:"model_requested"`
	ModelRouted     string             `json:"model_routed"`
	ModelAnswered   string             `json:"model_answered"`
	Backend         string             `json:"backend"`
	Status          int                `json:"status"`
	Category        string             `json:"category"`
	StartedAt       time.Time          `json:"started_at"`
	Elapsed         float64            `json:"elapsed_ms"`
	Stages          map[string]float64 `json:"stages"`
	Stage           string             `json:"stage,omitempty"`
	InputTokens     int64              `json:"input_tokens"`
	OutputTokens    int64              `json:"output_tokens"`
	CacheReadTokens int64              `json:"cache_read_input_tokens"`
	CacheMadeTokens int64              `json:"cache_creation_input_tokens"`
	CostMicroUSD    *int64             `json:"cost_micro_usd"`
	Part            bool               `json:"part"`
	Fresh           bool               `json:"fresh,omitempty"`
	FirstToken      *float64           `json:"ttft_ms"`
}

// millis writes a duration in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return math.Round(float64(d)/float64(time.Microsecond)) / 1000 }

func requestOf(r *monitor.Request, names map[string]string) request {
	v := request{
		ID: r.ID, Endpoint: r.Endpoint, KeyID: r.KeyID, KeyName: names[r.KeyID], ProjectID: r.Project,
		ModelRequested: r.Requested, ModelRouted: r.Routed, ModelAnswered: r.Answered, Backend: r.Backend, Status: r.Status, Category: r.Category,
		StartedAt: r.Started.UTC(), Elapsed: millis(r.Elapsed), Stages: make(map[string]float64, latency.Count),
		InputTokens: r.InputTokens, OutputTokens: r.OutputTokens, CacheReadTokens: r.CacheReadInputTokens, CacheMadeTokens: r.CacheCreationInputTokens,
		CostMicroUSD: r.CostMicroUSD, Part: r.Part, Fresh: r.Fresh,
	}
	for stage, took := range r.Took {
		if r.Known[stage] {
			v.Stages[latency.Stage(stage).String()] = millis(took)
		}
	}
	if r.Status == 0 {
		v.Stage = r.Stage.String()
	}
	if first, ok := r.FirstToken(); ok {
		ms := millis(first)
		v.FirstToken = &ms
	}
	return v
}

// requests is what runs, and what has ended since.
type requests struct {
	Live   []request `json:"live"`
	Recent []request `json:"recent"`
}

func (h *Handler) requestsOf(ctx context.Context, live, recent []monitor.Request) requests {
	names := h.names(ctx)
	all := requests{make([]request, len(live)), make([]request, len(recent))}
	for i := range live {
		all.Live[i] = requestOf(&live[i], names)
	}
	for i := range recent {
		all.Recent[i] = requestOf(&recent[i], names)
	}
	return all
}

func (h *Handler) serveRequests(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	limit, err := number(r, "limit", defaultRequests, 0, monitor.MostRecent)
	if err != nil {
		return err
	}
	var live, recent []monitor.Request
	which := r.URL.Query().Get("live")
	switch which {
	case "", "true", "false":
	default:
		return apierror.Invalid("live", "live: must be true or false")
	}
	if which != "false" {
		live = h.options.Monitor.Live()
	}
	if which != "true" {
		recent = h.options.Monitor.Recent(0, limit)
	}
	return write(w, http.StatusOK, h.requestsOf(r.Context(), live, recent))
}

// number reads a whole number from a request's query.
func number(r *http.Request, name string, otherwise, least, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, apierror.Invalid(name, "%s: must be a whole number between %d and %d", name, least, most)
	}
	return n, nil
}

// stagePercentiles are of one stage.
type stagePercentiles struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
}

// series is a monitor.Percentiles as it is answered.
type series struct {
	Endpoint string                      `json:"endpoint"`
	Backend  string                      `json:"backend"`
	Model    string                      `json:"model"`
	Count    int64                       `json:"count"`
	Errors   int64                       `json:"errors"`
	P50      float64                     `json:"p50_ms"`
	P95      float64                     `json:"p95_ms"`
	P99      float64                     `json:"p99_ms"`
	Max      float64                     `json:"max_ms"`
	FirstP50 float64                     `json:"ttft_p50_ms"`
	FirstP95 float64                     `json:"ttft_p95_ms"`
	Stages   map[string]stagePercentiles `json:"stages"`
}

func (h *Handler) serveLatency(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	window := 5 * time.Minute
	switch text := r.URL.Query().Get("window"); text {
	case "", "5m":
	case "1m":
		window = time.Minute
	case "15m":
		window = 15 * time.Minute
	default:
		return apierror.Invalid("window", "window: must be 1m, 5m or 15m")
	}
	answer := struct {
		Window float64  `json:"window_seconds"`
		Series []series `json:"series"`
	}{window.Seconds(), []series{}}
	for _, p := range h.options.Monitor.Latency(window) {
		s := series{
			p.Endpoint, p.Backend, p.Model, p.Count, p.Errors, millis(p.P50), millis(p.P95), millis(p.P99), millis(p.Max), millis(p.FirstP50), millis(p.FirstP95),
			map[string]stagePercentiles{},
		}
		for stage, of := range p.Stages {
			if of.Count > 0 {
				s.Stages[latency.Stage(stage).String()] = stagePercentiles{millis(of.P50), millis(of.P95)}
			}
		}
		answer.Series = append(answer.Series, s)
	}
	return write(w, http.StatusOK, answer)
}

func (h *Handler) serveTimeline(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	most := int(monitor.Reach / time.Minute)
	minutes, err := number(r, "minutes", most, 1, most)
	if err != nil {
		return err
	}
	start, step, steps := h.options.Monitor.Timeline(minutes)
	answer := struct {
		Step     float64   `json:"step_seconds"`
		Start    time.Time `json:"start"`
		Requests []int64   `json:"requests"`
		Errors   []int64   `json:"errors"`
		Tokens   []int64   `json:"tokens"`
		Cost     []int64   `json:"cost_micro_usd"`
		P50      []float64 `json:"p50_ms"`
		P95      []float64 `json:"p95_ms"`
	}{Step: step.Seconds(), Start: start.UTC()}
	for _, s := range steps {
		answer.Requests = append(answer.Requests, s.Requests)
		answer.Errors = append(answer.Errors, s.Errors)
		answer.Tokens = append(answer.Tokens, s.Tokens)
		answer.Cost = append(answer.Cost, s.CostMicroUSD)
		answer.P50 = append(answer.P50, millis(s.P50))
		answer.P95 = append(answer.P95, millis(s.P95))
	}
	return write(w, http.StatusOK, answer)
}

func requestsSchema() *openapi.Schema {
	one := openapi.Members("AdminRequest", "A request, or a part of one, that runs or has ended.",
		openapi.Always("id", openapi.Text("As in `X-Request-ID`.")), openapi.Always("endpoint", openapi.Text("")),
		openapi.Always("key_id", openapi.Text("")), openapi.Maybe("key_name", openapi.Text("")), openapi.Always("project_id", openapi.Text("")),
		openapi.Always("model_requested", openapi.Text("")), openapi.Always("model_routed", openapi.Text("")), openapi.Always("model_answered", openapi.Text("")),
		openapi.Always("backend", openapi.Text("")), openapi.Always("status", openapi.Int("0 while it runs.")), openapi.Always("category", openapi.Text("Of its error.")),
		openapi.Always("started_at", openapi.Text("")), openapi.Always("elapsed_ms", openapi.Float("")),
		openapi.Always("stages", &openapi.Schema{Type: openapi.Object, Description: "Milliseconds by stage, in the words of `Server-Timing`; of one that runs also what the present stage has taken so far.", Values: openapi.Float("")}),
		openapi.Maybe("stage", openapi.Text("The one that it is in, while it runs.")),
		openapi.Always("input_tokens", openapi.Int("")), openapi.Always("output_tokens", openapi.Int("")),
		openapi.Always("cache_read_input_tokens", openapi.Int("")), openapi.Always("cache_creation_input_tokens", openapi.Int("")),
		openapi.Always("cost_micro_usd", openapi.Nullable(openapi.Int("null: not known."))),
		openapi.Always("part", openapi.Flag("It is a call of an agent's run, which is a request of its own.")),
		openapi.Maybe("fresh", openapi.Flag("It asked for a process of its own.")),
		openapi.Always("ttft_ms", openapi.Nullable(openapi.Float("Time to the first token."))))
	return openapi.Members("AdminRequests", "", openapi.Always("live", openapi.List(one)), openapi.Always("recent", openapi.List(one)))
}

func latencySchema() *openapi.Schema {
	stage := openapi.Members("AdminStage", "", openapi.Always("p50_ms", openapi.Float("")), openapi.Always("p95_ms", openapi.Float("")))
	one := openapi.Members("AdminSeries", "",
		openapi.Always("endpoint", openapi.Text("")), openapi.Always("backend", openapi.Text("")), openapi.Always("model", openapi.Text("As routed; `other` for those without a series of their own.")),
		openapi.Always("count", openapi.Int("")), openapi.Always("errors", openapi.Int("Without those whose caller left.")),
		openapi.Always("p50_ms", openapi.Float("From arrival to the last byte.")), openapi.Always("p95_ms", openapi.Float("")), openapi.Always("p99_ms", openapi.Float("")), openapi.Always("max_ms", openapi.Float("")),
		openapi.Always("ttft_p50_ms", openapi.Float("Time to the first token.")), openapi.Always("ttft_p95_ms", openapi.Float("")),
		openapi.Always("stages", &openapi.Schema{Type: openapi.Object, Values: stage}))
	return openapi.Members("AdminLatency", "", openapi.Always("window_seconds", openapi.Float("")), openapi.Always("series", openapi.List(one)))
}

func timelineSchema() *openapi.Schema {
	return openapi.Members("AdminTimeline", "One number a step, the oldest first; the last step isn't over.",
		openapi.Always("step_seconds", openapi.Float("")), openapi.Always("start", openapi.Text("When the first step began.")),
		openapi.Always("requests", openapi.List(openapi.Int(""))), openapi.Always("errors", openapi.List(openapi.Int(""))),
		openapi.Always("tokens", openapi.List(openapi.Int(""))), openapi.Always("cost_micro_usd", openapi.List(openapi.Int(""))),
		openapi.Always("p50_ms", openapi.List(openapi.Float(""))), openapi.Always("p95_ms", openapi.List(openapi.Float(""))))
}
