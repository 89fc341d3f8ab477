package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/openapi"
)

const (
	pathWorkers = "/admin/v1/workers"
	pathWorker  = "/admin/v1/workers/{id}"
)

// WorkerKilled is an action of the audit log.
const WorkerKilled = "worker.killed"

// Worker is one of the CLI's workers.
type Worker struct {
	ID            string  `json:"id"`
	PID           int     `json:"pid"`
	State         string  `json:"state"`
	Age           float64 `json:"age_seconds"`
	Turns         int     `json:"turns"`
	ResidentBytes int64   `json:"rss_bytes"`
	ProjectID     string  `json:"project_id"`
	Model         string  `json:"model"`
	RequestID     string  `json:"request_id"`
	Idle          float64 `json:"idle_seconds"`
}

// Errors of Options.Kill.
var (
	ErrNoWorker = errors.New("no such worker")
	ErrStarting = errors.New("the worker is being started")
)

// Seconds gives a duration in seconds, to the millisecond.
func Seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// Workers are all of this process's, and how many there are to be.
type Workers struct {
	Workers []Worker `json:"workers"`
	Max     int      `json:"max"`
	Min     int      `json:"min"`
}

func (h *Handler) serveWorkers(w http.ResponseWriter, _ *http.Request, _ *administrator) error {
	all := Workers{}
	if h.options.Workers != nil {
		all = h.options.Workers()
	}
	if all.Workers == nil {
		all.Workers = []Worker{}
	}
	return write(w, http.StatusOK, all)
}

func (h *Handler) serveKill(w http.ResponseWriter, r *http.Request, who *administrator) error {
	id := r.PathValue("id")
	if h.options.Kill == nil {
		return notFound("id", "there is no Claude Code CLI, and so no worker")
	}
	switch err := h.options.Kill(id); {
	case errors.Is(err, ErrNoWorker):
		return notFound("id", "there is no such worker on this node")
	case errors.Is(err, ErrStarting):
		return &apierror.Error{Category: apierror.BadRequest, Code: codeConflict, Param: "id", Message: "the worker is still being started"}
	case err != nil:
		return err
	}
	// It is done whether whoever did it waits or not.
	if err := h.note(context.WithoutCancel(r.Context()), who, audit.Event{Action: WorkerKilled, Target: id}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func workersSchema() *openapi.Schema {
	one := openapi.Members("AdminWorker", "",
		openapi.Always("id", openapi.Text("Of this process of the service.")), openapi.Always("pid", openapi.Int("0 while it starts.")),
		openapi.Always("state", openapi.Words("starting", "idle", "held", "parked", "bound", "busy", "draining")),
		openapi.Always("age_seconds", openapi.Float("")), openapi.Always("turns", openapi.Int("That it has done.")),
		openapi.Always("rss_bytes", openapi.Int("0 where it can't be told.")), openapi.Always("project_id", openapi.Text("Whose request it served last.")),
		openapi.Always("model", openapi.Text("Of that request.")), openapi.Always("request_id", openapi.Text("The request that it serves.")),
		openapi.Always("idle_seconds", openapi.Float("For how long it has rested.")))
	return openapi.Members("AdminWorkers", "", openapi.Always("workers", openapi.List(one)), openapi.Always("max", openapi.Int("")), openapi.Always("min", openapi.Int("")))
}
