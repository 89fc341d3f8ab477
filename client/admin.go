package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Admin calls what is for those who run the service. Its Client's key must be one that
// administers it; others are refused with 403. It is safe for concurrent use.
type Admin struct{ client *Client }

// Admin gives those calls.
func (c *Client) Admin() *Admin { return &Admin{c} }

const pathAdmin = "/admin/v1"

// Overview is the state of the service now. Rates are of the last minute.
type Overview struct {
	Version  string                   `json:"version"`
	Uptime   float64                  `json:"uptime_seconds"`
	Node     string                   `json:"node"`
	Nodes    []Node                   `json:"nodes"`
	Status   string                   `json:"status"` // HealthOK or HealthDegraded
	Ready    Readiness                `json:"ready"`
	Services map[string]ServiceHealth `json:"services"`
	Pool     *Pool                    `json:"pool"` // nil: there is no CLI
	Breakers []Breaker                `json:"breakers"`
	Rates    struct {
		Requests   float64 `json:"requests_per_second"`
		Errors     float64 `json:"errors_per_second"`
		ErrorRatio float64 `json:"error_ratio"` // of 1
		Tokens     float64 `json:"tokens_per_second"`
		Cost       float64 `json:"cost_micro_usd_per_minute"`
	} `json:"rates"`
	Live             int `json:"live"` // requests that run
	QueuedJobs       int `json:"queued_jobs"`
	RunningJobs      int `json:"running_jobs"`
	WaitingApprovals int `json:"waiting_approvals"`
	Memory           struct {
		RSS        int64 `json:"rss_bytes"`
		Goroutines int   `json:"goroutines"`
	} `json:"memory"`
}

// Node is one of the services that share a database.
type Node struct {
	ID      string    `json:"id"`
	Address string    `json:"address,omitzero"`
	AliveAt time.Time `json:"alive_at"`
}

// Pool counts the workers of the CLI path by their states.
type Pool struct {
	Mode     string `json:"mode"` // how a worker is emptied
	Idle     int    `json:"idle"`
	Held     int    `json:"held"`
	Parked   int    `json:"parked"`
	Busy     int    `json:"busy"`
	Starting int    `json:"starting"`
	Queued   int    `json:"queued"` // requests that wait for one
	Max      int    `json:"max"`
	Min      int    `json:"min"`
	Reason   string `json:"reason"` // why there are none; "" where there are
}

// Breaker is the circuit breaker of a backend and a family of models.
type Breaker struct {
	Backend  string    `json:"backend"`
	Family   string    `json:"family"`
	State    string    `json:"state"` // closed, open or half_open
	Failures int       `json:"failures"`
	Until    time.Time `json:"until,omitzero"`
}

// Overview gives the state of the service.
func (a *Admin) Overview(ctx context.Context) (*Overview, error) {
	return get[Overview](ctx, a, "/overview")
}

func get[T any](ctx context.Context, a *Admin, path string) (*T, error) {
	into := new(T)
	if err := a.client.ask(ctx, http.MethodGet, pathAdmin+path, nil, into, newCall(nil)); err != nil {
		return nil, err
	}
	return into, nil
}

// Request is one that runs, or has ended lately.
type Request struct {
	ID             string    `json:"id"`
	Endpoint       string    `json:"endpoint"`
	KeyID          string    `json:"key_id"`
	KeyName        string    `json:"key_name,omitzero"`
	ProjectID      string    `json:"project_id"`
	ModelRequested string    `json:"model_requested"`
	ModelRouted    string    `json:"model_routed"`
	ModelAnswered  string    `json:"model_answered"`
	Backend        string    `json:"backend"`
	Status         int       `json:"status"` // 0: it runs
	Category       string    `json:"category"`
	StartedAt      time.Time `json:"started_at"`
	ElapsedMS      float64   `json:"elapsed_ms"`
	// Stages are milliseconds by name; Stage is the one that a live request is in.
	Stages                   map[string]float64 `json:"stages"`
	Stage                    string             `json:"stage,omitzero"`
	InputTokens              int64              `json:"input_tokens"`
	OutputTokens             int64              `json:"output_tokens"`
	CacheReadInputTokens     int64              `json:"cache_read_input_tokens"`
	CacheCreationInputTokens int64              `json:"cache_creation_input_tokens"`
	CostMicroUSD             *int64             `json:"cost_micro_usd"` // nil: not known
	Part                     bool               `json:"part"`           // of another request
	TTFTMS                   *float64           `json:"ttft_ms"`        // to the first token; nil: there was none
}

// Requests are those that run and those that have ended lately, the newest first.
type Requests struct {
	Live   []Request `json:"live"`
	Recent []Request `json:"recent"`
}

// Requests lists them, at most limit of the recent ones; 0 is the service's default.
func (a *Admin) Requests(ctx context.Context, limit int) (*Requests, error) {
	path := "/requests"
	if limit > 0 {
		path += "?limit=" + strconv.Itoa(limit)
	}
	return get[Requests](ctx, a, path)
}

// Latency has the percentiles of a window, in milliseconds, by endpoint, backend and
// model.
type Latency struct {
	WindowSeconds int             `json:"window_seconds"`
	Series        []LatencySeries `json:"series"`
}

// LatencySeries are the percentiles of one of them.
type LatencySeries struct {
	Endpoint  string  `json:"endpoint"`
	Backend   string  `json:"backend"`
	Model     string  `json:"model"`
	Count     int64   `json:"count"`
	Errors    int64   `json:"errors"`
	P50MS     float64 `json:"p50_ms"`
	P95MS     float64 `json:"p95_ms"`
	P99MS     float64 `json:"p99_ms"`
	MaxMS     float64 `json:"max_ms"`
	TTFTP50MS float64 `json:"ttft_p50_ms"`
	TTFTP95MS float64 `json:"ttft_p95_ms"`
	Stages    map[string]struct {
		P50MS float64 `json:"p50_ms"`
		P95MS float64 `json:"p95_ms"`
	} `json:"stages"`
}

