// Package taskapi serves agentic tasks: POST /v1/task, at once, as a stream or later;
// what became of them below /v1/tasks; and GET /v1/capabilities.
package taskapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// The routes, as metrics name them.
const (
	pathTask      = task.Endpoint
	pathTasks     = "/v1/tasks"
	pathOne       = "/v1/tasks/{id}"
	pathEvents    = "/v1/tasks/{id}/events"
	pathApproval  = "/v1/tasks/{id}/approvals/{n}"
	pathArtifacts = "/v1/tasks/{id}/artifacts"
	pathArtifact  = "/v1/tasks/{id}/artifacts/{path}"
	// artifactRoute is pathArtifact as the mux writes it: a path may have slashes.
	artifactRoute = "/v1/tasks/{id}/artifacts/{path...}"
)

// Options are what a Handler needs. Gateway and Tasks are required.
type Options struct {
	Gateway *gateway.Gateway
	Tasks   *task.Tasks
	// Once serves requests that carry an Idempotency-Key; nil: nobody reads the header.
	Once protocol.Once
	// MaxBody is the largest request body in bytes; 0 means protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger // nil: silent
}

// Handler serves the endpoints of tasks. It is safe for concurrent use.
type Handler struct {
	options  Options
	gateway  *gateway.Gateway
	tasks    *task.Tasks
	log      *slog.Logger
	scanners protocol.Scanners
	readers  *readers
}

// readers are those who follow events, of all Handlers; see With.
type readers struct {
	life context.Context
	end  context.CancelFunc

	mu  sync.Mutex
	now map[string]int // by key
}

// mostReaders is how many streams of events a key may read at once on this node: each
// looks into the store from time to time.
const mostReaders = 100

// enter begins to read, for a key that doesn't read too many streams; leave ends it.
func (r *readers) enter(keyID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now[keyID] >= mostReaders {
		return &apierror.Error{
			Category: apierror.RateLimited, RetryAfter: readersAgain,
			Message: fmt.Sprintf("the key follows %d tasks at once already, which is as many as it may", mostReaders),
		}
	}
	r.now[keyID]++
	return nil
}

// readersAgain is when a key may try again that follows too many.
const readersAgain = 10 * time.Second

func (r *readers) leave(keyID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now[keyID]--; r.now[keyID] == 0 {
		delete(r.now, keyID)
	}
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{options: options, gateway: options.Gateway, tasks: options.Tasks, log: options.Log, readers: &readers{now: map[string]int{}}}
	h.readers.life, h.readers.end = context.WithCancel(context.Background())
	return h
}

// With makes a Handler with other options: the Stop of either stops both.
func (h *Handler) With(options Options) *Handler {
	other := New(options)
	other.readers = h.readers
	return other
}

// Stop ends the streams of those who follow events: they can go on elsewhere, or after
// the next start. Tasks go on.
func (h *Handler) Stop(context.Context) error {
	h.readers.end()
	return nil
}

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathTask, protocol.HandleOnce(h.gateway, h.options.Once, pathTask, h.serveTask, h.writeError))
	for _, route := range []struct {
		pattern, path string
		serve         protocol.HandlerFunc
	}{
		{"GET " + pathTasks, pathTasks, h.serveList},
		{"GET " + pathOne, pathOne, h.serveOne},
		{"DELETE " + pathOne, pathOne, h.serveCancel},
		{"GET " + pathEvents, pathEvents, h.serveEvents},
		{"POST " + pathApproval, pathApproval, h.serveApproval},
		{"GET " + pathArtifacts, pathArtifacts, h.serveArtifacts},
		{"GET " + artifactRoute, pathArtifact, h.serveArtifact},
	} {
		mux.Handle(route.pattern, protocol.Handle(h.gateway, route.path, route.serve, h.writeError))
	}
}

// writeError writes an error in the envelope of the former service's family.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	protocol.SetHeader(w.Header(), call)
	status := 0
	switch apierror.From(err).Code {
	case task.CodeAnswered, task.CodeEnded:
		status = http.StatusConflict
	}
	protocol.WriteFlatError(w, r, h.log, status, err)
}
