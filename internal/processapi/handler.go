// Package processapi serves the endpoints that the service's former clients
// know, in flat JSON: POST /v1/process, one answer for a provider and a model
// name of any vendor, at once, as a stream or later; POST /v1/batch; POST
// /v1/route; GET /v1/usage; and GET /v1/providers.
package processapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/usage"
)

// The routes, as metrics and ledger name them.
const (
	pathProcess  = "/v1/process"
	pathRun      = "/v1/process/{id}"
	pathBatch    = "/v1/batch"
	pathBatchRun = "/v1/batch/{id}"
	pathRoute    = "/v1/route"
	pathUsage    = "/v1/usage"
	pathProvider = "/v1/providers"
	pathModels   = "/v1/providers/{provider}/models"
)

// Defaults of Options.
const (
	// DefaultAsyncTimeout is how long an asynchronous request may run: longer
	// than any answer takes that a model writes in one go.
	DefaultAsyncTimeout = 30 * time.Minute
	// DefaultBatchParallel is how many prompts of one batch run at once.
	DefaultBatchParallel = 16
	// DefaultBatchPrompts is how many prompts a batch may hold: all answers are in
	// memory until the last one is there.
	DefaultBatchPrompts = 1_000
)

// Reports adds up the ledger: a usage.Reports.
type Reports interface {
	Report(ctx context.Context, caller *gateway.Caller, period budget.Period) (usage.Report, error)
}

// Options are what a Handler needs. Gateway, Jobs, Callers, Usage and Recommend are
// required.
type Options struct {
	Gateway *gateway.Gateway
	Jobs    Jobs
	Callers Callers
	Usage   Reports
	// Once serves requests that carry an Idempotency-Key; nil: nobody reads the
	// header.
	Once protocol.Once
	// Recommend chooses a model for a prompt, as route.Recommend does.
	Recommend func(prompt string, contextTokens int, budgetLeft *int64) (alias, reasoning string)
	// Budget gives the tokens that a caller may spend in the current period, and
	// what is left of them; nil when there is no limit. A nil func means that
	// nobody has a limit.
	Budget func(ctx context.Context, caller *gateway.Caller) (limit, remaining *int64, err error)
	// Providers are listed by GET /v1/providers.
	Providers []Provider
	// Models say which model stands in for another vendor's; the first rule that
	// fits wins. nil means DefaultModels.
	Models []ModelRule
	// Rules give what a model, by an alias or an id, takes of a request. nil: all
	// take everything.
	Rules func(model string) message.Rules
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64

	AsyncTimeout  time.Duration // 0 is DefaultAsyncTimeout
	BatchParallel int           // 0 is DefaultBatchParallel
	BatchPrompts  int           // 0 is DefaultBatchPrompts

	// Ran hears of each run of a queued batch, whose prompts are calls of their own. nil:
	// nobody does.
	Ran func(call *gateway.Call)
	Log *slog.Logger // nil: silent
}

// Handler serves the endpoints. It is safe for concurrent use. Stop must be
// called.
type Handler struct {
	options  Options
	gateway  *gateway.Gateway
	log      *slog.Logger
	scanners protocol.Scanners
	grace    *grace
}

// New makes a Handler.
func New(options Options) *Handler {
	if options.Models == nil {
		options.Models = DefaultModels()
	}
	if options.Rules == nil {
		options.Rules = func(string) message.Rules { return message.Rules{} }
	}
	if options.Budget == nil {
		options.Budget = func(context.Context, *gateway.Caller) (limit, remaining *int64, err error) { return nil, nil, nil }
	}
	options.AsyncTimeout = positive(options.AsyncTimeout, DefaultAsyncTimeout)
	options.BatchParallel = positive(options.BatchParallel, DefaultBatchParallel)
	options.BatchPrompts = positive(options.BatchPrompts, DefaultBatchPrompts)
	return &Handler{options: options, gateway: options.Gateway, log: options.Log, grace: newGrace()}
}

// With makes a Handler with other options that knows the asynchronous requests of
// this one: the Stop of either stops those of both.
func (h *Handler) With(options Options) *Handler {
	other := New(options)
	other.grace = h.grace
	return other
}

func positive[T int | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathProcess, protocol.HandleOnce(h.gateway, h.options.Once, pathProcess, h.serveProcess, h.writeError))
	mux.Handle("POST "+pathBatch, protocol.HandleOnce(h.gateway, h.options.Once, pathBatch, h.serveBatch, h.writeError))
	for _, route := range []struct {
		method, path string
		serve        protocol.HandlerFunc
	}{
		{http.MethodGet, pathRun, h.serveRun},
		{http.MethodGet, pathBatchRun, h.serveBatchRun},
		{http.MethodPost, pathRoute, h.serveRoute},
		{http.MethodGet, pathUsage, h.serveUsage},
		{http.MethodGet, pathProvider, h.serveProviders},
		{http.MethodGet, pathModels, h.serveProviderModels},
	} {
		mux.Handle(route.method+" "+route.path, protocol.Handle(h.gateway, route.path, route.serve, h.writeError))
	}
}

// Stop waits until the asynchronous requests that run here have ended. When ctx ends
// first, they are cut off, so that their jobs go back to the queue, and Stop returns ctx's
// error. It may be called more than once.
func (h *Handler) Stop(ctx context.Context) error { return h.grace.stop(ctx) }

// serveApart is gateway.Serve for a goroutine that isn't the server's own, which
// would catch a panic.
func serveApart(ctx context.Context, g *gateway.Gateway, call *gateway.Call, out gateway.EventWriter) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return g.Serve(ctx, call, out)
}

// read reads the body of a request and decodes it.
func read[T any](h *Handler, w http.ResponseWriter, r *http.Request, decode func(s *protocol.Scanner) (*T, error)) (*T, []byte, error) {
	body, err := protocol.ReadBody(w, r, h.options.MaxBody)
	if err != nil {
		return nil, nil, err
	}
	scanner := h.scanners.Get(body)
	defer h.scanners.Put(scanner)
	request, err := decode(scanner)
	return request, body, err
}

// billing warns of a project that isn't the key's.
func billing(call *gateway.Call, projectID string) {
	if projectID != "" && projectID != defaultProject && projectID != call.Caller.ProjectID {
		call.Warn("project_id: the key's project is billed")
	}
}