// Latency gives the percentiles of the last minute, 5 or 15 minutes.
func (a *Admin) Latency(ctx context.Context, window time.Duration) (*Latency, error) {
	return get[Latency](ctx, a, "/latency?window="+strconv.Itoa(int(window/time.Minute))+"m")
}

// Timeline has one value for each step of the last minutes, the oldest first.
type Timeline struct {
	StepSeconds  int       `json:"step_seconds"`
	Start        time.Time `json:"start"`
	Requests     []int64   `json:"requests"`
	Errors       []int64   `json:"errors"`
	Tokens       []int64   `json:"tokens"`
	CostMicroUSD []int64   `json:"cost_micro_usd"`
	P50MS        []float64 `json:"p50_ms"`
	P95MS        []float64 `json:"p95_ms"`
}

// Timeline gives the last minutes, at most 15.
func (a *Admin) Timeline(ctx context.Context, minutes int) (*Timeline, error) {
	return get[Timeline](ctx, a, "/timeline?minutes="+strconv.Itoa(minutes))
}

// Workers are the processes of the CLI path.
type Workers struct {
	Workers []Worker `json:"workers"`
	Max     int      `json:"max"`
	Min     int      `json:"min"`
}

// Worker is one of them.
type Worker struct {
	ID          string  `json:"id"`
	PID         int     `json:"pid"`
	State       string  `json:"state"` // starting, idle, held, parked, bound, busy or draining
	AgeSeconds  float64 `json:"age_seconds"`
	Turns       int64   `json:"turns"`
	RSSBytes    int64   `json:"rss_bytes"`
	ProjectID   string  `json:"project_id"`
	Model       string  `json:"model"`
	RequestID   string  `json:"request_id"`
	IdleSeconds float64 `json:"idle_seconds"`
}

// Workers lists them.
func (a *Admin) Workers(ctx context.Context) (*Workers, error) {
	return get[Workers](ctx, a, "/workers")
}

// EndWorker ends a worker, and with it the request that it serves; the pool starts
// another where it needs one.
func (a *Admin) EndWorker(ctx context.Context, id string) error {
	return a.client.ask(ctx, http.MethodDelete, pathAdmin+"/workers/"+url.PathEscape(id), nil, nil, newCall(nil))
}

// Reloaded is what has become of a configuration that was read again, as names of
// settings.
type Reloaded struct {
	Changed   []string `json:"changed"`
	NeedStart []string `json:"need_start"` // what differs, and only a start can change
}

// Reload has the service read its configuration again, as SIGHUP does.
func (a *Admin) Reload(ctx context.Context) (*Reloaded, error) {
	r := &Reloaded{}
	if err := a.client.ask(ctx, http.MethodPost, pathAdmin+"/reload", nil, r, newCall(nil)); err != nil {
		return nil, err
	}
	return r, nil
}

// Tasks lists the tasks of all keys.
func (a *Admin) Tasks(ctx context.Context, filter TaskFilter) (*TaskPage, error) {
	query := filter.query()
	return get[TaskPage](ctx, a, "/tasks"+query)
}

// Task gives a task of any key.
func (a *Admin) Task(ctx context.Context, id string) (*Task, error) {
	return get[Task](ctx, a, "/tasks/"+url.PathEscape(id))
}

// TaskEvents is Client.TaskEvents for a task of any key.
func (a *Admin) TaskEvents(ctx context.Context, id string, after int64) iter.Seq2[TaskEvent, error] {
	return a.client.follow(ctx, pathAdmin+"/tasks/"+url.PathEscape(id)+"/events", after)
}

// CancelTask is Client.CancelTask for a task of any key.
func (a *Admin) CancelTask(ctx context.Context, id string) (task *Task, forgotten bool, err error) {
	return a.client.cancelTask(ctx, pathAdmin+"/tasks/"+url.PathEscape(id))
}

// AnswerTask is Client.AnswerTask for a task of any key.
func (a *Admin) AnswerTask(ctx context.Context, id string, n int, answer Answer) error {
	return a.client.ask(ctx, http.MethodPost, pathAdmin+"/tasks/"+url.PathEscape(id)+"/approvals/"+strconv.Itoa(n), answer, nil, newCall(nil))
}

// Do is Client.Do below /admin/v1.
func (a *Admin) Do(ctx context.Context, method, path string, body, into any) error {
	return a.client.ask(ctx, method, pathAdmin+path, body, into, newCall(nil))
}

// Follow gives the events of the admin stream as they come: "overview" with an Overview
// each second, "requests" with what has changed. It ends with ctx, or with an error.
func (a *Admin) Follow(ctx context.Context) iter.Seq2[AdminEvent, error] {
	return func(yield func(AdminEvent, error) bool) {
		stream, err := a.client.open(ctx, http.MethodGet, pathAdmin+"/stream", nil, newCall(nil))
		if err != nil {
			yield(AdminEvent{}, err)
			return
		}
		defer stream.close()
		for {
			f, err := stream.next()
			if err != nil {
				yield(AdminEvent{}, err)
				return
			}
			if !yield(AdminEvent{string(f.event), jsontext.Value(f.data).Clone()}, nil) {
				return
			}
		}
	}
}

// AdminEvent is one of the admin stream.
type AdminEvent struct {
	Type string
	Data jsontext.Value
}
