package adminapi

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"claude-code-api-service/internal/openapi"
)

const pathOverview = "/admin/v1/overview"

// State is what this process of the service knows of itself and the others, from memory.
type State struct {
	Version string             `json:"version"`
	Uptime  float64            `json:"uptime_seconds"`
	Node    string             `json:"node"`
	Nodes   []Node             `json:"nodes"` // those that live, this one too
	Status  string             `json:"status"`
	Ready   Ready              `json:"ready"`
	Parts   map[string]Service `json:"services"`
	Pool    *Pool              `json:"pool"` // nil without a CLI
	// Breakers are those of every backend that there is.
	Breakers []Breaker `json:"breakers"`
	// QueuedJobs and RunningJobs are of all nodes, some seconds old at most;
	// WaitingApprovals are questions of tasks that run on this node.
	QueuedJobs       int64 `json:"queued_jobs"`
	RunningJobs      int64 `json:"running_jobs"`
	WaitingApprovals int64 `json:"waiting_approvals"`
}

// Node is one process of the service that works on the same database.
type Node struct {
	ID      string    `json:"id"`
	AliveAt time.Time `json:"alive_at"` // when it last said so
}

// Ready is what GET /ready tells.
type Ready struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason"`
}

// Service is one of the parts that GET /health tells of.
type Service struct {
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// Pool is the CLI's workers together.
type Pool struct {
	Mode     string `json:"mode"`
	Idle     int64  `json:"idle"`
	Held     int64  `json:"held"`
	Parked   int64  `json:"parked"`
	Busy     int64  `json:"busy"`
	Starting int64  `json:"starting"`
	Queued   int64  `json:"queued"`
	Max      int    `json:"max"`
	Min      int    `json:"min"`
	Reason   string `json:"reason"`
}

// The states of a Breaker.
const (
	BreakerClosed   = "closed"
	BreakerOpen     = "open"
	BreakerHalfOpen = "half_open"
)

// Breaker is a circuit breaker.
type Breaker struct {
	Backend  string     `json:"backend"`
	Family   string     `json:"family"`
	State    string     `json:"state"`
	Failures int        `json:"failures"`        // in a row, while it is closed
	Until    *time.Time `json:"until,omitempty"` // no request is let through
}

// rates are monitor.Rates as they are answered.
type rates struct {
	Requests   float64 `json:"requests_per_second"`
	Errors     float64 `json:"errors_per_second"`
	ErrorRatio float64 `json:"error_ratio"`
	Tokens     float64 `json:"tokens_per_second"`
	Cost       int64   `json:"cost_micro_usd_per_minute"`
}

type memory struct {
	RSS        int64 `json:"rss_bytes"`
	Goroutines int   `json:"goroutines"`
}

type overview struct {
	State
	Rates  rates  `json:"rates"`
	Live   int    `json:"live"`
	Memory memory `json:"memory"`
}

func (h *Handler) overview() overview {
	r := h.options.Monitor.Rates()
	o := overview{
		State:  h.options.State(),
		Rates:  rates{r.Requests, r.Errors, r.ErrorRatio, r.Tokens, int64(r.CostMicroUSD)},
		Memory: memory{Goroutines: runtime.NumGoroutine()},
	}
	for _, call := range h.options.Monitor.Live() {
		if !call.Part {
			o.Live++
		}
	}
	if h.options.ResidentBytes != nil {
		o.Memory.RSS = h.options.ResidentBytes()
	}
	return o
}

func (h *Handler) serveOverview(w http.ResponseWriter, _ *http.Request, _ *administrator) error {
	return write(w, http.StatusOK, h.overview())
}

func overviewSchema() *openapi.Schema {
	service := openapi.Members("AdminService", "",
		openapi.Always("status", openapi.Words("ok", "degraded", "down", "off")), openapi.Always("detail", openapi.Text("")))
	pool := openapi.Members("AdminPool", "The CLI's workers together.",
		openapi.Always("mode", openapi.Text("How workers are used.")), openapi.Always("idle", openapi.Int("Those that may be given a request at once.")),
		openapi.Always("held", openapi.Int("Of them: those that hold a conversation.")), openapi.Always("parked", openapi.Int("Those that wait for the results of tool calls.")),
		openapi.Always("busy", openapi.Int("From bound to draining.")), openapi.Always("starting", openapi.Int("")),
		openapi.Always("queued", openapi.Int("Requests that wait for a worker.")), openapi.Always("max", openapi.Int("")), openapi.Always("min", openapi.Int("")),
		openapi.Always("reason", openapi.Text("Why no request can be served; empty when one can.")))
	breaker := openapi.Members("AdminBreaker", "",
		openapi.Always("backend", openapi.Text("")), openapi.Always("family", openapi.Text("Of models.")),
		openapi.Always("state", openapi.Words(BreakerClosed, BreakerOpen, BreakerHalfOpen)), openapi.Always("failures", openapi.Int("In a row, while it is closed.")),
		openapi.Maybe("until", openapi.Text("No request is let through until then.")))
	return openapi.Members("AdminOverview", "",
		openapi.Always("version", openapi.Text("")), openapi.Always("uptime_seconds", openapi.Float("")),
		openapi.Always("node", openapi.Text("The process that answers.")),
		openapi.Always("nodes", openapi.List(openapi.Members("AdminNode", "", openapi.Always("id", openapi.Text("")), openapi.Always("alive_at", openapi.Text(""))))),
		openapi.Always("status", openapi.Words("ok", "degraded")),
		openapi.Always("ready", openapi.Members("AdminReady", "", openapi.Always("ready", openapi.Flag("")), openapi.Always("reason", openapi.Text("")))),
		openapi.Always("services", &openapi.Schema{Type: openapi.Object, Values: service}),
		openapi.Always("pool", openapi.Nullable(pool)), openapi.Always("breakers", openapi.List(breaker)),
		openapi.Always("rates", openapi.Members("AdminRates", "Of the last minute, on this node.",
			openapi.Always("requests_per_second", openapi.Float("")), openapi.Always("errors_per_second", openapi.Float("")), openapi.Always("error_ratio", openapi.Float("")),
			openapi.Always("tokens_per_second", openapi.Float("Input and output, without the cache.")), openapi.Always("cost_micro_usd_per_minute", openapi.Int("")))),
		openapi.Always("live", openapi.Int("Requests that run on this node.")),
		openapi.Always("queued_jobs", openapi.Int("Of all nodes, some seconds ago.")), openapi.Always("running_jobs", openapi.Int("Of all nodes, some seconds ago.")),
		openapi.Always("waiting_approvals", openapi.Int("Questions of tasks that run on this node.")),
		openapi.Always("memory", openapi.Members("AdminMemory", "Of the service's own process.", openapi.Always("rss_bytes", openapi.Int("0 where it can't be told.")), openapi.Always("goroutines", openapi.Int("")))),
	)
}

// names gives the names of all keys, by id. They may be some seconds old.
func (h *Handler) names(ctx context.Context) map[string]string {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	if time.Since(h.shared.namesAt) < namesFor {
		return h.shared.names
	}
	keys, err := h.options.Keys.List(ctx)
	if err != nil {
		return h.shared.names // what is shown is better without them than not at all
	}
	names := make(map[string]string, len(keys))
	for _, k := range keys {
		names[k.ID] = k.Name
	}
	h.shared.names, h.shared.namesAt = names, time.Now()
	return names
}

// namesFor is how long the names of keys are remembered.
const namesFor = 5 * time.Second
